package redis

import (
	"context"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Bus joins the nodes by Redis's pub/sub; in a Redis Cluster by its sharded one. On the own node Publish calls the
// subscribers itself, in the publisher's goroutine, whether Redis is there or not; what comes back from Redis is left
// out. To the others it goes through a bounded queue and one writer, which sends what was published meanwhile in one
// round trip, one message for each channel.
//
// A subscription is told Lost when the connection that brings its signals has broken and again when it is there again,
// when a frame of a node is missing, whether Redis has dropped it or its node, and when its own queue overflows. A
// Subscribe waits for Redis a moment, so that nothing published after it is missed; when Redis does not answer, Lost
// follows as soon as it does. It satisfies ports.Bus.
type Bus struct {
	conn  *Conn
	node  string // the bytes of its id
	log   *slog.Logger
	began time.Time
	out   outgoing
	feeds []*feed

	frameSize int // of what is joined

	mu       sync.Mutex // guards writing of channels; readers load the pointer alone
	channels atomic.Pointer[map[string][]*subscription]

	counters busCounters
}

// BusStats are counters since the start.
type BusStats struct {
	Published  int64 // payloads handed to the writer
	Frames     int64 // messages that Redis took
	Dropped    int64 // payloads that did not go out: the queue was full, or Redis away
	Received   int64 // payloads from other nodes
	Gaps       int64 // frames of other nodes that were found missing
	Overflows  int64 // times that a subscription's queue was full
	Lost       int64 // times that a subscription was told so
	Reconnects int64 // connections that broke
	Queued     int   // payloads that wait for the writer, now
	Connected  bool  // everything subscribed to is heard, now
}

type busCounters struct {
	published, frames, dropped, received, gaps, overflows, lost, reconnects atomic.Int64
}

const (
	clusterFeeds  = 8                      // connections of a node to a Redis Cluster, over which channels are spread
	subscribeWait = 250 * time.Millisecond // for Redis to say that it has heard of a subscription
)

// NewBus returns the bus of a node; it works until conn is closed.
func NewBus(conn *Conn) *Bus {
	b := &Bus{conn: conn, node: rawID(conn.node), log: conn.log, began: time.Now(), frameSize: maxFrame, out: outgoing{wake: make(chan struct{}, 1)}}
	b.channels.Store(&map[string][]*subscription{})
	n := 1
	if conn.cluster {
		n = clusterFeeds
	}
	for range n {
		f := newFeed(b)
		b.feeds = append(b.feeds, f)
		conn.run(f.run)
	}
	conn.run(newWriter(b).run)
	return b
}

// Publish calls this node's subscriptions and leaves the payload for the others to the writer. It never fails: what the
// others do not get they are told of.
func (b *Bus) Publish(_ context.Context, channel string, payload []byte) error {
	for _, s := range (*b.channels.Load())[channel] {
		s.take(ports.Signal{Payload: payload})
	}
	b.counters.published.Add(1)
	if !b.out.put(channel, payload) {
		b.counters.dropped.Add(1)
	}
	return nil
}

// Subscribe adds a subscription. Once cancel has returned, deliver is not running and is not called again.
func (b *Bus) Subscribe(channel string, deliver func(ports.Signal)) (cancel func(), err error) {
	s := newSubscription(b, deliver)
	b.conn.run(s.run)
	f := b.feedOf(channel)
	b.replace(channel, func(subs []*subscription) []*subscription { return append(slices.Clone(subs), s) })
	f.await(channel, s)
	return sync.OnceFunc(func() {
		b.replace(channel, func(subs []*subscription) []*subscription {
			return slices.DeleteFunc(slices.Clone(subs), func(other *subscription) bool { return other == s })
		})
		f.forget(channel)
		s.close()
	}), nil
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

func (b *Bus) subscriptions(channel string) []*subscription { return (*b.channels.Load())[channel] }

// feedOf is the connection that brings a channel's signals.
func (b *Bus) feedOf(channel string) *feed { return b.feeds[b.part(channel)] }

func (b *Bus) part(channel string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(channel))
	return int(h.Sum32() % uint32(len(b.feeds)))
}

// Stats reads the counters.
func (b *Bus) Stats() BusStats {
	c := &b.counters
	s := BusStats{
		Published: c.published.Load(), Frames: c.frames.Load(), Dropped: c.dropped.Load(), Received: c.received.Load(),
		Gaps: c.gaps.Load(), Overflows: c.overflows.Load(), Lost: c.lost.Load(), Reconnects: c.reconnects.Load(),
		Queued: b.out.size(), Connected: true,
	}
	for _, f := range b.feeds {
		s.Connected = s.Connected && f.isConnected()
	}
	return s
}
