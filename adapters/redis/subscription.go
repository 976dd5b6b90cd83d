package redis

import (
	"context"
	"sync"

	"github.com/chatapi/chatapi/ports"
)

// subscription hands signals to one subscriber. Those of the own node come in their publishers' goroutines, those of
// others through a bounded queue and a goroutine, so that a slow subscriber keeps nobody from hearing.
type subscription struct {
	bus  *Bus
	over chan struct{} // closed by cancel

	mu      sync.Mutex // held during deliver: calls do not overlap, and cancel waits for the one under way
	deliver func(ports.Signal)

	queued sync.Mutex // guards what follows
	queue  []ports.Signal
	bytes  int
	late   bool // is to be told Lost when Redis has heard of it
	wake   chan struct{}
}

// A subscription's queue.
const (
	maxQueued      = 4096
	maxQueuedBytes = 16 << 20
)

func newSubscription(b *Bus, deliver func(ports.Signal)) *subscription {
	return &subscription{bus: b, over: make(chan struct{}), deliver: deliver, wake: make(chan struct{}, 1)}
}

func (s *subscription) take(sig ports.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deliver != nil {
		s.deliver(sig)
	}
}

// run hands out what is queued, until the subscription or ctx ends.
func (s *subscription) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.over:
			return
		case <-s.wake:
		}
		for _, sig := range s.takeQueue() {
			s.take(sig)
		}
	}
}

func (s *subscription) takeQueue() (signals []ports.Signal) {
	s.queued.Lock()
	defer s.queued.Unlock()
	signals, s.queue, s.bytes = s.queue, nil, 0
	return signals
}

// put queues payloads. When there is no place for them, all that waits gives way to one Lost.
func (s *subscription) put(payloads [][]byte) {
	s.queued.Lock()
	defer s.queued.Unlock()
	for _, p := range payloads {
		if len(s.queue) >= maxQueued || s.bytes+len(p) > maxQueuedBytes {
			s.bus.counters.overflows.Add(1)
			s.queue, s.bytes = nil, 0
			s.addLost()
		}
		s.queue = append(s.queue, ports.Signal{Payload: p})
		s.bytes += len(p)
	}
	s.signal()
}

// lose queues a Lost.
func (s *subscription) lose() {
	s.queued.Lock()
	defer s.queued.Unlock()
	s.addLost()
	s.signal()
}

// addLost needs s.queued. Two in a row say no more than one.
func (s *subscription) addLost() {
	if n := len(s.queue); n > 0 && s.queue[n-1].Lost {
		return
	}
	s.bus.counters.lost.Add(1)
	s.queue = append(s.queue, ports.Signal{Lost: true})
}

// setLate notes that signals may be missed until Redis has heard of the subscription.
func (s *subscription) setLate() {
	s.queued.Lock()
	defer s.queued.Unlock()
	s.late = true
}

// heard tells what was missed meanwhile.
func (s *subscription) heard() {
	s.queued.Lock()
	defer s.queued.Unlock()
	if s.late {
		s.late = false
		s.addLost()
		s.signal()
	}
}

func (s *subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscription) close() {
	close(s.over)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = nil // a publisher that read the list before it was replaced finds nothing to call
}
