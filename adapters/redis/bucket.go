package redis

import (
	"math/bits"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// maxRate keeps the size of a bucket of a second below 2^63 here, and exact in the numbers of Redis's scripts.
const maxRate = 1_000_000_000

// bucket is a token bucket, kept as what it lacks of being full.
type bucket struct {
	rate  domain.Rate
	lacks int64         // from 0; more than its size where a call was let through at a higher price
	at    time.Duration // when that was so, on the limiter's own time
}

// withinBounds is a rate that a bucket can count with; a burst of less than one call would never allow any.
func withinBounds(r domain.Rate) domain.Rate {
	per := max(r.Period().Truncate(time.Microsecond), time.Microsecond) // the scripts'
	most := max(int(maxRate/max(1, (per+time.Second-1)/time.Second)), 1)
	return domain.Rate{PerSecond: min(r.PerSecond, most), Burst: min(max(r.Burst, 1), most), Per: per}
}

// perCall is what a call costs. In this unit a bucket gets back exactly its rate every nanosecond.
func (b *bucket) perCall() int64 { return int64(b.rate.Period()) }

func (b *bucket) size() int64 { return int64(b.rate.Burst) * b.perCall() }

// gain is how long the bucket takes to get so much back, rounded up.
func (b *bucket) gain(amount int64) time.Duration {
	perSecond := int64(b.rate.PerSecond)
	return time.Duration((max(0, amount) + perSecond - 1) / perSecond)
}

func (b *bucket) isFull(now time.Duration) bool { return now-b.at >= b.gain(b.lacks) }

// settle brings the bucket up to now, by the rate that was in force, and to the rate in force from now on.
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

// change keeps how full the bucket is, as a share of its size, so that rates that take turns give no calls away.
func (b *bucket) change(rate domain.Rate) {
	before := b.size()
	b.rate = rate
	high, low := bits.Mul64(uint64(min(b.lacks, before)), uint64(b.size()))
	lacks, _ := bits.Div64(high, low, uint64(before))
	b.lacks = int64(lacks)
}

// has reports whether the bucket has a call at a price. One that is full always has.
func (b *bucket) has(price int64) bool { return b.lacks <= max(0, b.size()-price) }

// wait is how long it takes until the bucket has a call at a price.
func (b *bucket) wait(price int64) time.Duration { return b.gain(b.lacks - max(0, b.size()-price)) }

// left is how many calls at a price the bucket has.
func (b *bucket) left(price int64) int { return int(max(0, b.size()-b.lacks) / price) }
