package postgres

import (
	"sync"
	"time"
)

// slowClosure is how long a closure may hold its locks before it counts as slow.
const slowClosure = 50 * time.Millisecond

// Stats are plain numbers of the store, for metrics. Counters only rise while the store is open.
type Stats struct {
	Queued         int     // appends waiting now
	Batches        uint64  // of appends
	Appends        uint64  // in those batches
	Commits        uint64  // tried
	CommitSeconds  float64 // spent in COMMIT
	Retries        uint64  // of units of work that had lost against others
	LongestClosure time.Duration
	SlowClosures   uint64 // of more than 50 ms, statements included
	InUse, Idle    int    // connections of the tenants' pool now
	MaxConns       int
	OperatorInUse  int     // connections of work across tenants now
	Waits          int64   // for a connection or a place at one, since the start
	WaitSeconds    float64 // in them
}

// Stats returns the numbers as they are now.
func (s *Store) Stats() Stats {
	now := s.stats.read()
	now.Queued = s.appends.length()
	pool := s.tenants.Stat()
	now.InUse, now.Idle, now.MaxConns = int(pool.AcquiredConns()), int(pool.IdleConns()), int(pool.MaxConns())
	now.OperatorInUse = int(s.operators.Stat().AcquiredConns())
	now.Waits, now.WaitSeconds = pool.EmptyAcquireCount(), pool.EmptyAcquireWaitTime().Seconds()
	for _, g := range []*gate{s.work, s.views} {
		times, total := g.waits()
		now.Waits, now.WaitSeconds = now.Waits+times, now.WaitSeconds+total.Seconds()
	}
	return now
}

type counters struct {
	mu  sync.Mutex
	now Stats
}

func (c *counters) read() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *counters) retried() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Retries++
}

func (c *counters) commit(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Commits++
	c.now.CommitSeconds += took.Seconds()
}

func (c *counters) closure(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.LongestClosure = max(c.now.LongestClosure, took)
	if took > slowClosure {
		c.now.SlowClosures++
	}
}

func (c *counters) batch(appends int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Batches++
	c.now.Appends += uint64(appends)
}
