package sqlite_test

import (
	"bytes"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// TestRoomsTextsInMemoryAreBounded makes rooms with 16 KiB of metadata, half as much again as is remembered, and changes
// some of them, so that a room's text is replaced, shrinks and goes.
func TestRoomsTextsInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	s := openStore(t, sqlite.Config{UnsafeDurability: true})
	makeTenant(t, s)
	const size, perBatch = 16 << 10, 64
	const most = sqlite.CachedBytes / size
	var rooms []domain.Room
	for range most * 3 / 2 / perBatch {
		err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			for range perBatch {
				draft := domain.Room{ID: domain.RoomID(uuid()), Type: domain.RoomGroup, Metadata: bytes.Repeat([]byte{'x'}, size), CreatedAt: now}
				made, err := tx.CreateRoom(draft, nil)
				if err != nil {
					return err
				}
				rooms = append(rooms, made)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want int) {
		t.Helper()
		held, counted, bytes, err := s.CachedRooms(t.Context())
		if err != nil || held != want || counted != bytes || bytes > sqlite.CachedBytes {
			t.Errorf("%s: %d rooms of %d bytes, counted as %d, %v; want %d rooms of at most %d", what, held, bytes, counted, err,
				want, sqlite.CachedBytes)
		}
	}
	check("rooms made", most)
	last := rooms[len(rooms)-perBatch:]
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i, r := range last {
			r.Metadata = r.Metadata[:size>>(i%4)]
			if _, err := tx.UpdateRoom(r, now); err != nil {
				return err
			}
		}
		return tx.RemoveRoom(last[0].ID, now)
	})
	if err != nil {
		t.Fatal(err)
	}
	check("after changes", most-1)
	err = s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		got, _, err := tx.Access(rooms[0].ID, "")
		if len(got.Metadata) != size {
			t.Errorf("a room that is remembered no more has %d bytes of metadata", len(got.Metadata))
		}
		return err
	})
	if err != nil {
		t.Errorf("a room that is remembered no more: %v", err)
	}
}
