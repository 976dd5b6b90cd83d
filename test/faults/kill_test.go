package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

func TestNothingAcknowledgedIsLostInTwentyKills(t *testing.T) {
	t.Parallel()
	const kills, restSenders, socketSenders, roomCount = 20, 8, 4, 3
	s := harness.Start(t, harness.Options{})
	tenant := harness.Must(s.NewTenant("kill"))(t)
	rec := newRecorder()

	members := []string{"watcher"}
	for i := range restSenders + socketSenders {
		members = append(members, fmt.Sprintf("sender%d", i))
	}
	var rooms []string
	for range roomCount {
		rooms = append(rooms, harness.Must(tenant.Backend().CreateRoom("group", members...))(t).RoomID)
	}
	watcher := tenant.User("watcher")
	follower := harness.NewFollower(watcher)
	harness.Check(t, follower.Connect())
	defer follower.Drop()
	audit := &auditor{user: watcher, rec: rec, known: map[string]bool{}, last: map[string]int64{}}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	results := make(chan error, restSenders+socketSenders)
	for i := range restSenders + socketSenders {
		u := tenant.User(fmt.Sprintf("sender%d", i))
		attempt := overREST(u)
		if i >= restSenders {
			attempt = overSocket(u)
		}
		go func() { results <- (&sender{rec: rec, user: u, rooms: rooms, attempt: attempt}).run(ctx) }()
	}
	for kill := range kills {
		<-time.After(50*time.Millisecond + rand.N(400*time.Millisecond))
		harness.Check(t, s.Kill())
		ackedBefore := rec.snapshot()
		harness.Check(t, s.Start())
		audit.check(t, kill, rooms, ackedBefore)
		harness.Check(t, follower.Connect())
	}
	<-time.After(200 * time.Millisecond)
	stop()
	for range restSenders + socketSenders {
		harness.Check(t, <-results)
	}
	judge(t, rec, watcher, follower, rooms)
}

// auditor reads what is new in the rooms after each restart and remembers all that it has ever seen.
type auditor struct {
	user  *harness.User
	rec   *recorder
	known map[string]bool
	last  map[string]int64
}

// check fails unless everything that was acknowledged before the kill is there after the restart.
func (a *auditor) check(t *testing.T, kill int, rooms []string, acked []checker.Send) {
	t.Helper()
	for _, room := range rooms {
		invoked, after := a.rec.now(), a.last[room]
		got, err := a.user.History(room, after, 100)
		harness.Check(t, err)
		a.rec.read(checker.Read{
			Room: room, After: after, Limit: len(got) + 1, Invoked: invoked, Answered: a.rec.now(), Seen: seen(got, a.rec.now()),
		})
		for _, m := range got {
			a.known[m.MessageID], a.last[room] = true, m.Seq
		}
	}
	var lost []checker.Send
	for _, s := range acked {
		if !a.known[s.ID] {
			lost = append(lost, s)
		}
	}
	if len(lost) > 0 {
		t.Fatalf("kill %d: %d acknowledged messages are gone, one is seq %d of %s", kill, len(lost), lost[0].Seq, lost[0].Room)
	}
}

// judge reads everything in pages of several sizes and applies every rule to the whole history.
func judge(t *testing.T, rec *recorder, reader *harness.User, follower *harness.Follower, rooms []string) {
	t.Helper()
	for _, room := range rooms {
		whole := harness.Must(reader.History(room, 0, 100))(t)
		rec.final(room, seen(whole, rec.now()))
		last := int64(len(whole))
		harness.Eventually(t, 30*time.Second, "the follower sees the last message", func() bool { return follower.Seq(room) >= last })
		rec.streamed(checker.Stream{Name: "the follower", Room: room, Seen: seen(follower.Got(room), rec.now())})
		info := harness.Must(reader.Room(room))(t)
		if info.LastSeq != last || info.LastRev < last {
			t.Errorf("%s says last_seq %d and last_rev %d, it has %d messages", room, info.LastSeq, info.LastRev, last)
		}
		wantDenseRevs(t, room, whole)
		tail, invoked := max(0, last-60), rec.now()
		got := harness.Must(reader.History(room, tail, 7))(t)
		rec.read(checker.Read{
			Room: room, After: tail, Limit: len(got) + 1, Invoked: invoked, Answered: rec.now(), Seen: seen(got, rec.now()),
		})
	}
	for _, v := range rec.history.Check() {
		t.Error(v)
	}
	for _, v := range follower.Violations() {
		t.Error(v)
	}
	sends, acked, resolved := rec.counts()
	t.Logf("%d attempts, %d messages acknowledged, %d of them by a retry after an unknown outcome; %d duplicates were dropped",
		sends, acked, resolved, follower.Duplicates())
}

// wantDenseRevs fails unless every message took the next position: nothing but messages followed the room's creation.
func wantDenseRevs(t *testing.T, room string, content []harness.Message) {
	t.Helper()
	for _, m := range content {
		if m.Rev != m.Seq+1 {
			t.Errorf("%s: seq %d has rev %d, want %d", room, m.Seq, m.Rev, m.Seq+1)
			return
		}
	}
}
