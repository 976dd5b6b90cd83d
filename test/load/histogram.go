package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies is a histogram of microseconds that many goroutines write to: each writes to one of a few parts.
type latencies struct {
	parts [16]struct {
		mu sync.Mutex
		h  *hdrhistogram.Histogram
	}
}

func newLatencies() *latencies {
	l := &latencies{}
	for i := range l.parts {
		l.parts[i].h = newHistogram()
	}
	return l
}

// newHistogram holds 1 µs to 2 minutes with 3 digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, (2 * time.Minute).Microseconds(), 3)
}

// add records one duration; who spreads the callers over the parts.
func (l *latencies) add(who int, d time.Duration) {
	p := &l.parts[who%len(l.parts)]
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.h.RecordValue(max(1, d.Microseconds())) // above two minutes the run has failed anyway
}

// reset forgets everything.
func (l *latencies) reset() {
	for i := range l.parts {
		l.parts[i].mu.Lock()
		l.parts[i].h.Reset()
		l.parts[i].mu.Unlock()
	}
}

// total is everything recorded.
func (l *latencies) total() *hdrhistogram.Histogram {
	sum := newHistogram()
	for i := range l.parts {
		l.parts[i].mu.Lock()
		sum.Merge(l.parts[i].h)
		l.parts[i].mu.Unlock()
	}
	return sum
}
