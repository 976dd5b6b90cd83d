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

// add counts what the writer has gathered since it last did.
func (c *counters) add(more Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Batches += more.Batches
	c.now.Jobs += more.Jobs
	c.now.CommitSeconds += more.CommitSeconds
	c.now.Checkpoints += more.Checkpoints
	c.now.CheckpointSeconds += more.CheckpointSeconds
	c.now.LongestClosure = max(c.now.LongestClosure, more.LongestClosure)
	c.now.SlowClosures += more.SlowClosures
}

func (s *Stats) commit(jobs int, took time.Duration) {
	s.Batches++
	s.Jobs += uint64(jobs)
	s.CommitSeconds += took.Seconds()
}

func (s *Stats) closure(took time.Duration) {
	s.LongestClosure = max(s.LongestClosure, took)
	if took > slowClosure {
		s.SlowClosures++
	}
}
