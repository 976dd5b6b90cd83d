package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// join adds a member in a unit of work.
func join(ctx context.Context, s *postgres.Store, of domain.TenantID, room domain.RoomID, user string) error {
	return s.Update(ctx, of, func(tx ports.Tx) error {
		_, err := tx.AddMember(room, domain.UserID(user), domain.RoleMember, now)
		return err
	})
}

// atOnce fails when something has to wait that has nothing to wait for.
func atOnce(tb testing.TB, what string, do func() error) {
	tb.Helper()
	started := time.Now()
	err := do()
	if took := time.Since(started); err != nil || took >= postgres.AcquirePatience {
		tb.Errorf("%s: %v after %v, want no error and at once", what, err, took)
	}
}

func looks(s *postgres.Store, of domain.TenantID, room domain.RoomID) func() error {
	return func() error {
		return s.View(context.Background(), of, func(r ports.Reader) error {
			_, err := r.MessagesAfter(room, 0, 10)
			return err
		})
	}
}

// toldToComeAgain is work that had no place, or no lock, for as long as it waits.
func toldToComeAgain(err error) bool {
	return errors.Is(err, domain.ErrBusy) || errors.Is(err, domain.ErrUnavailable)
}

func membersOf(tb testing.TB, s *postgres.Store, of domain.TenantID, room domain.RoomID) int {
	tb.Helper()
	members, err := ports.View(tb.Context(), s, of, func(r ports.Reader) ([]domain.Member, error) { return r.Members(room, 0, 1000) })
	if err != nil {
		tb.Fatal(err)
	}
	return len(members)
}

func TestARoomThatIsLockedKeepsOnlyItsOwnWorkWaiting(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn, MaxConns: 8})
	const other domain.TenantID = "tenant_b"
	makeTenant(t, s, other)
	stuck, free, others := makeRoom(t, s, tenant, "ann"), makeRoom(t, s, tenant, "ann"), makeRoom(t, s, other, "bob")
	release := hold(t, dsn, stuck.ID)
	defer release()
	const many = 40
	var joined atomic.Int64
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			switch err := join(t.Context(), s, tenant, stuck.ID, fmt.Sprint("user", i)); {
			case err == nil:
				joined.Add(1)
			case !toldToComeAgain(err):
				t.Errorf("a unit of work that waited for its room: %v", err)
			}
		})
	}
	harness.Eventually(t, 10*time.Second, "others wait at the room's door", func() bool { return s.QueuedAt(stuck.ID) == many-s.MostAtARoom() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := join(ctx, s, tenant, stuck.ID, "gone"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a unit of work whose context ended while it waited for its turn: %v", err)
	}
	atOnce(t, "a view of another tenant", looks(s, other, others.ID))
	atOnce(t, "a view of the same tenant", looks(s, tenant, stuck.ID))
	atOnce(t, "a unit of work of another tenant", func() error { return join(t.Context(), s, other, others.ID, "cid") })
	atOnce(t, "a unit of work in another room", func() error { return join(t.Context(), s, tenant, free.ID, "cid") })
	release()
	all.Wait()
	if got, want := membersOf(t, s, tenant, stuck.ID), int(joined.Load())+1; got != want || want < many/2 {
		t.Errorf("%d members, want %d, and nearly all of %d", got, want, many)
	}
	if held := s.HeldPlaces(); held != 0 {
		t.Errorf("%d places are held when nobody works", held)
	}
}

func TestTenantsWhoseRoomsAreAllLockedLeavePlacesToOthers(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn, MaxConns: 8})
	hungry := []domain.TenantID{"tenant_h1", "tenant_h2", "tenant_h3"}
	var locked []domain.RoomID
	rooms := map[domain.TenantID][]domain.Room{}
	for _, of := range hungry {
		makeTenant(t, s, of)
		for range 8 {
			room := makeRoom(t, s, of, "ann")
			rooms[of], locked = append(rooms[of], room), append(locked, room.ID)
		}
	}
	calm := makeRoom(t, s, tenant, "ann")
	release := hold(t, dsn, locked...)
	defer release()
	var busy atomic.Int64
	var all sync.WaitGroup
	for of, theirs := range rooms {
		for _, room := range theirs {
			all.Go(func() {
				err := join(t.Context(), s, of, room.ID, "bob")
				if toldToComeAgain(err) {
					busy.Add(1)
				} else if err != nil {
					t.Errorf("a unit of work at a locked room: %v", err)
				}
			})
		}
	}
	harness.Eventually(t, 10*time.Second, "both wait for places", func() bool { return s.Stats().InUse >= 4 })
	for range 3 {
		atOnce(t, "a view of a third tenant", looks(s, tenant, calm.ID))
		atOnce(t, "a unit of work of a third tenant", func() error { return join(t.Context(), s, tenant, calm.ID, fresh().String()) })
	}
	for _, of := range hungry {
		atOnce(t, "a view of a tenant whose rooms are locked", looks(s, of, rooms[of][0].ID))
	}
	harness.Eventually(t, 10*time.Second, "those without a place are told to come again", func() bool { return busy.Load() > 0 })
	release()
	all.Wait()
	if held := s.HeldPlaces(); held != 0 {
		t.Errorf("%d places are held when nobody works", held)
	}
}

func TestPlacesGoToWhoHasLeastAndThenToWhoCameFirst(t *testing.T) {
	t.Parallel()
	g := postgres.NewGate(4, 1)
	for _, of := range []domain.TenantID{"a", "a", "b"} {
		if err := g.Enter(t.Context(), of, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	in := make(chan string, 4)
	var all sync.WaitGroup
	wait := func(of domain.TenantID, name string, waiting int) {
		all.Go(func() {
			if err := g.Enter(t.Context(), of, time.Minute); err != nil {
				t.Error(err)
			}
			in <- name
		})
		harness.Eventually(t, 10*time.Second, name+" waits", func() bool { return g.Waiting() == waiting })
	}
	wait("a", "a's third", 1)
	wait("b", "b's second", 2)
	if err := g.Enter(t.Context(), "c", 0); err != nil {
		t.Errorf("a tenant that comes new: %v", err)
	}
	wait("d", "d's first", 3)
	if err := g.Enter(t.Context(), "d", time.Millisecond); !errors.Is(err, domain.ErrBusy) {
		t.Errorf("whoever has waited for long enough: %v, want %v", err, domain.ErrBusy)
	}
	g.Leave("a")
	if first := <-in; first != "d's first" {
		t.Errorf("the first place went to %s", first)
	}
	g.Leave("c") // one is free: whoever has none may take it
	g.Leave("b")
	if second := <-in; second != "b's second" {
		t.Errorf("the second place went to %s", second)
	}
	g.Leave("a")
	if third := <-in; third != "a's third" {
		t.Errorf("the third place went to %s", third)
	}
	all.Wait()
}
