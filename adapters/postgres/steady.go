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
// theirs down while they use it and go on from the latest, so that two of them differ by no more than what one has gained
// on the other meanwhile.
type steady struct {
	clock   ports.Clock
	elapsed func() time.Duration

	mu     sync.Mutex
	opened time.Duration // what elapsed said when now was base
	base   int64
	used   bool  // since it was written down last
	kept   int64 // the time written down last
}

// steadyEvery is how often the store's time is written down while it is in use: so much of it is lost at most when the
// clock that it goes on by was set back while no store was open.
const steadyEvery = 10 * time.Second

func newSteady(cfg Config, opened time.Duration, base int64) *steady {
	return &steady{clock: cfg.Clock, elapsed: cfg.Elapsed, opened: opened, base: base, kept: base}
}

// now is in milliseconds, like all of the store's own times.
func (s *steady) now() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = true
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
	if !s.used || now-s.kept < steadyEvery.Milliseconds() {
		return now, false
	}
	s.used, s.kept = false, now
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

// The store's time when it is opened. A process that is alone has nobody to agree with: it goes by its clock, but never
// back. One of several goes on from the latest that was written down by the time that has passed since on the server,
// which all of them have in common: one that went by its own clock would end leases that others hold. Of a server whose
// clock was set back, or that is another with an earlier one, no time has passed. In a new store the time begins as the
// server's.
const (
	timeAlone  = "UPDATE outbox_state SET now = greatest(now, $1), at = " + serverTime + " WHERE one = 1 RETURNING now"
	timeBeside = "UPDATE outbox_state SET now = now + greatest(" + serverTime + " - at, 0), at = " + serverTime +
		" WHERE one = 1 RETURNING now"
)

// openOutbox has the store's time go on, and ends the leases of a process that is no more: of any, when this one is alone.
func (s *Store) openOutbox(ctx context.Context) error {
	query, values := timeBeside, args()
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
