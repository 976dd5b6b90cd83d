package application

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// announced is whom a node has announced lately, and as what. Hints of two nodes may overtake each other, and one that
// was told last would be shown for ever; so each announcement is compared with the port a moment later, and set right by
// another. Hints may be lost as well: a node that may have missed some asks, and all nodes tell theirs again, as it
// stands by then. No clock of one node is compared with another's.
type announced struct {
	asked  atomic.Bool // a node may have missed what was announced
	missed atomic.Bool // this one may have

	// Run's own.
	users   map[ports.TenantUser]*announcement
	looked  time.Time // monotonic, as all of these
	begun   time.Time // when telling again last began
	askedAt time.Time
}

// announcement is the latest of a user.
type announcement struct {
	state string
	since time.Time // when that was first told
	at    time.Time // and last
	sure  bool      // it was so a moment after
	again bool      // it is to be told once more
}

const (
	presenceSettle   = time.Second // in which what others have announced at the same time has arrived
	presenceRemember = 5 * time.Minute
	presenceAgain    = 10 * time.Second // between two rounds of telling again
	maxAnnounced     = 10_000
	againStep        = 250 // users looked up in a presenceTick

	// presenceAgainChannel carries the wish, which has no payload that matters.
	presenceAgainChannel = "presence.again"
)

// lost notes that announcements may not have reached this node.
func (p *Presence) lost() { p.said.missed.Store(true) }

// hear takes the wish of a node, or that one may have been lost.
func (s *announced) hear(ports.Signal) { s.asked.Store(true) }

// note notes that a user was announced.
func (s *announced) note(u ports.TenantUser, state string, now time.Time) {
	a := s.users[u]
	if a == nil || a.state != state {
		a = &announcement{state: state, since: now}
		s.users[u] = a
	}
	a.at, a.sure, a.again = now, false, false
}

// tellAgain asks for what this node has missed, and tells again what others have, or what has become otherwise by the time
// it was told.
func (p *Presence) tellAgain(ctx context.Context) {
	now := time.Now()
	if now.Sub(p.said.looked) < presenceTick {
		return
	}
	p.said.looked = now
	p.askAgain(ctx, now)
	due := p.said.due(now)
	for tenant, ids := range byTenant(due) {
		online, err := p.port.Online(ctx, tenant, ids)
		if err != nil {
			return // as all that asks the port says
		}
		for _, id := range ids {
			u := ports.TenantUser{Tenant: tenant, User: id}
			p.compare(u, online[id] || p.isHere(u))
		}
	}
	if len(due) > 0 {
		p.announce(ctx, nil, "") // what is owed
	}
}

// askAgain asks all nodes, this one too.
func (p *Presence) askAgain(ctx context.Context, now time.Time) {
	s := &p.said
	if !s.missed.Load() || !s.askedAt.IsZero() && now.Sub(s.askedAt) < presenceAgain {
		return
	}
	s.missed.Store(false)
	if err := p.bus.Publish(ctx, presenceAgainChannel, []byte{1}); err != nil {
		s.missed.Store(true)
		p.log.Warn("presence not asked for again yet", "error", err)
		return
	}
	s.askedAt = now
}

// due are those to be looked up now, a few at a time; what is old is forgotten on the way, and what is too much.
func (s *announced) due(now time.Time) (due []ports.TenantUser) {
	round := (s.begun.IsZero() || now.Sub(s.begun) >= presenceAgain) && s.asked.Swap(false)
	if round {
		s.begun = now
	}
	tooMany := len(s.users) - maxAnnounced
	for u, a := range s.users {
		a.again = a.again || round
		switch waits := a.again || !a.sure && now.Sub(a.at) >= presenceSettle; {
		case waits && len(due) < againStep:
			due = append(due, u)
		case a.sure && !a.again && (tooMany > 0 || now.Sub(a.since) > presenceRemember):
			delete(s.users, u)
			tooMany--
		}
	}
	return due
}

// compare notes how it stands with a user, and that this is to be told when it was asked for or is not what was told.
func (p *Presence) compare(u ports.TenantUser, online bool) {
	state := domain.PresenceOffline
	if online {
		state = domain.PresenceOnline
	}
	a := p.said.users[u]
	if a.again || a.state != state {
		p.owed[u] = state
	}
	a.sure, a.again = true, false
}

func (p *Presence) isHere(u ports.TenantUser) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.users[u]
	return a != nil && a.here
}
