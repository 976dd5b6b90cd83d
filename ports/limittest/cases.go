package limittest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
)

func fullAtFirstSight(t *testing.T, b Backend) {
	for _, rate := range []domain.Rate{{PerSecond: 1, Burst: 1}, {PerSecond: 5, Burst: 20}, {PerSecond: 100, Burst: 100}} {
		bucket := newBucket(t, b, fmt.Sprintf("%d/%d", rate.PerSecond, rate.Burst), rate.PerSecond, rate.Burst)
		if a := bucket.peek("peek"); !a.OK || a.Remaining != rate.Burst {
			t.Errorf("%s: got %+v, want all of its burst", bucket.name, a)
		}
		if a := bucket.take("take"); !a.OK {
			t.Errorf("%s: the first call was refused", bucket.name)
		}
		bucket.drain()
	}
}

// definition has random schedules, one for each rate.
func definition(t *testing.T, b Backend) {
	var running sync.WaitGroup
	for i, rate := range []domain.Rate{
		{PerSecond: 100, Burst: 100}, {PerSecond: 7, Burst: 3}, {PerSecond: 977, Burst: 40}, {PerSecond: 3, Burst: 10},
		{PerSecond: 1_000_000, Burst: 30}, {PerSecond: 300, Burst: 1},
	} {
		bucket := newBucket(t, b, fmt.Sprintf("%d a second, burst %d", rate.PerSecond, rate.Burst), rate.PerSecond, rate.Burst)
		running.Go(func() { bucket.schedule(b, rand.New(rand.NewPCG(3, uint64(i)))) })
	}
	running.Wait()
}

// schedule makes calls at once, calls around the rate, and pauses in which some of it comes back.
func (b *bucket) schedule(backend Backend, random *rand.Rand) {
	rate := b.oracle.rate
	interval := time.Second / time.Duration(rate.PerSecond)
	for step := 0; step < 60 && !b.t.Failed(); step++ {
		for call := range random.IntN(2 + rate.Burst/5) {
			what := fmt.Sprintf("%s, step %d, call %d", b.name, step, call)
			if random.IntN(4) == 0 {
				b.peek(what)
			} else {
				b.take(what)
			}
		}
		backend.Pass(min(time.Duration(random.Int64N(int64(2*interval)+1)), 50*time.Millisecond))
	}
}

func retryAfter(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 30, 4)
	for range 5 {
		bucket.drain()
		refused := bucket.peek("empty")
		b.Pass(refused.RetryAfter)
		if a := bucket.take("told to come back now"); !a.OK {
			t.Errorf("after a RetryAfter of %s: %+v", refused.RetryAfter, a)
		}
	}
}

func reset(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 70, 7)
	for _, calls := range []int{1, 7, 3} {
		var a domain.Allowance
		for range calls {
			a = bucket.take("take")
		}
		b.Pass(time.Until(a.Reset))
		if a := bucket.peek("told to be full now"); a.Remaining != 7 {
			t.Errorf("after the Reset of %d calls: %+v", calls, a)
		}
	}
}

func peekTakesNothing(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 1, 2)
	for range 20 {
		bucket.peek("full")
	}
	bucket.take("first")
	for range 20 {
		bucket.peek("half")
	}
	bucket.take("second")
	for range 20 {
		bucket.peek("empty")
	}
}

func peekForetells(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 2, 5) // slow enough that nothing comes back meanwhile
	for range 10 {
		foretold := bucket.peek("peek")
		if a := bucket.take("take"); foretold.OK && !a.OK {
			t.Errorf("Peek said %+v, and Take then %+v", foretold, a)
		}
	}
}

// byTheMinute: a hundred a minute is a call every 600 ms once the burst is spent.
func byTheMinute(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 100, 20)
	bucket.oracle.rate.Per = time.Minute
	bucket.drain()
	for range 3 {
		refused := bucket.peek("empty")
		if refused.RetryAfter > 600*time.Millisecond {
			t.Errorf("empty: %+v, want a call within 600 ms", refused)
		}
		b.Pass(refused.RetryAfter)
		if a := bucket.take("told to come back now"); !a.OK {
			t.Errorf("after a RetryAfter of %s: %+v", refused.RetryAfter, a)
		}
		bucket.take("one too many")
	}
}

func unlimited(t *testing.T, b Backend) {
	limiter := b.Node(t)
	for range 1000 {
		for _, rate := range []domain.Rate{{}, {PerSecond: 0, Burst: 5}, {PerSecond: -1, Burst: -1}} {
			for _, a := range []domain.Allowance{limiter.Take(t.Context(), "a", rate), limiter.Peek(t.Context(), "a", rate)} {
				if !a.OK || a.Limit != 0 || a.RetryAfter != 0 {
					t.Fatalf("rate %+v: got %+v, want OK with Limit 0", rate, a)
				}
			}
		}
	}
}

// change gives a bucket another rate. What its calls so far count for at that is the limiter's to say, within what the
// cases below ask.
func (b *bucket) change(perSecond, burst int) domain.Rate {
	b.oracle = oracle{rate: domain.Rate{PerSecond: perSecond, Burst: burst}, unsure: b.oracle.unsure}
	return b.oracle.rate
}

func fasterRate(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 1, 1)
	bucket.drain()
	fast := bucket.change(1000, 1000)
	if a := bucket.limiter.Take(t.Context(), "a", fast); a.Limit != fast.PerSecond {
		t.Errorf("Limit %d, want %d", a.Limit, fast.PerSecond)
	}
	b.Pass(10 * time.Millisecond) // at the old rate the next call would be a second away
	if a := bucket.limiter.Take(t.Context(), "a", fast); !a.OK {
		t.Errorf("got %+v at the faster rate", a)
	}
	b.Pass(time.Second)
	if a := bucket.peek("full by the faster rate"); a.Remaining != fast.Burst {
		t.Errorf("got %+v", a)
	}
}

func slowerRate(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "full", 1000, 1000)
	bucket.take("fast")
	b.Pass(time.Second)
	bucket.change(5, 5)
	bucket.drain() // and the oracle says that five calls were in it

	bucket = newBucket(t, b, "empty", 1000, 1000)
	bucket.drain()
	slow := bucket.change(2, 2)
	began := time.Now()
	refused := bucket.limiter.Take(t.Context(), "empty", slow)
	if took := time.Since(began); refused.OK && took < time.Second/2 {
		t.Errorf("an empty bucket allowed a call: %+v", refused)
	}
	b.Pass(2 * time.Second)
	bucket.drain()
}

func offAndOn(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 3, 3)
	bucket.drain()
	for range 100 {
		if a := bucket.limiter.Take(t.Context(), "a", domain.Rate{}); !a.OK {
			t.Fatalf("off: %+v", a)
		}
	}
	bucket.take("on again") // the oracle knows of the calls before
}

// rateFlaps is two nodes that do not yet agree on a tenant's config.
func rateFlaps(t *testing.T, b Backend) {
	limiter := b.Node(t)
	rates := []domain.Rate{{PerSecond: 100, Burst: 100}, {PerSecond: 10, Burst: 10}}
	allowed := 0
	began := time.Now()
	for call := range 2000 {
		if limiter.Take(t.Context(), "a", rates[call%2]).OK {
			allowed++
		}
	}
	if most := 100 + time.Since(began).Seconds()*100; float64(allowed) > most {
		t.Errorf("%d calls were allowed, want at most %.1f", allowed, most)
	}
}

func bucketsAreApart(t *testing.T, b Backend) {
	for _, name := range []string{"a", "a:b", "a:", "A", "", "b", "größer 🙂", "{a}", "a b"} {
		bucket := newBucket(t, b, name, 1, 3)
		if a := bucket.peek("untouched"); a.Remaining != 3 {
			t.Errorf("bucket %q: %+v, want it full", name, a)
		}
		bucket.drain()
	}
}

func manyBuckets(t *testing.T, b Backend) {
	used := newBucket(t, b, "used", 1, 5)
	used.drain()
	for i := range 3000 {
		used.limiter.Take(t.Context(), fmt.Sprintf("other %d", i), domain.Rate{PerSecond: 1000, Burst: 1})
		if i%1000 == 0 {
			b.Pass(5 * time.Millisecond)
		}
	}
	used.take("after all others")
	newBucket(t, b, "a late one", 1, 5).drain()
}

func idleBucket(t *testing.T, b Backend) {
	bucket := newBucket(t, b, "a", 50, 10)
	bucket.drain()
	b.Pass(2 * time.Second)
	if a := bucket.take("after a long time"); a.Remaining != 9 {
		t.Errorf("got %+v, want all but one of its burst", a)
	}
	bucket.drain()
}

func parallelCalls(t *testing.T, b Backend) {
	const callers, each = 50, 40
	limiter, rate := b.Node(t), domain.Rate{PerSecond: 10, Burst: 300}
	var allowed atomic.Int64
	var running sync.WaitGroup
	began := time.Now()
	for range callers {
		running.Go(func() {
			for range each {
				if limiter.Take(t.Context(), "a", rate).OK {
					allowed.Add(1)
				}
			}
		})
	}
	running.Wait()
	most := float64(rate.Burst) + time.Since(began).Seconds()*float64(rate.PerSecond)
	if n := allowed.Load(); n < int64(rate.Burst) || float64(n) > most {
		t.Errorf("%d of %d calls were allowed, want %d to %.1f", n, callers*each, rate.Burst, most)
	}
}

// manyNodes floods one bucket from three nodes at once, and asks for at most a tenth more than one node would allow
// over every window between two readings of the clock.
func manyNodes(t *testing.T, b Backend) {
	rate := domain.Rate{PerSecond: 200, Burst: 100}
	type window struct {
		span
		allowed int
	}
	var windows []window
	nodes := []*bucket{newBucket(t, b, "a", 200, 100), newBucket(t, b, "a", 200, 100), newBucket(t, b, "a", 200, 100)}
	for range 30 {
		w := window{span: span{first: time.Now()}}
		for call := range 90 {
			if nodes[call%len(nodes)].limiter.Take(t.Context(), "a", rate).OK {
				w.allowed++
			}
		}
		w.last = time.Now()
		windows = append(windows, w)
		b.Pass(20 * time.Millisecond)
	}
	for i := range windows {
		calls := 0
		for _, w := range windows[i:] {
			calls += w.allowed
			most := float64(rate.Burst) + w.last.Sub(windows[i].first).Seconds()*float64(rate.PerSecond)
			if float64(calls) > 1.1*most {
				t.Fatalf("%d calls in %s, want at most %.1f and a tenth", calls, w.last.Sub(windows[i].first), most)
			}
		}
	}
	if windows[0].allowed == 0 {
		t.Error("nothing was allowed")
	}
}
