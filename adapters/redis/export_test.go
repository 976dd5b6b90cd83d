package redis

import "time"

// SetCapacity bounds the tickets of all nodes; it is set before the first.
func (t *Tickets) SetCapacity(n int) { t.capacity = n }

// SetWait is how long a call waits for Redis; it is set before the first.
func (l *Limiter) SetWait(d time.Duration) { l.wait = d }

// MaxQueued is how many payloads wait for a subscriber, and MaxOutgoing how many for the writer.
const (
	MaxQueued   = maxQueued
	MaxOutgoing = maxOutgoing
)

// Name is a channel's name in Redis.
func (b *Bus) Name(channel string) string { return b.name(channel) }

// Buckets is how many buckets are kept.
func (l *Limiter) Buckets() (n int) {
	for i := range l.shards {
		l.shards[i].mu.Lock()
		n += len(l.shards[i].buckets)
		l.shards[i].mu.Unlock()
	}
	return n
}

// Prefix begins every key and channel of the installation.
func (c *Conn) Prefix() string { return c.prefix }

// SetFrameSize bounds the bytes of payloads that are joined; it is set before the first.
func (b *Bus) SetFrameSize(n int) { b.frameSize = n }
