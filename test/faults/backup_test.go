package faults

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/workload"
)

// TestACopyOfABusyStoreIsRestoredWhole backs a store up beside the server that writes it, goes on, loses the store, and
// restores the copy as the operations page says.
func TestACopyOfABusyStoreIsRestoredWhole(t *testing.T) {
	t.Parallel()
	const senders = 4
	s := harness.Start(t, harness.Options{})
	tenant := harness.Must(s.NewTenant("backup"))(t)
	alice, members := tenant.User("alice"), []string{}
	for i := range senders {
		members = append(members, fmt.Sprintf("sender%d", i))
	}
	var rooms []string
	for range 2 {
		rooms = append(rooms, harness.Must(alice.CreateRoom("group", members...))(t).RoomID)
	}
	rec := workload.NewRecorder()
	sending := make(chan error, senders)
	for _, member := range members {
		u := tenant.User(member)
		go func() {
			sending <- (&workload.Sender{Rec: rec, User: u, Rooms: rooms, Attempt: workload.OverREST(u)}).Send(300)
		}()
	}
	harness.Eventually(t, 20*time.Second, "messages", func() bool { return len(rec.Acked()) > 100 })
	acked, copied := rec.Acked(), filepath.Join(t.TempDir(), "copy.db")
	out := harness.Must(s.Command(t.Context(), "store", "backup", copied))(t)
	if !strings.Contains(out, copied) {
		t.Errorf("backup printed %s", out)
	}
	during := len(rec.Acked())
	if _, err := s.Command(t.Context(), "store", "backup", copied); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a second backup to the same file: %v", err)
	}
	for range senders {
		harness.Check(t, <-sending)
	}
	seen := harness.Must(alice.Dial())(t)
	t.Cleanup(seen.Drop)
	epoch := harness.Must(seen.AwaitType("connected"))(t).Epoch
	last := harness.Must(alice.Room(rooms[0]))(t)
	if _, err := s.Command(t.Context(), "store", "restore", copied); err == nil || !strings.Contains(err.Error(), "has the store open") {
		t.Errorf("a restore beside a server: %v", err)
	}

	code := harness.Must(s.Terminate(20 * time.Second))(t)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	harness.Must(s.Command(t.Context(), "store", "restore", copied))(t)
	harness.Check(t, s.Start())

	audit := &auditor{user: alice, rec: workload.NewRecorder(), known: map[string]bool{}, last: map[string]int64{}}
	audit.check(t, 0, rooms, acked)
	back := harness.Must(alice.Room(rooms[0]))(t)
	if back.LastRev >= last.LastRev {
		t.Errorf("the restored room is at rev %d and was at %d: nothing was lost, and so nothing is shown here", back.LastRev, last.LastRev)
	}
	t.Logf("%d messages were acknowledged before the copy, %d when it was made, %d of one room were lost with the store",
		len(acked), during, last.LastSeq-back.LastSeq)
	c := harness.Must(alice.Dial("resume", "1"))(t)
	t.Cleanup(c.Drop)
	harness.Check(t, c.Write(map[string]any{
		"type": "resume", "epoch": epoch, "rooms": []map[string]any{{"room_id": rooms[0], "rev": back.LastRev}},
	}))
	if told := harness.Must(c.AwaitType("resync_required"))(t); told.Epoch == epoch || told.Epoch == "" {
		t.Errorf("after the restore: %s, want another epoch than %s", told.Raw, epoch)
	}
	if m := harness.Must(alice.Send(rooms[0], harness.Body("after the restore")))(t); m.Seq != back.LastSeq+1 {
		t.Errorf("the first message after the restore has seq %d, want %d", m.Seq, back.LastSeq+1)
	}
}
