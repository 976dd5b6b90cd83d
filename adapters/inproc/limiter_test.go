package inproc_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/ports/limittest"
)

// limiterBackend is one process under the names of many nodes. Its time is a bubble's, or else the machine's.
type limiterBackend struct{ limiter *inproc.Limiter }

func (b limiterBackend) Node(*testing.T) ports.Limiter { return b.limiter }
func (b limiterBackend) Unsure() time.Duration         { return 0 }
func (b limiterBackend) Pass(d time.Duration)          { time.Sleep(d) }

func TestLimiterKeepsItsContract(t *testing.T) {
	t.Parallel()
	limittest.Run(t, func(t *testing.T, test func(*testing.T, limittest.Backend)) {
		synctest.Test(t, func(t *testing.T) { test(t, limiterBackend{inproc.NewLimiter()}) })
	})
}

// TestLimiterKeepsItsContractInRealTime is for the suite as much as for the limiter: other backends have no bubble.
func TestLimiterKeepsItsContractInRealTime(t *testing.T) {
	t.Parallel()
	limittest.Run(t, func(t *testing.T, test func(*testing.T, limittest.Backend)) {
		test(t, limiterBackend{inproc.NewLimiter()})
	})
}

func TestFullBucketsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := inproc.NewLimiter()
		rate, slow := domain.Rate{PerSecond: 50, Burst: 50}, domain.Rate{PerSecond: 1, Burst: 1}
		for i := range 1000 { // which are empty for a second
			l.Take(t.Context(), fmt.Sprint("slow ", i), slow)
		}
		most := 0
		for i := range 200_000 { // of which each is full again after 20 ms, 2000 calls later
			l.Take(t.Context(), fmt.Sprint("address ", i), rate)
			l.Peek(t.Context(), fmt.Sprint("asked ", i), rate)
			time.Sleep(10 * time.Microsecond)
			if i%1000 == 0 {
				most = max(most, l.Buckets())
			}
		}
		if bound := 64*inproc.SweepAbove + 2*(1000+2000); most > bound {
			t.Errorf("up to %d buckets were kept, want at most %d", most, bound)
		}
		for i := range 100_000 { // all at one moment: none can be forgotten
			l.Take(t.Context(), fmt.Sprint("crowd ", i), slow)
		}
		if n := l.Buckets(); n < 100_000 {
			t.Errorf("%d of 100000 buckets that are not full are left", n)
		}
		time.Sleep(2 * time.Minute)
		for i := range 10_000 { // anybody's calls, so that every shard is in use
			l.Peek(t.Context(), fmt.Sprint("asked ", i), rate)
		}
		if n := l.Buckets(); n != 0 {
			t.Errorf("%d buckets are kept two minutes after the last call", n)
		}
	})
}

func TestABurstBelowOneIsOne(t *testing.T) {
	t.Parallel()
	l, none := inproc.NewLimiter(), domain.Rate{PerSecond: 1, Burst: 0}
	if a := l.Take(t.Context(), "a", none); !a.OK {
		t.Errorf("the first call: %+v", a)
	}
	if a := l.Take(t.Context(), "a", none); a.OK {
		t.Errorf("the second call: %+v", a)
	}
}

func TestHugeRatesDoNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, huge := inproc.NewLimiter(), domain.Rate{PerSecond: 1 << 62, Burst: 1 << 62}
		for range 3 {
			if a := l.Take(t.Context(), "a", huge); !a.OK || a.Remaining <= 0 || a.Reset.Before(time.Now()) {
				t.Errorf("got %+v", a)
			}
			time.Sleep(100 * 365 * 24 * time.Hour)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	l, rate := inproc.NewLimiter(), domain.Rate{PerSecond: 100, Burst: 100}
	b.ReportAllocs()
	for b.Loop() {
		l.Take(b.Context(), "tenant:tenant_0198f3a0-0000-7000-8000-000000000000", rate)
	}
}

func BenchmarkTakeParallel(b *testing.B) {
	l, rate := inproc.NewLimiter(), domain.Rate{PerSecond: 100, Burst: 100}
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("tenant:tenant_0198f3a0-0000-7000-8000-%012d", i)
	}
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l.Take(ctx, names[i%len(names)], rate)
		}
	})
}

func BenchmarkPeekUnknown(b *testing.B) {
	l, rate := inproc.NewLimiter(), domain.Rate{PerSecond: 50, Burst: 50}
	b.ReportAllocs()
	for b.Loop() {
		l.Peek(b.Context(), "address:203.0.113.7", rate)
	}
}
