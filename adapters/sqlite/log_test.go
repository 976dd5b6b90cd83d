package sqlite_test

import (
	"fmt"
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// TestEventsTellAnEditedMessageAtBothPositions writes the edit as the schema has it: position 5 changed message 2.
func TestEventsTellAnEditedMessageAtBothPositions(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	fill(t, s, room.ID, "alice", 3)
	err := s.OnWriter(t.Context(), func(exec func(string) error) error {
		for _, query := range []string{
			"UPDATE messages SET rev = 5, edited = 1772366401000 WHERE pos & 0xfffffffff = 2",
			"INSERT INTO room_changes SELECT number, 5, 2, 3, 7, 2, 1772366401000 FROM rooms",
		} {
			if err := exec(query); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    ports.EventQuery
		want string
	}{
		{ports.EventQuery{Limit: 10}, "[1 room.created 2 message 1 3 message 2 4 message 3 5 message.edited 2]"},
		{ports.EventQuery{After: 2, Limit: 10}, "[3 message 2 4 message 3 5 message.edited 2]"},
		{ports.EventQuery{After: 1, Through: 3, Limit: 10}, "[2 message 1 3 message 2]"},
		{ports.EventQuery{MinSeq: 3, Limit: 10}, "[1 room.created 4 message 3]"},
		{ports.EventQuery{After: 3, Limit: 1}, "[4 message 3]"},
	} {
		c.q.Room = room.ID
		events, err := ports.View(t.Context(), s, tenant, func(r ports.Reader) ([]domain.Event, error) { return r.Events(c.q) })
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			one := fmt.Sprint(e.Rev, " ", e.Kind)
			if m := e.Message; m != nil {
				one += fmt.Sprint(" ", m.Seq)
				if edited := m.Seq == 2; edited != (m.Rev == 5) || edited == m.EditedAt.IsZero() {
					t.Errorf("message %d has rev %d, edited at %v", m.Seq, m.Rev, m.EditedAt)
				}
			}
			got = append(got, one)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%+v: got %v, want %v", c.q, got, c.want)
		}
	}
}
