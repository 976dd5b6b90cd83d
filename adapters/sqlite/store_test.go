package sqlite_test

import (
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestMessagesAreNumberedBesideChanges(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	var seen []int64
	s.OnCommit(func(events []domain.Event) {
		for _, e := range events {
			seen = append(seen, e.Rev)
		}
	})
	room := makeRoom(t, s, "alice", "bob")
	fill(t, s, room.ID, "alice", 3)
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, err := tx.AddMember(room.ID, "carol", domain.RoleMember, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	last := appendTo(t, s, room.ID, send("carol", "hello"))
	if last.Message.Seq != 4 || last.Message.Rev != 6 {
		t.Errorf("got seq %d rev %d, want 4 and 6", last.Message.Seq, last.Message.Rev)
	}
	events, err := ports.View(t.Context(), s, tenant, func(r ports.Reader) ([]domain.Event, error) {
		return r.Events(ports.EventQuery{Room: room.ID, Limit: 100})
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if e.Rev != int64(i+1) || seen[i] != e.Rev {
			t.Errorf("event %d has rev %d, committed as %d", i, e.Rev, seen[i])
		}
	}
	if len(events) != 6 || len(seen) != 6 {
		t.Errorf("got %d events, %d committed, want 6", len(events), len(seen))
	}
}
