package limittest

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// span is when a call happened: at some moment from first to last.
type span struct{ first, last time.Time }

// oracle is the definition of a token bucket: a call is allowed unless it would be the last of n calls within a time t
// with n > burst + rate·t. It is told of the calls that were allowed, looks back at all of them, and rounds nothing.
type oracle struct {
	rate   domain.Rate
	unsure time.Duration // of the backend
	calls  []span
}

// call is what one call owes; rate.PerSecond of it is paid back each nanosecond.
func (o *oracle) call() int64 { return int64(o.rate.Period()) }

// owed is what the bucket lacks of being full at now: at least and at most, since the moments are not exactly known.
func (o *oracle) owed(now span) (least, most int64) {
	for i, c := range o.calls {
		calls := int64(len(o.calls)-i) * o.call()
		perSecond := int64(o.rate.PerSecond)
		least = max(least, calls-perSecond*int64(now.last.Sub(c.first)))
		most = max(most, calls-perSecond*int64(now.first.Sub(c.last)))
	}
	return least, most
}

func (o *oracle) size() int64 { return int64(o.rate.Burst) * o.call() }

// wait is how long paying back takes, rounded up.
func (o *oracle) wait(amount int64) time.Duration {
	perSecond := int64(o.rate.PerSecond)
	return time.Duration((max(0, amount) + perSecond - 1) / perSecond)
}

// rounding is what an answer's times may lack or have in excess where the clock is not virtual, as databases count in
// coarser units than nanoseconds.
func (s span) rounding() time.Duration {
	if s.first.Equal(s.last) {
		return 0
	}
	return 2 * time.Millisecond
}

// check holds an answer against the definition; took says whether it was one to Take.
func (o *oracle) check(t *testing.T, what string, a domain.Allowance, at span, took bool) {
	t.Helper()
	least, most := o.owed(at)
	if a.OK && least > o.size()-o.call() {
		t.Errorf("%s: allowed, and %d a second with a burst of %d are exceeded", what, o.rate.PerSecond, o.rate.Burst)
	}
	if !a.OK && most <= o.size()-o.call() {
		t.Errorf("%s: refused, and it had the right", what)
	}
	if !a.OK {
		low, high := o.wait(least+o.call()-o.size()), o.wait(most+o.call()-o.size())
		between(t, what+": RetryAfter", a.RetryAfter, low-at.rounding(), high+at.rounding()+o.unsure)
	} else if a.RetryAfter != 0 {
		t.Errorf("%s: allowed with RetryAfter %s", what, a.RetryAfter)
	}
	if a.OK && took {
		o.calls = append(o.calls, at)
		least, most = o.owed(at)
	}
	if a.Limit != o.rate.PerSecond {
		t.Errorf("%s: Limit %d, want %d", what, a.Limit, o.rate.PerSecond)
	}
	low, high := (o.size()-most)/o.call(), (o.size()-least)/o.call()
	if n := int64(a.Remaining); n < max(0, low) || n > high {
		t.Errorf("%s: Remaining %d, want %d to %d", what, n, max(0, low), high)
	}
	between(t, what+": Reset after", a.Reset.Sub(at.first),
		o.wait(least)-at.rounding(), at.last.Sub(at.first)+o.wait(most)+at.rounding())
}

func between(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %s, want %s to %s", what, got, low, high)
	}
}

// bucket is one bucket of a limiter with an oracle beside it, which judges every answer.
type bucket struct {
	t       *testing.T
	limiter ports.Limiter
	name    string
	oracle  oracle
}

func newBucket(t *testing.T, b Backend, name string, perSecond, burst int) *bucket {
	t.Helper()
	return &bucket{t, b.Node(t), name, oracle{rate: domain.Rate{PerSecond: perSecond, Burst: burst}, unsure: b.Unsure()}}
}

func (b *bucket) take(what string) domain.Allowance {
	b.t.Helper()
	first := time.Now()
	a := b.limiter.Take(b.t.Context(), b.name, b.oracle.rate)
	b.oracle.check(b.t, what, a, span{first, time.Now()}, true)
	return a
}

func (b *bucket) peek(what string) domain.Allowance {
	b.t.Helper()
	first := time.Now()
	a := b.limiter.Peek(b.t.Context(), b.name, b.oracle.rate)
	b.oracle.check(b.t, what, a, span{first, time.Now()}, false)
	return a
}

// drain takes until it is refused.
func (b *bucket) drain() {
	b.t.Helper()
	for range 10 * b.oracle.rate.Burst {
		if !b.take("drain").OK {
			return
		}
	}
	b.t.Errorf("%s is not empty after %d calls", b.name, 10*b.oracle.rate.Burst)
}
