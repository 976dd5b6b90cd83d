package application_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// slotsOn is a node's counting, under way until the returned function.
func slotsOn(t *testing.T, port ports.Presence) (slots *application.Slots, stop func()) {
	t.Helper()
	slots = application.NewSlots(port, system.IDs{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- slots.Run(ctx) }()
	return slots, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func take(t *testing.T, s *application.Slots) *application.Slot {
	t.Helper()
	slot, err := s.Take(t.Context(), tenant, "sockets of ann", 3)
	if err != nil {
		t.Fatalf("take a slot: %v", err)
	}
	return slot
}

func wantFull(t *testing.T, s *application.Slots) {
	t.Helper()
	if _, err := s.Take(t.Context(), tenant, "sockets of ann", 3); !errors.Is(err, domain.ErrTooManySockets) {
		t.Fatalf("one more slot than there are: got %v, want too many", err)
	}
}

func TestSlotsAreCountedOnAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := inproc.NewPresence()
		a, stopA := slotsOn(t, port)
		b, stopB := slotsOn(t, port)
		first, _, _ := take(t, a), take(t, a), take(t, b)
		wantFull(t, a)
		wantFull(t, b)
		if _, err := b.Take(t.Context(), tenant, "sockets of bob", 3); err != nil {
			t.Errorf("another name: %v", err)
		}
		first.Release()
		first.Release() // once more changes nothing
		synctest.Wait()
		last := take(t, b)
		wantFull(t, a)
		last.Release()
		take(t, b) // at once, where it was given up
		wantFull(t, b)

		<-time.After(time.Minute) // leases are renewed
		wantFull(t, a)
		stopA() // and given up with the node
		take(t, b)
		wantFull(t, b)
		stopB()
	})
}

func TestTheSlotsOfANodeThatDiedComeFreeWithItsLeases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := inproc.NewPresence()
		dead := application.NewSlots(port, system.IDs{}, slog.New(slog.DiscardHandler)) // nothing renews them
		b, stop := slotsOn(t, port)
		defer stop()
		take(t, dead)
		take(t, dead)
		take(t, dead)
		wantFull(t, b)
		<-time.After(15 * time.Second)
		if _, err := port.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		take(t, b)
	})
}

// awayPresence cannot be asked.
type awayPresence struct{ ports.Presence }

func (awayPresence) Online(context.Context, domain.TenantID, []domain.UserID) (map[domain.UserID]bool, error) {
	return nil, errors.New("away")
}

func TestEachNodeBoundsItsOwnWhileSlotsCannotBeCounted(t *testing.T) {
	t.Parallel()
	s := application.NewSlots(awayPresence{}, system.IDs{}, slog.New(slog.DiscardHandler))
	slots := []*application.Slot{take(t, s), take(t, s), take(t, s)}
	wantFull(t, s)
	slots[1].Release()
	take(t, s)
	wantFull(t, s)
}

// TestWhatWasTakenAloneIsCountedLater: once the port can be asked again.
func TestWhatWasTakenAloneIsCountedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := &fickle{Presence: inproc.NewPresence()}
		port.away.Store(true)
		a, stopA := slotsOn(t, port)
		defer stopA()
		b, stopB := slotsOn(t, port)
		defer stopB()
		take(t, a)
		take(t, a)
		port.away.Store(false)
		<-time.After(5 * time.Second)
		take(t, b)
		wantFull(t, b)
	})
}

// fickle is a presence that can be away.
type fickle struct {
	ports.Presence
	away atomic.Bool
}

func (p *fickle) Online(ctx context.Context, tenant domain.TenantID, users []domain.UserID) (map[domain.UserID]bool, error) {
	if p.away.Load() {
		return nil, errors.New("away")
	}
	return p.Presence.Online(ctx, tenant, users)
}

func (p *fickle) Arrive(ctx context.Context, node string, users []ports.TenantUser, d time.Duration) ([]ports.TenantUser, error) {
	if p.away.Load() {
		return nil, errors.New("away")
	}
	return p.Presence.Arrive(ctx, node, users, d)
}

func TestASlotOfADeadNodeIsTakenBeforeAnybodyWasToldOfItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := inproc.NewPresence()
		dead := application.NewSlots(port, system.IDs{}, slog.New(slog.DiscardHandler)) // nothing renews them
		b, stop := slotsOn(t, port)
		defer stop()
		take(t, dead)
		take(t, dead)
		take(t, dead)
		<-time.After(15 * time.Second)
		take(t, b)
		take(t, b)
		take(t, b)
		wantFull(t, b)
	})
}

// lossyPresence is a port that can be made to forget, and to answer late who is online.
type lossyPresence struct {
	ports.Presence
	late bool
}

func (l *lossyPresence) Online(ctx context.Context, tenant domain.TenantID, users []domain.UserID) (map[domain.UserID]bool, error) {
	if l.late {
		return nil, nil
	}
	return l.Presence.Online(ctx, tenant, users)
}

func TestWhoWasTooLateForASlotHoldsItUpForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := inproc.NewPresence()
		a, stopA := slotsOn(t, port)
		defer stopA()
		b, stopB := slotsOn(t, &lossyPresence{Presence: port, late: true})
		defer stopB()
		slot, _, _ := take(t, a), take(t, a), take(t, a)
		wantFull(t, b)
		slot.Release()
		synctest.Wait()
		c, stopC := slotsOn(t, port)
		defer stopC()
		take(t, c)
	})
}

func TestASlotIsGivenOnceOnANodeThoughThePortHasForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		port := &lossyPresence{Presence: inproc.NewPresence()}
		a, stop := slotsOn(t, port)
		defer stop()
		take(t, a)
		slot := take(t, a)
		port.Presence = inproc.NewPresence()
		take(t, a)
		wantFull(t, a)
		slot.Release()
		synctest.Wait()
		take(t, a)
		wantFull(t, a)
	})
}
