package httpapi

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type newTenant struct {
	Name   string     `json:"name"`
	Config api.Object `json:"config"`
}

type tenantPatch struct {
	Name   *string    `json:"name"`
	Config api.Object `json:"config"`
}

// tenantShape is a tenant as the operator sees it. Keys come with a single tenant only.
type tenantShape struct {
	TenantID    domain.TenantID     `json:"tenant_id"`
	Name        string              `json:"name"`
	CreatedAt   stamp               `json:"created_at"`
	Config      domain.TenantConfig `json:"config"`
	DisabledAt  *stamp              `json:"webhook_disabled_at,omitempty"`
	Limits      limitsShape         `json:"limits"`
	Usage       *usageShape         `json:"usage,omitempty"`
	APIKeys     []apiKeyShape       `json:"api_keys,omitempty"`
	SigningKeys []signingKeyShape   `json:"signing_keys,omitempty"`
}

// limitsShape is what applies now, the server's defaults included.
type limitsShape struct {
	RateLimit      int               `json:"rate_limit"` // calls a second; 0 is unlimited
	MaxMessageSize int               `json:"max_message_size"`
	MaxLiveKeys    int               `json:"max_live_keys"`
	BotLimits      domain.Budget     `json:"bot_limits"`
	ChatLimits     domain.ChatLimits `json:"chat_limits"`
}

// usageShape comes with a single tenant only.
type usageShape struct {
	OpenSockets int          `json:"open_sockets"` // on this node, now
	Months      []monthShape `json:"months"`       // newest first
}

type monthShape struct {
	Month       domain.Month `json:"month"` // UTC
	Messages    int64        `json:"messages"`
	Requests    int64        `json:"requests"`
	RateLimited int64        `json:"rate_limited"`
	Sockets     int64        `json:"sockets"`
	Tokens      int64        `json:"tokens"` // of models, for its bots
}

type createdTenant struct {
	TenantID  domain.TenantID `json:"tenant_id"`
	APIKey    string          `json:"api_key"`
	Name      string          `json:"name"`
	CreatedAt stamp           `json:"created_at"`
}

// stamp is a time as the contract writes it.
type stamp time.Time

// MarshalJSON implements json.Marshaler.
func (s stamp) MarshalJSON() ([]byte, error) { return api.AppendTime(nil, time.Time(s)), nil }

func (h *handler) createTenant(x *exchange) (reply, error) {
	if err := x.refuseIdempotency(); err != nil {
		return reply{}, err
	}
	var in newTenant
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	made, err := h.Tenancy.Create(x.r.Context(), in.Name, in.Config)
	h.origins.changed()
	if err != nil {
		return reply{}, err
	}
	x.Header().Set("Location", x.pathPrefix()+"/admin/tenants/"+string(made.ID))
	return encoded(http.StatusCreated, createdTenant{made.ID, made.APIKey, made.Name, stamp(made.CreatedAt)})
}

func (h *handler) listTenants(x *exchange) (reply, error) {
	q := x.query()
	offset, limit := q.offset(), q.limit()
	if q.err != nil {
		return reply{}, q.err
	}
	tenants, more, err := h.Tenancy.List(x.r.Context(), offset, limit)
	if err != nil {
		return reply{}, err
	}
	if more {
		x.linkNext(q, "offset", int64(offset+limit))
	}
	shapes := make([]tenantShape, len(tenants))
	for i, t := range tenants {
		shapes[i] = h.shapeTenant(t)
	}
	return encoded(http.StatusOK, shapes)
}

func (h *handler) getTenant(x *exchange) (reply, error) {
	found, err := h.Tenancy.Get(x.r.Context(), x.tenantID())
	if err != nil {
		return reply{}, err
	}
	shape := h.shapeTenant(found.Tenant)
	shape.addKeys(found.Keys)
	shape.Usage = &usageShape{OpenSockets: found.OpenSockets, Months: make([]monthShape, len(found.Usage))}
	for i, u := range found.Usage {
		shape.Usage.Months[i] = monthShape(u)
	}
	return encoded(http.StatusOK, shape)
}

// updateTenant changes what is named: an absent name or config key stays, a config key that is null resets.
func (h *handler) updateTenant(x *exchange) (reply, error) {
	var in tenantPatch
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	t, err := h.Tenancy.Update(x.r.Context(), x.tenantID(), in.Name, in.Config)
	h.origins.changed()
	if err != nil {
		return reply{}, err
	}
	return encoded(http.StatusOK, h.shapeTenant(t))
}

func (h *handler) deleteTenant(x *exchange) (reply, error) {
	err := h.Tenancy.Delete(x.r.Context(), x.tenantID())
	h.origins.changed()
	return noContent(), err
}

func (x *exchange) tenantID() domain.TenantID { return domain.TenantID(x.storable("tenant_id")) }

// shapeTenant leaves out of config the webhook secrets, which are never answered, and what the server alone sets.
func (h *handler) shapeTenant(t domain.Tenant) tenantShape {
	disabled := (*stamp)(t.Config.WebhookDisabled)
	t.Config.WebhookSecret, t.Config.SecretBefore, t.Config.SecretUntil, t.Config.WebhookDisabled = nil, nil, nil, nil
	return tenantShape{
		TenantID: t.ID, Name: t.Name, CreatedAt: stamp(t.CreatedAt), Config: t.Config, DisabledAt: disabled,
		Limits: limitsShape{
			RateLimit:      t.Config.RateOf(h.Config.DefaultRateLimit).PerSecond,
			MaxMessageSize: t.Config.MaxMessage(), MaxLiveKeys: domain.MaxLiveKeys, BotLimits: t.Config.Budget(),
			ChatLimits: t.Config.ChatLimitsNow(),
		},
	}
}

// encoded writes the operator's shapes; they are rare, so reflection is cheap enough.
func encoded(status int, v any) (reply, error) {
	body, err := json.Marshal(v)
	return reply{status, body}, err
}
