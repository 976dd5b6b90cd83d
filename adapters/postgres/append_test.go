package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// hold locks rooms, as a node that does not move, until release is called.
func hold(tb testing.TB, dsn string, rooms ...domain.RoomID) (release func()) {
	tb.Helper()
	c := connectTo(tb, dsn)
	mustExec(tb, c, "SET ROLE chatapi_operator")
	tx, err := c.Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for _, room := range rooms {
		if _, err := tx.Exec(tb.Context(), "SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE", room[:]); err != nil {
			tb.Fatal(err)
		}
	}
	return sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			tb.Error(err)
		}
	})
}

func TestSendsOfOtherRoomsDoNotFailForARoomThatIsLocked(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn})
	stuck := makeRoom(t, s, tenant, "ann")
	rooms := make([]domain.Room, 5)
	for i := range rooms {
		rooms[i] = makeRoom(t, s, tenant, "ann")
	}
	release := hold(t, dsn, stuck.ID)
	defer release()
	late := make(chan error, 1)
	var all sync.WaitGroup
	go func() {
		_, err := appendTo(t, s, tenant, stuck.ID, newSend("ann", "into the locked room"))
		late <- err
	}()
	for i, room := range rooms {
		all.Go(func() {
			for n := range 5 {
				if _, err := appendTo(t, s, tenant, room.ID, newSend("ann", fmt.Sprint(i, n))); err != nil {
					t.Errorf("a send beside a locked room: %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, room := range rooms {
		if got := len(history(t, s, tenant, room.ID)); got != 5 {
			t.Errorf("%d messages in a room beside the locked one, want 5", got)
		}
	}
	if err := <-late; !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("a send into a locked room: %v", err)
	}
	release()
	mustAppend(t, s, tenant, stuck.ID, "when it is free again")
	if got := len(history(t, s, tenant, stuck.ID)); got != 1 {
		t.Errorf("%d messages in the room that was locked, want 1", got)
	}
}

// TestSendsBesideManyLockedRoomsAreStored has more rooms of a batch locked than there are connections.
func TestSendsBesideManyLockedRoomsAreStored(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn})
	other := fillTenant(t, s, "tenant_b")
	const locked, free = 5, 60
	for range locked {
		stuck := makeRoom(t, s, tenant, "ann")
		defer hold(t, dsn, stuck.ID)()
		go func() { _, _ = appendTo(t, s, tenant, stuck.ID, newSend("ann", "into a locked room")) }()
	}
	harness.Eventually(t, 10*time.Second, "one of the locked rooms is waited for", func() bool { return s.Stats().Queued < locked })
	var all sync.WaitGroup
	for i := range free {
		room := makeRoom(t, s, tenant, "ann")
		all.Go(func() {
			if _, err := appendTo(t, s, tenant, room.ID, newSend("ann", "x")); err != nil {
				t.Errorf("send %d beside locked rooms: %v", i, err)
			}
		})
		if i%10 == 0 {
			all.Go(func() {
				if _, err := appendTo(t, s, "tenant_b", other.ID, newSend("ann", "x")); err != nil {
					t.Errorf("a send of another tenant: %v", err)
				}
			})
		}
	}
	all.Wait()
}

// TestSendWaitsForARoomAsLongAsOtherWork has a unit of work hold a room for longer than a batch of several rooms would wait.
func TestSendWaitsForARoomAsLongAsOtherWork(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn})
	room := makeRoom(t, s, tenant, "ann")
	release := hold(t, dsn, room.ID)
	ended := make(chan struct{})
	time.AfterFunc(3*time.Second, func() {
		release()
		close(ended)
	})
	defer func() { <-ended }()
	mustAppend(t, s, tenant, room.ID, "late")
	if got := len(history(t, s, tenant, room.ID)); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

func TestTenantHasAShareOfTheQueueAndOthersTheRest(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn})
	room := makeRoom(t, s, tenant, "ann")
	other := fillTenant(t, s, "tenant_b")
	release := hold(t, dsn, room.ID)
	defer release()
	const more = 10
	results := make(chan error, postgres.MaxBatch+postgres.MaxShare+more)
	var all sync.WaitGroup
	for range cap(results) {
		all.Go(func() {
			_, err := appendTo(t, s, tenant, room.ID, newSend("ann", "x"))
			results <- err
		})
	}
	harness.Eventually(t, 20*time.Second, "the tenant's share is full", func() bool { return s.Stats().Queued == postgres.MaxShare })
	mustAppend(t, s, "tenant_b", other.ID, "another tenant's")
	release()
	all.Wait()
	close(results)
	busy := 0
	for err := range results {
		if errors.Is(err, domain.ErrBusy) {
			busy++
		} else if err != nil {
			t.Errorf("a send: %v", err)
		}
	}
	if stored := len(history(t, s, tenant, room.ID)); busy == 0 || stored+busy != cap(results) {
		t.Errorf("%d stored and %d refused of %d", stored, busy, cap(results))
	}
}

func TestTenantMadeAnewUnderAnIDIsAnotherForSendsToo(t *testing.T) {
	t.Parallel()
	s := withTenant(t, postgres.Config{})
	old := makeRoom(t, s, tenant, "ann")
	mustAppend(t, s, tenant, old.ID, "of the first")
	if err := s.DeleteTenant(t.Context(), tenant, now); err != nil {
		t.Fatal(err)
	}
	if _, err := appendTo(t, s, tenant, old.ID, newSend("ann", "late")); !errors.Is(err, domain.ErrTenantNotFound) {
		t.Errorf("a send of a deleted tenant: %v", err)
	}
	makeTenant(t, s, tenant)
	if _, err := appendTo(t, s, tenant, old.ID, newSend("ann", "late")); !errors.Is(err, domain.ErrRoomNotFound) {
		t.Errorf("a send into the first tenant's room: %v", err)
	}
	room := makeRoom(t, s, tenant, "ann")
	mustAppend(t, s, tenant, room.ID, "of the second")
	if got := len(history(t, s, tenant, room.ID)); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

func TestSendThatTheServerRefusesFailsAlone(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn})
	room := makeRoom(t, s, tenant, "ann")
	taken := mustAppend(t, s, tenant, room.ID, "first")
	release := hold(t, dsn, room.ID)
	defer release()
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			send := newSend("ann", fmt.Sprint(i))
			if i == n/2 {
				send.ID = taken.ID // an id that a message has already
			}
			_, err := appendTo(t, s, tenant, room.ID, send)
			if (err == nil) == (i == n/2) {
				t.Errorf("send %d: %v", i, err)
			}
		})
	}
	harness.Eventually(t, 10*time.Second, "sends wait", func() bool { return s.Stats().Queued >= n-1 })
	release()
	all.Wait()
	stored := history(t, s, tenant, room.ID)
	if len(stored) != n {
		t.Errorf("%d messages, want %d", len(stored), n)
	}
	for i, m := range stored {
		if m.Seq != int64(i)+1 {
			t.Errorf("message %d has seq %d", i, m.Seq)
		}
	}
}

func TestSendsOfOneBatchSeeEachOther(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := withTenant(t, postgres.Config{DSN: dsn})
	room := makeRoom(t, s, tenant, "ann")
	release := hold(t, dsn, room.ID)
	defer release()
	first := newSend("ann", "once")
	first.Draft.ClientID = "c1"
	first.Fingerprint = first.Draft.Fingerprint()
	outs := make(chan ports.Appended, 8)
	var all sync.WaitGroup
	for range cap(outs) {
		send := first
		send.ID = domain.MessageID(fresh())
		all.Go(func() {
			out, err := appendTo(t, s, tenant, room.ID, send)
			if err != nil {
				t.Errorf("a repeated send: %v", err)
			}
			outs <- out
		})
	}
	harness.Eventually(t, 10*time.Second, "sends wait", func() bool { return s.Stats().Queued >= cap(outs)-1 })
	release()
	all.Wait()
	close(outs)
	fresh := 0
	ids := map[domain.MessageID]bool{}
	for out := range outs {
		ids[out.Message.ID] = true
		if !out.Duplicate {
			fresh++
		}
	}
	if fresh != 1 || len(ids) != 1 || len(history(t, s, tenant, room.ID)) != 1 {
		t.Errorf("%d of one send were stored, answered with %d messages", fresh, len(ids))
	}
}
