package postgres

import (
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// The limits of what waits to be appended.
const (
	maxBatch  = 512           // sends of one commit: more would only make each wait longer
	maxQueued = 4096          // sends waiting, of all tenants
	maxShare  = maxQueued / 2 // sends waiting, of one tenant
	// maxFlights is how many batches are under way at once. One tenant has one, since a batch that waits for the one
	// before becomes the larger and the cheaper for it; it has another, of other rooms, when the first takes long: a room
	// may be locked by a node that does not move.
	maxFlights = 4
	longFlight = 100 * time.Millisecond
	// maxParts is how many of a batch that is divided are under way at once: they take connections from other batches.
	maxParts = maxFlights / 2
)

// batcher gathers sends into batches: whatever is queued when there is room for a batch, with no lingering. Batches that are
// under way at once have no room in common, so that the sends of a room are stored in order of their arrival.
type batcher struct {
	store *Store

	mu      sync.Mutex
	queue   []*send
	shares  map[domain.TenantID]int
	flights []*batch
	rooms   map[domain.RoomID]bool // of batches under way
	closed  bool
	landed  *sync.Cond // signalled when a batch has ended
}

func newBatcher(s *Store) *batcher {
	b := &batcher{store: s, shares: map[domain.TenantID]int{}, rooms: map[domain.RoomID]bool{}}
	b.landed = sync.NewCond(&b.mu)
	return b
}

// push adds a send, or says at once that it will not: domain.ErrBusy when the queue or the tenant's share of it is full,
// domain.ErrClosing after close.
func (b *batcher) push(s *send) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return domain.ErrClosing
	case len(b.queue) >= maxQueued, b.shares[s.tenant] >= maxShare:
		return domain.ErrBusy
	}
	b.queue = append(b.queue, s)
	b.shares[s.tenant]++
	if b.free(s) { // the others were not when they were last looked at, and nothing has ended since
		b.launch()
	}
	return nil
}

// drop forgets a removed send, so that it holds no place.
func (b *batcher) drop(s *send) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, s); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
		b.uncount(s)
	}
}

func (b *batcher) uncount(s *send) {
	if b.shares[s.tenant]--; b.shares[s.tenant] == 0 {
		delete(b.shares, s.tenant)
	}
}

func (b *batcher) length() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// close refuses further sends and waits for what is queued.
func (b *batcher) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for len(b.queue) > 0 || len(b.flights) > 0 {
		b.landed.Wait()
	}
}

// spare reports whether a batch may stay under way though it comes to nothing: others find a place all the same.
func (b *batcher) spare() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.flights) < maxFlights
}

// launch begins as many batches as it may. It needs mu.
func (b *batcher) launch() {
	for len(b.flights) < maxFlights {
		first := slices.IndexFunc(b.queue, b.free)
		if first < 0 {
			return
		}
		next := b.gather(b.queue[first].tenant)
		if len(next.sends) == 0 {
			continue // all were taken back by their callers
		}
		next.late = time.AfterFunc(longFlight, b.look)
		b.flights = append(b.flights, next)
		go next.run()
	}
}

// free reports whether a send may be in the next batch.
func (b *batcher) free(s *send) bool {
	if b.rooms[s.in.Room] {
		return false
	}
	for _, f := range b.flights {
		if f.tenant == s.tenant && time.Since(f.started) < longFlight {
			return false
		}
	}
	return true
}

// gather takes a tenant's sends off the queue, as many as make a batch.
func (b *batcher) gather(tenant domain.TenantID) *batch {
	next := &batch{store: b.store, tenant: tenant, started: time.Now(), rooms: map[domain.RoomID]bool{}}
	next.end = func() { b.land(next) }
	kept := b.queue[:0]
	for _, s := range b.queue {
		if s.tenant != tenant || len(next.sends) == maxBatch || b.rooms[s.in.Room] && !next.rooms[s.in.Room] {
			kept = append(kept, s)
			continue
		}
		b.uncount(s)
		if s.start() {
			next.sends = append(next.sends, s)
			next.rooms[s.in.Room], b.rooms[s.in.Room] = true, true
		}
	}
	clear(b.queue[len(kept):])
	b.queue = kept
	return next
}

// look sees whether a tenant whose batch takes long has other sends.
func (b *batcher) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.launch()
}

// land ends a batch.
func (b *batcher) land(done *batch) {
	done.late.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for room := range done.rooms {
		delete(b.rooms, room)
	}
	b.flights = slices.DeleteFunc(b.flights, func(f *batch) bool { return f == done })
	b.launch()
	b.landed.Broadcast()
}
