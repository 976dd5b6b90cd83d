package application

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Tenancy is the operator's: tenants and their keys.
type Tenancy struct {
	tenants ports.Tenants
	writer  ports.TenantWriter
	keys    ports.KeyWriter
	sealer  ports.Sealer
	ids     ports.IDs
	clock   ports.Clock
	news    *Revocations
	usage   *Usage
	upkeep  *Upkeep
	peers   Sockets
	places  ports.Endpoints
}

// Sockets are the open ones.
type Sockets interface {
	CredentialCloser
	// OpenSockets counts a tenant's on this node.
	OpenSockets(tenant domain.TenantID) int
}

// CredentialCloser closes the sockets that a revoked credential, or any credential of a deleted tenant, has opened.
type CredentialCloser interface {
	CloseCredential(tenant domain.TenantID, credential string)
	// Credentials are those that sockets here stand on, each once.
	Credentials() []Caller
}

// NewTenancy wires the use case.
func NewTenancy(tenants ports.Tenants, writer ports.TenantWriter, keys ports.KeyWriter, sealer ports.Sealer, ids ports.IDs,
	clock ports.Clock, news *Revocations, usage *Usage, upkeep *Upkeep, peers Sockets,
	places ports.Endpoints) *Tenancy {
	return &Tenancy{tenants, writer, keys, sealer, ids, clock, news, usage, upkeep, peers, places}
}

// NewTenant is a tenant just made, with the only showing of its API key.
type NewTenant struct {
	domain.Tenant
	APIKey string
}

// NewCredential is a key just made, with the only showing of its secret.
type NewCredential struct {
	domain.Key
	Secret string
}

// Create makes a tenant and its first API key. config is a JSON object or nil.
func (t *Tenancy) Create(ctx context.Context, name string, config []byte) (NewTenant, error) {
	if err := domain.CheckTenantName(name); err != nil {
		return NewTenant{}, err
	}
	tenant := domain.Tenant{ID: domain.TenantID("tenant_" + t.ids.NewUUID().String()), Name: name, CreatedAt: t.clock.Now()}
	cfg, err := t.mergeConfig(tenant, config)
	if err != nil {
		return NewTenant{}, err
	}
	tenant.Config = cfg
	key, secret := t.newAPIKey(tenant.ID, "default")
	return NewTenant{tenant, secret}, t.tenants.CreateTenant(ctx, tenant, key)
}

// EnsureDefault makes the default tenant, without a key, unless it exists.
func (t *Tenancy) EnsureDefault(ctx context.Context) error {
	tenant := domain.Tenant{ID: domain.DefaultTenant, Name: "default", CreatedAt: t.clock.Now()}
	return t.tenants.CreateTenant(ctx, tenant)
}

// Details are a tenant with what belongs to it.
type Details struct {
	domain.Tenant
	Keys        []domain.Key
	Usage       []domain.Usage // by month, newest first; the present one is always there
	OpenSockets int            // on this node
}

// Get returns a tenant with its keys and what it has used.
func (t *Tenancy) Get(ctx context.Context, id domain.TenantID) (Details, error) {
	tenant, err := t.tenants.Tenant(ctx, id)
	if err != nil {
		return Details{}, err
	}
	keys, err := t.keys.KeysOf(ctx, id)
	if err != nil {
		return Details{}, err
	}
	usage, err := t.usage.Of(ctx, id)
	return Details{tenant, keys, usage, t.peers.OpenSockets(id)}, err
}

// List returns tenants, oldest first, and whether there are more.
func (t *Tenancy) List(ctx context.Context, offset, limit int) ([]domain.Tenant, bool, error) {
	found, err := t.tenants.Tenants(ctx, offset, limit+1)
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// Update changes name and config: absent (nil) stays, a config key that is null resets.
func (t *Tenancy) Update(ctx context.Context, id domain.TenantID, name *string, config []byte) (domain.Tenant, error) {
	if name != nil {
		if err := domain.CheckTenantName(*name); err != nil {
			return domain.Tenant{}, err
		}
	}
	tenant, err := t.writer.UpdateTenant(ctx, id, func(stored domain.Tenant) (domain.Tenant, error) {
		if name != nil {
			stored.Name = *name
		}
		merged, err := t.mergeConfig(stored, config)
		stored.Config = merged
		return stored, err
	})
	if err != nil {
		t.news.changed(ctx, id) // it may have been stored for all that is known
		return tenant, err
	}
	t.news.configured(ctx, id)
	return tenant, nil
}

// DisableWebhook ends the calls to a tenant's webhook because the receiver at url wants no more, unless the tenant has
// another one by now.
func (t *Tenancy) DisableWebhook(ctx context.Context, id domain.TenantID, url string) error {
	now := t.clock.Now()
	_, err := t.writer.UpdateTenant(ctx, id, func(stored domain.Tenant) (domain.Tenant, error) {
		if domain.SameText(stored.Config.WebhookURL, &url) {
			stored.Config.WebhookDisabled = &now
		}
		return stored, nil
	})
	t.news.changed(ctx, id)
	return err
}

// mergeConfig applies a patch and seals a new webhook secret.
func (t *Tenancy) mergeConfig(tenant domain.Tenant, patch []byte) (domain.TenantConfig, error) {
	merged, err := domain.MergeConfig(tenant.Config, patch)
	if err != nil {
		return merged, err
	}
	if url := merged.WebhookURL; url != nil && !domain.SameText(url, tenant.Config.WebhookURL) {
		if err := t.places.CheckURL(ports.OutboundWebhook, "config.webhook_url", *url); err != nil {
			return merged, err
		}
	}
	if merged.WebhookSecret == nil || domain.SameText(merged.WebhookSecret, tenant.Config.WebhookSecret) {
		return merged, nil
	}
	if err := t.places.CheckSecret("config.webhook_secret", *merged.WebhookSecret); err != nil {
		return merged, err
	}
	before, opened := openWebhookSecrets(t.sealer, tenant, t.clock.Now())
	if opened == nil && len(before) > 0 && before[0].Reveal() == *merged.WebhookSecret {
		merged.WebhookSecret = tenant.Config.WebhookSecret // the same again: no rotation
		return merged, nil
	}
	sealed, err := t.sealer.Seal([]byte(*merged.WebhookSecret), WebhookSecretContext(tenant.ID))
	text := base64.StdEncoding.EncodeToString(sealed)
	if opened != nil { // what cannot be opened any more signs no more
		tenant.Config.WebhookSecret = nil
	}
	merged.RotateSecret(tenant.Config.WebhookSecret, &text, t.clock.Now())
	return merged, err
}

// openWebhookSecrets are a tenant's webhook secrets as they were sent: the one that is set, and for a day the one before.
func openWebhookSecrets(sealer ports.Sealer, tenant domain.Tenant, now time.Time) (secrets []ports.Secret, err error) {
	for _, text := range tenant.Config.WebhookSecrets(now) {
		sealed, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("read a sealed webhook secret: %w", err)
		}
		secret, err := sealer.Open(sealed, WebhookSecretContext(tenant.ID))
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, ports.NewSecret(string(secret)))
	}
	return secrets, nil
}

// WebhookSecretContext binds a sealed webhook secret to its tenant.
func WebhookSecretContext(tenant domain.TenantID) string { return string(tenant) + "|webhook-secret" }

// Delete makes a tenant invisible at once; its rows are purged in small steps by Purge.
func (t *Tenancy) Delete(ctx context.Context, id domain.TenantID) error {
	err := t.writer.DeleteTenant(ctx, id, t.clock.Now())
	if err != nil {
		t.news.changed(ctx, id)
		return err
	}
	t.news.revoked(ctx, id, "")
	t.upkeep.Wake()
	return nil
}

// AddAPIKey makes an API key; a sixth live one is domain.ErrTooManyKeys.
func (t *Tenancy) AddAPIKey(ctx context.Context, tenant domain.TenantID, name string) (NewCredential, error) {
	if err := domain.CheckKeyName(name); err != nil {
		return NewCredential{}, err
	}
	key, secret := t.newAPIKey(tenant, name)
	return NewCredential{key.Key, secret}, t.keys.AddKey(ctx, key)
}

// AddSigningKey makes a key that verifies the tenant's JWTs; a sixth live one is domain.ErrTooManyKeys.
func (t *Tenancy) AddSigningKey(ctx context.Context, tenant domain.TenantID) (NewCredential, error) {
	kid := "kid_" + base64.RawURLEncoding.EncodeToString(t.ids.Secret(16))
	secret := base64.RawURLEncoding.EncodeToString(t.ids.Secret(32))
	sealed, err := t.sealer.Seal([]byte(secret), SigningKeyContext(tenant, kid))
	if err != nil {
		return NewCredential{}, err
	}
	key := domain.Key{ID: kid, Kind: domain.SigningKey, Tenant: tenant, CreatedAt: t.clock.Now()}
	return NewCredential{key, secret}, t.keys.AddKey(ctx, ports.NewKey{Key: key, Secret: sealed})
}

// Revoke ends a key: 401 at once, its sockets are closed.
func (t *Tenancy) Revoke(ctx context.Context, tenant domain.TenantID, kind domain.KeyKind, id string) error {
	err := t.keys.RevokeKey(ctx, tenant, kind, id, t.clock.Now())
	if err != nil {
		t.news.changed(ctx, tenant)
		return err
	}
	t.news.revoked(ctx, tenant, id)
	return nil
}

func (t *Tenancy) newAPIKey(tenant domain.TenantID, name string) (ports.NewKey, string) {
	secret := keyPrefix + base64.RawURLEncoding.EncodeToString(t.ids.Secret(32))
	key := domain.Key{ID: "key_" + t.ids.NewUUID().String(), Kind: domain.APIKey, Tenant: tenant, Name: name, CreatedAt: t.clock.Now()}
	return ports.NewKey{Key: key, Hash: HashAPIKey(secret)}, secret
}

// ignoreGone drops an error that says a target does not exist any more.
func ignoreGone(err error) error {
	if errors.Is(err, domain.ErrRoomNotFound) {
		return nil
	}
	return err
}
