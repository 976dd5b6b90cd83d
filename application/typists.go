package application

import (
	"context"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// typists are those whom this node has shown as typing. Their own node ends that; when it has died, or the end was lost on
// the way, this one does.
type typists struct {
	mu    sync.Mutex
	until map[hintKey]typist
}

type typist struct {
	tenant domain.TenantID
	stop   time.Time // when the end should have been heard; monotonic
}

const (
	maxTypists  = 10_000                 // watched by a node; of more than that their own nodes alone say when they stop
	typistsTick = 250 * time.Millisecond // how late an end may be
	typistsWait = 500 * time.Millisecond // for the end from the typist's own node
)

// heard notes what was shown.
func (t *typists) heard(sig signal, now time.Time) {
	key := hintKey{sig.Kind, sig.Room, sig.User}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.until[key]
	switch {
	case !sig.typing():
		delete(t.until, key)
	case known || len(t.until) < maxTypists:
		t.until[key] = typist{sig.tenant, now.Add(domain.TypingLasts + typistsWait)}
	}
}

// overdue takes out those of whom nothing was heard in time.
func (t *typists) overdue(now time.Time) (stops []domain.Hint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, who := range t.until {
		if now.Before(who.stop) {
			continue
		}
		delete(t.until, key)
		stops = append(stops, domain.Hint{Tenant: who.tenant, Room: key.room, Kind: key.kind, User: key.user, State: domain.TypingStopped})
	}
	return stops
}

// stopTypists tells the sockets of this node that somebody has stopped typing, of whom nothing more is heard, until ctx ends.
func (f *Fanout) stopTypists(ctx context.Context) {
	for sleep(ctx, typistsTick) {
		for _, hint := range f.typists.overdue(time.Now()) {
			if r := f.shards[shardOf(hint.Room)].find(hint.Room); r != nil {
				r.hintAll(f, newHintSignal(f.enc, hint))
			}
		}
	}
}
