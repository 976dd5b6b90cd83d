package inproc

import (
	"math/bits"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// perCall is what a call costs. In this unit a bucket gets back exactly its rate every nanosecond, so that nothing is
// ever rounded while the rate stays.
func (b *bucket) perCall() int64 { return int64(b.rate.Period()) }

// maxRate keeps the size of a bucket of a second below 2^63. It is more than a call each nanosecond.
const maxRate = 1_000_000_000

// bucket is a token bucket, kept as what it lacks of being full: one that lacks nothing can be forgotten.
type bucket struct {
	rate  domain.Rate
	lacks int64         // 0 to size
	at    time.Duration // when that was so, on the limiter's own time
}

// withinBounds is a rate that a bucket can count with; a burst of less than one call would never allow any.
func withinBounds(r domain.Rate) domain.Rate {
	per := r.Period()
	most := max(int(maxRate/max(1, (per+time.Second-1)/time.Second)), 1)
	return domain.Rate{PerSecond: min(r.PerSecond, most), Burst: min(max(r.Burst, 1), most), Per: per}
}

func (b *bucket) size() int64 { return int64(b.rate.Burst) * b.perCall() }

// gain is how long the bucket takes to get so much back, rounded up.
func (b *bucket) gain(amount int64) time.Duration {
	perSecond := int64(b.rate.PerSecond)
	return time.Duration((amount + perSecond - 1) / perSecond)
}

func (b *bucket) isFull(now time.Duration) bool { return now-b.at >= b.gain(b.lacks) }

// settle brings the bucket up to now, by the rate that was in force, and to the rate in force from now on. A clock that
// has gone back gives nothing and takes nothing.
func (b *bucket) settle(now time.Duration, rate domain.Rate) {
	if b.isFull(now) {
		b.lacks = 0
	} else if elapsed := now - b.at; elapsed > 0 {
		b.lacks -= int64(elapsed) * int64(b.rate.PerSecond)
	}
	b.at = now
	if b.rate != rate {
		b.change(rate)
	}
}

// change keeps how full the bucket is, as a share of its size: a full one stays full, an empty one empty, and rates that
// take turns give no calls away.
func (b *bucket) change(rate domain.Rate) {
	before := b.size()
	b.rate = rate
	high, low := bits.Mul64(uint64(b.lacks), uint64(b.size()))
	lacks, _ := bits.Div64(high, low, uint64(before))
	b.lacks = int64(lacks)
}

func (b *bucket) hasCall() bool { return b.lacks <= b.size()-b.perCall() }

// take takes a call if there is one.
func (b *bucket) take() (ok bool) {
	if ok = b.hasCall(); ok {
		b.lacks += b.perCall()
	}
	return ok
}

// answer is what the bucket says after a call that it allowed or not; now is the time of day when it was settled.
func (b *bucket) answer(ok bool, now time.Time) domain.Allowance {
	a := domain.Allowance{
		OK:        ok,
		Limit:     b.rate.PerSecond,
		Remaining: int((b.size() - b.lacks) / b.perCall()),
		Reset:     now.Add(b.gain(b.lacks)),
	}
	if !ok {
		a.RetryAfter = b.gain(b.lacks + b.perCall() - b.size())
	}
	return a
}
