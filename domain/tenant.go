package domain

import "time"

// Tenant is one customer of the server: its users, rooms and keys are invisible to all others.
type Tenant struct {
	ID        TenantID
	Name      string
	Config    TenantConfig
	CreatedAt time.Time
}

// Sealed is a secret encrypted for the store; only the secrets adapter can open it.
type Sealed []byte

// The limits of tenants and keys.
const (
	MaxTenantName = 256 // characters
	MaxKeyName    = 256 // characters
	MaxLiveKeys   = 5   // of each kind, a tenant
)

// KeyKind tells API keys, which act as the tenant's backend, from signing keys, which verify its users' tokens.
type KeyKind int

// The kinds of keys.
const (
	APIKey KeyKind = iota + 1
	SigningKey
)

// Key is a credential of a tenant without its secret. ID is key_… for API keys and kid_… for signing keys.
type Key struct {
	ID        string
	Kind      KeyKind
	Tenant    TenantID
	Name      string
	CreatedAt time.Time
	LastUsed  time.Time // minute resolution; zero = never
	RevokedAt time.Time // zero = live
}

// CheckNewKey refuses a sixth live key of a kind.
func CheckNewKey(live int) error {
	if live >= MaxLiveKeys {
		return ErrTooManyKeys
	}
	return nil
}

// CheckTenantName accepts 1–256 characters.
func CheckTenantName(name string) error {
	if n := len([]rune(name)); n == 0 || n > MaxTenantName {
		return Invalid("name", "a tenant's name has 1 to %d characters", MaxTenantName)
	}
	return nil
}

// CheckKeyName accepts up to 256 characters; a key needs no name.
func CheckKeyName(name string) error {
	if len([]rune(name)) > MaxKeyName {
		return Invalid("name", "a key's name has at most %d characters", MaxKeyName)
	}
	return nil
}
