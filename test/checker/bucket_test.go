package checker

import "testing"

// taken are calls that take a millisecond each, one every so many milliseconds, let through as told.
func taken(every int64, ok ...bool) []Taken {
	const ms = 1_000_000
	var calls []Taken
	for i, passed := range ok {
		at := int64(i) * every * ms
		calls = append(calls, Taken{Invoked: at, Answered: at + ms, OK: passed})
	}
	return calls
}

// times is the same outcome n times.
func times(n int, ok bool) []bool {
	all := make([]bool, n)
	for i := range all {
		all[i] = ok
	}
	return all
}

func TestABucketLetsThroughNeitherMoreNorLessThanItPromises(t *testing.T) {
	t.Parallel()
	ten := Bucket{PerSecond: 10, Burst: 10}
	// One call every 50 ms: the bucket loses one for each and gains half a one.
	held := append(times(19, true), false, true, false, true, false, true)
	for _, c := range []struct {
		name  string
		calls []Taken
		want  bool
	}{
		{"nothing", nil, true},
		{"under the rate", taken(100, times(40, true)...), true},
		{"over the rate and held", taken(50, held...), true},
		{"over the rate and not held", taken(50, times(40, true)...), false},
		{"too many at once", taken(1, times(12, true)...), false},
		{"too few at once", taken(1, append(times(8, true), false)...), false},
		{"a full bucket at once", taken(1, append(times(10, true), false)...), true},
		{"refused for long", taken(50, append(times(19, true), times(10, false)...)...), false},
		{"refused where it may have overflowed", append(taken(50, held...), Taken{Invoked: 1e12, Answered: 1e12 + 1}), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if found := ten.Check(c.calls); (len(found) == 0) != c.want {
				t.Errorf("got %v, want it to pass: %v", found, c.want)
			}
		})
	}
}

// TestABucketOfSeveralNodesIsHeldToATenth: nine or thirteen at once are as good as ten there.
func TestABucketOfSeveralNodesIsHeldToATenth(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]bool{8: false, 9: true, 13: true, 14: false} {
		calls := taken(1, append(times(n, true), false)...)
		if found := (Bucket{PerSecond: 10, Burst: 10, Tenth: true}).Check(calls); (len(found) == 0) != want {
			t.Errorf("%d at once: got %v, want it to pass: %v", n, found, want)
		}
	}
}
