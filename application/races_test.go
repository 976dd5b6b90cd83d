package application_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// hookedStore runs hooks around the n-th View after arm, so that a test can act at every point of a connect.
type hookedStore struct {
	ports.Store
	left          atomic.Int32
	fired         atomic.Bool
	before, after func()
}

func (h *hookedStore) arm(n int32, before, after func()) {
	h.before, h.after = before, after
	h.left.Store(n)
}

// fire runs the hooks now, unless they ran: not every connect makes as many reads.
func (h *hookedStore) fire() (fired bool) {
	if !h.fired.CompareAndSwap(false, true) {
		return false
	}
	h.before()
	h.after()
	return true
}

func (h *hookedStore) View(ctx context.Context, id domain.TenantID, fn func(ports.Reader) error) error {
	now := h.left.Add(-1) == 0 && h.fired.CompareAndSwap(false, true)
	if now {
		h.before()
	}
	err := h.Store.View(ctx, id, fn)
	if now {
		h.after()
	}
	return err
}

// gatedBus holds hints back while it is closed; they come in order when it opens.
type gatedBus struct {
	ports.Bus
	mu     sync.Mutex
	closed bool
	held   []func()
}

func (b *gatedBus) Publish(ctx context.Context, channel string, payload []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		b.held = append(b.held, func() { _ = b.Bus.Publish(ctx, channel, payload) })
		return nil
	}
	return b.Bus.Publish(ctx, channel, payload)
}

func (b *gatedBus) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

func (b *gatedBus) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, publish := range b.held {
		publish()
	}
	b.closed, b.held = false, nil
}

// stage is a room of bob's and alice's, watched by bob, and another that tells when alice has heard everything.
type stage struct {
	*node
	t         *testing.T
	hooks     *hookedStore
	bus       *gatedBus
	room      domain.RoomID
	afterward domain.RoomID
	bob       *socket
}

func setStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, hooks: &hookedStore{}, bus: &gatedBus{Bus: inproc.NewBus()}}
	s.node = startNodeOver(t, s.bus, func(store ports.Store) ports.Store {
		s.hooks.Store = store
		return s.hooks
	})
	s.connect(t, "alice", "d", nil, 1000, 1000).await(t, "sync", synced)
	s.room, s.afterward = s.node.room(t, "bob", "alice"), s.node.room(t, "bob", "alice")
	s.bob = s.connect(t, "bob", "d", nil, 1000, 1000)
	s.bob.await(t, "sync", synced) // before any hook waits for what bob hears
	return s
}

// longAgo are more messages than the tail of a room holds: whoever missed them reads the store.
var longAgo = func() (words []string) {
	for i := range 130 {
		words = append(words, fmt.Sprint("m", i+1))
	}
	return words
}()

func (s *stage) say(contents ...string) {
	s.t.Helper()
	for _, content := range contents {
		s.send(s.t, "bob", s.room, content)
	}
}

func (s *stage) remove() {
	if err := s.rooms.RemoveMember(s.t.Context(), as("bob"), s.room, "alice"); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) add() {
	if _, err := s.rooms.AddMembers(s.t.Context(), as("bob"), s.room, application.NewMembers{UserID: "alice"}, nil); err != nil {
		s.t.Error(err)
	}
}

// heard waits until the node has dispatched everything so far to bob.
func (s *stage) heard() {
	s.t.Helper()
	last := s.send(s.t, "bob", s.afterward, "heard")
	s.bob.await(s.t, "everything so far", upToRev(s.afterward, last.FirstRev))
}

// all returns the contents and kinds alice got of the room, once she has heard everything.
func (s *stage) all(alice *socket) string {
	s.t.Helper()
	last := s.send(s.t, "bob", s.afterward, "the end")
	got := alice.await(s.t, "the end", upToRev(s.afterward, last.FirstRev))
	var words []string
	for _, f := range got {
		if f.Room == s.room {
			words = append(words, string(f.Bytes))
		}
	}
	return strings.Join(words, " ")
}

// eachMoment runs a case with something happening around each of the reads that a connect makes, for clients that
// missed what memory holds and for those who need the store.
func eachMoment(t *testing.T, do func(t *testing.T, s *stage, missed []string, n int32)) {
	t.Helper()
	for _, missed := range [][]string{longAgo, longAgo[:3]} {
		for n := range int32(5) {
			t.Run(fmt.Sprintf("%d missed, at read %d", len(missed), n+1), func(t *testing.T) {
				t.Parallel()
				s := setStage(t)
				s.say(missed...)
				do(t, s, missed, n+1)
			})
		}
	}
}

func TestARemovalAtAnyMomentOfAConnectIsHeeded(t *testing.T) {
	t.Parallel()
	eachMoment(t, func(t *testing.T, s *stage, _ []string, n int32) {
		s.hooks.arm(n, func() {}, func() { s.remove(); s.heard() })
		alice := s.connect(t, "alice", "d", nil, 1000, 1000)
		alice.await(t, "sync", synced)
		s.hooks.fire()
		s.say("secret")
		got := s.all(alice)
		for range 3 { // the sweep must not bring it either
			s.say("secret")
			<-time.After(400 * time.Millisecond)
		}
		if got += s.all(alice); strings.Contains(got, "secret") {
			t.Errorf("a removed user got %s", got)
		}
	})
}

func TestAReturnAtAnyMomentOfAConnectKeepsTheSeat(t *testing.T) {
	t.Parallel()
	eachMoment(t, func(t *testing.T, s *stage, _ []string, n int32) {
		s.hooks.arm(n, func() { s.remove(); s.heard() }, func() { s.add(); s.heard() })
		alice := s.connect(t, "alice", "d", nil, 1000, 1000)
		alice.await(t, "sync", synced)
		s.hooks.fire()
		s.say("after")
		alice.await(t, "the message after the return", func(got []ports.Frame) bool {
			return slices.ContainsFunc(got, func(f ports.Frame) bool { return string(f.Bytes) == "after" })
		})
	})
}

func TestNothingBelowARemovalIsSkipped(t *testing.T) {
	t.Parallel()
	eachMoment(t, func(t *testing.T, s *stage, missed []string, n int32) {
		s.hooks.arm(n, func() {
			s.bus.close() // the node hears of the following after alice has read it
			s.say("late1", "late2")
			s.remove()
		}, func() {})
		alice := s.connect(t, "alice", "d", nil, 3, 1)
		alice.await(t, "sync", synced)
		late := s.hooks.fire()
		s.bus.open()
		want := "room.created " + strings.Join(missed, " ") + " late1 late2 member.removed room.removed"
		if got := s.all(alice); got != want && !late && got != "room.removed" { // the latter when she was never seated
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestASubscribeBeforeTheNodeHearsOfTheMembershipReplays(t *testing.T) {
	t.Parallel()
	s := setStage(t)
	s.say("m1", "m2", "m3")
	s.remove()
	s.heard()
	alice := s.connect(t, "alice", "d2", nil, 1000, 1000)
	alice.await(t, "sync", synced)
	s.bus.close()
	s.add()
	zero := int64(0)
	if _, err := alice.peer.Subscribe(t.Context(), s.room, &zero); err != nil {
		t.Fatal(err)
	}
	alice.await(t, "the replay", func(got []ports.Frame) bool {
		return slices.ContainsFunc(got, func(f ports.Frame) bool { return string(f.Bytes) == "m3" })
	})
	s.bus.open()
	s.say("live")
	if got := s.all(alice); !strings.HasSuffix(got, " live") {
		t.Errorf("got %s", got)
	}
}

func TestManySubscribesOfASlowSocketMakeOneReplay(t *testing.T) {
	t.Parallel()
	s := setStage(t)
	s.say("m1", "m2", "m3")
	alice := &socket{capacity: 1, arrived: make(chan struct{}, 1)}
	peer, err := s.fanout.Connect(t.Context(), as("alice"), application.Client{Device: "d"}, alice)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	alice.peer = peer
	if err := peer.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	zero := int64(0)
	for range 1000 { // nobody reads
		if _, err := peer.Subscribe(t.Context(), s.room, &zero); err != nil {
			t.Fatal(err)
		}
	}
	alice.await(t, "everything", func(got []ports.Frame) bool {
		alice.read(1)
		return synced(got)
	})
	if got := strings.Count(fmt.Sprintf("%s", contents(alice.frames())), "m1"); got > 3 {
		t.Errorf("m1 came %d times", got)
	}
}

func contents(frames []ports.Frame) (out []string) {
	for _, f := range frames {
		out = append(out, string(f.Bytes))
	}
	return out
}

// TestMembershipsInFluxNeverLeakNorLose lets members come and go while slow sockets connect, leave, resume and
// subscribe, and hints come late. Whoever is a member at the end hears the last word; who is not hears nothing above
// the removal.
func TestMembershipsInFluxNeverLeakNorLose(t *testing.T) {
	t.Parallel()
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			inFlux(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func inFlux(t *testing.T, r *rand.Rand) {
	t.Helper()
	s := setStage(t)
	users := []string{"alice", "carol", "dave"}
	member := map[string]bool{"alice": true}
	removedAt := map[string]int64{}
	var sockets []*socket
	var owners []string
	for range 150 {
		user := users[r.IntN(len(users))]
		switch r.IntN(6) {
		case 0:
			if _, err := s.rooms.AddMembers(t.Context(), as("bob"), s.room, application.NewMembers{UserID: user}, nil); err != nil {
				t.Fatal(err)
			}
			member[user] = true
			delete(removedAt, user)
		case 1:
			if member[user] {
				if err := s.rooms.RemoveMember(t.Context(), as("bob"), s.room, domain.UserID(user)); err != nil {
					t.Fatal(err)
				}
				room, err := s.rooms.Get(t.Context(), as("bob"), s.room)
				if err != nil {
					t.Fatal(err)
				}
				member[user], removedAt[user] = false, room.LastRev
			}
		case 2:
			if len(sockets) < 30 {
				sockets = append(sockets, s.connect(t, user, domain.DeviceID(fmt.Sprint("d", r.IntN(3))), nil, 1+r.IntN(30), 1+r.IntN(10)))
				owners = append(owners, user)
			}
		case 3:
			if i := len(sockets); i > 0 {
				after := r.Int64N(3)
				_, _ = sockets[r.IntN(i)].peer.Subscribe(t.Context(), s.room, &after)
			}
		case 4:
			s.bus.close()
			s.say("held")
			s.bus.open()
		default:
			s.say("word")
		}
	}
	last := s.send(t, "bob", s.room, "the last word")
	s.heard()
	for i, sock := range sockets {
		if member[owners[i]] {
			sock.await(t, owners[i]+"'s last word", upToRev(s.room, last.FirstRev))
			continue
		}
		for _, f := range sock.frames() {
			if at, ok := removedAt[owners[i]]; ok && f.Room == s.room && f.Rev > at {
				t.Errorf("%s, removed at %d, got %s@%d", owners[i], at, f.Kind, f.Rev)
			}
		}
	}
}

func heardWord(word string) func([]ports.Frame) bool {
	return func(got []ports.Frame) bool { return slices.Contains(contents(got), word) }
}

// failingStore refuses the n-th View.
type failingStore struct {
	ports.Store
	left atomic.Int32
}

func (s *failingStore) View(ctx context.Context, id domain.TenantID, fn func(ports.Reader) error) error {
	if s.left.Add(-1) == 0 {
		return domain.ErrUnavailable
	}
	return s.Store.View(ctx, id, fn)
}

func TestASubscribeThatFailsHalfwayDoesNotSilenceTheRoom(t *testing.T) {
	t.Parallel()
	bus, store := &gatedBus{Bus: inproc.NewBus()}, &failingStore{}
	n := startNodeOver(t, bus, func(s ports.Store) ports.Store {
		store.Store = s
		return store
	})
	alice := n.connect(t, "alice", "d", nil, 1000, 1000)
	alice.await(t, "sync", synced)
	bus.close()
	room := n.room(t, "bob", "alice")
	n.send(t, "bob", room, "m1")
	zero := int64(0)
	store.left.Store(2) // the comparison after the seat was taken
	_, _ = alice.peer.Subscribe(t.Context(), room, &zero)
	bus.open()
	n.send(t, "bob", room, "live")
	alice.await(t, "the live message", heardWord("live"))
}

func TestASubscribeOfASeatAheadOfItsNodeReplays(t *testing.T) {
	t.Parallel()
	s := setStage(t)
	s.say("m1")
	s.heard()
	s.bus.close()
	s.say("m2", "m3", "m4")
	if err := s.delivery.Ack(t.Context(), as("alice"), s.room, "d", 4, 0); err != nil {
		t.Fatal(err)
	}
	alice := s.connect(t, "alice", "d", nil, 1000, 1000)
	alice.await(t, "sync", synced)
	after := int64(2)
	if _, err := alice.peer.Subscribe(t.Context(), s.room, &after); err != nil {
		t.Fatal(err)
	}
	s.bus.open()
	s.say("m5")
	alice.await(t, "the live message", heardWord("m5"))
	if got := contents(alice.frames()); !slices.Contains(got, "m3") || !slices.Contains(got, "m4") {
		t.Errorf("the replay asked for never came: %v", got)
	}
}
