package redis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// outgoing is what waits for the writer.
type outgoing struct {
	wake chan struct{}

	mu      sync.Mutex
	queue   []outgoingPayload
	bytes   int
	dropped map[string]struct{} // channels that lack something
}

type outgoingPayload struct {
	channel string
	payload []byte
}

const (
	maxOutgoing      = 16384
	maxOutgoingBytes = 32 << 20
	maxFrame         = 256 << 10 // a payload that is larger goes alone
	maxRound         = 1024      // payloads in a round trip
	dropRetry        = 500 * time.Millisecond
)

// put queues a payload; false when there is no place.
func (o *outgoing) put(channel string, payload []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxOutgoing || o.bytes+len(payload) > maxOutgoingBytes {
		o.noteDropped(channel)
		return false
	}
	o.queue = append(o.queue, outgoingPayload{channel, payload})
	o.bytes += len(payload)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

// noteDropped needs o.mu.
func (o *outgoing) noteDropped(channel string) {
	if o.dropped == nil {
		o.dropped = map[string]struct{}{}
	}
	o.dropped[channel] = struct{}{}
}

func (o *outgoing) take() (queue []outgoingPayload, dropped map[string]struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue, dropped = o.queue, o.dropped
	o.queue, o.bytes, o.dropped = nil, 0, nil
	return queue, dropped
}

func (o *outgoing) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}

// writer brings what was published to Redis. Payloads of one channel that wait together go in one frame. It sends
// nothing twice: what it does not know to have arrived is lost, and the next frame's number shows that.
type writer struct {
	bus     *Bus
	numbers map[string]uint64   // of the last frame of each channel
	owed    map[string]struct{} // channels whose receivers do not know yet that a frame is missing
	failing bool
}

func newWriter(b *Bus) *writer {
	return &writer{bus: b, numbers: map[string]uint64{}, owed: map[string]struct{}{}}
}

func (w *writer) run(ctx context.Context) {
	for {
		var retry <-chan time.Time
		if len(w.owed) > 0 {
			retry = time.After(dropRetry)
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
			defer cancel()
			w.sendWaiting(last)
			return
		case <-w.bus.out.wake:
		case <-retry:
		}
		w.sendWaiting(ctx)
	}
}

// sendWaiting sends all that waits, in rounds.
func (w *writer) sendWaiting(ctx context.Context) {
	queue, dropped := w.bus.out.take()
	for channel := range dropped {
		w.numbers[channel]++
		w.owed[channel] = struct{}{}
	}
	for {
		n := min(len(queue), maxRound)
		w.send(ctx, queue[:n])
		if queue = queue[n:]; len(queue) == 0 {
			return
		}
	}
}

// outgoingFrame is one PUBLISH.
type outgoingFrame struct {
	channel  string
	bytes    []byte
	payloads int
	sent     *goredis.IntCmd
}

// frames joins payloads. Channels whose receivers are owed a number get a frame without payloads first: it says that
// something is missing to those too who have heard no frame before.
func (w *writer) frames(queue []outgoingPayload) (frames []*outgoingFrame) {
	open := map[string]*outgoingFrame{}
	begin := func(channel string) *outgoingFrame {
		w.numbers[channel]++
		f := &outgoingFrame{channel: channel, bytes: appendFrame(nil, w.bus.node, w.numbers[channel])}
		frames, open[channel] = append(frames, f), f
		return f
	}
	for _, channel := range slices.Sorted(maps.Keys(w.owed)) {
		begin(channel)
		delete(open, channel)
	}
	for _, p := range queue {
		f := open[p.channel]
		if f == nil || len(f.bytes)+len(p.payload) > w.bus.frameSize {
			f = begin(p.channel)
		}
		f.bytes = appendPayload(f.bytes, p.payload)
		f.payloads++
	}
	return frames
}

// send publishes payloads in one round trip.
func (w *writer) send(ctx context.Context, queue []outgoingPayload) {
	frames := w.frames(queue)
	if len(frames) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pipe := w.bus.conn.client.Pipeline()
	for _, f := range frames {
		if name := w.bus.name(f.channel); w.bus.conn.cluster {
			f.sent = pipe.SPublish(ctx, name, f.bytes)
		} else {
			f.sent = pipe.Publish(ctx, name, f.bytes)
		}
	}
	_, _ = pipe.Exec(ctx)
	var errs []error
	clear(w.owed) // all of them had a frame
	for _, f := range frames {
		if err := f.sent.Err(); err != nil {
			errs = append(errs, err)
			w.owed[f.channel] = struct{}{}
			w.bus.counters.dropped.Add(int64(f.payloads))
			continue
		}
		w.bus.counters.frames.Add(1)
	}
	w.note(errors.Join(errs[:min(1, len(errs))]...))
}

// note logs when sending begins to fail, and when it goes on.
func (w *writer) note(err error) {
	switch {
	case err != nil && !w.failing:
		w.bus.log.Warn("hints do not reach other nodes", "error", err)
	case err == nil && w.failing:
		w.bus.log.Info("hints reach other nodes again")
	}
	w.failing = err != nil
}

// name is a channel's in Redis. Those of one connection are in one slot of a cluster.
func (b *Bus) name(channel string) string {
	return b.conn.key("bus:{" + strconv.Itoa(b.part(channel)) + "}:" + channel)
}
