package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/workload"
)

// load is clients at work on a cluster while something is broken: senders over REST and over sockets, a reader and a follower
// at every node, and one follower who goes where the balancer sends it. Everything they see is recorded.
type load struct {
	tenant    *harness.Tenant
	rec       *workload.Recorder
	rooms     []string
	watcher   *harness.User
	followers map[string]*harness.Follower

	senders int
	ended   chan error // of the senders
	enough  context.CancelFunc
	leave   context.CancelFunc // of those who only look
	looking sync.WaitGroup
	mu      sync.Mutex
	returns int
}

const (
	loadRooms   = 3
	loadSenders = 9 // a third of them on sockets
	loadPause   = 15 * time.Millisecond
)

// startLoad has clients begin; judge ends them.
func startLoad(t *testing.T, s *harness.Server) *load {
	t.Helper()
	l := &load{
		tenant: harness.Must(s.NewTenant("load"))(t), rec: workload.NewRecorder(), senders: loadSenders,
		ended: make(chan error, loadSenders), followers: map[string]*harness.Follower{},
	}
	l.watcher = l.tenant.User("watcher")
	members := []string{"watcher"}
	for i := range l.senders {
		members = append(members, fmt.Sprintf("sender%d", i))
	}
	for range loadRooms {
		l.rooms = append(l.rooms, harness.Must(l.tenant.Backend().CreateRoom("group", members...))(t).RoomID)
	}
	sending, enough := context.WithCancel(t.Context())
	looking, leave := context.WithCancel(t.Context())
	l.enough, l.leave = enough, leave
	t.Cleanup(func() {
		enough()
		leave()
		l.looking.Wait()
	})
	l.look(looking, t, s)
	for i := range l.senders {
		u := l.tenant.User(fmt.Sprintf("sender%d", i))
		attempt := workload.OverREST(u)
		if i%3 == 2 {
			attempt = workload.OverSocket(u)
		}
		sender := &workload.Sender{Rec: l.rec, User: u, Rooms: l.rooms, Attempt: attempt, Pause: loadPause}
		go func() { l.ended <- sender.Run(sending) }()
	}
	return l
}

// look has followers and readers begin: a node each, and a follower anywhere.
func (l *load) look(ctx context.Context, t *testing.T, s *harness.Server) {
	t.Helper()
	at := map[string]*harness.User{"the follower anywhere": l.watcher}
	for i, n := range s.Nodes {
		at[fmt.Sprintf("the follower at node %d", i+1)] = l.watcher.At(n)
		l.looking.Go(func() { workload.Poll(ctx, l.rec, l.watcher.At(n), l.rooms, 100*time.Millisecond) })
	}
	for name, u := range at {
		f := harness.NewFollower(u)
		l.followers[name] = f
		harness.Check(t, f.Connect())
		l.looking.Go(func() {
			n := workload.Keep(ctx, f)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.returns += n
		})
	}
}

// last is the latest number that somebody was answered.
func (l *load) acked() int {
	_, acked, _ := l.rec.Counts()
	return acked
}

// goesOn waits until so many more messages have been acknowledged.
func (l *load) goesOn(t *testing.T, more int) {
	t.Helper()
	from := l.acked()
	harness.Eventually(t, 30*time.Second, fmt.Sprintf("%d more messages are acknowledged", more), func() bool { return l.acked() >= from+more })
}

// stopSending ends the senders; each has a definite answer for all it began.
func (l *load) stopSending(t *testing.T) {
	t.Helper()
	l.enough()
	for ; l.senders > 0; l.senders-- {
		harness.Check(t, <-l.ended)
	}
}

// judge ends the load and holds all that was seen against every rule.
func (l *load) judge(t *testing.T) {
	t.Helper()
	l.stopSending(t)
	workload.Judge(t, l.rec, l.watcher, l.rooms, l.followers)
	l.leave()
	l.looking.Wait()
	t.Logf("the followers came back %d times", l.returns)
}

// during is a span of time under load.
func during(d time.Duration) { <-time.After(d) }
