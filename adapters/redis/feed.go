package redis

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// feed is one connection that brings the signals of some channels. Its goroutine reads and does nothing that could
// wait; another one subscribes, and looks whether the connection lives.
type feed struct {
	bus  *Bus
	wake chan struct{} // what is wanted has changed

	mu        sync.Mutex
	wanted    map[string]int           // subscriptions of each channel
	awaited   map[string]chan struct{} // closed when Redis has heard of the channel
	connected bool                     // Redis has said something on this connection
	patient   bool                     // Redis has answered the last subscription in time

	sent  map[string]struct{} // channels that Redis was told of, on this connection
	known map[string]struct{} // and those of which it has said so

	heardAt atomic.Int64 // when something came last, since the bus began
}

const (
	feedPing   = time.Second
	feedSilent = 3 * time.Second // without an answer, and the connection is given up
	feedPause  = 50 * time.Millisecond
	maxPause   = time.Second
	maxHeard   = 1024 // nodes that are remembered of a channel: far more than there are
)

func newFeed(b *Bus) *feed {
	return &feed{bus: b, wake: make(chan struct{}, 1), wanted: map[string]int{}, awaited: map[string]chan struct{}{}, patient: true}
}

// await wants a channel, and waits a moment until Redis has heard of it. If that comes later, s is told Lost then.
func (f *feed) await(channel string, s *subscription) {
	f.mu.Lock()
	f.wanted[channel]++
	if _, ok := f.known[channel]; ok {
		f.mu.Unlock()
		return
	}
	heard := f.awaited[channel]
	if heard == nil {
		heard = make(chan struct{})
		f.awaited[channel] = heard
	}
	patient := f.patient
	f.changed()
	f.mu.Unlock()
	if patient {
		timer := time.NewTimer(subscribeWait)
		defer timer.Stop()
		select {
		case <-heard:
			return
		case <-timer.C:
		case <-f.bus.conn.ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-heard:
	default:
		f.patient = false
		s.setLate()
	}
}

// forget wants a channel once less.
func (f *feed) forget(channel string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wanted[channel]--; f.wanted[channel] > 0 {
		return
	}
	delete(f.wanted, channel)
	f.release(channel)
	f.changed()
}

func (f *feed) changed() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// isConnected reports whether Redis has heard of all that is wanted.
func (f *feed) isConnected() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.awaited) == 0 && (f.connected || len(f.wanted) == 0)
}

// run connects again and again until ctx ends.
func (f *feed) run(ctx context.Context) {
	pause := feedPause
	for {
		if !f.awaitWanted(ctx) {
			return
		}
		connected := f.session(ctx)
		if connected {
			pause = feedPause
		}
		f.broke(connected && ctx.Err() == nil)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// awaitWanted waits until there is a channel to be heard.
func (f *feed) awaitWanted(ctx context.Context) bool {
	for {
		f.mu.Lock()
		n := len(f.wanted)
		f.mu.Unlock()
		if n > 0 {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-f.wake:
		}
	}
}

// session is the life of one connection; connected says whether there was one.
func (f *feed) session(ctx context.Context) (connected bool) {
	ps := f.bus.conn.client.Subscribe(ctx) // to nothing: it does not connect yet
	f.mu.Lock()
	f.sent, f.known = map[string]struct{}{}, map[string]struct{}{}
	f.mu.Unlock()
	f.heardAt.Store(f.now())
	if err := f.subscribe(ctx, ps); err != nil {
		_ = ps.Close()
		return false
	}
	var keeping sync.WaitGroup
	over, stop := context.WithCancel(ctx)
	keeping.Go(func() { f.keep(over, ps) })
	connected = f.receive(ctx, ps)
	stop()
	_ = ps.Close()
	keeping.Wait()
	return connected
}

func (f *feed) now() int64 { return int64(time.Since(f.bus.began)) }

// subscribe tells Redis of the channels that are wanted now, and of those that no longer are.
func (f *feed) subscribe(ctx context.Context, ps *goredis.PubSub) error {
	added, gone := f.differences()
	cluster := f.bus.conn.cluster
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if len(gone) > 0 {
		tell := ps.Unsubscribe
		if cluster {
			tell = ps.SUnsubscribe
		}
		if err := tell(ctx, gone...); err != nil {
			return err
		}
	}
	if len(added) == 0 {
		return nil
	}
	if cluster {
		return ps.SSubscribe(ctx, added...)
	}
	return ps.Subscribe(ctx, added...)
}

// differences are the names of channels that Redis is to be told of. They count as told.
func (f *feed) differences() (added, gone []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for channel := range f.wanted {
		if _, ok := f.sent[channel]; !ok {
			f.sent[channel] = struct{}{}
			added = append(added, f.bus.name(channel))
		}
	}
	for channel := range f.sent {
		if f.wanted[channel] == 0 {
			delete(f.sent, channel)
			delete(f.known, channel)
			f.release(channel)
			gone = append(gone, f.bus.name(channel))
		}
	}
	return added, gone
}

// release needs f.mu.
func (f *feed) release(channel string) {
	if heard := f.awaited[channel]; heard != nil {
		delete(f.awaited, channel)
		close(heard)
	}
}

// keep subscribes to what is wanted anew, and ends the connection when it has fallen silent or ctx ends.
func (f *feed) keep(ctx context.Context, ps *goredis.PubSub) {
	defer func() { _ = ps.Close() }()
	tick := time.NewTicker(feedPing)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			err = f.subscribe(ctx, ps)
		case <-tick.C:
			if f.now()-f.heardAt.Load() > int64(feedSilent) {
				return
			}
			err = f.ping(ctx, ps)
		}
		if err != nil {
			return
		}
	}
}

func (f *feed) ping(ctx context.Context, ps *goredis.PubSub) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return ps.Ping(ctx)
}

// receive reads until the connection breaks.
func (f *feed) receive(ctx context.Context, ps *goredis.PubSub) (connected bool) {
	heard := map[string]map[string]uint64{} // the last frame of each channel and node
	for {
		msg, err := ps.Receive(ctx)
		if err != nil {
			return connected
		}
		connected = true
		f.heardAt.Store(f.now())
		switch msg := msg.(type) {
		case *goredis.Subscription:
			if !f.confirm(f.channelOf(msg.Channel), msg.Kind) {
				return connected // the library has connected anew by itself, and something may be missing
			}
		case *goredis.Message:
			f.deliver(heard, f.channelOf(msg.Channel), msg.Payload)
		}
	}
}

// channelOf is the channel of a name in Redis.
func (f *feed) channelOf(name string) string {
	_, channel, _ := strings.Cut(strings.TrimPrefix(name, f.bus.conn.key("bus:{")), "}:")
	return channel
}

// confirm notes that Redis has heard of a channel; false when it had said so before.
func (f *feed) confirm(channel, kind string) bool {
	if kind != "subscribe" && kind != "ssubscribe" {
		return kind != "sunsubscribe" || !f.isKnown(channel) // a slot of a cluster has moved
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connected, f.patient = true, true
	if _, ok := f.sent[channel]; !ok {
		return true // it is not wanted any more
	}
	if _, ok := f.known[channel]; ok {
		return false
	}
	f.known[channel] = struct{}{}
	f.release(channel)
	for _, s := range f.bus.subscriptions(channel) {
		s.heard()
	}
	return true
}

func (f *feed) isKnown(channel string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.known[channel]
	return ok
}

// deliver gives a frame of another node to the subscriptions, and a Lost before it when one is missing.
func (f *feed) deliver(heard map[string]map[string]uint64, channel, data string) {
	fr, err := readFrame([]byte(data))
	if err != nil {
		f.bus.log.Error("frame not understood", "error", err, "channel", channel)
		return
	}
	if fr.node == f.bus.node {
		return
	}
	nodes := heard[channel]
	if nodes == nil || len(nodes) > maxHeard {
		nodes = map[string]uint64{}
		heard[channel] = nodes
	}
	last, ok := nodes[fr.node]
	if ok && fr.number <= last {
		return
	}
	nodes[fr.node] = fr.number
	subs := f.bus.subscriptions(channel)
	if ok && fr.number > last+1 || !ok && len(fr.payloads) == 0 {
		f.bus.counters.gaps.Add(1)
		for _, s := range subs {
			s.lose()
		}
	}
	f.bus.counters.received.Add(int64(len(fr.payloads)))
	for _, s := range subs {
		s.put(fr.payloads)
	}
}

// broke tells every subscription that signals are missed from now on, if they were not before. They are told once more
// when Redis has heard of them anew.
func (f *feed) broke(connected bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.connected, f.patient = false, false
	f.sent, f.known = nil, nil
	for channel := range f.wanted {
		if f.awaited[channel] == nil {
			f.awaited[channel] = make(chan struct{})
		}
	}
	if !connected {
		return
	}
	f.bus.counters.reconnects.Add(1)
	for channel := range f.wanted {
		for _, s := range f.bus.subscriptions(channel) {
			s.setLate()
			s.lose()
		}
	}
}
