package redis

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Presence keeps in Redis who has a socket on which node. Leases run on Redis's time, and one script changes a user's
// leases and says what that meant: of all nodes one is told. When Redis has forgotten everything, or was away, the
// nodes' renewals bring it back; users are told of as arrived then. While Redis is away every call fails within a
// second, and at once when the node knows, with domain.ErrAlone; when only its answer is lost, the caller asks again: who
// has left is unknown then. It satisfies ports.Presence.
//
// Users are spread over parts, each a hash of leases and a sorted set of when the last of a user ends, so that a
// cluster shares them.
type Presence struct{ conn *Conn }

const (
	presenceParts = 16
	expireBatch   = 500 // users of a part in one call
)

// NewPresence returns the presence as a node sees it.
func NewPresence(conn *Conn) *Presence { return &Presence{conn} }

// leases are what the scripts have in common: a user's leases are a map of nodes to their ends, in microseconds.
const leases = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function read(user)
  local packed = redis.call('HGET', KEYS[1], user)
  return packed and cmsgpack.unpack(packed)
end
local function prune(nodes)
  local last = nil
  for node, ends in pairs(nodes) do
    if ends <= now then
      nodes[node] = nil
    else
      last = math.max(last or 0, ends)
    end
  end
  return last
end
local function write(user, nodes, last)
  redis.call('HSET', KEYS[1], user, cmsgpack.pack(nodes))
  redis.call('ZADD', KEYS[2], string.format('%.0f', last), user)
end
local function drop(user)
  redis.call('HDEL', KEYS[1], user)
  redis.call('ZREM', KEYS[2], user)
end
local function keep(ms)
  for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < ms then
      redis.call('PEXPIRE', key, string.format('%.0f', ms))
    end
  end
end
`

var (
	// The node, its lease and how much longer the keys last, then users; the places of those who arrived.
	arriveScript = goredis.NewScript(leases + `
local arrived = {}
for i = 4, #ARGV do
  local nodes = read(ARGV[i])
  if not nodes then
    nodes = {}
    arrived[#arrived + 1] = i - 4
  end
  prune(nodes)
  nodes[ARGV[1]] = now + ARGV[2]
  local last = 0
  for _, ends in pairs(nodes) do
    last = math.max(last, ends)
  end
  write(ARGV[i], nodes, last)
end
keep(ARGV[2] / 1000 + ARGV[3])
return arrived`)

	// The node, then users; the places of those who left, and below zero, from -1 on, of those it knows nothing of.
	leaveScript = goredis.NewScript(leases + `
local left = {}
for i = 2, #ARGV do
  local nodes = read(ARGV[i])
  if nodes then
    nodes[ARGV[1]] = nil
    local last = prune(nodes)
    if last then
      write(ARGV[i], nodes, last)
    else
      drop(ARGV[i])
      left[#left + 1] = i - 2
    end
  else
    left[#left + 1] = 1 - i
  end
end
return left`)

	// How many at most; the users whose leases have all passed.
	expireScript = goredis.NewScript(leases + `
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
for _, user in ipairs(over) do
  drop(user)
end
return over`)

	// Users; the places of those who are online.
	onlineScript = goredis.NewScript(leases + `
local online = {}
for i = 1, #ARGV do
  local ends = redis.call('ZSCORE', KEYS[2], ARGV[i])
  if ends and tonumber(ends) > now then
    online[#online + 1] = i - 1
  end
end
return online`)
)

// Arrive implements ports.Presence.
func (p *Presence) Arrive(ctx context.Context, node string, users []ports.TenantUser, lease time.Duration) ([]ports.TenantUser, error) {
	arrived, _, err := p.places(ctx, "note presence", arriveScript, users, node, lease.Microseconds(), presenceSpare.Milliseconds())
	return arrived, err
}

// presenceSpare is how long users outlive their leases unless somebody is told before: while any node is there it asks
// far more often.
const presenceSpare = time.Hour

// Leave implements ports.Presence.
func (p *Presence) Leave(ctx context.Context, node string, users []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	return p.places(ctx, "note absence", leaveScript, users, node)
}

// Online implements ports.Presence.
func (p *Presence) Online(ctx context.Context, tenant domain.TenantID, ids []domain.UserID) (map[domain.UserID]bool, error) {
	users := make([]ports.TenantUser, len(ids))
	for i, id := range ids {
		users[i] = ports.TenantUser{Tenant: tenant, User: id}
	}
	there, _, err := p.places(ctx, "look up presence", onlineScript, users)
	if err != nil {
		return nil, err
	}
	online := make(map[domain.UserID]bool, len(there))
	for _, u := range there {
		online[u.User] = true
	}
	return online, nil
}

// places runs a script for users, each with those of its part, and returns the users whose places it answers; others are those
// whose places it answers below zero.
func (p *Presence) places(ctx context.Context, doing string, script *goredis.Script, users []ports.TenantUser, args ...any) (named, others []ports.TenantUser,
	err error) {
	var parts [presenceParts][]ports.TenantUser
	for _, u := range users {
		at := partOf(u)
		parts[at] = append(parts[at], u)
	}
	var calls []call
	var asked [][]ports.TenantUser
	for at, users := range parts {
		if len(users) == 0 {
			continue
		}
		c := call{p.keys(at), append([]any{}, args...)}
		for _, u := range users {
			c.args = append(c.args, nameOf(u))
		}
		calls, asked = append(calls, c), append(asked, users)
	}
	if len(calls) == 0 {
		return nil, nil, nil
	}
	if err := p.conn.knownAway(doing); err != nil {
		return nil, nil, err
	}
	for i, cmd := range p.conn.evalAll(ctx, script, calls) {
		places, failed := cmd.Int64Slice()
		if failed != nil {
			err = away(doing, failed)
			continue
		}
		for _, at := range places {
			if at >= 0 {
				named = append(named, asked[i][at])
			} else {
				others = append(others, asked[i][-at-1])
			}
		}
	}
	return named, others, err
}

// Expire implements ports.Presence.
func (p *Presence) Expire(ctx context.Context) (left []ports.TenantUser, err error) {
	if err := p.conn.knownAway("look up passed leases"); err != nil {
		return nil, err
	}
	calls := make([]call, presenceParts)
	for at := range calls {
		calls[at] = call{p.keys(at), []any{expireBatch}}
	}
	for len(calls) > 0 && err == nil {
		var again []call
		for i, cmd := range p.conn.evalAll(ctx, expireScript, calls) {
			names, failed := cmd.StringSlice()
			if failed != nil {
				err = away("look up passed leases", failed)
				continue
			}
			for _, name := range names {
				u, failed := userOf(name)
				if failed != nil {
					err = failed
					continue
				}
				left = append(left, u)
			}
			if len(names) == expireBatch {
				again = append(again, calls[i])
			}
		}
		calls = again
	}
	if len(left) > 0 {
		return left, nil // nobody else is told of these; the parts that failed are asked again the next time
	}
	return nil, err
}

func (p *Presence) keys(at int) []string {
	part := fmt.Sprintf("presence:{%d}:", at)
	return []string{p.conn.key(part + "leases"), p.conn.key(part + "ends")}
}

func partOf(u ports.TenantUser) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(nameOf(u)))
	return int(h.Sum32() % presenceParts)
}

// nameOf is a user's name in Redis. Tenants' ids have no NUL.
func nameOf(u ports.TenantUser) string { return string(u.Tenant) + "\x00" + string(u.User) }

func userOf(name string) (ports.TenantUser, error) {
	tenant, user, ok := strings.Cut(name, "\x00")
	if !ok {
		return ports.TenantUser{}, fmt.Errorf("presence has a user without a tenant")
	}
	return ports.TenantUser{Tenant: domain.TenantID(tenant), User: domain.UserID(user)}, nil
}
