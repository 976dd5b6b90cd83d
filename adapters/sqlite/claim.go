package sqlite

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Claim implements ports.Outbox. PerTenant bounds what a tenant has under way, earlier claims included: one with a slow
// endpoint would take all workers otherwise, claim by claim. What is due is looked for beside the writer, which hears
// only when there is something: workers ask after every message that is sent.
func (s *Store) Claim(ctx context.Context, q ports.ClaimQuery) (claims []ports.Claim, next time.Duration, err error) {
	if q.PerTenant <= 0 {
		q.PerTenant = math.MaxInt
	}
	for q.Limit > 0 {
		due, next, err := s.due(ctx, q)
		if err != nil || len(due) == 0 {
			return nil, next, err
		}
		err = s.submit(ctx, operator, func(t *tx) (err error) {
			claims, err = t.claim(q, due)
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		if len(claims) > 0 {
			return claims, 0, nil
		} // else others were faster, and there may be more
	}
	return nil, 0, nil
}

// due finds the tenants that have a job to be handed out and may have another one under way, and how long until there
// will be one.
func (s *Store) due(ctx context.Context, q ports.ClaimQuery) (tenants []int64, next time.Duration, err error) {
	look := look{query: q, now: s.steady.now(), first: math.MaxInt64}
	err = s.read(ctx, func(c *conn) error {
		var resting []line
		err := c.query(tenantsOf+` SELECT t.number, t.id,
			(SELECT min(ready) FROM outbox WHERE lane = ?1 AND tenant = t.number),
			(SELECT count(*) FROM outbox WHERE lane = ?1 AND tenant = t.number AND fence IS NOT NULL AND ready > ?2),
			(SELECT min(ready) FROM outbox WHERE lane = ?1 AND tenant = t.number AND fence IS NOT NULL AND ready > ?2)
			FROM turn CROSS JOIN tenants t ON t.number = turn.tenant AND t.deleted IS NULL`, args(string(q.Lane), look.now), func(r row) error {
			found := line{tenant: r.Int(0), ready: r.Int(2), held: r.Int(3), ends: r.Int(4)}
			if slices.Contains(q.Except, domain.TenantID(r.Text(1))) {
				resting = append(resting, found)
			} else {
				look.at(found)
			}
			return nil
		})
		if err != nil || q.Life <= 0 {
			return err
		}
		for _, found := range resting {
			ready, some, err := endOfLife(c, q, found.tenant, look.now)
			if err != nil {
				return err
			}
			if found.ready = ready; some {
				look.at(found)
			}
		}
		return nil
	})
	if look.first == math.MaxInt64 {
		return look.tenants, 0, err
	}
	return look.tenants, duration(look.first - look.now), err
}

// line is what a tenant has in a lane: when the first job is ready, how many are held, when the first lease of them ends.
type line struct{ tenant, ready, held, ends int64 }

// look gathers what a look at the lines finds.
type look struct {
	query   ports.ClaimQuery
	now     int64
	tenants []int64
	first   int64 // when there will be a job of the others
}

func (l *look) at(q line) {
	switch {
	case q.ready > l.now:
		l.first = min(l.first, q.ready)
	case q.held >= int64(l.query.PerTenant):
		l.first = min(l.first, q.ends)
	default:
		l.tenants = append(l.tenants, q.tenant)
	}
}

// endOfLife is when the first of a resting tenant's jobs is old enough to be given up: now, when it has been for long.
// One that is held is so at the end of its lease at the earliest.
func endOfLife(c *conn, q ports.ClaimQuery, tenant, now int64) (ready int64, some bool, err error) {
	_, err = c.first(`SELECT coalesce(min(free, held), free, held) FROM (SELECT
		(SELECT min(created) FROM outbox WHERE lane = ?1 AND tenant = ?3 AND (fence IS NULL OR ready <= ?2)) + ?4 AS free,
		(SELECT min(max(created + ?4, ready)) FROM outbox WHERE lane = ?1 AND tenant = ?3 AND fence IS NOT NULL AND ready > ?2) AS held)`,
		args(string(q.Lane), now, tenant, q.Life.Milliseconds()), func(r row) { ready, some = r.Int(0), !r.Null(0) })
	return ready, some, err
}

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// share is a tenant's in a claim.
type share struct {
	number int64
	id     domain.TenantID
	left   int  // jobs it may have yet
	rests  bool // it has those alone that are to be given up
}

// claim takes due jobs of these tenants in turn. All have the same fence.
func (t *tx) claim(q ports.ClaimQuery, tenants []int64) (claims []ports.Claim, err error) {
	now := t.w.store.steady.now()
	shares, err := t.shares(q, t.w.inTurn(q.Lane, tenants), now)
	if err != nil || len(shares) == 0 {
		return nil, err
	}
	t.w.turns[q.Lane] = shares[len(shares)-1].number
	fence, err := t.nextFence()
	if err != nil {
		return nil, err
	}
	for len(shares) > 0 && len(claims) < q.Limit {
		left := q.Limit - len(claims)
		each := max(1, left/len(shares))
		first := min(left, len(shares))
		again := slices.Clone(shares[first:]) // who may come to nothing in this round comes first in the next
		for _, s := range shares[:first] {
			taken, err := t.take(q, s, min(each, s.left), now, fence)
			if err != nil {
				return nil, err
			}
			claims = append(claims, taken...)
			if s.left -= len(taken); s.left > 0 && len(taken) == each {
				again = append(again, s)
			}
		}
		shares = again
	}
	return claims, nil
}

// inTurn has the tenants in order, beginning after the one that was the last to be given a job of the lane.
func (w *writer) inTurn(lane domain.Lane, tenants []int64) []int64 {
	slices.Sort(tenants)
	next, _ := slices.BinarySearch(tenants, w.turns[lane]+1)
	return slices.Concat(tenants[next:], tenants[:next])
}

// shares are those of the first tenants that have a job to be handed out and may have one more under way, as many as
// there are jobs to be given.
func (t *tx) shares(q ports.ClaimQuery, tenants []int64, now int64) (shares []share, err error) {
	for _, tenant := range tenants {
		if len(shares) == q.Limit {
			break
		}
		s := share{number: tenant}
		var ready int64
		some := false
		_, err := t.conn.first(`SELECT t.id,
			(SELECT count(*) FROM outbox WHERE lane = ?1 AND tenant = ?3 AND fence IS NOT NULL AND ready > ?2),
			(SELECT min(ready) FROM outbox WHERE lane = ?1 AND tenant = ?3)
			FROM tenants t WHERE t.number = ?3 AND t.deleted IS NULL`, args(string(q.Lane), now, tenant), func(r row) {
			s.id, s.left, ready, some = domain.TenantID(r.Text(0)), q.PerTenant-int(r.Int(1)), r.Int(2), !r.Null(2)
			s.rests = slices.Contains(q.Except, s.id)
		})
		if some && s.rests {
			ready, some, err = endOfLife(t.conn, q, tenant, now)
		}
		if err != nil {
			return nil, err
		}
		if some && s.left > 0 && ready <= now {
			shares = append(shares, s)
		}
	}
	return shares, nil
}

// nextFence is higher than any before, also before a restart.
func (t *tx) nextFence() (fence int64, err error) {
	if err := t.put("UPDATE outbox_state SET fence = fence + 1 WHERE one = 1"); err != nil {
		return 0, err
	}
	_, err = t.conn.first("SELECT fence FROM outbox_state WHERE one = 1", nil, func(r row) { fence = r.Int(0) })
	return fence, err
}

const (
	claimColumns = sqlrows.JobColumns + ", id, attempts"
	dueJobs      = "SELECT " + claimColumns + ` FROM outbox WHERE lane = ?1 AND tenant = ?2 AND ready <= ?3
		ORDER BY ready, id LIMIT 0 + ?4`
	agedJobs = "SELECT " + claimColumns + ` FROM outbox WHERE lane = ?1 AND tenant = ?2 AND created <= ?3 - ?5
		AND (fence IS NULL OR ready <= ?3) ORDER BY created, id LIMIT 0 + ?4`
)

// take claims up to n of a tenant's jobs.
func (t *tx) take(q ports.ClaimQuery, of share, n int, now, fence int64) (claims []ports.Claim, err error) {
	query, values := dueJobs, args(string(q.Lane), of.number, now, int64(n))
	if of.rests {
		query, values = agedJobs, append(values, q.Life.Milliseconds())
	}
	ahead := t.w.store.steady.ahead()
	err = t.conn.query(query, values, func(r row) error {
		c := ports.Claim{Job: sqlrows.ScanJob(r, ahead), Tenant: of.id, Fence: fence}
		copy(c.ID[:], r.Blob(sqlrows.JobWidth))
		c.Attempts = int(r.Int(sqlrows.JobWidth + 1))
		c.Age = duration(now - r.Int(sqlrows.JobCreated))
		claims = append(claims, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.w.clockwork.used = true
	for _, c := range claims {
		err := t.put("UPDATE outbox SET ready = ?, fence = ? WHERE tenant = ? AND id = ?",
			now+q.Lease.Milliseconds(), fence, of.number, c.ID[:])
		if err != nil {
			return nil, err
		}
	}
	return claims, nil
}
