package sqlite

import (
	"os"
	"sync"
	"time"
)

// slowClosure is how long a closure may hold up its batch before it counts as slow.
const slowClosure = 5 * time.Millisecond

// Stats are plain numbers of the writer, for metrics. Counters only rise while the store is open.
type Stats struct {
	Queued            int     // jobs waiting now
	Batches           uint64  // transactions tried
	Jobs              uint64  // jobs of those batches
	CommitSeconds     float64 // spent in COMMIT, fsync included
	Checkpoints       uint64
	CheckpointSeconds float64
	LongestClosure    time.Duration // ever
	SlowClosures      uint64        // of more than 5 ms
	WALBytes          int64         // size of the write-ahead log's file
}

// Stats returns the numbers as they are now.
func (s *Store) Stats() Stats {
	now := s.stats.read()
	now.Queued = s.queue.length()
	if info, err := os.Stat(s.path + "-wal"); err == nil {
		now.WALBytes = info.Size()
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

func (c *counters) batch(jobs int, commit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Batches++
	c.now.Jobs += uint64(jobs)
	c.now.CommitSeconds += commit.Seconds()
}

func (c *counters) closure(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.LongestClosure = max(c.now.LongestClosure, took)
	if took > slowClosure {
		c.now.SlowClosures++
	}
}

func (c *counters) checkpoint(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Checkpoints++
	c.now.CheckpointSeconds += took.Seconds()
}
