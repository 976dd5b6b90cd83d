package application

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// slowToLeave answers late that somebody has left.
type slowToLeave struct {
	ports.Presence
	late time.Duration
}

func (s slowToLeave) Leave(ctx context.Context, node string, users []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	left, unknown, err = s.Presence.Leave(ctx, node, users)
	time.Sleep(s.late)
	return left, unknown, err
}

func TestWhoLeavesTwoNodesAtOnceIsToldOfOnce(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.port.turn(func(p ports.Presence) ports.Presence { return slowToLeave{p, 300 * time.Millisecond} })
		s.a.came(ann)
		s.b.came(ann)
		time.Sleep(10 * time.Second)
		s.a.went(ann)
		s.b.went(ann)
		time.Sleep(20 * time.Second)
	})
	const end = 10*time.Second + domain.PresenceGrace
	s.want(t, tale{0, "ann online0"}, tale{end + 300*time.Millisecond, "ann offline0"})
}

func TestAGoingThatOvertakesAComingIsSetRight(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.port.turn(func(p ports.Presence) ports.Presence { return slowToLeave{p, 900 * time.Millisecond} })
		s.a.came(ann)
		time.Sleep(10 * time.Second)
		s.a.went(ann)
		time.Sleep(domain.PresenceGrace + presenceTick + 100*time.Millisecond) // the port has just said that ann has left
		s.b.came(ann)
		s.b.seated(ann, []domain.RoomID{{1}})
		time.Sleep(20 * time.Second)
	})
	const end = 10*time.Second + domain.PresenceGrace
	s.want(t, tale{0, "ann online0"}, tale{end, "ann online0"}, tale{end + 900*time.Millisecond, "ann offline0"},
		tale{end + 900*time.Millisecond + presenceSettle, "ann online0"})
}

func TestWhoIsOwedAnAnnouncementIsToldAsItStandsAtLast(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.bus.refuse("ann online0") // her coming waits, and she goes from another node meanwhile
		s.a.came(ann)
		time.Sleep(time.Second)
		s.b.came(ann)
		time.Sleep(time.Second)
		s.a.went(ann)
		time.Sleep(time.Second)
		s.b.went(ann)
		time.Sleep(17 * time.Second)
		s.bus.refuse("")
		time.Sleep(20 * time.Second)
	})
	s.want(t, tale{8 * time.Second, "ann offline0"}, tale{20 * time.Second, "ann online0"}, tale{21 * time.Second, "ann offline0"})
}

func TestWhoIsHereIsOnlineWhateverThePortHasForgotten(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		time.Sleep(11 * time.Second)
		s.port.turn(forget) // between two renewals
		s.a.said.hear(ports.Signal{Payload: []byte{1}})
		time.Sleep(4 * time.Second)
	})
	s.want(t, tale{0, "ann online0"}, tale{11 * time.Second, "ann online0"},
		tale{15 * time.Second, "ann online0"}) // once more with the renewal
}

// cutBus is the bus as a node sees it that may be cut off.
type cutBus struct {
	ports.Bus
	cut  atomic.Bool
	mu   sync.Mutex
	subs []func(ports.Signal)
}

func (b *cutBus) Subscribe(channel string, deliver func(ports.Signal)) (func(), error) {
	b.mu.Lock()
	b.subs = append(b.subs, deliver)
	b.mu.Unlock()
	return b.Bus.Subscribe(channel, func(s ports.Signal) {
		if !b.cut.Load() {
			deliver(s)
		}
	})
}

// heal ends the cut, as a bus does: all subscriptions are told that something may be lost.
func (b *cutBus) heal() {
	b.cut.Store(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, deliver := range b.subs {
		deliver(ports.Signal{Lost: true})
	}
}

// hinted is a sink that keeps hints.
type hinted struct {
	mu  sync.Mutex
	got []string
}

func (h *hinted) Push(ports.Frame) bool { return true }
func (h *hinted) Close(int, string)     {}
func (h *hinted) Hint(f ports.Frame) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, string(f.Bytes))
	return true
}

// take takes what has come so far.
func (h *hinted) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.got
	h.got = nil
	return got
}

type anEpoch struct{}

func (anEpoch) Epoch() domain.Epoch { return "e" }

// watching is a node with a socket of carl's in the one room, and the presence of that node.
func watching(t *testing.T, bus ports.Bus, port ports.Presence) (*Presence, *hinted, func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p := NewPresence(&oneRoom{}, port, bus, stateEncoder{}, system.IDs{}, system.Clock{}, log)
	hints := NewHints(bus, stateEncoder{}, log)
	f := NewFanout(&oneRoom{}, anEpoch{}, bus, stateEncoder{}, nil, p, hints, nil, nil, system.IDs{}, system.Clock{}, log, FanoutConfig{})
	if err := f.listen(); err != nil {
		t.Fatal(err)
	}
	carl := &hinted{}
	room, _ := f.shards[shardOf(domain.RoomID{1})].findOrAdd(domain.RoomID{1}, "t", 0, 3)
	room.seats = []seat{{peer: &Peer{caller: Caller{Actor: domain.Actor{User: "carl"}}, sink: carl}}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = p.Run(ctx) })
	running.Go(func() { _ = hints.Run(ctx) })
	running.Go(func() { _ = f.Run(ctx) })
	return p, carl, func() {
		cancel()
		running.Wait()
	}
}

func wantHints(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", when, got, want)
	}
}

func TestWhoCameAndWentWhileANodeWasCutOffIsToldThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus, port := inproc.NewBus(), inproc.NewPresence()
		a, _, stopA := watching(t, bus, port)
		defer stopA()
		cut := &cutBus{Bus: bus}
		_, carl, stopB := watching(t, cut, port)
		defer stopB()
		bob := ports.TenantUser{Tenant: "t", User: "bob"}
		a.came(ann)
		time.Sleep(time.Minute)
		wantHints(t, "before the cut", carl.take(), "ann online0")
		cut.cut.Store(true)
		a.went(ann)
		a.came(bob)
		time.Sleep(time.Minute)
		wantHints(t, "cut off", carl.take())
		cut.heal()
		time.Sleep(2 * time.Second)
		wantHints(t, "after the cut", carl.take(), "ann offline0", "bob online0")
		for range 40 { // nodes that ask again and again
			if err := bus.Publish(t.Context(), presenceAgainChannel, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if n := len(carl.take()); n == 0 || n > 2*3 {
			t.Errorf("told %d times in 20 s of asking, want both at most each 10 s", n)
		}
		time.Sleep(presenceRemember + time.Minute)
		carl.take()
		cut.heal()
		time.Sleep(20 * time.Second)
		wantHints(t, "long after", carl.take())
	})
}

func TestWhatWasAnnouncedIsRememberedWithinBounds(t *testing.T) {
	t.Parallel()
	s := announced{users: map[ports.TenantUser]*announcement{}}
	now := time.Now()
	for i := range 3 * maxAnnounced {
		u := ports.TenantUser{Tenant: "t", User: domain.UserID(rune('a' + i))}
		s.note(u, domain.PresenceOnline, now)
		s.users[u].sure = true
	}
	s.due(now)
	if n := len(s.users); n > maxAnnounced {
		t.Errorf("%d are remembered, want %d at most", n, maxAnnounced)
	}
	s.due(now.Add(presenceRemember + time.Second))
	if n := len(s.users); n > 0 {
		t.Errorf("%d are remembered when it is over", n)
	}
}

func TestTheTypingOfATypistWhoseNodeDiedEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus, port := inproc.NewBus(), inproc.NewPresence()
		_, carl, stop := watching(t, bus, port)
		defer stop()
		dying := NewHints(bus, stateEncoder{}, slog.New(slog.DiscardHandler)) // nobody runs it
		start := domain.Hint{Tenant: "t", Room: domain.RoomID{1}, Kind: domain.HintTyping, User: "ann", State: domain.TypingStarted}
		dying.Tell(t.Context(), start)
		time.Sleep(4 * time.Second)
		dying.Tell(t.Context(), start) // goes on
		time.Sleep(domain.TypingLasts)
		wantHints(t, "while typing", carl.take(), "ann start0", "ann start0")
		time.Sleep(time.Second)
		wantHints(t, "after", carl.take(), "ann stop0")
		time.Sleep(20 * time.Second)
		wantHints(t, "long after", carl.take())
	})
}

func TestTypingEndsOnceWhereTheTypistsNodeLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bus, port := inproc.NewBus(), inproc.NewPresence()
		_, carl, stop := watching(t, bus, port)
		defer stop()
		hints := NewHints(bus, stateEncoder{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = hints.Run(ctx) }()
		hints.Tell(ctx, domain.Hint{Tenant: "t", Room: domain.RoomID{1}, Kind: domain.HintTyping, User: "ann", State: domain.TypingStarted})
		time.Sleep(20 * time.Second)
		wantHints(t, "in all", carl.take(), "ann start0", "ann stop0")
		cancel()
		<-done
	})
}

func TestTypistsAreWatchedWithinBounds(t *testing.T) {
	t.Parallel()
	who := typists{until: map[hintKey]typist{}}
	for i := range 2 * maxTypists {
		sig := signal{number: 1}
		sig.User, sig.Kind = domain.UserID(rune('a'+i)), domain.HintTyping
		who.heard(sig, time.Now())
	}
	if n := len(who.until); n != maxTypists {
		t.Errorf("%d are watched, want %d", n, maxTypists)
	}
}

func TestWhenAUserWasLastSeenIsNotedOnceWhileThePortIsAway(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		time.Sleep(10 * time.Second)
		port := s.port.turn(func(p ports.Presence) ports.Presence { return noLeaving{p} })
		s.a.went(ann)
		time.Sleep(12 * time.Second)
		s.a.came(ann)
		time.Sleep(3 * time.Second)
		s.a.went(ann)
		time.Sleep(12 * time.Second)
		s.port.turn(func(ports.Presence) ports.Presence { return port })
		time.Sleep(20 * time.Second)
	})
	if n := len(s.store.seen); n != 2 {
		t.Errorf("when ann was last seen was noted %d times, want once for each of two goings", n)
	}
}

// noLeaving takes no going.
type noLeaving struct{ ports.Presence }

func (noLeaving) Leave(context.Context, string, []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	return nil, nil, domain.ErrAlone
}

// stuckStore writes nothing until it is told to give up.
type stuckStore struct{ *oneRoom }

func (stuckStore) Update(ctx context.Context, _ domain.TenantID, _ func(ports.Tx) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestTakingLeaveShortensTheLeasesAndWaitsForNoStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := inproc.NewPresence()
		p := NewPresence(stuckStore{&oneRoom{}}, port, inproc.NewBus(), stateEncoder{}, system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = p.Run(ctx) }()
		p.came(ann)
		time.Sleep(time.Second)
		begun := time.Now()
		cancel()
		<-done
		if took := time.Since(begun); took > presenceLeave {
			t.Errorf("took leave for %s, want %s at most", took, presenceLeave)
		}
		time.Sleep(domain.PresenceGrace)
		if online, err := port.Online(t.Context(), "t", []domain.UserID{"ann"}); err != nil || online["ann"] {
			t.Errorf("ann is online after the grace: %v, %v", online, err)
		}
	})
}
