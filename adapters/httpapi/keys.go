package httpapi

import (
	"net/http"
	"time"

	"github.com/chatapi/chatapi/domain"
)

type newKey struct {
	Name string `json:"name"`
}

type apiKeyShape struct {
	KeyID string `json:"key_id"`
	Name  string `json:"name"`
	keyTimes
}

type signingKeyShape struct {
	KeyID string `json:"kid"`
	keyTimes
}

type keyTimes struct {
	CreatedAt  stamp  `json:"created_at"`
	LastUsedAt *stamp `json:"last_used_at,omitempty"`
	RevokedAt  *stamp `json:"revoked_at,omitempty"`
}

// createdKey and createdSigningKey hold the only showing of a secret.
type createdKey struct {
	KeyID     string `json:"key_id"`
	APIKey    string `json:"api_key"`
	Name      string `json:"name"`
	CreatedAt stamp  `json:"created_at"`
}

type createdSigningKey struct {
	KeyID     string `json:"kid"`
	Secret    string `json:"secret"`
	CreatedAt stamp  `json:"created_at"`
}

func (h *handler) createKey(x *exchange) (reply, error) {
	var in newKey
	if err := x.decodeCredentialCall(&in); err != nil {
		return reply{}, err
	}
	made, err := h.Tenancy.AddAPIKey(x.r.Context(), x.tenantID(), in.Name)
	if err != nil {
		return reply{}, err
	}
	return encoded(http.StatusCreated, createdKey{made.ID, made.Secret, made.Name, stamp(made.CreatedAt)})
}

func (h *handler) createSigningKey(x *exchange) (reply, error) {
	if err := x.decodeCredentialCall(&struct{}{}); err != nil {
		return reply{}, err
	}
	made, err := h.Tenancy.AddSigningKey(x.r.Context(), x.tenantID())
	if err != nil {
		return reply{}, err
	}
	return encoded(http.StatusCreated, createdSigningKey{made.ID, made.Secret, stamp(made.CreatedAt)})
}

func (x *exchange) decodeCredentialCall(v any) error {
	if err := x.refuseIdempotency(); err != nil {
		return err
	}
	return x.decodeOptional(v)
}

func (h *handler) revokeKey(x *exchange) (reply, error) {
	return noContent(), h.Tenancy.Revoke(x.r.Context(), x.tenantID(), domain.APIKey, x.storable("key_id"))
}

func (h *handler) revokeSigningKey(x *exchange) (reply, error) {
	return noContent(), h.Tenancy.Revoke(x.r.Context(), x.tenantID(), domain.SigningKey, x.storable("kid"))
}

func (s *tenantShape) addKeys(keys []domain.Key) {
	for _, k := range keys {
		times := keyTimes{CreatedAt: stamp(k.CreatedAt), LastUsedAt: optional(k.LastUsed), RevokedAt: optional(k.RevokedAt)}
		switch k.Kind {
		case domain.APIKey:
			s.APIKeys = append(s.APIKeys, apiKeyShape{k.ID, k.Name, times})
		case domain.SigningKey:
			s.SigningKeys = append(s.SigningKeys, signingKeyShape{k.ID, times})
		}
	}
}

func optional(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}
