package main

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// warmUp runs before each measured window: the first seconds of a server are not what it costs.
const warmUp = time.Second

// window measures one server over a span of time: what was counted, and the CPU it took.
type window struct {
	measuring atomic.Bool
	stopped   atomic.Bool
	sent      counter
	received  counter
	took      *latencies
}

// counter is an atomic that has its cache lines to itself per part, as thousands of goroutines count.
type counter struct {
	parts [16]struct {
		n atomic.Int64
		_ [120]byte
	}
}

func (c *counter) add(who int) { c.parts[who%len(c.parts)].n.Add(1) }

func (c *counter) sum() (total int64) {
	for i := range c.parts {
		total += c.parts[i].n.Load()
	}
	return total
}

// result is what a window saw.
type result struct {
	seconds        float64
	sent, received float64
	cpu            float64 // seconds of the server
}

func newWindow() *window { return &window{took: newLatencies()} }

// measure lets the load that has been started run: warm-up, the window, stop.
func (w *window) measure(s *harness.Server, span time.Duration, profiled func() error) (result, error) {
	<-time.After(warmUp)
	w.took.reset()
	w.measuring.Store(true)
	from, began := [2]int64{w.sent.sum(), w.received.sum()}, time.Now()
	cpuBefore, err := s.CPU()
	if err != nil {
		return result{}, err
	}
	profile := make(chan error, 1)
	go func() { profile <- profiled() }()
	<-time.After(span)
	cpu, err := s.CPU()
	r := result{
		seconds: time.Since(began).Seconds(), cpu: (cpu - cpuBefore).Seconds(),
		sent: float64(w.sent.sum() - from[0]), received: float64(w.received.sum() - from[1]),
	}
	w.measuring.Store(false)
	err = errors.Join(err, <-profile)
	w.stopped.Store(true)
	return r, err
}

// record adds a latency of the window.
func (w *window) record(who int, d time.Duration) {
	if w.measuring.Load() {
		w.took.add(who, d)
	}
}

// drain waits until everything that was sent has been received want times, and returns the share that was.
func (w *window) drain(want int64) float64 {
	expected := w.sent.sum() * want
	_ = harness.Until(20*time.Second, "all deliveries", func() bool { return w.received.sum() >= expected })
	if expected == 0 {
		return 0
	}
	return 100 * float64(w.received.sum()) / float64(expected)
}
