package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// openOutbox finds out where the store's time was, and ends the leases of a process that is no more.
func openOutbox(db *conn, cfg Config) (steady, error) {
	var last int64
	if _, err := db.first("SELECT now FROM outbox_state WHERE one = 1", nil, func(r row) { last = r.Int(0) }); err != nil {
		return steady{}, err
	}
	err := db.run("UPDATE outbox INDEXED BY outbox_held SET ready = due, fence = NULL WHERE fence IS NOT NULL")
	return newSteady(cfg, last), err
}

const (
	insertJob = "INSERT INTO outbox (tenant, id, attempts, ready, " + sqlrows.JobColumns + `)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO `
	addJob = insertJob + "NOTHING"
)

// Enqueue implements ports.OutboxWriter.
func (t *tx) Enqueue(job domain.Job) error {
	if err := t.ready(); err != nil {
		return err
	}
	t.w.clockwork.used = true
	ahead := t.w.store.steady.ahead()
	values := append(args(t.tenant, job.ID[:], int64(job.Attempts), job.Due.UnixMilli()+ahead), jobValues(job, ahead)...)
	query := addJob
	if job.Lane == domain.LaneBot {
		query = runJob
	}
	added, err := t.remove(query, values...)
	if err == nil && added == 0 {
		err = domain.ErrIdempotency
	}
	return err
}

// WaitingJobs implements ports.JobReader.
func (r *reader) WaitingJobs(lane domain.Lane, limit int) (waiting int, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return 0, err
	}
	_, err = r.conn.first("SELECT count(*) FROM (SELECT 1 FROM outbox WHERE lane = ? AND tenant = ? LIMIT 0 + ?)",
		args(string(lane), r.tenant, int64(limit)), func(row row) { waiting = int(row.Int(0)) })
	return waiting, err
}

// Settle implements ports.Outbox.
func (s *Store) Settle(ctx context.Context, settlements []ports.Settlement) (lost []domain.JobID, err error) {
	return s.eachClaim(ctx, len(settlements), func(i int) ports.Claim { return settlements[i].Claim },
		func(t *tx, i int) (stands bool, err error) { return t.settle(settlements[i]) })
}

// eachClaim does something with each of n claims, bound to its tenant, all in one transaction; lost are the jobs of those
// that do not stand any more.
func (s *Store) eachClaim(
	ctx context.Context, n int, claim func(i int) ports.Claim, do func(t *tx, i int) (stands bool, err error),
) (lost []domain.JobID, err error) {
	if n == 0 {
		return nil, nil
	}
	err = s.submit(ctx, operator, func(t *tx) error {
		lost = nil
		for i := range n {
			c := claim(i)
			stands, err := false, t.bind(c.Tenant)
			if errors.Is(err, domain.ErrTenantNotFound) {
				err = nil // it goes with the tenant
			} else if err == nil {
				stands, err = do(t, i)
			}
			if err != nil {
				return err
			}
			if !stands {
				lost = append(lost, c.ID)
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
	n, err := t.end(s)
	if err != nil || n == 0 {
		return false, err
	}
	if s.Dead != nil {
		err = t.AddDeadLetter(*s.Dead)
	}
	if s.Again == nil {
		t.waitsNoMore(s.Notification)
	}
	return true, err
}

// end removes the claimed job, or lets it go for its next attempt; n is 0 when the claim does not stand.
func (t *tx) end(s ports.Settlement) (n int64, err error) {
	if s.Again == nil && s.Lane == domain.LaneBot {
		return t.endRun(s.ID, s.Fence, s.Message)
	}
	if s.Again == nil {
		return t.remove("DELETE FROM outbox WHERE tenant = ? AND id = ? AND fence = ?", t.tenant, s.ID[:], s.Fence)
	}
	t.w.clockwork.used = true
	ahead := t.w.store.steady.ahead()
	due := s.Again.Due.UnixMilli() + ahead
	return t.remove(`UPDATE outbox SET step = ?, after = ?, through = ?, attempts = ?, last_attempt = ?, last_error = ?,
		due = ?, ready = ?, fence = NULL WHERE tenant = ? AND id = ? AND fence = ?`,
		int64(s.Again.Step), s.Again.From, s.Again.Through, int64(s.Again.Attempts), sqlrows.AheadOrNull(s.Again.LastAttemptAt, ahead),
		s.Again.LastError, due, due, t.tenant, s.ID[:], s.Fence)
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
	_, err = c.first(nextLane, args(after), func(r row) { lane, found = r.Text(0), !r.Null(0) })
	return lane, found, err
}

func (s *Store) laneStats(c *conn, lane string) (stats ports.OutboxStats, err error) {
	now := s.steady.now()
	err = c.query(tenantsOf+` SELECT (SELECT count(*) FROM outbox WHERE lane = ?1 AND tenant = t.number),
		(SELECT min(ready) FROM outbox WHERE lane = ?1 AND tenant = t.number)
		FROM turn CROSS JOIN tenants t ON t.number = turn.tenant AND t.deleted IS NULL`, args(lane), func(r row) error {
		stats.Waiting += r.Int(0)
		stats.Oldest = max(stats.Oldest, duration(now-r.Int(1)))
		return nil
	})
	return stats, err
}

// jobValues are those of sqlrows.JobColumns; ahead is how far the times of the row are before the time of day.
func jobValues(j domain.Job, ahead int64) []driver.Value {
	return args(
		j.Event[:], string(j.Lane), sqlrows.IDOrNull(j.Room), sqlrows.IDOrNull(j.Message), sqlrows.IDOrNull(j.Notification), sqlrows.IDOrNull(j.Subscription),
		j.CreatedAt.UnixMilli()+ahead, j.Due.UnixMilli()+ahead, int64(j.Step), j.From, j.Through, sqlrows.AheadOrNull(j.LastAttemptAt, ahead),
		j.LastError, sqlrows.BoolNumber(j.Once), sqlrows.IDOrNull(j.Bot),
	)
}
