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
	buckets map[string]*domain.Bucket
	sweepAt int           // at so many buckets it is swept
	swept   time.Duration // when it was
	_       [32]byte      // fills a cache line: calls of two tenants meet only in their shard
}

// NewLimiter returns a limiter whose buckets are all full.
func NewLimiter() *Limiter {
	l := &Limiter{seed: maphash.MakeSeed(), start: time.Now()}
	for i := range l.shards {
		l.shards[i].buckets, l.shards[i].sweepAt = map[string]*domain.Bucket{}, sweepAbove
	}
	return l
}

// Take implements ports.Limiter. A burst below 1 counts as 1.
func (l *Limiter) Take(_ context.Context, name string, rate domain.Rate) domain.Allowance {
	if rate.IsUnlimited() {
		return domain.Allowance{OK: true}
	}
	rate = rate.WithinBounds(time.Nanosecond)
	s, now, since := l.open(name)
	defer s.mu.Unlock()
	b := s.buckets[name]
	if b == nil {
		b = s.add(name, &domain.Bucket{Rate: rate, At: since})
	}
	b.Settle(since, rate)
	return b.Answer(b.Take(b.Call()), b.Call(), now)
}

// Peek implements ports.Limiter. It makes no bucket: asking about any number of names costs no memory.
func (l *Limiter) Peek(_ context.Context, name string, rate domain.Rate) domain.Allowance {
	if rate.IsUnlimited() {
		return domain.Allowance{OK: true}
	}
	rate = rate.WithinBounds(time.Nanosecond)
	s, now, since := l.open(name)
	defer s.mu.Unlock()
	b := domain.Bucket{Rate: rate, At: since}
	if kept := s.buckets[name]; kept != nil {
		b = *kept
	}
	b.Settle(since, rate)
	return b.Answer(b.Has(b.Call()), b.Call(), now)
}

// open locks the shard of a bucket, which the caller unlocks, and sweeps it when that is due. now is the time of day and
// since the limiter's own, by one reading: under the lock, so that a bucket sees times only in their order.
func (l *Limiter) open(name string) (s *shard, now time.Time, since time.Duration) {
	s = &l.shards[maphash.String(l.seed, name)%shardCount]
	s.mu.Lock()
	now = time.Now().UTC()
	if since = now.Sub(l.start); since-s.swept >= sweepEvery {
		s.sweep(since)
	}
	return s, now, since
}

// add keeps a copy of the name, which may be a part of something large.
func (s *shard) add(name string, b *domain.Bucket) *domain.Bucket {
	if len(s.buckets) >= s.sweepAt {
		s.sweep(b.At)
	}
	s.buckets[strings.Clone(name)] = b
	return b
}

// sweep forgets buckets that are full: they come back full when they are seen again. The next is due at twice as many
// as are left, so that a bucket costs the same however many there are. What is left moves to a map of its own, as maps
// do not shrink.
func (s *shard) sweep(now time.Duration) {
	kept := map[string]*domain.Bucket{}
	for name, b := range s.buckets {
		if !b.IsFull(now) {
			kept[name] = b
		}
	}
	s.buckets, s.sweepAt, s.swept = kept, max(sweepAbove, 2*len(kept)), now
}
