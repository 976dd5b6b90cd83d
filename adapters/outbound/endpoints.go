package outbound

import (
	"container/list"
	"sync"

	"github.com/chatapi/chatapi/ports"
)

// endpoints keeps what is known of places that are called, the most recently used maxEndpoints of them, and lets the
// most recent maxWarm keep idle connections.
type endpoints struct {
	create func(key) *endpoint

	mu     sync.Mutex
	byKey  map[key]*endpoint
	recent *list.List // of *endpoint, the latest used first
	warm   *list.List // of *endpoint, the latest used first
}

func newEndpoints(create func(key) *endpoint) *endpoints {
	return &endpoints{create: create, byKey: map[key]*endpoint{}, recent: list.New(), warm: list.New()}
}

// take returns an endpoint for a call, which gives it back.
func (s *endpoints) take(k key) *endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[k]
	if e == nil {
		e = s.create(k)
		e.recent = s.recent.PushFront(e)
		s.byKey[k] = e
	}
	e.users++
	s.recent.MoveToFront(e.recent)
	s.dropOldest()
	return e
}

// remember notes an outcome of which no call was made.
func (s *endpoints) remember(k key, out ports.Outcome) {
	e := s.take(k)
	defer s.give(e)
	e.remember(out)
}

// dropOldest keeps the number down. Endpoints in use stay: their places must go on to count.
func (s *endpoints) dropOldest() {
	for at := s.recent.Back(); at != nil && len(s.byKey) > maxEndpoints; {
		e := at.Value.(*endpoint)
		at = at.Prev()
		if e.users == 0 {
			s.drop(e)
		}
	}
}

func (s *endpoints) drop(e *endpoint) {
	delete(s.byKey, e.key)
	s.recent.Remove(e.recent)
	s.cool(e)
}

func (s *endpoints) cool(e *endpoint) {
	if e.warm != nil {
		s.warm.Remove(e.warm)
		e.warm = nil
	}
	e.transport.CloseIdleConnections()
}

// give ends a call's hold. What the call left open stays warm, at the cost of the endpoint that was called longest ago.
func (s *endpoints) give(e *endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.users--
	switch {
	case s.byKey[e.key] != e: // forgotten meanwhile
		e.transport.CloseIdleConnections()
		return
	case e.warm != nil:
		s.warm.MoveToFront(e.warm)
	default:
		e.warm = s.warm.PushFront(e)
	}
	if s.warm.Len() > maxWarm {
		s.cool(s.warm.Back().Value.(*endpoint))
	}
}

// find returns an endpoint to look at; nil when it is not known.
func (s *endpoints) find(k key) *endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byKey[k]
}

// forget drops an endpoint. Calls under way end on what they have.
func (s *endpoints) forget(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[k]; e != nil {
		s.drop(e)
	}
}

// closeIdle closes all connections that carry no call.
func (s *endpoints) closeIdle() {
	for _, e := range s.all() {
		e.transport.CloseIdleConnections()
	}
}

func (s *endpoints) all() []*endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*endpoint, 0, len(s.byKey))
	for _, e := range s.byKey {
		all = append(all, e)
	}
	return all
}

// open returns how many endpoints of a kind have a circuit that is not closed.
func (s *endpoints) open(kind ports.OutboundKind) (n int64) {
	for _, e := range s.all() {
		if e.key.kind == kind && e.isOpen() {
			n++
		}
	}
	return n
}
