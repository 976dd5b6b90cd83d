package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// fullRoom is a room with messages, some of them changed, and members, who have marks from two devices each.
func fullRoom(t *testing.T, s *sqlite.Store, messages, members int) domain.Room {
	t.Helper()
	room := makeRoom(t, s, "alice")
	fill(t, s, room.ID, "alice", messages)
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i := range members - 1 {
			user := domain.UserID(fmt.Sprint("user ", i))
			_, e1 := tx.AddMember(room.ID, user, domain.RoleMember, now)
			_, e2 := tx.RaiseMark(room.ID, user, "phone", domain.Mark{DeliveredSeq: 1})
			_, e3 := tx.RaiseMark(room.ID, user, "laptop", domain.Mark{DeliveredSeq: 2})
			if err := errors.Join(e1, e2, e3); err != nil {
				return err
			}
		}
		sent, err := tx.MessagesAfter(room.ID, 0, 50)
		for _, m := range sent {
			_, editErr := tx.EditMessage(m)
			err = errors.Join(err, editErr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return room
}

func remove(t *testing.T, s *sqlite.Store, room domain.RoomID) {
	t.Helper()
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error { return tx.RemoveRoom(room, now) })
	if err != nil {
		t.Fatal(err)
	}
}

// purgeAll takes steps until there is no more, and counts them. No step may change more than 500 rows.
func purgeAll(t *testing.T, s *sqlite.Store) (steps int) {
	t.Helper()
	for more := true; more; steps++ {
		before := count(t, s, "SELECT total_changes()")
		var err error
		if more, err = s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rows := count(t, s, "SELECT total_changes()") - before; rows > 500 {
			t.Errorf("step %d changed %d rows, want at most 500", steps+1, rows)
		}
	}
	return steps
}

func TestRemovedRoomLeavesATombstoneForAsLongAsDevicesAreRemembered(t *testing.T) {
	t.Parallel()
	at := &clock{now}
	s := openStore(t, sqlite.Config{Clock: at})
	makeTenant(t, s)
	const messages, members = 700, 300
	room, kept := fullRoom(t, s, messages, members), fullRoom(t, s, 3, 3)
	remove(t, s, room.ID)
	if steps := purgeAll(t, s); steps < (messages+4*members)/500 {
		t.Errorf("%d steps for %d messages and %d members", steps, messages, members)
	}
	whereKept := fmt.Sprintf("(SELECT number FROM rooms WHERE id = x'%x')", kept.ID[:])
	whereGone := fmt.Sprintf("(SELECT number FROM rooms WHERE id = x'%x')", room.ID[:])
	for query, want := range map[string]int64{
		"SELECT count(*) FROM messages":                                                                  3,
		"SELECT count(*) FROM room_changes":                                                              1 + 2 + 3,
		"SELECT count(*) FROM marks WHERE room <> " + whereKept:                                          0,
		"SELECT count(*) FROM marks":                                                                     4,
		"SELECT count(*) FROM members WHERE state = 2 AND left_seq = 700 AND room = " + whereGone:        members,
		"SELECT count(DISTINCT left_rev) FROM members WHERE room = " + whereGone:                         1,
		"SELECT count(*) FROM members WHERE state = 1":                                                   3,
		"SELECT count(*) FROM rooms":                                                                     2,
		"SELECT count(*) FROM members m JOIN users u ON u.number = m.user WHERE m.user_rev > u.user_rev": 0,
	} {
		if got := count(t, s, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	release := hold(t, s)
	at.now = now.Add(domain.DeviceMemory*time.Hour - time.Millisecond)
	release()
	purgeAll(t, s)
	if got := count(t, s, "SELECT count(*) FROM rooms"); got != 2 {
		t.Errorf("%d rooms just before devices are forgotten, want 2", got)
	}
	release = hold(t, s)
	at.now = now.Add(domain.DeviceMemory * time.Hour)
	release()
	purgeAll(t, s)
	if rooms, left := count(t, s, "SELECT count(*) FROM rooms"), count(t, s, "SELECT count(*) FROM members"); rooms != 1 || left != 3 {
		t.Errorf("%d rooms and %d memberships are left, want 1 and 3", rooms, left)
	}
}

// TestStepsOfThePurgeAreSmallerWhereTextsAreLong overwrites about as much in each step, whatever the texts.
func TestStepsOfThePurgeAreSmallerWhereTextsAreLong(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	const messages = 400
	for _, c := range []struct{ size, least, most int }{{200, 1, 2}, {15_000, messages * 4 / 500, messages*4/500 + 2}} {
		room := makeRoom(t, s, "alice")
		for range messages {
			appendTo(t, s, room.ID, send("alice", strings.Repeat("x", c.size)))
		}
		remove(t, s, room.ID)
		if steps := purgeAll(t, s); steps < c.least || steps > c.most {
			t.Errorf("%d steps for %d texts of %d bytes, want %d to %d", steps, messages, c.size, c.least, c.most)
		}
	}
	if left := count(t, s, "SELECT count(*) FROM messages"); left != 0 {
		t.Errorf("%d messages are left", left)
	}
}

// TestRemovalKeepsWhatItsBatchHasCounted has a removal behind a send in one batch, and makes the removing job write the
// batch's counters once more: they must not overwrite the last position.
func TestRemovalKeepsWhatItsBatchHasCounted(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room, other := makeRoom(t, s, "alice"), makeRoom(t, s, "alice")
	release := hold(t, s)
	defer release()
	before := s.Stats().Batches
	listed := func(tx ports.Tx) error {
		_, err := tx.Rooms(domain.RoomQuery{Limit: 10})
		return err
	}
	jobs := []func() error{
		func() error {
			m := send("alice", "before")
			_, err := s.Append(context.Background(), tenant, domain.Intent{Room: room.ID, Sender: "alice"}, m.Decide)
			return err
		},
		func() error {
			return s.Update(context.Background(), tenant, func(tx ports.Tx) error {
				return errors.Join(tx.RemoveRoom(room.ID, now), listed(tx))
			})
		},
		func() error { return s.Update(context.Background(), tenant, listed) },
		func() error {
			m := send("alice", "elsewhere")
			_, err := s.Append(context.Background(), tenant, domain.Intent{Room: other.ID, Sender: "alice"}, m.Decide)
			return err
		},
	}
	var wg sync.WaitGroup
	for i, job := range jobs {
		wg.Go(func() {
			if err := job(); err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		})
		eventually(t, "the job is queued", func() bool { return s.Stats().Queued == i+1 })
	}
	release()
	wg.Wait()
	if got := s.Stats().Batches - before; got > 2 {
		t.Errorf("%d batches: the jobs did not share one", got)
	}
	for query, want := range map[string]int64{
		"SELECT last_rev FROM rooms WHERE deleted IS NOT NULL": 3,
		"SELECT last_seq FROM rooms WHERE deleted IS NOT NULL": 1,
		"SELECT changes FROM rooms WHERE deleted IS NOT NULL":  2,
		"SELECT last_rev FROM rooms WHERE deleted IS NULL":     2,
	} {
		if got := count(t, s, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}
