package postgres

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// QueuedAt is how many units of work wait for their turn at a room.
func (s *Store) QueuedAt(room domain.RoomID) int {
	s.doors.mu.Lock()
	defer s.doors.mu.Unlock()
	if at := s.doors.rooms[room]; at != nil {
		return len(at.waiting)
	}
	return 0
}

// MostAtARoom is how many units of work may be at a room.
func (s *Store) MostAtARoom() int { return s.doors.most }

// HeldPlaces are the places of units of work, and doors, that somebody has.
func (s *Store) HeldPlaces() int {
	s.work.mu.Lock()
	defer s.work.mu.Unlock()
	s.doors.mu.Lock()
	defer s.doors.mu.Unlock()
	held := len(s.doors.rooms)
	for _, n := range s.work.held {
		held += n
	}
	return held
}

// Gate is what lets work in, for tests of its order.
type Gate struct{ g *gate }

// NewGate makes one of so many places.
func NewGate(places, greed int) Gate { return Gate{newGate(places, greed)} }

// Enter waits for a place.
func (g Gate) Enter(ctx context.Context, tenant domain.TenantID, patience time.Duration) error {
	return g.g.enter(ctx, tenant, patience)
}

// Leave gives it back.
func (g Gate) Leave(tenant domain.TenantID) { g.g.leave(tenant) }

// Waiting are those who wait.
func (g Gate) Waiting() (n int) {
	g.g.mu.Lock()
	defer g.g.mu.Unlock()
	for _, all := range g.g.waiting {
		n += len(all)
	}
	return n
}
