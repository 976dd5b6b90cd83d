package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// Tenants keeps the tenants of the server. It is the operator's: nothing a tenant's own credential reaches calls it
// with another tenant's id.
type Tenants interface {
	// CreateTenant stores a tenant with its first API key. An id that exists is left as it is, without an error.
	CreateTenant(ctx context.Context, t domain.Tenant, keys ...NewKey) error
	// Tenant returns a live tenant, or domain.ErrTenantNotFound.
	Tenant(ctx context.Context, id domain.TenantID) (domain.Tenant, error)
	// Tenants lists live tenants, oldest first.
	Tenants(ctx context.Context, offset, limit int) ([]domain.Tenant, error)
}

// TenantWriter changes and removes tenants.
type TenantWriter interface {
	// UpdateTenant replaces name and config by what change makes of the stored tenant; change is pure and may run again.
	UpdateTenant(ctx context.Context, id domain.TenantID, change func(domain.Tenant) (domain.Tenant, error)) (domain.Tenant, error)
	// DeleteTenant makes a tenant and its keys invisible at once, durably; its rows stay until purged. Its id is free: a
	// tenant made under it is a new one.
	DeleteTenant(ctx context.Context, id domain.TenantID, now time.Time) error
}

// Purger removes what nobody can see any more, in steps so small that no sender notices one.
type Purger interface {
	// Purge removes up to 500 rows of what removed rooms and deleted tenants have left, and reports whether there may be
	// more. Of a removed room its row and its memberships stay for as long as devices are remembered
	// (domain.DeviceMemory), so that absent members learn of it; its messages, changes, marks, jobs and dead letters go.
	Purge(ctx context.Context) (more bool, err error)
}

// Meters keep what tenants have used.
type Meters interface {
	// AddUsage adds to what is kept, of each tenant for the month named. Unknown tenants are left out.
	AddUsage(ctx context.Context, used map[domain.TenantID]domain.Usage) error
	// Usage returns a tenant's months that have anything, newest first, at most limit.
	Usage(ctx context.Context, tenant domain.TenantID, limit int) ([]domain.Usage, error)
}

// NewKey is a key with what is stored of its secret: a SHA-256 for an API key, the sealed secret for a signing key.
type NewKey struct {
	domain.Key
	Hash   [32]byte
	Secret domain.Sealed
}

// Keys finds live keys of live tenants. A revoked, unknown or deleted tenant's key is domain.ErrKeyNotFound.
type Keys interface {
	APIKey(ctx context.Context, hash [32]byte) (domain.Key, error)
	SigningKey(ctx context.Context, kid string) (domain.Key, domain.Sealed, error)
}

// KeyWriter makes and revokes keys. An unknown tenant is domain.ErrTenantNotFound.
type KeyWriter interface {
	// AddKey stores a key unless domain.CheckNewKey refuses the number of live keys of its kind.
	AddKey(ctx context.Context, key NewKey) error
	// RevokeKey is durable when it returns; a key that is not live is domain.ErrKeyNotFound.
	RevokeKey(ctx context.Context, tenant domain.TenantID, kind domain.KeyKind, id string, now time.Time) error
	// KeysOf lists a tenant's keys of both kinds, oldest first, revoked ones included.
	KeysOf(ctx context.Context, tenant domain.TenantID) ([]domain.Key, error)
	// TouchKeys notes when keys were last used.
	TouchKeys(ctx context.Context, used map[string]time.Time) error
}

// Prober says whether the store can be written now: Probe makes a real durable write.
type Prober interface {
	Probe(ctx context.Context) error
}

// EpochReader tells the store's epoch, which is fixed while it is open.
type EpochReader interface {
	Epoch() domain.Epoch
}
