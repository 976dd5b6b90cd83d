package application

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
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

// oneRoom is a store in which every user is in one small room.
type oneRoom struct {
	ports.Store
	busy domain.TenantID // whose work has no place
	mu   sync.Mutex
	seen []domain.UserID
}

type oneRoomTx struct {
	ports.Tx
	s *oneRoom
}

func (s *oneRoom) View(_ context.Context, _ domain.TenantID, fn func(ports.Reader) error) error {
	return fn(oneRoomTx{s: s})
}

func (s *oneRoom) Update(_ context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	s.mu.Lock()
	busy := s.busy == tenant
	s.mu.Unlock()
	if busy {
		return domain.ErrBusy
	}
	return fn(oneRoomTx{s: s})
}

func (s *oneRoom) keepBusy(by domain.TenantID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = by
}

func (oneRoomTx) SmallRooms(domain.UserID, int) ([]domain.RoomID, error) {
	return []domain.RoomID{{1}}, nil
}

func (oneRoomTx) Positions(rooms []domain.RoomID) (map[domain.RoomID]int64, error) {
	stand := make(map[domain.RoomID]int64, len(rooms))
	for _, id := range rooms {
		stand[id] = 0 // where nothing has been said
	}
	return stand, nil
}

func (t oneRoomTx) SawUsers(users []domain.UserID, _ time.Time) error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.seen = append(t.s.seen, users...)
	return nil
}

// moodyPresence takes nobody while it is told to fail, and may become another one.
type moodyPresence struct {
	fails atomic.Bool
	mu    sync.Mutex
	port  ports.Presence
}

// turn makes it another one, and returns what it was.
func (m *moodyPresence) turn(into func(ports.Presence) ports.Presence) (before ports.Presence) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before = m.port
	m.port = into(before)
	return before
}

func (m *moodyPresence) now() ports.Presence {
	return m.turn(func(p ports.Presence) ports.Presence { return p })
}

// forget is of a port that has lost everything.
func forget(ports.Presence) ports.Presence { return inproc.NewPresence() }

func (m *moodyPresence) Arrive(ctx context.Context, node string, users []ports.TenantUser, d time.Duration) ([]ports.TenantUser, error) {
	if m.fails.Load() {
		return nil, errors.New("away")
	}
	return m.now().Arrive(ctx, node, users, d)
}

func (m *moodyPresence) Leave(ctx context.Context, node string, users []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	return m.now().Leave(ctx, node, users)
}

func (m *moodyPresence) Expire(ctx context.Context) ([]ports.TenantUser, error) {
	return m.now().Expire(ctx)
}

func (m *moodyPresence) Online(ctx context.Context, tenant domain.TenantID, users []domain.UserID) (map[domain.UserID]bool, error) {
	return m.now().Online(ctx, tenant, users)
}

// stages is a scenario of presence in virtual time with two nodes of one cluster.
type stages struct {
	bus   *told
	port  *moodyPresence
	store *oneRoom
	a, b  *Presence
	stopA func()
}

func stagePresence(t *testing.T, scenario func(*stages)) *stages {
	t.Helper()
	s := &stages{store: &oneRoom{}}
	synctest.Test(t, func(t *testing.T) {
		s.bus, s.port = &told{begun: time.Now()}, &moodyPresence{port: inproc.NewPresence()}
		s.a, s.stopA = s.node(t.Context())
		var stopB func()
		s.b, stopB = s.node(t.Context())
		scenario(s)
		s.stopA()
		stopB()
	})
	return s
}

func (s *stages) node(ctx context.Context) (*Presence, func()) {
	p := NewPresence(s.store, s.port, s.bus, stateEncoder{}, system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	return p, sync.OnceFunc(func() { cancel(); <-done })
}

var ann = ports.TenantUser{Tenant: "t", User: "ann"}

func (s *stages) want(t *testing.T, want ...tale) {
	t.Helper()
	const late = time.Second
	if !slices.EqualFunc(s.bus.all, want, func(got, want tale) bool {
		return got.what == want.what && got.at >= want.at && got.at <= want.at+late
	}) {
		t.Errorf("told %v, want %v", s.bus.all, want)
	}
}

func TestAReconnectWithinTheGraceIsInvisible(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		time.Sleep(10 * time.Second)
		s.a.went(ann)
		time.Sleep(4 * time.Second)
		s.a.came(ann) // here again
		time.Sleep(10 * time.Second)
		s.a.went(ann)
		time.Sleep(2 * time.Second)
		s.b.came(ann) // on another node
		time.Sleep(60 * time.Second)
		s.b.went(ann)
		time.Sleep(60 * time.Second)
	})
	s.want(t, tale{0, "ann online0"}, tale{91 * time.Second, "ann offline0"})
	if len(s.store.seen) == 0 {
		t.Error("when ann was last seen is not noted")
	}
}

func TestATenantThatKeepsTheStoreBusyDelaysNoOthersAbsence(t *testing.T) {
	t.Parallel()
	bob := ports.TenantUser{Tenant: "busy", User: "bob"}
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		s.a.came(bob)
		time.Sleep(10 * time.Second)
		s.store.keepBusy(bob.Tenant)
		s.a.went(ann)
		s.a.went(bob)
		time.Sleep(20 * time.Second)
		s.store.keepBusy("")
		time.Sleep(10 * time.Second)
	})
	slices.SortStableFunc(s.bus.all[:2], func(a, b tale) int { return strings.Compare(a.what, b.what) }) // of two tenants, at once
	s.want(t, tale{0, "ann online0"}, tale{0, "bob online0"}, tale{15 * time.Second, "ann offline0"}, tale{30 * time.Second, "bob offline0"})
}

func TestEachComingAndGoingIsToldOnce(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		s.b.came(ann)
		time.Sleep(100 * time.Second) // the leases are renewed
		s.a.went(ann)
		time.Sleep(10 * time.Second)
		s.b.went(ann)
		time.Sleep(10 * time.Second)
		s.b.came(ann)
		time.Sleep(10 * time.Second)
	})
	s.want(t, tale{0, "ann online0"}, tale{115 * time.Second, "ann offline0"}, tale{120 * time.Second, "ann online0"})
}

func TestWhoNeverStaysIsNeverTold(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.port.fails.Store(true) // nobody could be told
		s.a.came(ann)
		time.Sleep(time.Second)
		s.a.went(ann)
		time.Sleep(10 * time.Second)
		s.port.fails.Store(false)
		time.Sleep(10 * time.Second)
	})
	s.want(t)
}

func TestWhatThePortDidNotTakeIsToldLater(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.port.fails.Store(true)
		s.a.came(ann)
		time.Sleep(10 * time.Second)
		s.port.fails.Store(false)
		time.Sleep(10 * time.Second)
	})
	s.want(t, tale{10 * time.Second, "ann online0"})
}

func TestUsersOfANodeThatStoppedHaveTheGrace(t *testing.T) {
	t.Parallel()
	bob := ports.TenantUser{Tenant: "t", User: "bob"}
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		time.Sleep(time.Second)
		s.a.came(bob)
		time.Sleep(9 * time.Second)
		s.stopA()
		time.Sleep(3 * time.Second)
		s.b.came(bob)
		time.Sleep(30 * time.Second)
	})
	if n := len(s.bus.all); n != 3 {
		t.Fatalf("told %v", s.bus.all)
	}
	gone := s.bus.all[2]
	if gone.what != "ann offline0" || gone.at < 15*time.Second || gone.at > 21*time.Second {
		t.Errorf("told %v, want ann's going 5 s to 10 s after the stop at 10 s", gone)
	}
}
