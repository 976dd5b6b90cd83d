package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// steady is the store's own time, which the outbox goes by: due times and leases. It goes on with the time that passes,
// whatever is done to the clock: a clock that is set back leaves no job waiting for the day to come round again, and
// one that is set forward makes none early and ends no lease. It is the same on all nodes, whatever their clocks say: a
// node that opens goes on from where another was last, by the time that has passed since on the server. Nodes write
// theirs down every now and then and go on from the latest, so that two of them differ by no more than what one has gained
// on the other meanwhile, and one that opens beside another knows that little time can have passed.
type steady struct {
	clock   ports.Clock
	elapsed func() time.Duration

	mu     sync.Mutex
	opened time.Duration // what elapsed said when now was base
	base   int64
	kept   int64 // the time written down last
}

const (
	// steadyEvery is how often the store's time is written down: so much of it is lost at most when the clock that it goes
	// on by was set back while no store was open.
	steadyEvery = 10 * time.Second
	// steadyMost is the most that a node goes on which opens beside another: as old as what is written down can be, since
	// that is looked at every steadyEvery/2. No lease that is renewed by then ends by it. If more has passed, as when that
	// node could not write, the one that opens hears of it when that one can.
	steadyMost = 3 * steadyEvery / 2
)

func newSteady(cfg Config, opened time.Duration, base int64) *steady {
	return &steady{clock: cfg.Clock, elapsed: cfg.Elapsed, opened: opened, base: base, kept: base}
}

// now is in milliseconds, like all of the store's own times.
func (s *steady) now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at()
}

// at needs mu.
func (s *steady) at() int64 { return s.base + (s.elapsed() - s.opened).Milliseconds() }

// ahead is how far the store's own time is before the time of day.
func (s *steady) ahead() int64 { return s.now() - s.clock.Now().UnixMilli() }

// due reports whether the time is to be written down, and has nobody else do it.
func (s *steady) due() (now int64, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.at()
	if now-s.kept < steadyEvery.Milliseconds() {
		return now, false
	}
	s.kept = now
	return now, true
}

// advance goes on from a time that is later.
func (s *steady) advance(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base += max(now-s.at(), 0)
	s.kept = max(s.kept, now)
}

// now is the store's own time in milliseconds.
func (s *Store) now() int64 { return s.steady.now() }

// keepTime writes the store's time down when that is due. What fails is tried again in a while.
func (s *Store) keepTime() {
	if s.steady == nil {
		return
	}
	now, due := s.steady.due()
	if !due {
		return
	}
	_ = s.read(background, func(c *conn) error { return s.writeTime(c, now) }) // who uses the time next hears of the trouble
}

// serverTime is the time of day on the server, in milliseconds.
const serverTime = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

// writeTime keeps where the server's clock is with it: of the latest time, unless that clock was set back since.
func (s *Store) writeTime(c *conn, now int64) error {
	_, err := c.first(`UPDATE outbox_state SET now = greatest(now, $1),
		at = CASE WHEN $1 >= now THEN `+serverTime+` ELSE least(at, `+serverTime+`) END WHERE one = 1 RETURNING now`, args(now),
		func(r row) { s.steady.advance(r.Int(0)) })
	return err
}

// The lock that every node shares from when it has the store's time until it ends, in the session that has hold of the
// database: who finds it knows that time is being written down.
const (
	timeClass = "1953066341" // "time"
	timeID    = "hashtext(current_schema())"
	timeKept  = "SELECT pg_advisory_lock_shared(" + timeClass + ", " + timeID + ")"
	// timeIsKept is whether somebody has it.
	timeIsKept = `EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = ` + timeClass +
		` AND objid = ` + timeID + `::oid AND objsubid = 2
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`
)

// The store's time when it is opened. A process that is alone has nobody to agree with: it goes by its clock, but never
// back. One of several goes on from the latest that was written down by the time that has passed since on the server,
// which all of them have in common: one that went by its own clock would end leases that others hold. While others are
// there it goes on by steadyMost at most: a server whose clock was set forward, or that is another with a later one, would end
// their leases too, and all jobs for their age. Of a server whose clock was set back, or that is another with an earlier one,
// no time has passed. In a new store the time begins as the server's.
const (
	timeAlone  = "UPDATE outbox_state SET now = greatest(now, $1), at = " + serverTime + " WHERE one = 1 RETURNING now"
	timeBeside = "UPDATE outbox_state SET at = " + serverTime + ", now = now + least(greatest(" + serverTime + " - at, 0), " +
		"CASE WHEN at > 0 AND " + timeIsKept + " THEN $1::bigint END) WHERE one = 1 RETURNING now"
)

// openOutbox has the store's time go on, and ends the leases of a process that is no more: of any, when this one is alone.
func (s *Store) openOutbox(ctx context.Context) error {
	query, values := timeBeside, args(steadyMost.Milliseconds())
	if s.cfg.Alone {
		query, values = timeAlone, args(s.cfg.Clock.Now().UnixMilli())
	}
	return s.operate(ctx, func(t *tx) error {
		_, err := t.conn.first(query, values, func(r row) {
			s.steady = newSteady(s.cfg, s.cfg.Elapsed(), r.Int(0))
		})
		if err != nil || !s.cfg.Alone {
			return err
		}
		return t.put("UPDATE outbox SET ready = due, fence = NULL WHERE fence IS NOT NULL")
	})
}

// timekeeper writes the store's time down while nothing else does.
type timekeeper struct {
	stop  context.CancelFunc
	ended chan struct{}
}

// keepTimeAlways begins to, and lets others know. A command, which others need not know of, does not.
func (s *Store) keepTimeAlways(ctx context.Context) (*timekeeper, error) {
	if s.cfg.Beside {
		return nil, nil
	}
	if err := s.claim.keepTime(ctx); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(background)
	k := &timekeeper{stop: stop, ended: make(chan struct{})}
	go k.run(ctx, s.keepTime)
	return k, nil
}

func (k *timekeeper) run(ctx context.Context, keep func()) {
	defer close(k.ended)
	tick := time.NewTicker(steadyEvery / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			keep()
		}
	}
}

func (k *timekeeper) close() {
	if k != nil {
		k.stop()
		<-k.ended
	}
}
