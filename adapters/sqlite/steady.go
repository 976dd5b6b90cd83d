package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/ports"
)

// steady is the store's own time, which the outbox goes by: due times and leases. It goes on with the time that passes,
// whatever is done to the clock: a clock that is set back leaves no job waiting for the day to come round again, and
// one that is set forward makes none early and ends no lease. It begins with the time of day at Open, or where it was
// last, when that is later: then the time that the store was closed counts as none.
type steady struct {
	clock   ports.Clock
	elapsed func() time.Duration
	opened  time.Duration // what elapsed said when now was base
	base    int64
}

func newSteady(cfg Config, last int64) steady {
	return steady{clock: cfg.Clock, elapsed: cfg.Elapsed, opened: cfg.Elapsed(), base: max(cfg.Clock.Now().UnixMilli(), last)}
}

// now is in milliseconds, like all of the store's own times.
func (s steady) now() int64 { return s.base + (s.elapsed() - s.opened).Milliseconds() }

// ahead is how far the store's own time is before the time of day.
func (s steady) ahead() int64 { return s.now() - s.clock.Now().UnixMilli() }

// steadyEvery is how often the store's time is written down while it is in use: a clock that was set back while the
// store was closed makes a job wait for so much longer at most.
const steadyEvery = 10 * time.Second

// clockwork is what the writer does to have the store's time go on after a restart.
type clockwork struct {
	used bool  // this batch has written what goes by it
	kept int64 // the time written down last
}

// flush writes the time down, when it is used and due; the caller sets kept once that is durable.
func (c *clockwork) flush(db *conn, now int64) (kept int64, err error) {
	if !c.used || now-c.kept < steadyEvery.Milliseconds() {
		return c.kept, nil
	}
	return now, db.run("UPDATE outbox_state SET now = ? WHERE one = 1", now)
}
