package ws

import (
	"maps"
	"slices"
	"sync"
)

// buckets spread the sessions over the seconds of a ping period.
const buckets = 30

// registry holds all sessions, in the wheel that the sweeper turns, and those it looks at every second.
type registry struct {
	mu      sync.Mutex
	wheel   [buckets][]*Session
	filling int // the bucket the next session goes to
	count   int
	watched map[*Session]struct{}
	closed  bool          // no more sessions
	emptied chan struct{} // closed when the last session is gone; nil unless somebody waits
}

// place is where a session sits in the wheel, so that taking it out is cheap.
type place struct {
	bucket, slot int32
	gone         bool // removed: nobody looks at it any more
}

// add registers a session; false when the server is draining.
func (r *registry) add(s *Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	at := r.filling
	r.filling = (at + 1) % buckets
	s.place = place{bucket: int32(at), slot: int32(len(r.wheel[at]))}
	r.wheel[at] = append(r.wheel[at], s)
	r.count++
	s.h.sessions.Add(1)
	return true
}

// remove forgets a session.
func (r *registry) remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bucket := r.wheel[s.place.bucket]
	last := len(bucket) - 1
	moved := bucket[last]
	bucket[s.place.slot], moved.place.slot = moved, s.place.slot
	bucket[last] = nil
	r.wheel[s.place.bucket] = bucket[:last]
	s.place.gone = true
	r.count--
	delete(r.watched, s)
	if r.count == 0 && r.emptied != nil {
		close(r.emptied)
		r.emptied = nil
	}
}

// watch makes the sweeper look at a session every second. One that was removed meanwhile is let be: whoever closes it,
// or comes to it from a copy of its bucket, may be late.
func (r *registry) watch(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.place.gone {
		return
	}
	if r.watched == nil {
		r.watched = map[*Session]struct{}{}
	}
	r.watched[s] = struct{}{}
	s.watched.Store(true)
}

// unwatch goes back to looking every 30 s.
func (r *registry) unwatch(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.watched, s)
	s.watched.Store(false)
}

// bucket copies a bucket of the wheel, and those watched behind it.
func (r *registry) bucket(n int, into []*Session) (due, watched []*Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	into = append(into[:0], r.wheel[n]...)
	return into, slices.Collect(maps.Keys(r.watched))
}

// shut refuses new sessions, and returns those there are and a channel that closes when the last of them is gone.
func (r *registry) shut() (all []*Session, emptied <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, bucket := range r.wheel {
		all = append(all, bucket...)
	}
	if r.emptied == nil {
		r.emptied = make(chan struct{})
	}
	done := r.emptied
	if r.count == 0 {
		close(r.emptied)
		r.emptied = nil
	}
	return all, done
}

func (r *registry) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}
