package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/workload"
)

func TestNothingAcknowledgedIsLostInTwentyKills(t *testing.T) {
	t.Parallel()
	const kills, restSenders, socketSenders, roomCount = 20, 8, 4, 3
	s := harness.Start(t, harness.Options{})
	tenant := harness.Must(s.NewTenant("kill"))(t)
	rec := workload.NewRecorder()

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
		attempt := workload.OverREST(u)
		if i >= restSenders {
			attempt = workload.OverSocket(u)
		}
		go func() { results <- (&workload.Sender{Rec: rec, User: u, Rooms: rooms, Attempt: attempt}).Run(ctx) }()
	}
	for kill := range kills {
		<-time.After(50*time.Millisecond + rand.N(400*time.Millisecond))
		harness.Check(t, s.Kill())
		ackedBefore := rec.Acked()
		harness.Check(t, s.Start())
		audit.check(t, kill, rooms, ackedBefore)
		harness.Check(t, follower.Connect())
	}
	<-time.After(200 * time.Millisecond)
	stop()
	for range restSenders + socketSenders {
		harness.Check(t, <-results)
	}
	workload.Judge(t, rec, watcher, rooms, map[string]*harness.Follower{"the follower": follower})
}

// auditor reads what is new in the rooms after each restart and remembers all that it has ever seen.
type auditor struct {
	user  *harness.User
	rec   *workload.Recorder
	known map[string]bool
	last  map[string]int64
}

// check fails unless everything that was acknowledged before the kill is there after the restart.
func (a *auditor) check(t *testing.T, kill int, rooms []string, acked []checker.Send) {
	t.Helper()
	for _, room := range rooms {
		invoked, after := a.rec.Now(), a.last[room]
		got, err := a.user.History(room, after, 100)
		harness.Check(t, err)
		a.rec.Read(checker.Read{
			Room: room, After: after, Limit: len(got) + 1, Invoked: invoked, Answered: a.rec.Now(), Seen: workload.Seen(got, a.rec.Now()),
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
