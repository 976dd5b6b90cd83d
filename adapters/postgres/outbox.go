package postgres

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

const addJob = "INSERT INTO outbox (tenant, id, attempts, ready, " + sqlrows.JobColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
	ON CONFLICT (tenant, id) DO NOTHING`

// Enqueue implements ports.OutboxWriter.
func (t *tx) Enqueue(job domain.Job) error {
	if err := t.ready(); err != nil {
		return err
	}
	query, values := t.jobStatement(job)
	added, err := t.remove(query, values...)
	if err == nil && added == 0 {
		err = domain.ErrIdempotency
	}
	return err
}

// jobStatement stores a job; it changes no row when the id is taken.
func (t *tx) jobStatement(job domain.Job) (query string, values []any) {
	ahead := t.store.steady.ahead()
	values = append(args(t.tenant, job.ID[:], int64(job.Attempts), job.Due.UnixMilli()+ahead), jobValues(job, ahead)...)
	if job.Lane == domain.LaneBot {
		return runJob, values
	}
	return addJob, values
}

// WaitingJobs implements ports.JobReader.
func (r *reader) WaitingJobs(lane domain.Lane, limit int) (waiting int, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return 0, err
	}
	_, err = r.conn.first("SELECT count(*) FROM (SELECT 1 FROM outbox WHERE lane = $1 AND tenant = $2 LIMIT $3) those",
		args(string(lane), r.tenant, int64(limit)), func(row row) { waiting = int(row.Int(0)) })
	return waiting, err
}

// Settle implements ports.Outbox. The jobs come first and what was given up after them, tenant by tenant: whoever settles
// takes its locks in this order.
func (s *Store) Settle(ctx context.Context, settlements []ports.Settlement) (lost []domain.JobID, err error) {
	if len(settlements) == 0 {
		return nil, nil
	}
	err = s.operate(ctx, func(t *tx) error {
		lost = nil
		var ended []ended
		for _, settled := range settlements {
			tenant, stands, err := t.settle(settled)
			if err != nil {
				return err
			}
			if !stands {
				lost = append(lost, settled.ID)
			} else if settled.Dead != nil {
				ended = append(ended, dead(tenant, settled))
			}
		}
		return t.bury(ended)
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// ended is a claim that has ended with a dead letter.
type ended struct {
	tenant int64
	letter domain.DeadLetter
}

func dead(tenant int64, s ports.Settlement) ended { return ended{tenant, *s.Dead} }

// bury keeps the dead letters of claims that have ended.
func (t *tx) bury(letters []ended) error {
	slices.SortStableFunc(letters, func(a, b ended) int { return cmp.Compare(a.tenant, b.tenant) })
	for _, e := range letters {
		t.tenant = e.tenant
		if err := t.AddDeadLetter(e.letter); err != nil {
			return err
		}
	}
	return nil
}

// settle ends a claim, unless it does not stand any more.
func (t *tx) settle(s ports.Settlement) (tenant int64, stands bool, err error) {
	stands, err = t.bindLive(s.Tenant)
	if err != nil || !stands {
		return 0, false, err
	}
	n, err := t.end(s)
	if err != nil || n == 0 {
		return 0, false, err
	}
	if s.Again == nil {
		t.waitsNoMore(s.Notification)
	}
	return t.tenant, true, nil
}

// bindLive makes a tenant the one of what follows. Of one that is no more there is nothing to be done: its jobs go with it.
func (t *tx) bindLive(id domain.TenantID) (live bool, err error) {
	if t.tenantID == id && t.tenant != 0 {
		return true, nil
	}
	number, err := findTenant(t.conn, id)
	if errors.Is(err, domain.ErrTenantNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t.tenant, t.tenantID = number, id
	return true, nil
}

// end removes the claimed job, or lets it go for its next attempt; n is 0 when the claim does not stand. Whoever was given
// the job meanwhile has another fence, and one who is at it holds the row's lock: the condition is looked at again then.
func (t *tx) end(s ports.Settlement) (n int64, err error) {
	if s.Again == nil && s.Lane == domain.LaneBot {
		return t.endRun(s.ID, s.Fence, s.Message)
	}
	if s.Again == nil {
		return t.remove("DELETE FROM outbox WHERE tenant = $1 AND id = $2 AND fence = $3", t.tenant, s.ID[:], s.Fence)
	}
	ahead := t.store.steady.ahead()
	return t.remove(`UPDATE outbox SET step = $1, after = $2, through = $3, attempts = $4, last_attempt = $5, last_error = $6,
		due = $7, ready = $7, fence = NULL WHERE tenant = $8 AND id = $9 AND fence = $10`,
		int64(s.Again.Step), s.Again.From, s.Again.Through, int64(s.Again.Attempts), sqlrows.AheadOrNull(s.Again.LastAttemptAt, ahead),
		s.Again.LastError, s.Again.Due.UnixMilli()+ahead, t.tenant, s.ID[:], s.Fence)
}

// OutboxStats implements ports.Outbox. It counts what is held by a claim too; it is not the one due longest. All is counted,
// so what took long is told again for a while: whoever asks often must not keep the server busy with it.
func (s *Store) OutboxStats(ctx context.Context) (map[domain.Lane]ports.OutboxStats, error) {
	s.waiting.mu.Lock()
	defer s.waiting.mu.Unlock()
	if time.Now().Before(s.waiting.until) {
		return maps.Clone(s.waiting.stats), nil
	}
	started := time.Now()
	stats, err := s.countWaiting(ctx)
	if err != nil {
		return nil, err
	}
	s.waiting.keep(stats, time.Since(started))
	return maps.Clone(stats), nil
}

// waiting is what was counted of the outbox last.
type waiting struct {
	mu    sync.Mutex
	stats map[domain.Lane]ports.OutboxStats
	until time.Time // when it is counted anew
}

// So many jobs are counted whenever somebody asks; more take a share of the time that passes.
const (
	countedAlways = 10_000
	countingShare = 20 // a twentieth
)

func (w *waiting) keep(stats map[domain.Lane]ports.OutboxStats, took time.Duration) {
	var jobs int64
	for _, lane := range stats {
		jobs += lane.Waiting
	}
	w.stats, w.until = stats, time.Time{}
	if jobs > countedAlways {
		w.until = time.Now().Add(countingShare * took)
	}
}

func (s *Store) countWaiting(ctx context.Context) (stats map[domain.Lane]ports.OutboxStats, err error) {
	err = s.read(ctx, func(c *conn) error {
		stats = map[domain.Lane]ports.OutboxStats{}
		now := s.now()
		return c.query(`SELECT o.lane, sum(o.waiting)::bigint, min(o.ready)
			FROM (SELECT lane, tenant, count(*) AS waiting, min(ready) AS ready FROM outbox GROUP BY lane, tenant) o
			JOIN tenants t ON t.number = o.tenant AND t.deleted IS NULL GROUP BY o.lane`, nil, func(r row) error {
			stats[domain.Lane(r.Text(0))] = ports.OutboxStats{Waiting: r.Int(1), Oldest: max(0, duration(now-r.Int(2)))}
			return nil
		})
	})
	return stats, err
}

// jobValues are those of sqlrows.JobColumns; ahead is how far the times of the row are before the time of day.
func jobValues(j domain.Job, ahead int64) []any {
	return args(
		j.Event[:], string(j.Lane), sqlrows.IDOrNull(j.Room), sqlrows.IDOrNull(j.Message), sqlrows.IDOrNull(j.Notification), sqlrows.IDOrNull(j.Subscription),
		j.CreatedAt.UnixMilli()+ahead, j.Due.UnixMilli()+ahead, int64(j.Step), j.From, j.Through, sqlrows.AheadOrNull(j.LastAttemptAt, ahead),
		j.LastError, sqlrows.BoolNumber(j.Once), sqlrows.IDOrNull(j.Bot),
	)
}
