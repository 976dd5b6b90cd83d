package inproc

import (
	"math"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
)

func TestAClockThatGoesBackHarmsNobodyForLong(t *testing.T) {
	t.Parallel()
	rate := domain.Rate{PerSecond: 10, Burst: 2}
	b := bucket{rate: rate, at: time.Hour}
	for range 2 {
		b.take()
	}
	b.settle(time.Minute, rate)
	if b.take() {
		t.Error("going back has filled the bucket")
	}
	b.settle(time.Minute+100*time.Millisecond, rate)
	if !b.take() || b.take() {
		t.Error("after 100 ms on the new time there is one call, no more and no less")
	}
}

func TestAChangeKeepsTheShareThatIsFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to domain.Rate }{
		{domain.Rate{PerSecond: 10, Burst: 10}, domain.Rate{PerSecond: 1000, Burst: 1000}},
		{domain.Rate{PerSecond: 1000, Burst: 1000}, domain.Rate{PerSecond: 10, Burst: 10}},
		{domain.Rate{PerSecond: 7, Burst: maxRate}, domain.Rate{PerSecond: 7, Burst: maxRate - 1}},
	} {
		for _, share := range []float64{0, 0.25, 0.5, 1} {
			b := bucket{rate: c.from}
			b.lacks = int64(share * float64(b.size()))
			b.settle(0, c.to)
			if got := float64(b.lacks) / float64(b.size()); math.Abs(got-share) > 1e-9 || b.rate != c.to {
				t.Errorf("%+v to %+v: lacks %v of it, want %v", c.from, c.to, got, share)
			}
		}
	}
}
