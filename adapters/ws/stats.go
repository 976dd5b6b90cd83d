package ws

import (
	"sync"
	"sync/atomic"
)

// Stats are the sockets open now, and counters since the start.
type Stats struct {
	Open     int
	Accepted int64         // upgrades
	Refused  int64         // upgrades refused because too many were under way
	Received int64         // messages from clients
	Frames   int64         // frames written
	Bytes    int64         // bytes written
	Writes   int64         // writes that took them
	Slow     int64         // times a socket did not take at once what there was
	Dropped  int64         // hints that a slow socket went without
	Closes   map[int]int64 // sockets ended, by close code; 1006 = lost
}

type counters struct {
	accepted, refused, received, frames, bytes, writes, slow, dropped atomic.Int64

	mu     sync.Mutex
	closes map[int]int64
}

func (c *counters) wrote(frames, bytes int) {
	c.writes.Add(1)
	c.frames.Add(int64(frames))
	c.bytes.Add(int64(bytes))
}

// closed counts by code. What clients make up counts as one.
func (c *counters) closed(code int) {
	if code >= 3000 && code != closeToken && code != closeNoProgress && code != closeFlooding {
		code = otherClose
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closes == nil {
		c.closes = map[int]int64{}
	}
	c.closes[code]++
}

// otherClose stands for all codes above 3000 that are not the server's.
const otherClose = 3000

// Stats reads the counters.
func (h *Handler) Stats() Stats {
	c := &h.stats
	s := Stats{
		Open: h.registry.size(), Accepted: c.accepted.Load(), Refused: c.refused.Load(), Received: c.received.Load(),
		Frames: c.frames.Load(), Bytes: c.bytes.Load(), Writes: c.writes.Load(), Slow: c.slow.Load(),
		Dropped: c.dropped.Load(), Closes: map[int]int64{},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for code, n := range c.closes {
		s.Closes[code] = n
	}
	return s
}
