package inproc

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Presence keeps in memory who has a socket. Leases run on the monotonic clock: a jump of the time of day ends and
// prolongs none. It satisfies ports.Presence.
type Presence struct {
	mu    sync.Mutex
	users map[ports.TenantUser][]lease // also users whose leases have all passed, until somebody is told
	next  time.Time                    // no lease ends before; zero: there is none
}

type lease struct {
	node string
	ends time.Time
}

func (l lease) isOver(now time.Time) bool { return !now.Before(l.ends) }

// NewPresence returns a presence of nobody.
func NewPresence() *Presence {
	return &Presence{users: map[ports.TenantUser][]lease{}}
}

// Arrive implements ports.Presence. Who comes back after the lease has passed, and before anybody was told of that, has
// neither left nor arrived.
func (p *Presence) Arrive(_ context.Context, node string, users []ports.TenantUser, d time.Duration) (arrived []ports.TenantUser, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := lease{node, time.Now().Add(d)}
	p.next = earlier(p.next, l.ends)
	for _, u := range users {
		leases := p.users[u]
		if len(leases) == 0 {
			arrived = append(arrived, u)
		}
		p.users[u] = replaceLease(leases, l)
	}
	return arrived, nil
}

func replaceLease(leases []lease, l lease) []lease {
	i := slices.IndexFunc(leases, func(old lease) bool { return old.node == l.node })
	if i < 0 {
		return append(leases, l)
	}
	leases[i] = l
	return leases
}

// Leave implements ports.Presence.
func (p *Presence) Leave(_ context.Context, node string, users []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	over := func(l lease) bool { return l.node == node || l.isOver(now) }
	for _, u := range users {
		if leases := p.users[u]; len(leases) == 0 {
			unknown = append(unknown, u)
		} else if len(p.end(u, leases, over)) == 0 {
			left = append(left, u)
		}
	}
	return left, unknown, nil
}

// Expire implements ports.Presence. It looks at the users only when a lease may have passed, and then at all of them:
// some 10 ms with 100,000.
func (p *Presence) Expire(context.Context) (left []ports.TenantUser, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		return nil, nil
	}
	p.next = time.Time{}
	over := func(l lease) bool { return l.isOver(now) }
	for u, leases := range p.users {
		kept := p.end(u, leases, over)
		if len(kept) == 0 {
			left = append(left, u)
		}
		for _, l := range kept {
			p.next = earlier(p.next, l.ends)
		}
	}
	return left, nil
}

// end drops those leases of a user that are over, and the user with the last, and returns those kept.
func (p *Presence) end(u ports.TenantUser, leases []lease, over func(lease) bool) (kept []lease) {
	if !slices.ContainsFunc(leases, over) {
		return leases
	}
	kept = slices.DeleteFunc(leases, over)
	if len(kept) == 0 {
		delete(p.users, u)
	} else {
		p.users[u] = kept
	}
	return kept
}

// earlier is the earlier of two times; a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Online implements ports.Presence.
func (p *Presence) Online(_ context.Context, tenant domain.TenantID, users []domain.UserID) (map[domain.UserID]bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	online := make(map[domain.UserID]bool)
	for _, user := range users {
		leases := p.users[ports.TenantUser{Tenant: tenant, User: user}]
		if slices.ContainsFunc(leases, func(l lease) bool { return !l.isOver(now) }) {
			online[user] = true
		}
	}
	return online, nil
}
