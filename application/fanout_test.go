package application_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
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
	n := &node{
		store: store, messaging: application.NewMessaging(store, store, store, ids, clock),
		rooms: application.NewRooms(store, ids, clock), delivery: application.NewDelivery(store, clock, log),
	}
	n.fanout = application.NewFanout(over(store), store, bus, plainEncoder{}, n.delivery, clock, log, application.FanoutConfig{MaxPerUser: 1000})
	store.OnCommit(n.fanout.Committed)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = n.fanout.Run(ctx) })
	running.Go(func() { _ = n.delivery.Run(ctx) })
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

// connect opens a socket that reads step frames at a time.
func (n *node) connect(t *testing.T, user string, device domain.DeviceID, resume *application.Resume, capacity, step int) *socket {
	t.Helper()
	s := &socket{capacity: capacity, arrived: make(chan struct{}, 1)}
	peer, err := n.fanout.Connect(as(user), device, s)
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
				for s.read(step) {
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

// inOrder fails unless the log frames of a room are exactly from..to, each once, in order.
func inOrder(t *testing.T, got []ports.Frame, room domain.RoomID, from, to int64) {
	t.Helper()
	next := from
	for _, f := range got {
		if f.Room != room || f.Rev == 0 || f.Kind == domain.EventRoomRemoved {
			continue
		}
		if f.Rev != next {
			t.Fatalf("got rev %d, want %d: %v", f.Rev, next, summary(got))
		}
		next++
	}
	if next != to+1 {
		t.Fatalf("got up to rev %d, want %d", next-1, to)
	}
}

func TestEverySocketSeesOneOrderWhateverItsSpeed(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b", "c")
	sockets := []*socket{
		n.connect(t, "a", "fast", nil, 256, 1000),
		n.connect(t, "b", "slow", nil, 5, 1),
		n.connect(t, "c", "one", nil, 1, 1),
		n.connect(t, "c", "two", nil, 40, 7),
	}
	const senders, each = 8, 100
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() {
			for k := range each {
				_, err := n.messaging.Send(context.Background(), as("a"), room, domain.Draft{Content: fmt.Sprint(i, "-", k)}, nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	last := int64(1 + senders*each)
	for _, s := range sockets {
		inOrder(t, s.await(t, "the last message", upToRev(room, last)), room, 1, last)
	}
}

func TestAReturningDeviceGetsWhatItMissedFromTheTailOrTheStore(t *testing.T) {
	t.Parallel()
	for _, missed := range []int{0, 1, 20, 99, 100, 101, 350} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			t.Parallel()
			n := startNode(t, inproc.NewBus())
			room := n.room(t, "a", "b")
			n.connect(t, "a", "watches", nil, 256, 100).await(t, "sync", synced)
			n.connect(t, "b", "phone", nil, 256, 100).await(t, "sync", synced)
			first := n.send(t, "a", room, "first")
			if err := n.delivery.Ack(t.Context(), as("b"), room, "phone", first.Seq, 0); err != nil {
				t.Fatal(err)
			}
			last := first.FirstRev
			for range missed {
				last = n.send(t, "a", room, "missed").FirstRev
			}
			s := n.connect(t, "b", "phone", nil, 10, 3)
			got := s.await(t, "sync.complete", synced)
			inOrder(t, got, room, first.FirstRev+1, last)
			after := n.send(t, "a", room, "live again")
			inOrder(t, s.await(t, "a live message", upToRev(room, after.FirstRev)), room, first.FirstRev+1, after.FirstRev)
		})
	}
}

func TestAReplayKeepsTheNewest500AndTellsWhatItLeftOut(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	var last domain.Message
	for range 620 {
		last = n.send(t, "a", room, "m")
	}
	got := n.connect(t, "b", "", nil, 64, 50).await(t, "sync.complete", synced)
	var seqs []int64
	for _, f := range got {
		if f.Seq > 0 {
			seqs = append(seqs, f.Seq)
		}
	}
	if len(seqs) != 500 || seqs[0] != 121 || seqs[499] != last.Seq || !slices.IsSorted(seqs) {
		t.Errorf("replayed %d messages, %d..%d", len(seqs), seqs[0], seqs[len(seqs)-1])
	}
	if sync := string(got[len(got)-1].Bytes); sync[:len("sync rooms=1 messages=500 truncated=1")] != "sync rooms=1 messages=500 truncated=1" {
		t.Errorf("report: %s", sync)
	}
}

func TestResumeByPositionByCursorAndFromAnotherEpoch(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for range 10 {
		n.send(t, "a", room, "m")
	}
	end := int64(11)
	epoch := n.fanout.Epoch()
	at := func(rev int64) *application.Resume {
		return &application.Resume{Epoch: epoch, Rooms: []domain.Position{{Room: room, Rev: rev}}}
	}
	got := n.connect(t, "b", "d", at(4), 64, 50).await(t, "sync.complete", synced)
	inOrder(t, got, room, 5, end)

	_, cursor, _ := splitLast(string(got[len(got)-1].Bytes))
	n.send(t, "a", room, "after the cursor")
	got = n.connect(t, "b", "d", &application.Resume{Cursor: cursor}, 64, 50).await(t, "sync.complete", synced)
	inOrder(t, got, room, end+1, end+1)

	for name, resume := range map[string]*application.Resume{
		"a position above the room's": at(99),
		"another epoch":               {Epoch: "other", Rooms: []domain.Position{{Room: room, Rev: 3}}},
	} {
		got := n.connect(t, "b", "d", resume, 64, 50).await(t, "sync.complete", synced)
		if got[0].Kind != "resync_required" || string(got[0].Bytes) != "1" {
			t.Errorf("%s: first frame %s %s, want resync_required of 1 room", name, got[0].Kind, got[0].Bytes)
		}
		inOrder(t, got, room, 1, 0) // nothing is replayed
	}
	stranger := at(0)
	stranger.Rooms[0].Room[3]++
	got = n.connect(t, "b", "d2", stranger, 64, 50).await(t, "sync.complete", synced)
	if !slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Kind == domain.EventRoomRemoved }) {
		t.Errorf("a room that is not the user's was not told to be removed: %v", summary(got))
	}
	if err := (&socketless{n}).start(t, &application.Resume{Cursor: "nonsense"}); fieldOf(err) != "cursor" {
		t.Errorf("nonsense cursor: %v", err)
	}
}

type socketless struct{ n *node }

func (s *socketless) start(t *testing.T, resume *application.Resume) error {
	t.Helper()
	peer, err := s.n.fanout.Connect(as("b"), "d", &socket{capacity: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	return peer.Start(t.Context(), resume)
}

func fieldOf(err error) string {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

func splitLast(text string) (before, after string, found bool) {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '|' {
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

func TestSubscribeReplaysFromThereAndGoesOnLive(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for range 130 {
		n.send(t, "a", room, "m")
	}
	s := n.connect(t, "b", "", &application.Resume{Epoch: n.fanout.Epoch(), Rooms: []domain.Position{{Room: room, Rev: 131}}}, 16, 5)
	s.await(t, "sync.complete", synced)
	after := int64(10)
	sub, err := s.peer.Subscribe(t.Context(), room, &after)
	if err != nil || sub.LastSeq != 130 || sub.Truncated != nil {
		t.Fatalf("subscribed %+v, %v", sub, err)
	}
	last := n.send(t, "a", room, "live")
	inOrder(t, s.await(t, "the live message", upToRev(room, last.FirstRev)), room, 12, last.FirstRev)
	tooFar := int64(999)
	if _, err := s.peer.Subscribe(t.Context(), room, &tooFar); fieldOf(err) != "after_seq" {
		t.Errorf("after_seq above last_seq: %v", err)
	}
	other := n.room(t, "a")
	if _, err := s.peer.Subscribe(t.Context(), other, nil); !errors.Is(err, domain.ErrNotMember) {
		t.Errorf("a stranger subscribed: %v", err)
	}
}

func TestARemovedMemberGetsNothingAboveTheRemoval(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	for round := range 20 {
		room := n.room(t, "a", "b")
		s := n.connect(t, "b", domain.DeviceID(fmt.Sprint("d", round)), nil, 1+rand.IntN(20), 1+rand.IntN(5))
		var sending sync.WaitGroup
		for range 4 {
			sending.Go(func() {
				for range 25 {
					_, _ = n.messaging.Send(context.Background(), as("a"), room, domain.Draft{Content: "m"}, nil)
				}
			})
		}
		if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil {
			t.Fatal(err)
		}
		sending.Wait()
		removed := func(f ports.Frame) bool { return f.Room == room && f.Kind == domain.EventRoomRemoved }
		got := s.await(t, "room.removed", func(got []ports.Frame) bool { return slices.ContainsFunc(got, removed) })
		left := got[slices.IndexFunc(got, removed)].Rev
		inOrder(t, got, room, 1, left)
		for range 3 {
			n.send(t, "a", room, "after")
		}
		again := n.connect(t, "a", "x", nil, 500, 100)
		again.await(t, "sync", synced)
		inOrder(t, s.frames(), room, 1, left)
	}
}

func TestAnAbsentDeviceLearnsOfARemovalUntilItConfirms(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	told := func(confirm bool) bool {
		t.Helper()
		s := n.connect(t, "b", "phone", nil, 64, 50)
		got := s.await(t, "sync.complete", synced)
		if confirm {
			s.peer.Confirmed()
			n.delivery.Flush(t.Context())
		}
		return slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Kind == domain.EventRoomRemoved && f.Room == room })
	}
	if told(true) {
		t.Error("told of a removal before there was one")
	}
	if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil {
		t.Fatal(err)
	}
	if !told(false) || !told(true) {
		t.Error("an absent device was not told of its removal until it confirmed")
	}
	if told(true) {
		t.Error("told again after the confirmation")
	}
}

func TestANewMemberIsSeatedAtOnceAndAReaddedOneGoesOn(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	s := n.connect(t, "b", "", nil, 64, 50)
	room := n.room(t, "a", "b") // room.created reaches b
	n.send(t, "a", room, "one")
	inOrder(t, s.await(t, "the first message", upToRev(room, 2)), room, 1, 2)
	other := n.room(t, "a")
	n.send(t, "a", other, "before")
	add := func() {
		t.Helper()
		if _, err := n.rooms.AddMembers(t.Context(), as("a"), other, application.NewMembers{UserID: "b"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	add()
	n.send(t, "a", other, "after")
	inOrder(t, s.await(t, "the message after joining", upToRev(other, 4)), other, 3, 4)
	if err := n.rooms.RemoveMember(t.Context(), as("b"), other, "b"); err != nil {
		t.Fatal(err)
	}
	n.send(t, "a", other, "unseen")
	add()
	n.send(t, "a", other, "seen")
	got := s.await(t, "the message after joining again", upToRev(other, 8))
	for _, f := range got {
		if f.Room == other && f.Rev == 6 {
			t.Error("a message sent while the user was out came live")
		}
	}
}

// lossyBus loses, repeats and reorders hints.
type lossyBus struct {
	ports.Bus
	lose, repeat float64
}

func (b *lossyBus) Publish(ctx context.Context, channel string, payload []byte) error {
	if rand.Float64() < b.lose {
		return nil
	}
	if rand.Float64() < b.repeat {
		go func() { _ = b.Bus.Publish(ctx, channel, payload) }()
	}
	return b.Bus.Publish(ctx, channel, payload)
}

func TestLostRepeatedAndReorderedHintsCostOnlyADelay(t *testing.T) {
	t.Parallel()
	for name, bus := range map[string]*lossyBus{
		"all lost":  {lose: 1},
		"half lost": {lose: 0.5, repeat: 0.5},
		"repeated":  {repeat: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus.Bus = inproc.NewBus()
			n := startNode(t, bus)
			room := n.room(t, "a", "b")
			s := n.connect(t, "b", "", nil, 30, 10)
			s.await(t, "sync.complete", synced)
			var last domain.Message
			for range 200 {
				last = n.send(t, "a", room, "m")
			}
			inOrder(t, s.await(t, "the last message", upToRev(room, last.FirstRev)), room, 1, last.FirstRev)
		})
	}
}

func TestTwoDevicesKeepTheirOwnPlace(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for _, device := range []domain.DeviceID{"phone", "laptop"} {
		n.connect(t, "b", device, nil, 64, 50).await(t, "sync.complete", synced)
	}
	var last domain.Message
	for range 10 {
		last = n.send(t, "a", room, "m")
	}
	if err := n.delivery.AckSoon(t.Context(), as("b"), room, "phone", 7, 0); err != nil {
		t.Fatal(err)
	}
	n.delivery.Flush(t.Context())
	inOrder(t, n.connect(t, "b", "phone", nil, 64, 50).await(t, "sync", synced), room, 9, last.FirstRev)
	inOrder(t, n.connect(t, "b", "laptop", nil, 64, 50).await(t, "sync", synced), room, 1, last.FirstRev)
	inOrder(t, n.connect(t, "b", "tablet", nil, 64, 50).await(t, "sync", synced), room, 9, last.FirstRev)
	for _, bad := range []int64{-1, last.Seq + 1} {
		if err := n.delivery.AckSoon(t.Context(), as("b"), room, "phone", bad, 0); fieldOf(err) != "seq" {
			t.Errorf("ack of %d: %v", bad, err)
		}
	}
	if err := n.delivery.AckSoon(t.Context(), as("z"), room, "", 1, 0); !errors.Is(err, domain.ErrNotMember) {
		t.Errorf("a stranger's ack: %v", err)
	}
}

func TestSocketsOfARevokedCredentialAreClosed(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	s := n.connect(t, "b", "", nil, 64, 50)
	n.fanout.CloseCredential(tenant, "another")
	n.fanout.CloseCredential("tenant_other", "")
	if s.closedAs != 0 {
		t.Error("closed for somebody else's credential")
	}
	n.fanout.CloseCredential(tenant, "c")
	if s.closedAs != 4401 {
		t.Errorf("closed as %d, want 4401", s.closedAs)
	}
}
