package application

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Caller is who makes a call, and the tenant it acts in.
type Caller struct {
	domain.Actor
	Tenant domain.Tenant
	source string // where Identity finds the credential again
}

// Credentials are what a request carried, unverified; empty is absent. An inbound adapter that was given two
// different values for one of them answers 401 itself.
type Credentials struct {
	APIKey string
	UserID string // X-User-Id or ?user_id=
	Bearer string // a JWT
	Ticket string // a socket ticket; only sockets take one
}

// IdentityConfig are the operator's own secrets. Empty means: that way in is closed.
type IdentityConfig struct {
	MasterKey string // X-Master-Key
	JWTSecret string // verifies tokens without kid, for the default tenant
}

// Identity says who a caller is. It keeps what the store said of a key or tenant for at most 5 s; changes made
// through this process are seen at once, and those of other nodes when Revocations hears of them.
type Identity struct {
	keys    ports.Keys
	tenants ports.Tenants
	tokens  ports.Tokens
	tickets ports.Tickets
	ids     ports.IDs
	sealer  ports.Sealer
	clock   ports.Clock
	cfg     IdentityConfig

	mu        sync.Mutex
	seen      map[string]remembered // by key hash, kid or tenant
	used      map[string]time.Time  // key id → last use, until it is stored
	forgotten int                   // counts Forget, so that a lookup under way before it is not remembered after it
}

type remembered struct {
	until  time.Time
	key    domain.Key
	secret []byte
	tenant domain.Tenant
}

const (
	identityMemory   = 5 * time.Second
	identityCapacity = 10_000
	maxToken         = 4096 // bytes of a JWT
	keyPrefix        = "sk_"
	keyLength        = len(keyPrefix) + 43
	ticketPrefix     = "wst_"
	ticketLife       = 60 * time.Second
)

// The names under which credentials are remembered, and found again.
const (
	sourceKey   = "key:" // and the SHA-256 of an API key
	sourceToken = "kid:" // and the kid of a signing key; empty for the operator's own
)

// NewIdentity wires the use case.
func NewIdentity(keys ports.Keys, tenants ports.Tenants, tokens ports.Tokens, tickets ports.Tickets, sealer ports.Sealer, ids ports.IDs,
	clock ports.Clock, cfg IdentityConfig) *Identity {
	return &Identity{
		keys: keys, tenants: tenants, tokens: tokens, tickets: tickets, sealer: sealer, ids: ids, clock: clock, cfg: cfg,
		seen: map[string]remembered{}, used: map[string]time.Time{},
	}
}

// Authenticate proves who a caller is. Everything that is not right is domain.ErrUnauthenticated, an expired token
// domain.ErrTokenExpired; a user id that breaks the rules, or differs from the token's sub, is a validation error.
func (i *Identity) Authenticate(ctx context.Context, c Credentials) (Caller, error) {
	shown := 0
	for _, credential := range []string{c.APIKey, c.Bearer, c.Ticket} {
		if credential != "" {
			shown++
		}
	}
	switch {
	case shown != 1:
		return Caller{}, domain.ErrUnauthenticated
	case c.Ticket != "":
		return i.byTicket(ctx, c)
	case c.Bearer != "":
		return i.byToken(ctx, c)
	}
	return i.byAPIKey(ctx, c)
}

// Confirm asks whether the credential behind an earlier Authenticate is still live; domain.ErrUnauthenticated when not,
// domain.ErrTokenExpired when its time is over.
func (i *Identity) Confirm(ctx context.Context, c Caller) error {
	_, err := i.confirm(ctx, c)
	return err
}

func (i *Identity) confirm(ctx context.Context, c Caller) (remembered, error) {
	if !c.Expires.IsZero() && !i.clock.Now().Before(c.Expires.Add(domain.TokenLeeway)) {
		return remembered{}, domain.ErrTokenExpired
	}
	return i.find(ctx, c.source)
}

// IssueTicket makes a ticket with which the caller opens one socket within ttl, on any node. It stands on the caller's
// own credential: it ends with that one. A backend must name a user.
func (i *Identity) IssueTicket(ctx context.Context, c Caller) (ticket string, ttl time.Duration, err error) {
	if c.User == "" {
		return "", 0, domain.ErrUserRequired
	}
	ticket = ticketPrefix + base64.RawURLEncoding.EncodeToString(i.ids.Secret(32))
	return ticket, ticketLife, i.tickets.Issue(ctx, sha256.Sum256([]byte(ticket)), ports.Ticket{Actor: c.Actor, Source: c.source}, ticketLife)
}

func (i *Identity) byTicket(ctx context.Context, c Credentials) (Caller, error) {
	ticket, err := i.tickets.Redeem(ctx, sha256.Sum256([]byte(c.Ticket)))
	if err != nil {
		return Caller{}, err
	}
	if c.UserID != "" && c.UserID != string(ticket.User) {
		return Caller{}, domain.Invalid("X-User-Id", "X-User-Id must be the ticket's user, or be left out")
	}
	caller := Caller{Actor: ticket.Actor, source: ticket.Source}
	r, err := i.confirm(ctx, caller)
	caller.Tenant = r.tenant
	return caller, err
}

// Tenant returns a tenant as it is now, from the same memory as credentials: for callers that authenticated a while ago.
// One that is gone is domain.ErrUnauthenticated, like its keys. A call answered from memory allocates nothing.
func (i *Identity) Tenant(ctx context.Context, id domain.TenantID) (domain.Tenant, error) {
	r, err := i.remember(ctx, string(id), func() (remembered, error) {
		return remembered{key: domain.Key{Tenant: id}}, nil
	})
	return r.tenant, err
}

// Operator accepts the master key, compared in constant time. With none configured it refuses everything.
func (i *Identity) Operator(masterKey string) error {
	want, got := sha256.Sum256([]byte(i.cfg.MasterKey)), sha256.Sum256([]byte(masterKey))
	if i.cfg.MasterKey == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return domain.ErrUnauthenticated
	}
	return nil
}

// Forget drops what is remembered of a tenant and its keys, so that a change is seen at once.
func (i *Identity) Forget(tenant domain.TenantID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forgotten++
	for name, r := range i.seen {
		if r.tenant.ID == tenant {
			delete(i.seen, name)
		}
	}
}

// ForgetAll drops everything that is remembered.
func (i *Identity) ForgetAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forgotten++
	clear(i.seen)
}

func (i *Identity) byAPIKey(ctx context.Context, c Credentials) (Caller, error) {
	if len(c.APIKey) != keyLength || !strings.HasPrefix(c.APIKey, keyPrefix) {
		return Caller{}, domain.ErrUnauthenticated
	}
	hash := HashAPIKey(c.APIKey)
	source := sourceKey + string(hash[:])
	r, err := i.find(ctx, source)
	if err != nil {
		return Caller{}, err
	}
	i.touch(r.key.ID)
	actor := domain.Actor{Tenant: r.tenant.ID, Kind: domain.ActorBackend, Credential: r.key.ID}
	if c.UserID == "" {
		return Caller{actor, r.tenant, source}, nil
	}
	if actor.User, err = domain.CheckUserID("X-User-Id", c.UserID); err != nil {
		return Caller{}, err
	}
	actor.Kind = domain.ActorBackendUser
	return Caller{actor, r.tenant, source}, nil
}

func (i *Identity) byToken(ctx context.Context, c Credentials) (Caller, error) {
	if len(c.Bearer) > maxToken {
		return Caller{}, domain.ErrUnauthenticated
	}
	kid, err := i.tokens.KeyID(c.Bearer)
	if err != nil {
		return Caller{}, err
	}
	r, err := i.find(ctx, sourceToken+kid)
	if err != nil {
		return Caller{}, err
	}
	claims, err := i.tokens.Verify(c.Bearer, r.secret)
	if err != nil {
		return Caller{}, err
	}
	user, err := domain.CheckClaims(claims, i.clock.Now())
	if err != nil {
		return Caller{}, err
	}
	if c.UserID != "" && c.UserID != string(user) {
		return Caller{}, domain.Invalid("X-User-Id", "X-User-Id must be the token's sub, or be left out")
	}
	actor := domain.Actor{Tenant: r.tenant.ID, Kind: domain.ActorUser, User: user, Credential: r.key.ID, Expires: claims.ExpiresAt}
	return Caller{actor, r.tenant, sourceToken + kid}, nil
}

// find looks a credential up by its source.
func (i *Identity) find(ctx context.Context, source string) (remembered, error) {
	if hash, ok := strings.CutPrefix(source, sourceKey); ok && len(hash) == sha256.Size {
		return i.remember(ctx, source, func() (remembered, error) {
			key, err := i.keys.APIKey(ctx, [sha256.Size]byte([]byte(hash)))
			return remembered{key: key}, err
		})
	}
	kid, ok := strings.CutPrefix(source, sourceToken)
	if !ok || kid == "" && i.cfg.JWTSecret == "" {
		return remembered{}, domain.ErrUnauthenticated
	}
	return i.remember(ctx, source, func() (remembered, error) { return i.signer(ctx, kid) })
}

// signer is the key that a token's kid names; without kid it is the operator's own secret and the default tenant.
func (i *Identity) signer(ctx context.Context, kid string) (remembered, error) {
	if kid == "" {
		return remembered{key: domain.Key{Tenant: domain.DefaultTenant}, secret: []byte(i.cfg.JWTSecret)}, nil
	}
	key, sealed, err := i.keys.SigningKey(ctx, kid)
	if err != nil {
		return remembered{}, err
	}
	secret, err := i.sealer.Open(sealed, SigningKeyContext(key.Tenant, kid))
	return remembered{key: key, secret: secret}, err
}

// remember answers from memory, or asks find and adds the tenant. Only what exists is remembered: a flood of unknown
// keys takes no memory.
func (i *Identity) remember(ctx context.Context, name string, find func() (remembered, error)) (remembered, error) {
	now := i.clock.Now()
	i.mu.Lock()
	r, ok := i.seen[name]
	before := i.forgotten
	i.mu.Unlock()
	if ok && now.Before(r.until) && r.until.Sub(now) <= identityMemory {
		return r, nil
	}
	r, err := find()
	if err == nil {
		r.tenant, err = i.tenants.Tenant(ctx, r.key.Tenant)
	}
	if errors.Is(err, domain.ErrKeyNotFound) { // a deleted tenant too: their reason is one
		return remembered{}, domain.ErrUnauthenticated
	}
	if err != nil {
		return remembered{}, err
	}
	r.until = now.Add(identityMemory)
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.seen) >= identityCapacity {
		clear(i.seen)
	}
	if i.forgotten == before {
		i.seen[name] = r
	}
	return r, nil
}

func (i *Identity) touch(key string) {
	now := i.clock.Now().Truncate(time.Minute)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used[key] = now
}

// HashAPIKey is what the store keeps of an API key.
func HashAPIKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// SigningKeyContext binds a sealed signing key to its tenant and id.
func SigningKeyContext(tenant domain.TenantID, kid string) string {
	return string(tenant) + "|signing-key|" + kid
}

// takeUsed hands over when keys were used since the last call.
func (i *Identity) takeUsed() map[string]time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	used := i.used
	i.used = map[string]time.Time{}
	return used
}
