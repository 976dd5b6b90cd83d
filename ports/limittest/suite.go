// Package limittest is the contract suite of ports.Limiter: every adapter's test calls Run with a function that opens a
// fresh backend. There are no capability flags.
//
// The suite holds every answer against the definition of a token bucket (see oracle). A call is known to have happened
// between two readings of the clock: in a synctest bubble they are equal, and the answer must be exact to the
// nanosecond; in real time it must be right for some moment between them.
package limittest

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Backend is what the nodes of a cluster share. A backend for one node returns the same value for all of them.
type Backend interface {
	// Node is the limiter as one more node sees it; it is closed in t.Cleanup.
	Node(t *testing.T) ports.Limiter
	// Unsure is how much longer than needed a node may tell a caller to wait, as it asks others for what a bucket lacks, and
	// they look a while after that.
	Unsure() time.Duration
	// Pass returns when at least d has passed on time.Now, by which buckets fill.
	Pass(d time.Duration)
}

// Open gives test a fresh backend, and closes it when test has returned. It may run test in a synctest bubble.
type Open func(t *testing.T, test func(t *testing.T, b Backend))

var contracts = []struct {
	name string
	test func(t *testing.T, b Backend)
}{
	{"ABucketIsFullAtFirstSight", fullAtFirstSight},
	{"EveryAnswerIsTheDefinitions", definition},
	{"TheNextCallIsAllowedWhenItWasToldToBe", retryAfter},
	{"TheBucketIsFullWhenItWasToldToBe", reset},
	{"PeekTakesNothing", peekTakesNothing},
	{"PeekSaysWhatTakeWould", peekForetells},
	{"ARateCanBeOfALongerTimeThanASecond", byTheMinute},
	{"AnUnlimitedRateLimitsNothing", unlimited},
	{"AFasterRateIsInForceAtOnce", fasterRate},
	{"ASlowerRateIsInForceAtOnce", slowerRate},
	{"ALimitThatWasOffIsInForceAgain", offAndOn},
	{"TakingTurnsOfTwoRatesGivesNothingAway", rateFlaps},
	{"BucketsAreApart", bucketsAreApart},
	{"ManyBucketsMakeNoneForgetItsCalls", manyBuckets},
	{"AnIdleBucketIsFull", idleBucket},
	{"ParallelCallsGetNoMoreThanThereIs", parallelCalls},
	{"ManyNodesAllowAtMostATenthMore", manyNodes},
}

// Run proves the contract on backends that open gives.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range contracts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			open(t, c.test)
		})
	}
}
