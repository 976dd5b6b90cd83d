package application_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// node is the core over a real store, with sinks for sockets.
type node struct {
	store     *sqlite.Store
	messaging *application.Messaging
	rooms     *application.Rooms
	delivery  *application.Delivery
	presence  *application.Presence
	users     *application.Users
	fanout    *application.Fanout
}

const tenant domain.TenantID = "tenant_test"

func startNode(t *testing.T, bus ports.Bus) *node {
	t.Helper()
	return startNodeOver(t, bus, func(s ports.Store) ports.Store { return s })
}

// startNodeOver starts a node whose fan-out reads through a store of the test's.
func startNodeOver(t *testing.T, bus ports.Bus, over func(ports.Store) ports.Store) *node {
	t.Helper()
	store := openStore(t)
	ids, clock, log := system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler)
	if err := store.CreateTenant(t.Context(), domain.Tenant{ID: tenant, Name: "test", CreatedAt: clock.Now()}); err != nil {
		t.Fatal(err)
	}
	hints := application.NewHints(bus, plainEncoder{}, log)
	usage := application.NewUsage(store, clock, log)
	n := &node{
		store: store, messaging: application.NewMessaging(store, store, store, ids, clock, &application.Courier{}, nil),
		rooms:    application.NewRooms(store, ids, clock, application.NewUpkeep(store, store, nil, log)),
		delivery: application.NewDelivery(store, hints, clock, log), users: application.NewUsers(store),
		presence: application.NewPresence(store, inproc.NewPresence(), bus, plainEncoder{}, ids, clock, log),
	}
	n.fanout = application.NewFanout(over(store), store, bus, plainEncoder{}, n.delivery, n.presence, hints, usage, store, ids, clock, log,
		application.FanoutConfig{MaxPerUser: 1000})
	store.OnCommit(n.fanout.Committed)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = n.fanout.Run(ctx) })
	running.Go(func() { _ = n.delivery.Run(ctx) })
	running.Go(func() { _ = n.presence.Run(ctx) })
	running.Go(func() { _ = hints.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Config{
		DSN: filepath.Join(t.TempDir(), "chat.db"), Logger: slog.New(slog.DiscardHandler),
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func as(user string) application.Caller {
	return application.Caller{
		Actor:  domain.Actor{Tenant: tenant, Kind: domain.ActorUser, User: domain.UserID(user), Credential: "c"},
		Tenant: domain.Tenant{ID: tenant},
	}
}

func (n *node) room(t *testing.T, creator string, others ...string) domain.RoomID {
	t.Helper()
	made, err := n.rooms.Create(t.Context(), as(creator), domain.RoomDraft{Type: "group", Members: others}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return made.Room.ID
}

func (n *node) send(t *testing.T, user string, room domain.RoomID, content string) domain.Message {
	t.Helper()
	sent, err := n.messaging.Send(t.Context(), as(user), room, domain.Draft{Content: content}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sent.Message
}

// plainEncoder writes frames that the tests can read.
type plainEncoder struct{}

func (plainEncoder) Event(e domain.Event) ports.Frame {
	f := ports.Frame{Room: e.Room, Rev: e.Rev, Kind: e.Kind, Bytes: []byte(e.Kind)}
	if e.Message != nil {
		f.Seq, f.Bytes = e.Message.Seq, []byte(e.Message.Content)
	}
	return f
}

func (plainEncoder) Hint(h domain.Hint) ports.Frame {
	return ports.Frame{Kind: h.Kind, User: h.User, Bytes: fmt.Appendf(nil, "%s %s%d", h.User, h.State, h.Seq)}
}

func (plainEncoder) Again(m domain.Message) ports.Frame {
	return ports.Frame{Room: m.Room, Kind: domain.EventMessage, Seq: m.Seq, Bytes: []byte("again " + m.Content)}
}

func (plainEncoder) Notice(n domain.Notification, again bool) ports.Frame {
	f := ports.Frame{Kind: domain.EventNotification, Notice: n.ID, Bytes: n.Payload}
	if again {
		f.Bytes = append([]byte("again "), f.Bytes...)
	}
	return f
}

func (plainEncoder) StreamStart(p domain.StreamPart) ports.Frame {
	return ports.Frame{Room: p.Room, Kind: "message.stream.start", Bytes: fmt.Appendf(nil, "start %d %q", p.Attempt, p.Text)}
}

func (plainEncoder) StreamDelta(p domain.StreamPart, points int, delta string) ports.Frame {
	return ports.Frame{Room: p.Room, Kind: "message.stream.delta", Bytes: fmt.Appendf(nil, "delta %d+%s", points, delta)}
}

func (plainEncoder) StreamEnd(m domain.Message) ports.Frame {
	text := "end " + m.Content
	if strings.Contains(string(m.Meta), `"error"`) {
		text = "error " + m.Content
	}
	return ports.Frame{Room: m.Room, Rev: m.Rev, Seq: m.Seq, Stream: m.ID, Bytes: []byte(text)}
}

func (plainEncoder) StreamError(p domain.StreamPart) ports.Frame {
	return ports.Frame{Room: p.Room, Kind: "message.stream.error", Bytes: fmt.Appendf(nil, "error %s %q", p.Failed, p.Text)}
}

func (plainEncoder) SyncComplete(r ports.SyncReport) ports.Frame {
	text := fmt.Sprintf("sync rooms=%d messages=%d truncated=%v|%s", r.Rooms, r.Messages, len(r.Truncated), r.Cursor)
	return ports.Frame{Kind: "sync.complete", Bytes: []byte(text)}
}

func (plainEncoder) ResyncRequired(_ domain.Epoch, rooms []domain.RoomID) ports.Frame {
	return ports.Frame{Kind: "resync_required", Bytes: fmt.Append(nil, len(rooms))}
}

// socket is a sink with a bounded queue that a reader empties, as slowly as it is told to.
type socket struct {
	peer     *application.Peer
	capacity int

	mu       sync.Mutex
	queue    []ports.Frame
	refused  bool
	got      []ports.Frame
	arrived  chan struct{}
	closedAs int
}

func (s *socket) Push(f ports.Frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= s.capacity {
		s.refused = true
		return false
	}
	s.queue = append(s.queue, f)
	s.signal()
	return true
}

// Hint queues what may be lost, and forgets it when there is no room.
func (s *socket) Hint(f ports.Frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= s.capacity {
		return false
	}
	s.queue = append(s.queue, f)
	s.signal()
	return true
}

func (s *socket) Close(code int, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closedAs = code
	s.signal()
}

func (s *socket) signal() {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// read takes up to n frames off the queue and tells the peer when that emptied it after a refusal.
func (s *socket) read(n int) (more bool) {
	s.mu.Lock()
	n = min(n, len(s.queue))
	s.got = append(s.got, s.queue[:n]...)
	s.queue = slices.Delete(s.queue, 0, n)
	drained := s.refused && len(s.queue) == 0
	if drained {
		s.refused = false
	}
	more = len(s.queue) > 0
	s.mu.Unlock()
	if drained {
		s.peer.Drained()
	}
	return more
}

// connect opens a socket that reads step frames at a time; with step 0 the test reads.
func (n *node) connect(t *testing.T, user string, device domain.DeviceID, resume *application.Resume, capacity, step int) *socket {
	t.Helper()
	s := &socket{capacity: capacity, arrived: make(chan struct{}, 1)}
	peer, err := n.fanout.Connect(t.Context(), as(user), application.Client{Device: device}, s)
	if err != nil {
		t.Fatal(err)
	}
	s.peer = peer
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-s.arrived:
				for step > 0 && s.read(step) {
					continue
				}
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() { s.close(stop, &reader) })
	if err := peer.Start(t.Context(), resume); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *socket) close(stop chan struct{}, reader *sync.WaitGroup) {
	s.peer.Close()
	close(stop)
	reader.Wait()
}

func (s *socket) frames() []ports.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// await polls until cond holds of what the socket got.
func (s *socket) await(t *testing.T, what string, cond func([]ports.Frame) bool) []ports.Frame {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := s.frames()
		if cond(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("never got %s; %d frames: %v", what, len(got), summary(got))
		}
		<-time.After(time.Millisecond)
	}
}

func summary(frames []ports.Frame) (out []string) {
	for _, f := range frames[max(0, len(frames)-20):] {
		out = append(out, fmt.Sprintf("%s@%d/%d", f.Kind, f.Rev, f.Seq))
	}
	return out
}

func upToRev(room domain.RoomID, rev int64) func([]ports.Frame) bool {
	return func(got []ports.Frame) bool {
		return slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Room == room && f.Rev == rev })
	}
}

func synced(got []ports.Frame) bool {
	return slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Kind == "sync.complete" })
}

// inOrder fails unless the log frames of a room are exactly from..to, each once, in order. To a member who was removed
// meanwhile, steps that are no messages may be left out.
func inOrder(t *testing.T, got []ports.Frame, room domain.RoomID, from, to int64) {
	t.Helper()
	removed := slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Room == room && f.Kind == domain.EventRoomRemoved })
	next, seq := from, int64(0)
	for _, f := range got {
		if f.Room != room || f.Rev == 0 || f.Kind == domain.EventRoomRemoved {
			continue
		}
		if f.Rev != next && (!removed || f.Rev < next || seq > 0 && f.Seq > seq+1) {
			t.Fatalf("got rev %d, want %d: %v", f.Rev, next, summary(got))
		}
		next, seq = f.Rev+1, max(f.Seq, seq)
	}
	if next != to+1 && (!removed || next > to+1) {
		t.Fatalf("got up to rev %d, want %d", next-1, to)
	}
}
