package domain

import (
	"math/bits"
	"time"
)

// maxRate keeps the size of a bucket of a second below 2^63, and exact in the floating numbers of scripts that count in
// microseconds. It is a call each nanosecond.
const maxRate = 1_000_000_000

// Bucket is a token bucket, kept as what it lacks of being full: one that lacks nothing can be forgotten. In its unit a call
// costs as much as its rate's period has nanoseconds, and a bucket gets back exactly its rate every nanosecond, so that
// nothing is ever rounded while the rate stays.
type Bucket struct {
	Rate  Rate          // within bounds
	Lacks int64         // from 0; more than its size where a call was let through at a higher price
	At    time.Duration // when that was so, on the limiter's own time
}

// WithinBounds is a rate that a bucket can count with, its period a whole multiple of tick, which divides a second; a burst of less than one call
// would never allow any.
func (r Rate) WithinBounds(tick time.Duration) Rate {
	per, most := time.Second, maxRate
	if r.Per > 0 {
		per = max(r.Per.Truncate(tick), tick)
		most = max(int(maxRate/((per+time.Second-1)/time.Second)), 1)
	}
	return Rate{PerSecond: min(r.PerSecond, most), Burst: min(max(r.Burst, 1), most), Per: per}
}

// Call is what a call costs.
func (b *Bucket) Call() int64 { return int64(b.Rate.Period()) }

// Size is what an empty bucket lacks.
func (b *Bucket) Size() int64 { return int64(b.Rate.Burst) * b.Call() }

// IsFull reports whether the bucket lacks nothing by now.
func (b *Bucket) IsFull(now time.Duration) bool { return now-b.At >= b.Refill() }

// Refill is how long the bucket takes to be full.
func (b *Bucket) Refill() time.Duration { return b.gain(b.Lacks) }

// gain is how long the bucket takes to get so much back, rounded up.
func (b *Bucket) gain(amount int64) time.Duration {
	perSecond := int64(b.Rate.PerSecond)
	return time.Duration((max(0, amount) + perSecond - 1) / perSecond)
}

// Settle brings the bucket up to now, by the rate that was in force, and to the rate in force from now on. A clock that
// has gone back gives nothing and takes nothing.
func (b *Bucket) Settle(now time.Duration, rate Rate) {
	if b.IsFull(now) {
		b.Lacks = 0
	} else if elapsed := now - b.At; elapsed > 0 {
		b.Lacks -= int64(elapsed) * int64(b.Rate.PerSecond)
	}
	b.At = now
	if b.Rate != rate {
		b.change(rate)
	}
}

// change keeps how full the bucket is, as a share of its size: a full one stays full, an empty one empty, and rates that
// take turns give no calls away.
func (b *Bucket) change(rate Rate) {
	before := b.Size()
	b.Rate = rate
	high, low := bits.Mul64(uint64(min(b.Lacks, before)), uint64(b.Size()))
	lacks, _ := bits.Div64(high, low, uint64(before))
	b.Lacks = int64(lacks)
}

// Has reports whether the bucket has a call at a price. One that is full always has.
func (b *Bucket) Has(price int64) bool { return b.Lacks <= max(0, b.Size()-price) }

// Take takes a call at a price if there is one.
func (b *Bucket) Take(price int64) (ok bool) {
	if ok = b.Has(price); ok {
		b.Lacks += price
	}
	return ok
}

// Wait is how long it takes until the bucket has a call at a price.
func (b *Bucket) Wait(price int64) time.Duration { return b.gain(b.Lacks - max(0, b.Size()-price)) }

// Left is how many calls at a price the bucket has.
func (b *Bucket) Left(price int64) int { return int(max(0, b.Size()-b.Lacks) / price) }

// Answer is what the bucket says of a call at a price that it has or has not; now is the time of day when it was settled.
func (b *Bucket) Answer(ok bool, price int64, now time.Time) Allowance {
	a := Allowance{OK: ok, Limit: b.Rate.PerSecond, Reset: now.Add(b.Refill())}
	if ok {
		a.Remaining = b.Left(price)
	} else {
		a.RetryAfter = b.Wait(price)
	}
	return a
}
