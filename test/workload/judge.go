package workload

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

// patience is how long followers may take to hear of the last message once everything is whole again.
const patience = 30 * time.Second

// Judge reads everything in pages of several sizes, waits until each follower has all of it, and applies every rule to the
// whole history. Nothing but messages may have been written to the rooms since they were made.
func Judge(t *testing.T, rec *Recorder, reader *harness.User, rooms []string, followers map[string]*harness.Follower) {
	t.Helper()
	for _, room := range rooms {
		judgeRoom(t, rec, reader, room, followers)
	}
	for _, v := range rec.Check() {
		t.Error(v)
	}
	dropped := 0
	for name, f := range followers {
		dropped += f.Duplicates()
		for _, v := range f.Violations() {
			t.Errorf("%s: %s", name, v)
		}
	}
	sends, acked, resolved := rec.Counts()
	t.Logf("%d attempts, %d messages acknowledged, %d of them by a retry after an unknown outcome; %d duplicates were dropped",
		sends, acked, resolved, dropped)
}

func judgeRoom(t *testing.T, rec *Recorder, reader *harness.User, room string, followers map[string]*harness.Follower) {
	t.Helper()
	whole := harness.Must(reader.History(room, 0, 100))(t)
	rec.Final(room, Seen(whole, rec.Now()))
	last := int64(len(whole))
	for name, f := range followers {
		harness.Eventually(t, patience, name+" sees the last message", func() bool { return f.Seq(room) >= last })
		rec.Streamed(checker.Stream{Name: name, Room: room, Seen: Seen(f.Got(room), rec.Now())})
	}
	info := harness.Must(reader.Room(room))(t)
	if info.LastSeq != last || info.LastRev < last {
		t.Errorf("%s says last_seq %d and last_rev %d, it has %d messages", room, info.LastSeq, info.LastRev, last)
	}
	wantDenseRevs(t, room, whole)
	tail, invoked := max(0, last-60), rec.Now()
	got := harness.Must(reader.History(room, tail, 7))(t)
	rec.Read(checker.Read{
		Room: room, After: tail, Limit: len(got) + 1, Invoked: invoked, Answered: rec.Now(), Seen: Seen(got, rec.Now()),
	})
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
