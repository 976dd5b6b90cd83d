package checker

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// Bucket is the promise of a rate limit: so many calls a second, and so many at once.
type Bucket struct {
	PerSecond, Burst int64
	Tenth            bool // it is kept by several nodes: within a tenth, and what whole calls need beyond
}

// wholeCalls is what nodes that have whole calls each may let through beyond a tenth.
const wholeCalls = 2

// most and least are the bounds of what should be an exact number of calls.
func (b Bucket) most(exact float64) float64 {
	if b.Tenth {
		return 1.1*exact + wholeCalls
	}
	return exact
}

func (b Bucket) least(exact int64) int64 {
	if b.Tenth {
		return exact * 9 / 10
	}
	return exact
}

// Taken is one call that asked the bucket. The bucket has decided somewhere between Invoked and Answered.
type Taken struct {
	Invoked, Answered int64
	OK                bool
}

const second = 1_000_000_000

// Check applies both sides of the promise and returns what broke it. The calls must be all that were made of the bucket
// in their time, and the bucket's rate must not have changed meanwhile.
func (b Bucket) Check(calls []Taken) []Violation {
	var found []Violation
	for _, rule := range []struct {
		name  string
		check func(Bucket, []Taken, func(string, ...any))
	}{{"at most", atMostTheRate}, {"at least", atLeastTheRate}} {
		count := 0
		rule.check(b, calls, func(format string, args ...any) {
			if count++; count <= witnesses {
				found = append(found, Violation{rule.name, fmt.Sprintf(format, args...)})
			}
		})
	}
	return found
}

// within is the most that a bucket lets through in a span of time: what it holds, and what comes in meanwhile.
func (b Bucket) within(span int64) float64 {
	return b.most(float64(b.Burst) + float64(b.PerSecond)*float64(span)/second)
}

// atMostTheRate: of the calls that began and ended within any span, no more were let through than the bucket could have
// held and gained in it.
func atMostTheRate(b Bucket, calls []Taken, broken func(string, ...any)) {
	passed := slices.DeleteFunc(slices.Clone(calls), func(c Taken) bool { return !c.OK })
	slices.SortFunc(passed, func(x, y Taken) int { return cmp.Compare(x.Answered, y.Answered) })
	for i := range passed {
		from, inside := passed[i].Invoked, 0
		for _, c := range passed { // in order of their ends: the span grows
			if c.Invoked < from {
				continue
			}
			inside++
			if span := c.Answered - from; float64(inside) > b.within(span) {
				broken("%d calls were let through within %d ms: at most %.1f may be", inside, span/1_000_000, b.within(span))
				break
			}
		}
	}
}

// atLeastTheRate: between two refusals the bucket was empty at both ends, so what came in meanwhile was taken by calls
// that were let through; all but the part of a call that was there at the second. Spans in which it could have
// overflowed say nothing. Before the first refusal a full bucket was emptied.
func atLeastTheRate(b Bucket, calls []Taken, broken func(string, ...any)) {
	refused := slices.DeleteFunc(slices.Clone(calls), func(c Taken) bool { return c.OK })
	slices.SortFunc(refused, func(x, y Taken) int { return cmp.Compare(x.Invoked, y.Invoked) })
	passed := newPassed(calls)
	for i, a := range refused {
		if n := passed.during(0, a.Answered); n < b.least(b.Burst) {
			broken("a call was refused after %d: a full bucket holds %d", n, b.Burst)
		}
		latest := a.Answered + b.Burst*second/b.PerSecond
		last := i + sort.Search(len(refused)-i, func(k int) bool { return refused[i+k].Invoked > latest }) - 1
		z := refused[max(i, last)]
		gained := b.least(b.PerSecond * max(0, z.Invoked-a.Answered) / second)
		if n := passed.during(a.Invoked, z.Answered); n < gained-1 {
			broken("between refusals %d ms apart %d calls were let through, the bucket gained %d", (z.Invoked-a.Answered)/1_000_000, n, gained)
		}
	}
}

// passed are the calls that were let through, by their beginnings and by their ends.
type passed struct{ invoked, answered []int64 }

func newPassed(calls []Taken) (p passed) {
	for _, c := range calls {
		if c.OK {
			p.invoked, p.answered = append(p.invoked, c.Invoked), append(p.answered, c.Answered)
		}
	}
	slices.Sort(p.invoked)
	slices.Sort(p.answered)
	return p
}

// during is how many calls can have been decided within a span: all but those that ended before or began after it.
func (p passed) during(from, to int64) int64 {
	before, _ := slices.BinarySearch(p.answered, from)
	through, _ := slices.BinarySearch(p.invoked, to+1)
	return int64(through - before)
}
