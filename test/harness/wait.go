package harness

import (
	"fmt"
	"testing"
	"time"
)

// pollEvery is the pace of polls: short, as each costs one loopback request at most.
const pollEvery = 5 * time.Millisecond

// Until polls cond until it reports true, or fails after limit with what.
func Until(limit time.Duration, what string, cond func() bool) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			if cond() {
				return nil
			}
			return fmt.Errorf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
	return nil
}

// Eventually is Until for the goroutine of a test: it ends the test when cond stays false.
func Eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	if err := Until(limit, what, cond); err != nil {
		t.Fatal(err)
	}
}

// Must turns a call that returns a value and an error into one that returns the value and ends the test on an error:
// Must(user.Send(room, body))(t). Only for the goroutine of the test.
func Must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Check ends the test on an error. Only for the goroutine of the test.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
