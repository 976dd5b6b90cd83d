package sqlite

import (
	"context"
	"errors"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// openOutbox finds out where the store's time was, and ends the leases of a process that is no more.
func openOutbox(db *conn, cfg Config) (steady, error) {
	var last int64
	if _, err := db.first("SELECT now FROM outbox_state WHERE one = 1", nil, func(r row) { last = r.int(0) }); err != nil {
		return steady{}, err
	}
	err := db.run("UPDATE outbox INDEXED BY outbox_held SET ready = due, fence = NULL WHERE fence IS NOT NULL")
	return newSteady(cfg, last), err
}

// Enqueue implements ports.OutboxWriter.
func (t *tx) Enqueue(job domain.Job) error {
	if err := t.ready(); err != nil {
		return err
	}
	ahead := t.w.store.steady.ahead()
	due := millis(job.Due) + ahead
	t.w.clockwork.used = true
	added, err := t.remove(`INSERT INTO outbox (tenant, id, event, lane, room, message, created, due, ready, step, after,
		through, attempts, once) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING`,
		t.tenant, job.ID[:], job.Event[:], string(job.Lane), job.Room[:], job.Message[:], millis(job.CreatedAt)+ahead, due, due,
		int64(job.Step), job.From, job.Through, int64(job.Attempts), boolNumber(job.Once))
	if err == nil && added == 0 {
		err = domain.ErrIdempotency
	}
	return err
}

func boolNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Settle implements ports.Outbox.
func (s *Store) Settle(ctx context.Context, settlements []ports.Settlement) (lost []domain.JobID, err error) {
	if len(settlements) == 0 {
		return nil, nil
	}
	err = s.submit(ctx, operator, func(t *tx) error {
		lost = nil
		for _, settled := range settlements {
			stands, err := t.settle(settled)
			if err != nil {
				return err
			}
			if !stands {
				lost = append(lost, settled.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// settle ends a claim, unless it does not stand any more.
func (t *tx) settle(s ports.Settlement) (stands bool, err error) {
	if err := t.bind(s.Tenant); err != nil {
		if errors.Is(err, domain.ErrTenantNotFound) {
			return false, nil // it goes with the tenant
		}
		return false, err
	}
	n, err := t.end(s)
	if err != nil || n == 0 {
		return false, err
	}
	if s.Dead != nil {
		err = t.AddDeadLetter(*s.Dead)
	}
	return true, err
}

// end removes the claimed job, or lets it go for its next attempt; n is 0 when the claim does not stand.
func (t *tx) end(s ports.Settlement) (n int64, err error) {
	if s.Again == nil {
		return t.remove("DELETE FROM outbox WHERE tenant = ? AND id = ? AND fence = ?", t.tenant, s.ID[:], s.Fence)
	}
	t.w.clockwork.used = true
	due := millis(s.Again.Due) + t.w.store.steady.ahead()
	return t.remove(`UPDATE outbox SET step = ?, after = ?, through = ?, attempts = ?, due = ?, ready = ?, fence = NULL
		WHERE tenant = ? AND id = ? AND fence = ?`,
		int64(s.Again.Step), s.Again.From, s.Again.Through, int64(s.Again.Attempts), due, due, t.tenant, s.ID[:], s.Fence)
}

// lanesOf goes from lane to lane, tenantsOf from tenant to tenant of a lane: by the index, whatever waits in between.
const (
	nextLane  = "SELECT min(lane) FROM outbox WHERE lane > ?"
	tenantsOf = `WITH RECURSIVE turn (tenant) AS (
		SELECT min(tenant) FROM outbox WHERE lane = ?1
		UNION ALL
		SELECT (SELECT min(tenant) FROM outbox WHERE lane = ?1 AND tenant > turn.tenant) FROM turn WHERE turn.tenant IS NOT NULL)`
)

// OutboxStats implements ports.Outbox. It counts what is held by a claim too; it is not the one due longest.
func (s *Store) OutboxStats(ctx context.Context) (map[domain.Lane]ports.OutboxStats, error) {
	stats := map[domain.Lane]ports.OutboxStats{}
	err := s.read(ctx, func(c *conn) error {
		for lane, found, err := findLane(c, ""); found || err != nil; lane, found, err = findLane(c, lane) {
			if err != nil {
				return err
			}
			now, err := s.laneStats(c, lane)
			if err != nil {
				return err
			}
			if now.Waiting > 0 {
				stats[domain.Lane(lane)] = now
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return stats, nil
}

func findLane(c *conn, after string) (lane string, found bool, err error) {
	_, err = c.first(nextLane, args(after), func(r row) { lane, found = r.text(0), !r.null(0) })
	return lane, found, err
}

func (s *Store) laneStats(c *conn, lane string) (stats ports.OutboxStats, err error) {
	now := s.steady.now()
	err = c.query(tenantsOf+` SELECT (SELECT count(*) FROM outbox WHERE lane = ?1 AND tenant = t.number),
		(SELECT min(ready) FROM outbox WHERE lane = ?1 AND tenant = t.number)
		FROM turn CROSS JOIN tenants t ON t.number = turn.tenant AND t.deleted IS NULL`, args(lane), func(r row) error {
		stats.Waiting += r.int(0)
		stats.Oldest = max(stats.Oldest, duration(now-r.int(1)))
		return nil
	})
	return stats, err
}

// jobColumns are those that the outbox and dead letters have in common.
const jobColumns = "event, lane, room, message, created, due, step, after, through, once"

// scanJob reads jobColumns; behind is how far the time of day is behind the times of the row.
func scanJob(r row, behind int64) domain.Job {
	j := domain.Job{
		Lane: domain.Lane(r.text(1)), CreatedAt: fromMillis(r.int(4) - behind), Due: fromMillis(r.int(5) - behind),
		Step: int(r.int(6)), From: r.text(7), Through: r.text(8), Once: r.int(9) != 0,
	}
	copy(j.Event[:], r.blob(0))
	copy(j.Room[:], r.blob(2))
	copy(j.Message[:], r.blob(3))
	return j
}

// jobWidth is the number of jobColumns.
const jobWidth = 10
