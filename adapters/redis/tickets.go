package redis

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Tickets keeps socket tickets in Redis, under their hashes, for any node to redeem. While Redis is away a node keeps
// those it issues in its own memory: they open a socket on that node alone. A ticket of which it is not known whether
// Redis has it is refused with domain.ErrAlone, as it could be redeemed twice otherwise. It satisfies
// ports.Tickets.
type Tickets struct {
	conn     *Conn
	capacity int

	mu    sync.Mutex
	local map[[32]byte]localTicket
	swept time.Time
}

// localTicket is one that was issued while Redis was away.
type localTicket struct {
	ports.Ticket
	ends time.Time
}

const (
	maxTickets      = 100_000 // at a time, of all nodes; half of them may be one tenant's
	maxLocalTickets = 10_000
	sweepTickets    = time.Second
)

// NewTickets returns the tickets as a node sees them.
func NewTickets(conn *Conn) *Tickets {
	return &Tickets{conn: conn, capacity: maxTickets, local: map[[32]byte]localTicket{}}
}

// A ticket is a hash with an end of its own. Two sorted sets say which wait, of all tenants and of its own. All are in
// one slot of a cluster.
var (
	// KEYS: all, the tenant's, the ticket. ARGV: the ticket's hash, its text, its tenant, its life in microseconds, how
	// many may wait, and how many of one tenant.
	issueScript = goredis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
for i = 1, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', string.format('%.0f', now))
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[5]) or redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[6]) then
  return 0
end
local life = math.ceil(ARGV[4] / 1000)
redis.call('HSET', KEYS[3], 'ticket', ARGV[2], 'tenant', ARGV[3])
redis.call('PEXPIRE', KEYS[3], string.format('%.0f', life))
for i = 1, 2 do
  redis.call('ZADD', KEYS[i], string.format('%.0f', now + ARGV[4]), ARGV[1])
  if redis.call('PTTL', KEYS[i]) < life + 1000 then
    redis.call('PEXPIRE', KEYS[i], string.format('%.0f', life + 1000))
  end
end
return 1`)

	// KEYS: all, the ticket. ARGV: the ticket's hash, and how the tenants' keys begin.
	redeemScript = goredis.NewScript(`
local found = redis.call('HMGET', KEYS[2], 'ticket', 'tenant')
if not found[1] then
  return false
end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', ARGV[2] .. found[2], ARGV[1])
return found[1]`)
)

// ticketText is a ticket in Redis. Byte slices are written in base64: any text comes back as it was.
type ticketText struct {
	Tenant     []byte           `json:"t"`
	Kind       domain.ActorKind `json:"k"`
	User       []byte           `json:"u,omitempty"`
	Credential []byte           `json:"c,omitempty"`
	Expires    int64            `json:"e,omitempty"` // nanoseconds since 1970; 0 = never
	Source     []byte           `json:"s,omitempty"`
}

func textOf(t ports.Ticket) ([]byte, error) {
	text := ticketText{
		Tenant: []byte(t.Tenant), Kind: t.Kind, User: []byte(t.User), Credential: []byte(t.Credential), Source: []byte(t.Source),
	}
	if !t.Expires.IsZero() {
		text.Expires = t.Expires.UnixNano()
	}
	return json.Marshal(text)
}

func ticketOf(data []byte) (t ports.Ticket, err error) {
	var text ticketText
	if err := json.Unmarshal(data, &text); err != nil {
		return t, err
	}
	t.Tenant, t.Kind, t.User = domain.TenantID(text.Tenant), text.Kind, domain.UserID(text.User)
	t.Credential, t.Source = string(text.Credential), string(text.Source)
	if text.Expires != 0 {
		t.Expires = time.Unix(0, text.Expires).UTC()
	}
	return t, nil
}

// Issue implements ports.Tickets. At most 100,000 tickets wait, at most half of them one tenant's, so that no tenant
// keeps the others out.
func (t *Tickets) Issue(ctx context.Context, hash [32]byte, ticket ports.Ticket, ttl time.Duration) error {
	if ok, _ := t.conn.Healthy(); !ok {
		return t.issueHere(hash, ticket, ttl)
	}
	text, err := textOf(ticket)
	if err != nil {
		return fmt.Errorf("encode a ticket: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	name := hex.EncodeToString(hash[:])
	taken, err := issueScript.Run(ctx, t.conn.client, []string{t.key("all"), t.key(tenantTickets + string(ticket.Tenant)), t.key(name)},
		hash[:], text, string(ticket.Tenant), ttl.Microseconds(), t.capacity, max(1, t.capacity/2)).Int()
	switch {
	case err != nil && neverSent(err):
		return t.issueHere(hash, ticket, ttl)
	case err != nil:
		return away("issue a ticket", err)
	case taken == 0:
		return domain.ErrBusy
	}
	return nil
}

// Redeem implements ports.Tickets.
func (t *Tickets) Redeem(ctx context.Context, hash [32]byte) (ports.Ticket, error) {
	if ticket, ok := t.redeemHere(hash); ok {
		return ticket, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := redeemScript.Run(ctx, t.conn.client, []string{t.key("all"), t.key(hex.EncodeToString(hash[:]))},
		hash[:], t.key(tenantTickets)).Text()
	switch {
	case errors.Is(err, goredis.Nil):
		return ports.Ticket{}, domain.ErrUnauthenticated
	case err != nil:
		return ports.Ticket{}, away("redeem a ticket", err)
	}
	ticket, err := ticketOf([]byte(text))
	if err != nil {
		return ports.Ticket{}, fmt.Errorf("decode a ticket: %w", err)
	}
	return ticket, nil
}

const tenantTickets = "of:"

// key of something of tickets.
func (t *Tickets) key(name string) string { return t.conn.key("{tickets}:" + name) }

// neverSent reports whether Redis cannot have had the call: no connection came about.
func neverSent(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

// issueHere keeps a ticket in this node's memory.
func (t *Tickets) issueHere(hash [32]byte, ticket ports.Ticket, ttl time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.swept) >= sweepTickets {
		t.swept = now
		for hash, kept := range t.local {
			if !now.Before(kept.ends) {
				delete(t.local, hash)
			}
		}
	}
	if len(t.local) >= maxLocalTickets {
		return domain.ErrBusy
	}
	t.local[hash] = localTicket{ticket, now.Add(ttl)}
	return nil
}

func (t *Tickets) redeemHere(hash [32]byte) (ports.Ticket, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, ok := t.local[hash]
	delete(t.local, hash)
	return kept.Ticket, ok && time.Now().Before(kept.ends)
}
