package application_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// cuttableBus loses everything while it is cut, and says so to all subscriptions when it is whole again.
type cuttableBus struct {
	ports.Bus
	cut  atomic.Bool
	mu   sync.Mutex
	subs []func(ports.Signal)
}

func (b *cuttableBus) Publish(ctx context.Context, channel string, payload []byte) error {
	if b.cut.Load() {
		return nil
	}
	return b.Bus.Publish(ctx, channel, payload)
}

func (b *cuttableBus) Subscribe(channel string, deliver func(ports.Signal)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, deliver)
	return b.Bus.Subscribe(channel, deliver)
}

func (b *cuttableBus) heal() {
	b.cut.Store(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, deliver := range b.subs {
		deliver(ports.Signal{Lost: true})
	}
}

// countedStore counts views.
type countedStore struct {
	ports.Store
	views atomic.Int64
}

func (s *countedStore) View(ctx context.Context, tenant domain.TenantID, fn func(ports.Reader) error) error {
	s.views.Add(1)
	return s.Store.View(ctx, tenant, fn)
}

func TestALostBusCostsFewReadsAndWhatWasMissedComesWithinMoments(t *testing.T) {
	t.Parallel()
	store := &countedStore{}
	over := func(s ports.Store) ports.Store { store.Store = s; return store }
	inHallOver(t, over, func(h *hall) {
		bus := &cuttableBus{Bus: inproc.NewBus()}
		h.stopHall()
		h.bus = bus
		h.openHall()
		const rooms, rounds = 150, 8
		var room domain.RoomID
		for range rooms {
			room = h.group("ann", "bob")
		}
		bob := h.connect("bob", "phone")
		for range rounds {
			bus.cut.Store(true)
			sent := h.send("ann", room)
			time.Sleep(10 * time.Millisecond) // in which its hint is lost
			views, begun := store.views.Load(), time.Now()
			bus.heal()
			for !bob.has(sent.Seq) && time.Since(begun) < 2*time.Second {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(begun); took > 400*time.Millisecond {
				t.Errorf("what was missed came after %s", took)
			}
			if n := store.views.Load() - views; n > rooms/5 {
				t.Errorf("%d reads for %d rooms of which one was behind", n, rooms)
			}
			time.Sleep(300 * time.Millisecond) // so that the next sweep is not due soon
		}
	})
}

// TestWhatWasStoredBeforeAConnectComesBeforeSyncComplete also when this node has not heard of it yet.
func TestWhatWasStoredBeforeAConnectComesBeforeSyncComplete(t *testing.T) {
	t.Parallel()
	inHallOver(t, nil, func(h *hall) {
		bus := &cuttableBus{Bus: inproc.NewBus()}
		h.stopHall()
		h.bus = bus
		h.openHall()
		room := h.group("ann", "bob")
		phone := h.connect("bob", "phone")
		phone.ack(room, h.send("ann", room).Seq)
		time.Sleep(2 * time.Second) // the mark is stored: a new device begins there
		bus.cut.Store(true)
		h.send("ann", room)
		h.send("ann", room)
		got := h.connect("bob", "tablet").texts()
		if len(got) != 3 || got[2] != "synced" {
			t.Errorf("the tablet was sent %v, want both messages and then sync.complete", got)
		}
	})
}

func (c *client) has(seq int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.got {
		if f.Kind == domain.EventMessage && f.Seq == seq {
			return true
		}
	}
	return false
}
