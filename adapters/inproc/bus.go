package inproc

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/chatapi/chatapi/ports"
)

// Bus is the bus of one node: Publish calls the subscribers itself, in the publisher's goroutine, in the order of
// their subscribing. Nothing is copied, queued or lost, so that it never signals Lost. It satisfies ports.Bus.
type Bus struct {
	mu       sync.Mutex // guards writing of channels; readers load the pointer alone
	channels atomic.Pointer[map[string][]*subscription]
}

type subscription struct {
	mu      sync.Mutex // held during deliver: calls do not overlap, and cancel waits for the one under way
	deliver func(ports.Signal)
}

// NewBus returns a bus nobody has subscribed to.
func NewBus() *Bus {
	b := &Bus{}
	b.channels.Store(&map[string][]*subscription{})
	return b
}

// Publish calls every subscription of channel and returns when all have taken the payload. It never fails.
func (b *Bus) Publish(_ context.Context, channel string, payload []byte) error {
	for _, s := range (*b.channels.Load())[channel] {
		s.take(ports.Signal{Payload: payload})
	}
	return nil
}

func (s *subscription) take(sig ports.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deliver != nil {
		s.deliver(sig)
	}
}

// Subscribe adds a subscription. Once cancel has returned, deliver is not running and is not called again.
func (b *Bus) Subscribe(channel string, deliver func(ports.Signal)) (cancel func(), err error) {
	s := &subscription{deliver: deliver}
	b.replace(channel, func(subs []*subscription) []*subscription { return append(slices.Clone(subs), s) })
	return func() { b.cancel(channel, s) }, nil
}

func (b *Bus) cancel(channel string, s *subscription) {
	b.replace(channel, func(subs []*subscription) []*subscription {
		return slices.DeleteFunc(slices.Clone(subs), func(other *subscription) bool { return other == s })
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = nil // a publisher that read the list before it was replaced finds nothing to call
}

// replace publishes a new table of subscriptions; those who read the old one keep it unchanged.
func (b *Bus) replace(channel string, change func([]*subscription) []*subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := maps.Clone(*b.channels.Load())
	if subs := change(next[channel]); len(subs) > 0 {
		next[channel] = subs
	} else {
		delete(next, channel)
	}
	b.channels.Store(&next)
}
