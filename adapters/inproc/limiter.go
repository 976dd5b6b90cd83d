package inproc

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// Limiter keeps the buckets of one node, exactly. They fill on the monotonic clock; the time of day is only told, in
// Reset. Buckets that are full again are forgotten, on the way and by no goroutine of their own. It satisfies
// ports.Limiter.
type Limiter struct {
	seed   maphash.Seed
	start  time.Time
	shards [shardCount]shard
}

const (
	shardCount = 64          // a power of two
	sweepEvery = time.Minute // of a shard that is in use
	sweepAbove = 64          // buckets of a shard, which are kept without looking
)

// shard is a part of the buckets under a lock of its own.
type shard struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	sweepAt int           // at so many buckets it is swept
	swept   time.Duration // when it was
	_       [32]byte      // fills a cache line: calls of two tenants meet only in their shard
}

// NewLimiter returns a limiter whose buckets are all full.
func NewLimiter() *Limiter {
	l := &Limiter{seed: maphash.MakeSeed(), start: time.Now()}
	for i := range l.shards {
		l.shards[i].buckets, l.shards[i].sweepAt = map[string]*bucket{}, sweepAbove
	}
	return l
}

// Take implements ports.Limiter. A burst below 1 counts as 1.
func (l *Limiter) Take(_ context.Context, name string, rate domain.Rate) domain.Allowance {
	if rate.IsUnlimited() {
		return domain.Allowance{OK: true}
	}
	rate = withinBounds(rate)
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	now, since := l.now()
	if since-s.swept >= sweepEvery {
		s.sweep(since)
	}
	b := s.buckets[name]
	if b == nil {
		b = s.add(name, &bucket{rate: rate, at: since})
	}
	b.settle(since, rate)
	return b.answer(b.take(), now)
}

// Peek implements ports.Limiter. It makes no bucket: asking about any number of names costs no memory.
func (l *Limiter) Peek(_ context.Context, name string, rate domain.Rate) domain.Allowance {
	if rate.IsUnlimited() {
		return domain.Allowance{OK: true}
	}
	rate = withinBounds(rate)
	s := l.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	now, since := l.now()
	if since-s.swept >= sweepEvery {
		s.sweep(since)
	}
	b := bucket{rate: rate, at: since}
	if kept := s.buckets[name]; kept != nil {
		b = *kept
	}
	b.settle(since, rate)
	return b.answer(b.hasCall(), now)
}

func (l *Limiter) shard(name string) *shard {
	return &l.shards[maphash.String(l.seed, name)%shardCount]
}

// now is the time of day and the limiter's own, by one reading. It is asked under the shard's lock, so that a bucket
// sees times only in their order.
func (l *Limiter) now() (now time.Time, since time.Duration) {
	now = time.Now().UTC()
	return now, now.Sub(l.start)
}

// add keeps a copy of the name, which may be a part of something large.
func (s *shard) add(name string, b *bucket) *bucket {
	if len(s.buckets) >= s.sweepAt {
		s.sweep(b.at)
	}
	s.buckets[strings.Clone(name)] = b
	return b
}

// sweep forgets buckets that are full: they come back full when they are seen again. The next is due at twice as many
// as are left, so that a bucket costs the same however many there are. What is left moves to a map of its own, as maps
// do not shrink.
func (s *shard) sweep(now time.Duration) {
	kept := map[string]*bucket{}
	for name, b := range s.buckets {
		if !b.isFull(now) {
			kept[name] = b
		}
	}
	s.buckets, s.sweepAt, s.swept = kept, max(sweepAbove, 2*len(kept)), now
}
