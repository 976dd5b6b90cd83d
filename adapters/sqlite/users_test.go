package sqlite_test

import (
	"fmt"
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// TestRoomMatesAreLookedForInSoManyRooms shares the latest of 400 rooms each: that is found of one alone, and of one
// with few rooms always.
func TestRoomMatesAreLookedForInSoManyRooms(t *testing.T) {
	t.Parallel()
	const rooms = 2 * ports.MaxMateLookups / domain.MaxPresenceUsers
	users := []domain.UserID{"alice", "busy", "bob"}
	s := withRooms(t, rooms, users[:2]...)
	makeRoom(t, s, users...)
	others := users[1:]
	for i := range domain.MaxPresenceUsers - len(others) {
		others = append(others, domain.UserID(fmt.Sprint("nobody ", i)))
	}
	if found := mates(t, s, "alice", others...); len(found) != 1 || found[0].ID != "bob" {
		t.Errorf("of %d users asked for, %v share a room, want bob alone: the search has no bound", len(others), found)
	}
	if found := mates(t, s, "alice", "busy"); len(found) != 1 {
		t.Errorf("asked for alone, %v share a room, want the one who does", found)
	}
	if found := mates(t, s, "bob", others...); len(found) != 2 {
		t.Errorf("of one with a single room, %v are the mates, want two", found)
	}
}
