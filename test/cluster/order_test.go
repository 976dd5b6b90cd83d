package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/workload"
)

// TestEveryClientOnEveryNodeSeesOneOrderWithoutAGap has three senders in each of three rooms, one at each node, and followers
// and readers at all of them.
func TestEveryClientOnEveryNodeSeesOneOrderWithoutAGap(t *testing.T) {
	t.Parallel()
	const rooms, each = 3, 60
	tenant, nodes := nodesOf(t, harness.Options{})
	rec, watcher := workload.NewRecorder(), tenant.User("watcher")
	members := []string{"watcher"}
	for n := range nodes {
		for r := range rooms {
			members = append(members, fmt.Sprintf("sender%d-%d", n, r))
		}
	}
	var ids []string
	for range rooms {
		ids = append(ids, harness.Must(tenant.Backend().CreateRoom("group", members...))(t).RoomID)
	}
	looking, leave := context.WithCancel(t.Context())
	defer leave()
	followers := map[string]*harness.Follower{}
	for i, n := range nodes {
		f := harness.NewFollower(watcher.At(n))
		harness.Check(t, f.Connect())
		t.Cleanup(f.Drop)
		followers[fmt.Sprintf("the follower at node %d", i+1)] = f
		go workload.Poll(looking, rec, watcher.At(n), ids, 20*time.Millisecond)
	}
	results := make(chan error, len(nodes)*rooms)
	for i, n := range nodes {
		for r, room := range ids {
			u := tenant.User(fmt.Sprintf("sender%d-%d", i, r)).At(n)
			attempt := workload.OverREST(u)
			if (i+r)%2 == 1 {
				attempt = workload.OverSocket(u)
			}
			s := &workload.Sender{Rec: rec, User: u, Rooms: []string{room}, Attempt: attempt}
			go func() { results <- s.Send(each) }()
		}
	}
	for range cap(results) {
		harness.Check(t, <-results)
	}
	workload.Judge(t, rec, watcher, ids, followers)
	for _, room := range ids {
		if last := harness.Must(watcher.Room(room))(t).LastSeq; last != int64(len(nodes)*each) {
			t.Errorf("%s has %d messages, want %d", room, last, len(nodes)*each)
		}
	}
}

// TestAnEditOfAnyNodeIsToldOnAllOfThemInItsPlace mixes messages and changes of one room, made at three nodes at once: each
// node tells one log.
func TestAnEditOfAnyNodeIsToldOnAllOfThemInItsPlace(t *testing.T) {
	t.Parallel()
	const each = 20
	tenant, nodes := nodesOf(t, harness.Options{})
	var authors []*harness.User
	var ids []string
	for i, n := range nodes {
		ids = append(ids, fmt.Sprintf("author%d", i))
		authors = append(authors, tenant.User(ids[i]).At(n))
	}
	room := harness.Must(tenant.Backend().CreateRoom("group", append(ids, "watcher")...))(t).RoomID
	watcher := tenant.User("watcher")
	var mirrors []*harness.Mirror
	for i, n := range nodes {
		m := harness.NewMirror(watcher.At(n), fmt.Sprintf("device%d", i), harness.ByResume)
		harness.Check(t, m.Connect())
		t.Cleanup(m.Drop)
		mirrors = append(mirrors, m)
	}
	results := make(chan error, len(authors))
	for _, author := range authors {
		go func() { results <- revise(author, room, each) }()
	}
	for range authors {
		harness.Check(t, <-results)
	}
	last := harness.Must(watcher.Room(room))(t)
	if want := int64(len(nodes) * each); last.LastSeq != want || last.LastRev != 1+3*want {
		t.Errorf("last_seq %d and last_rev %d, want %d and %d", last.LastSeq, last.LastRev, want, 1+3*want)
	}
	history := harness.Must(watcher.History(room, 0, 100))(t)
	for _, m := range mirrors {
		harness.Check(t, m.AwaitRev(room, last.LastRev, 20*time.Second))
		for _, difference := range m.Differences(room, history) {
			t.Error(difference)
		}
	}
}

// revise sends messages, edits each and deletes it.
func revise(author *harness.User, room string, n int) error {
	for i := range n {
		m, err := author.Send(room, harness.Body("%d", i))
		if err != nil {
			return err
		}
		if _, err := author.Edit(room, m.MessageID, harness.Body("%d, edited", i)); err != nil {
			return err
		}
		if err := author.Delete(room, m.MessageID); err != nil {
			return err
		}
	}
	return nil
}
