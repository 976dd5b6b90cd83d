package domain_test

import (
	"math"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
)

func TestAClockThatGoesBackHarmsNobodyForLong(t *testing.T) {
	t.Parallel()
	rate := domain.Rate{PerSecond: 10, Burst: 2}
	b := domain.Bucket{Rate: rate, At: time.Hour}
	for range 2 {
		b.Take(b.Call())
	}
	b.Settle(time.Minute, rate)
	if b.Take(b.Call()) {
		t.Error("going back has filled the bucket")
	}
	b.Settle(time.Minute+100*time.Millisecond, rate)
	if !b.Take(b.Call()) || b.Take(b.Call()) {
		t.Error("after 100 ms on the new time there is one call, no more and no less")
	}
}

func TestAChangeKeepsTheShareThatIsFull(t *testing.T) {
	t.Parallel()
	huge := domain.Rate{PerSecond: 7, Burst: math.MaxInt}.WithinBounds(time.Nanosecond)
	for _, c := range []struct{ from, to domain.Rate }{
		{domain.Rate{PerSecond: 10, Burst: 10}, domain.Rate{PerSecond: 1000, Burst: 1000}},
		{domain.Rate{PerSecond: 1000, Burst: 1000}, domain.Rate{PerSecond: 10, Burst: 10}},
		{huge, domain.Rate{PerSecond: 7, Burst: huge.Burst - 1, Per: huge.Per}},
	} {
		for _, share := range []float64{0, 0.25, 0.5, 1} {
			b := domain.Bucket{Rate: c.from}
			b.Lacks = int64(share * float64(b.Size()))
			b.Settle(0, c.to)
			if got := float64(b.Lacks) / float64(b.Size()); math.Abs(got-share) > 1e-9 || b.Rate != c.to {
				t.Errorf("%+v to %+v: lacks %v of it, want %v", c.from, c.to, got, share)
			}
		}
	}
}

// TestAHigherPriceTakesMoreAtOnce: a full bucket gives a call at any price, and pays for it with time.
func TestAHigherPriceTakesMoreAtOnce(t *testing.T) {
	t.Parallel()
	b := domain.Bucket{Rate: domain.Rate{PerSecond: 10, Burst: 4}}
	dear, start := 8*b.Call(), time.Unix(1_767_323_045, 0)
	if !b.Take(dear) || b.Take(b.Call()) {
		t.Error("a full bucket has one call at twice its size, and none after it")
	}
	want := domain.Allowance{Limit: 10, Reset: start.Add(800 * time.Millisecond), RetryAfter: 500 * time.Millisecond}
	if got := b.Answer(false, b.Call(), start); got != want {
		t.Errorf("says %+v, want %+v", got, want)
	}
	b.Settle(500*time.Millisecond, b.Rate)
	if !b.Has(b.Call()) || b.Has(dear) {
		t.Error("after what it said to wait there is a call at the plain price, and none at the other")
	}
}

func TestARateIsBroughtWithinWhatABucketCanCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate domain.Rate
		tick time.Duration
		want domain.Rate
	}{
		{domain.Rate{PerSecond: 5, Burst: 0}, time.Nanosecond, domain.Rate{PerSecond: 5, Burst: 1, Per: time.Second}},
		{domain.Rate{PerSecond: 5, Burst: 9, Per: 1500}, time.Nanosecond, domain.Rate{PerSecond: 5, Burst: 9, Per: 1500}},
		{domain.Rate{PerSecond: 5, Burst: 9, Per: 1500}, time.Microsecond, domain.Rate{PerSecond: 5, Burst: 9, Per: time.Microsecond}},
		{domain.Rate{PerSecond: 5, Burst: 9, Per: 1}, time.Microsecond, domain.Rate{PerSecond: 5, Burst: 9, Per: time.Microsecond}},
		{domain.Rate{PerSecond: math.MaxInt, Burst: math.MaxInt, Per: time.Minute}, time.Nanosecond,
			domain.Rate{PerSecond: 1_000_000_000 / 60, Burst: 1_000_000_000 / 60, Per: time.Minute}},
	} {
		if got := c.rate.WithinBounds(c.tick); got != c.want {
			t.Errorf("%+v by %v: %+v, want %+v", c.rate, c.tick, got, c.want)
		}
	}
}
