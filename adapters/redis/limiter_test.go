package redis_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/domain"
)

// limiters is three nodes on one installation, which know of each other.
func limiters(t testing.TB, urls ...string) (nodes []*redis.Limiter, conns []*redis.Conn) {
	t.Helper()
	epoch := newEpoch()
	for _, url := range urls {
		conn := open(t, url, epoch)
		l := redis.NewLimiter(conn)
		l.SetWait(5 * time.Second)
		nodes, conns = append(nodes, l), append(conns, conn)
	}
	for _, conn := range conns {
		eventually(t, "the nodes know of each other", func() bool { return conn.Nodes() == len(urls) })
	}
	return nodes, conns
}

// flood has every node take as fast as it can for a time, and returns how many calls each let through, and the time it
// took in all.
func flood(t testing.TB, nodes []*redis.Limiter, bucket string, rate domain.Rate, d time.Duration) (allowed []int, took time.Duration) {
	t.Helper()
	allowed = make([]int, len(nodes))
	var running sync.WaitGroup
	began := time.Now()
	for at, l := range nodes {
		running.Go(func() {
			for time.Since(began) < d {
				if a := l.Take(t.Context(), bucket, rate); a.OK {
					allowed[at]++
				} else {
					time.Sleep(min(a.RetryAfter, 5*time.Millisecond)) // another node may have left it some
				}
			}
		})
	}
	running.Wait()
	return allowed, time.Since(began)
}

func sum(ns []int) (all int) {
	for _, n := range ns {
		all += n
	}
	return all
}

func TestThreeNodesTogetherAllowTheRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []domain.Rate{{PerSecond: 400, Burst: 400}, {PerSecond: 100, Burst: 20}, {PerSecond: 5, Burst: 1}} {
		t.Run(fmt.Sprintf("%d a second, burst %d", rate.PerSecond, rate.Burst), func(t *testing.T) {
			t.Parallel()
			nodes, _ := limiters(t, shared.url(), shared.url(), shared.url())
			allowed, took := flood(t, nodes, "a", rate, 1500*time.Millisecond)
			full := float64(rate.Burst) + took.Seconds()*float64(rate.PerSecond)
			if n := float64(sum(allowed)); n > 1.1*full || n < 0.8*full-1 {
				t.Errorf("%v calls in %s, want all but a little of %.1f, and at most a tenth more", allowed, took, full)
			}
		})
	}
}

func TestANodeThatDiesWithASliceTakesLittleWithIt(t *testing.T) {
	t.Parallel()
	epoch := newEpoch()
	rate := domain.Rate{PerSecond: 1, Burst: 300}
	dying, err := redis.Open(redis.Config{URL: shared.url(), Epoch: epoch, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	if a := redis.NewLimiter(dying).Take(t.Context(), "a", rate); !a.OK {
		t.Fatalf("the first call: %+v", a)
	}
	if err := dying.Close(); err != nil {
		t.Fatal(err)
	}
	other := redis.NewLimiter(open(t, shared.url(), epoch))
	other.SetWait(5 * time.Second)
	n := 0
	for other.Take(t.Context(), "a", rate).OK {
		n++
	}
	if n < 300*9/10-1 {
		t.Errorf("the other node got %d of 300 calls, want all but a slice", n)
	}
	if n >= 300 {
		t.Errorf("the other node got %d calls: the dead one's was forgotten", n)
	}
}

func TestWithoutRedisEachNodeGivesItsShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate      domain.Rate
		low, high int // of all nodes' first calls at one moment
	}{
		{domain.Rate{PerSecond: 1, Burst: 90}, 80, 99},
		{domain.Rate{PerSecond: 1, Burst: 1}, 3, 3}, // less than one a node would be none for ever
	} {
		t.Run(fmt.Sprint("burst ", c.rate.Burst), func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			nodes, conns := limiters(t, s.url(), s.url(), s.url())
			s.kill()
			for _, conn := range conns {
				eventually(t, "the node knows", func() bool { ok, _ := conn.Healthy(); return !ok })
			}
			n := 0
			for _, l := range nodes {
				for range 200 {
					if l.Take(t.Context(), "a", c.rate).OK {
						n++
					}
				}
				if a := l.Peek(t.Context(), "a", c.rate); a.OK || a.Remaining != 0 || a.RetryAfter <= 0 {
					t.Errorf("Peek says %+v", a)
				}
			}
			if n < c.low || n > c.high {
				t.Errorf("%d calls, want %d to %d", n, c.low, c.high)
			}
			s.restart(t)
			for _, conn := range conns {
				eventually(t, "the node knows", func() bool { ok, _ := conn.Healthy(); return ok })
			}
			for at, l := range nodes { // what was taken meanwhile is remembered
				if a := l.Take(t.Context(), "a", c.rate); a.OK && c.rate.Burst > 1 && a.Remaining > 10 {
					t.Errorf("node %d, when Redis is back: %+v", at, a)
				}
			}
		})
	}
}

func TestWhatRedisForgetsTheNodesRemember(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	nodes, _ := limiters(t, s.url(), s.url())
	rate := domain.Rate{PerSecond: 1, Burst: 100}
	for range 60 {
		nodes[0].Take(t.Context(), "a", rate)
	}
	s.do(t, "FLUSHALL")
	s.do(t, "SCRIPT", "FLUSH")
	asked := nodes[0].Stats().Asked
	for n := 60; nodes[0].Stats().Asked == asked && n < 100; n++ { // some are in hand
		nodes[0].Take(t.Context(), "a", rate)
	}
	eventually(t, "Redis has the bucket again", func() bool { return len(keysOf(t, s, "*limit:a")) == 1 })
	n := 0
	for nodes[1].Take(t.Context(), "a", rate).OK {
		n++
	}
	if n > 45 {
		t.Errorf("the other node got %d calls after a flush, want what was left: 40 and a little", n)
	}
}

func TestANodeRemembersWhatTheOthersTookBeforeAFlush(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	nodes, _ := limiters(t, s.url(), s.url())
	rate := domain.Rate{PerSecond: 1, Burst: 100}
	for range 60 {
		nodes[0].Take(t.Context(), "a", rate)
	}
	for range 20 {
		nodes[1].Take(t.Context(), "a", rate)
	}
	began := time.Now()
	s.do(t, "FLUSHALL")
	n := 80
	for _, l := range []*redis.Limiter{nodes[1], nodes[0]} {
		for l.Take(t.Context(), "a", rate).OK {
			n++
		}
	}
	if most := 110 + time.Since(began).Seconds(); float64(n) > most {
		t.Errorf("%d calls over a flush, want at most %.1f", n, most)
	}
}

// TestASlowRedisIsWaitedForOnce: once it was found slow, nobody waits until it answers promptly.
func TestASlowRedisIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	conn := open(t, p.url(), newEpoch())
	l := redis.NewLimiter(conn)
	l.SetWait(100 * time.Millisecond)
	rate := domain.Rate{PerSecond: 1000, Burst: 1000}
	for _, stop := range []func(bool){
		func(on bool) { p.setDelay(map[bool]time.Duration{true: time.Second}[on]) },
		p.setSilent,
	} {
		eventually(t, "Redis is asked", func() bool {
			before := l.Stats().Alone
			l.Take(t.Context(), fmt.Sprint(time.Now()), rate)
			return l.Stats().Alone == before
		})
		stop(true)
		began := time.Now()
		for n := range 300 {
			if a := l.Take(t.Context(), fmt.Sprint("bucket ", n), rate); !a.OK {
				t.Errorf("call %d was refused: %+v", n, a)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("300 first calls of 300 buckets took %s", took)
		}
		stop(false)
	}
	eventually(t, "Redis is asked again", func() bool {
		before := l.Stats().Alone
		l.Take(t.Context(), fmt.Sprint(time.Now()), rate)
		return l.Stats().Alone == before
	})
}

// TestWhoWaitsAsToldIsLetThrough also where Redis was slow to look when it was asked, and is quick when it is asked again.
func TestWhoWaitsAsToldIsLetThrough(t *testing.T) {
	t.Parallel()
	p := newProxy(t, shared.addr())
	nodes, _ := limiters(t, shared.url(), p.url())
	rate := domain.Rate{PerSecond: 5, Burst: 1}
	for n := range 5 {
		bucket, refused := fmt.Sprint("slow ", n), domain.Allowance{OK: true}
		p.setDelay(30 * time.Millisecond)
		for refused.OK { // a busy machine takes so long that the call has come back
			nodes[0].Take(t.Context(), bucket, rate)
			refused = nodes[1].Take(t.Context(), bucket, rate)
		}
		p.setDelay(0)
		time.Sleep(refused.RetryAfter)
		if a := nodes[1].Take(t.Context(), bucket, rate); !a.OK {
			t.Errorf("after waiting %s as told: %+v", refused.RetryAfter, a)
		}
	}
}

// TestAWaitIsByTheRateInForce, whatever Redis said by another.
func TestAWaitIsByTheRateInForce(t *testing.T) {
	t.Parallel()
	nodes, _ := limiters(t, shared.url())
	slow := domain.Rate{PerSecond: 1, Burst: 1, Per: time.Minute}
	nodes[0].Take(t.Context(), "raised", slow)
	if a := nodes[0].Take(t.Context(), "raised", slow); a.OK || a.RetryAfter < 50*time.Second {
		t.Errorf("a call a minute: %+v", a)
	}
	if a := nodes[0].Take(t.Context(), "raised", domain.Rate{PerSecond: 100, Burst: 1, Per: time.Minute}); a.OK || a.RetryAfter > time.Second {
		t.Errorf("a hundred calls a minute: %+v", a)
	}
}

func TestAnAddressThatOneNodeLimitsIsLimitedOnAll(t *testing.T) {
	t.Parallel()
	nodes, _ := limiters(t, shared.url(), shared.url())
	rate := domain.Rate{PerSecond: 1, Burst: 50}
	for range 50 {
		nodes[0].Take(t.Context(), "address:a", rate)
	}
	if a := nodes[1].Peek(t.Context(), "address:a", rate); !a.OK {
		t.Logf("the other node knew at once: %+v", a)
	}
	for range 10 { // what was in hand on the first node, at most
		nodes[1].Take(t.Context(), "address:a", rate)
	}
	if a := nodes[1].Peek(t.Context(), "address:a", rate); a.OK {
		t.Errorf("the other node says %+v", a)
	}
}

func TestFullBucketsAreForgotten(t *testing.T) {
	t.Parallel()
	conn := open(t, shared.url(), newEpoch())
	l := redis.NewLimiter(conn)
	l.SetWait(5 * time.Second)
	rate := domain.Rate{PerSecond: 10000, Burst: 10}
	var running sync.WaitGroup
	for caller := range 16 {
		running.Go(func() {
			for i := range 1000 {
				l.Take(t.Context(), fmt.Sprint("address ", caller, i), rate)
			}
		})
	}
	running.Wait()
	if n := l.Buckets(); n > 12_000 {
		t.Errorf("%d of 16000 buckets are kept", n)
	}
	eventually(t, "Redis has forgotten them", func() bool {
		return len(keysOf(t, shared, conn.Prefix()+"limit:*")) == 0
	})
}

func TestManyCallersOfManyBucketsGetWhatThereIs(t *testing.T) {
	t.Parallel()
	nodes, _ := limiters(t, shared.url(), shared.url(), shared.url())
	rate := domain.Rate{PerSecond: 1, Burst: 60}
	var allowed [20]atomic.Int64
	began := time.Now()
	var running sync.WaitGroup
	for caller := range 30 {
		running.Go(func() {
			for call := range 200 {
				at := (caller + call) % len(allowed)
				if nodes[caller%3].Take(t.Context(), fmt.Sprint("bucket ", at), rate).OK {
					allowed[at].Add(1)
				}
			}
		})
	}
	running.Wait()
	for at := range allowed {
		most := 1.1 * (60 + time.Since(began).Seconds())
		if n := allowed[at].Load(); n < 50 || float64(n) > most {
			t.Errorf("bucket %d: %d calls, want 50 to %.1f", at, n, most)
		}
	}
}

func TestCallsInHandShrinkWithTheRate(t *testing.T) {
	t.Parallel()
	nodes, _ := limiters(t, shared.url(), shared.url())
	for _, l := range nodes {
		l.Take(t.Context(), "a", domain.Rate{PerSecond: 1000, Burst: 1000}) // and has thirty in hand
	}
	slow := domain.Rate{PerSecond: 1, Burst: 10}
	began, n := time.Now(), 0
	for _, l := range nodes {
		for range 100 {
			if l.Take(t.Context(), "a", slow).OK {
				n++
			}
		}
	}
	if most := 1.1 * (10 + time.Since(began).Seconds()); float64(n) > most {
		t.Errorf("%d calls at the slower rate, want at most %.1f", n, most)
	}
}

func BenchmarkTake(b *testing.B) {
	l := redis.NewLimiter(open(b, shared.url(), newEpoch()))
	for _, rate := range []domain.Rate{{PerSecond: 100_000_000, Burst: 100_000_000}, {PerSecond: 100, Burst: 100}} {
		b.Run(fmt.Sprint(rate.PerSecond), func(b *testing.B) {
			name := "tenant:tenant_0198f3a0-0000-7000-8000-000000000000"
			l.Take(b.Context(), name, rate)
			b.ReportAllocs()
			for b.Loop() {
				l.Take(b.Context(), name, rate)
			}
		})
	}
}

// BenchmarkTakeUnsliced asks Redis for each call: the burst is too small for slices.
func BenchmarkTakeUnsliced(b *testing.B) {
	l := redis.NewLimiter(open(b, shared.url(), newEpoch()))
	rate := domain.Rate{PerSecond: 100_000_000, Burst: 19}
	b.ReportAllocs()
	for b.Loop() {
		l.Take(b.Context(), "a", rate)
	}
}

func BenchmarkPeekUnknown(b *testing.B) {
	l, rate := redis.NewLimiter(open(b, shared.url(), newEpoch())), domain.Rate{PerSecond: 50, Burst: 50}
	b.ReportAllocs()
	for b.Loop() {
		l.Peek(b.Context(), "address:203.0.113.7", rate)
	}
}
