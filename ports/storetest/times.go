package storetest

import (
	"sync"
	"time"
)

// Times is what the backend of one case goes by, across restarts: the time of day, and the time that has passed. Both
// stand still until the case moves them. A store keeps leases and due times by what has passed, whatever is done to the
// time of day.
type Times struct {
	mu     sync.Mutex
	passed time.Duration
	set    time.Duration
}

// Now is the time of day. It makes Times a ports.Clock.
func (t *Times) Now() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Clock.Now().Add(t.passed + t.set)
}

// Elapsed is how much time has passed since the case began, whatever was done to the clock.
func (t *Times) Elapsed() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.passed
}

// pass lets time go on.
func (t *Times) pass(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passed += d
}

// turn sets the clock, forward or back; no time passes.
func (t *Times) turn(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set += d
}
