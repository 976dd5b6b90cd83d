package postgres

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Others may be faster, or hold what is due for the moment of a commit: so often a claim looks again, and so long is it told
// to wait then.
const (
	claimLooks = 3
	claimPause = 10 * time.Millisecond
)

// Claim implements ports.Outbox. PerTenant bounds what a tenant has under way, on all nodes and earlier claims included: one
// with a slow endpoint would take all workers otherwise, claim by claim. What is due is looked for without a lock, which is
// taken only when there is something: workers ask after every message that is sent.
func (s *Store) Claim(ctx context.Context, q ports.ClaimQuery) (claims []ports.Claim, next time.Duration, err error) {
	if q.PerTenant <= 0 {
		q.PerTenant = math.MaxInt
	}
	if q.Limit <= 0 {
		return nil, 0, nil
	}
	for range claimLooks {
		due, next, err := s.due(ctx, q)
		if err != nil || len(due) == 0 {
			return nil, next, err
		}
		err = s.operate(ctx, func(t *tx) (err error) {
			claims, err = t.claim(q, s.turns.order(q.Lane, due))
			return err
		})
		if err != nil {
			return nil, 0, err
		}
		if len(claims) > 0 {
			return claims, 0, nil
		}
	}
	return nil, claimPause, nil
}

// turns are the tenants that were last given a job of a lane by this process. Each process takes turns of its own, and so
// every tenant has its turn with each.
type turns struct {
	mu   sync.Mutex
	last map[domain.Lane]int64
}

// order has the tenants in order, beginning after the one that was the last.
func (o *turns) order(lane domain.Lane, tenants []int64) []int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	slices.Sort(tenants)
	next, _ := slices.BinarySearch(tenants, o.last[lane]+1)
	return slices.Concat(tenants[next:], tenants[:next])
}

func (o *turns) end(lane domain.Lane, tenant int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		o.last = map[domain.Lane]int64{}
	}
	o.last[lane] = tenant
}

// linesOf tells of each tenant with jobs in a lane when the first is ready, how many are held, and when the first of their
// leases ends. It goes from tenant to tenant by the index, whatever waits in between; what is held is never much.
const linesOf = `WITH RECURSIVE turn AS (
		(SELECT tenant, ready FROM outbox WHERE lane = $1 ORDER BY tenant, ready LIMIT 1)
		UNION ALL
		SELECT n.tenant, n.ready FROM turn CROSS JOIN LATERAL (SELECT o.tenant, o.ready FROM outbox o
			WHERE o.lane = $1 AND o.tenant > turn.tenant ORDER BY o.tenant, o.ready LIMIT 1) n),
	held AS (SELECT tenant, count(*) AS jobs, min(ready) AS ends FROM outbox
		WHERE lane = $1 AND fence IS NOT NULL AND ready > $2 GROUP BY tenant)
	SELECT t.number, t.id, turn.ready, coalesce(held.jobs, 0), held.ends
	FROM turn JOIN tenants t ON t.number = turn.tenant AND t.deleted IS NULL LEFT JOIN held ON held.tenant = turn.tenant`

// due finds the tenants that have a job to be handed out and may have another one under way, and how long until there
// will be one.
func (s *Store) due(ctx context.Context, q ports.ClaimQuery) (tenants []int64, next time.Duration, err error) {
	var look look
	err = s.read(ctx, func(c *conn) error {
		look.begin(q, s.now())
		resting, err := look.lines(c)
		if err != nil || q.Life <= 0 || len(resting) == 0 {
			return err
		}
		tenants := make([]int64, len(resting))
		for i, found := range resting {
			tenants[i] = found.tenant
		}
		ends, err := endsOfLife(c, q, tenants, look.now)
		for _, found := range resting {
			if ready, some := ends[found.tenant]; some {
				found.ready = ready
				look.at(found)
			}
		}
		return err
	})
	if err != nil || look.first == math.MaxInt64 {
		return look.tenants, 0, err
	}
	return look.tenants, duration(look.first - look.now), nil
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

func (l *look) begin(q ports.ClaimQuery, now int64) {
	*l = look{query: q, now: now, first: math.MaxInt64}
}

// lines looks at all but those of tenants that rest, which it returns.
func (l *look) lines(c *conn) (resting []line, err error) {
	except := make(map[domain.TenantID]bool, len(l.query.Except))
	for _, id := range l.query.Except {
		except[id] = true
	}
	err = c.query(linesOf, args(string(l.query.Lane), l.now), func(r row) error {
		found := line{tenant: r.Int(0), ready: r.Int(2), held: r.Int(3), ends: r.Int(4)}
		if except[domain.TenantID(r.Text(1))] {
			resting = append(resting, found)
		} else {
			l.at(found)
		}
		return nil
	})
	return resting, err
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

// endsOfLife is when the first of each resting tenant's jobs is old enough to be given up: now, when it has been for long.
// One that is held is so at the end of its lease at the earliest. All are found in one statement, with two look-ups for
// each: an outage of many endpoints is looked at many times a second.
func endsOfLife(c *conn, q ports.ClaimQuery, tenants []int64, now int64) (ends map[int64]int64, err error) {
	ends = make(map[int64]int64, len(tenants))
	err = c.query(lifeEnds, args(string(q.Lane), now, tenants, q.Life.Milliseconds()), func(r row) error {
		if !r.Null(1) {
			ends[r.Int(0)] = r.Int(1)
		}
		return nil
	})
	return ends, err
}

const lifeEnds = `SELECT w.tenant, least((SELECT o.created FROM outbox o
		WHERE o.lane = $1 AND o.tenant = w.tenant AND (o.fence IS NULL OR o.ready <= $2) ORDER BY o.created LIMIT 1) + $4::bigint,
	(SELECT min(greatest(o.created + $4::bigint, o.ready)) FROM outbox o
		WHERE o.lane = $1 AND o.tenant = w.tenant AND o.fence IS NOT NULL AND o.ready > $2))
	FROM unnest($3::bigint[]) w (tenant)`

func duration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// share is a tenant's in a claim.
type share struct {
	number int64
	id     domain.TenantID
	left   int  // jobs it may have yet
	rests  bool // it has those alone that are to be given up
}

// laneLock lets one claim of a lane at a time count what tenants hold: two could give the last place of one twice.
const laneLock = "SELECT pg_advisory_xact_lock(hashtextextended('chatapi outbox ' || $1::text, 0))"

// claim takes due jobs of these tenants in turn. All have the same fence, which is higher than any before.
func (t *tx) claim(q ports.ClaimQuery, tenants []int64) (claims []ports.Claim, err error) {
	taking := taking{query: q, now: t.store.now()}
	err = t.conn.together(
		step{query: laneLock, args: args(string(q.Lane))},
		step{query: "SELECT nextval('outbox_fences')", each: func(r row) error { taking.fence = r.Int(0); return nil }})
	if err != nil {
		return nil, err
	}
	shares, err := t.shares(taking, tenants)
	if err != nil || len(shares) == 0 {
		return nil, err
	}
	t.store.turns.end(q.Lane, shares[len(shares)-1].number)
	for len(shares) > 0 && len(claims) < q.Limit {
		left := q.Limit - len(claims)
		each := max(1, left/len(shares))
		first := min(left, len(shares))
		again := slices.Clone(shares[first:]) // who may come to nothing in this round comes first in the next
		taken, err := t.take(taking, shares[:first], each)
		if err != nil {
			return nil, err
		}
		for i, s := range shares[:first] {
			claims = append(claims, taken[i]...)
			if s.left -= len(taken[i]); s.left > 0 && len(taken[i]) == each {
				again = append(again, s)
			}
		}
		shares = again
	}
	return claims, nil
}

// taking is what the rounds of a claim have in common.
type taking struct {
	query ports.ClaimQuery
	now   int64
	fence int64
}

// shares are those of the first tenants that have a job to be handed out and may have one more under way, as many as
// there are jobs to be given.
func (t *tx) shares(of taking, tenants []int64) (shares []share, err error) {
	for some := range slices.Chunk(tenants, of.query.Limit) {
		found, err := t.sharesOf(of, some)
		if err != nil {
			return nil, err
		}
		if shares = append(shares, found...); len(shares) >= of.query.Limit {
			return shares[:of.query.Limit], nil
		}
	}
	return shares, nil
}

// sharesOf is shares of tenants that are all looked at.
func (t *tx) sharesOf(of taking, tenants []int64) (shares []share, err error) {
	q := of.query
	var all []share
	var resting []int64
	ready := map[int64]int64{}
	err = t.conn.query(`SELECT t.number, t.id,
		(SELECT count(*) FROM outbox o WHERE o.lane = $1 AND o.tenant = t.number AND o.fence IS NOT NULL AND o.ready > $2),
		(SELECT min(o.ready) FROM outbox o WHERE o.lane = $1 AND o.tenant = t.number)
		FROM unnest($3::bigint[]) WITH ORDINALITY w (tenant, place)
		JOIN tenants t ON t.number = w.tenant AND t.deleted IS NULL ORDER BY w.place`,
		args(string(q.Lane), of.now, tenants), func(r row) error {
			s := share{number: r.Int(0), id: domain.TenantID(r.Text(1)), left: q.PerTenant - int(r.Int(2))}
			s.rests = slices.Contains(q.Except, s.id)
			if r.Null(3) || s.left <= 0 {
				return nil
			}
			if all = append(all, s); s.rests {
				resting = append(resting, s.number)
			} else {
				ready[s.number] = r.Int(3)
			}
			return nil
		})
	if err == nil && len(resting) > 0 {
		var ends map[int64]int64
		ends, err = endsOfLife(t.conn, q, resting, of.now)
		maps.Copy(ready, ends)
	}
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if at, some := ready[s.number]; some && at <= of.now {
			shares = append(shares, s)
		}
	}
	return shares, nil
}

// takeFrom and takeThem claim the first jobs of tenants. What somebody else is at just now is passed over.
const (
	takeFrom = `WITH picked AS MATERIALIZED (SELECT w.place, j.tenant, j.id, j.since
		FROM unnest($4::bigint[], $5::bigint[]) WITH ORDINALITY w (tenant, n, place) CROSS JOIN LATERAL (`
	takeThem = ` LIMIT w.n FOR UPDATE SKIP LOCKED) j)
		UPDATE outbox o SET ready = $3, fence = $6 FROM picked WHERE o.tenant = picked.tenant AND o.id = picked.id
		RETURNING ` + sqlrows.JobColumns + `, o.id, o.attempts, picked.place, picked.since`

	takeDue = takeFrom + `SELECT tenant, id, ready AS since FROM outbox
		WHERE lane = $1 AND tenant = w.tenant AND ready <= $2 ORDER BY ready` + takeThem
	takeAged = takeFrom + `SELECT tenant, id, created AS since FROM outbox
		WHERE lane = $1 AND tenant = w.tenant AND created <= $2 - $7::bigint AND (fence IS NULL OR ready <= $2)
		ORDER BY created` + takeThem
)

// take claims up to n jobs for each of these shares, and no more than it may have. Those of one share are together.
func (t *tx) take(of taking, shares []share, n int) (claims [][]ports.Claim, err error) {
	claims = make([][]ports.Claim, len(shares))
	due, aged := pick{}, pick{}
	for i, s := range shares {
		p := &due
		if s.rests {
			p = &aged
		}
		p.shares, p.tenants, p.most = append(p.shares, i), append(p.tenants, s.number), append(p.most, int64(min(n, s.left)))
	}
	if err := t.pick(of, takeDue, &due); err != nil {
		return nil, err
	}
	if err := t.pick(of, takeAged, &aged, of.query.Life.Milliseconds()); err != nil {
		return nil, err
	}
	for _, p := range slices.Concat(due.picked, aged.picked) {
		p.Tenant = shares[p.share].id
		claims[p.share] = append(claims[p.share], p.Claim)
	}
	return claims, nil
}

// pick is one statement's part of a round.
type pick struct {
	shares        []int // by their place in the round
	tenants, most []int64
	picked        []picked
}

type picked struct {
	ports.Claim
	share int
	since int64 // what it is handed out by
}

func (t *tx) pick(of taking, query string, p *pick, more ...any) error {
	if len(p.shares) == 0 {
		return nil
	}
	ahead := t.store.steady.ahead()
	values := args(string(of.query.Lane), of.now, of.now+of.query.Lease.Milliseconds(), p.tenants, p.most, of.fence)
	err := t.returning(query, append(values, more...), func(r row) error {
		one := picked{share: p.shares[r.Int(sqlrows.JobWidth+2)-1], since: r.Int(sqlrows.JobWidth + 3)}
		one.Job, one.Fence = sqlrows.ScanJob(r, ahead), of.fence
		copy(one.ID[:], r.Blob(sqlrows.JobWidth))
		one.Attempts = int(r.Int(sqlrows.JobWidth + 1))
		one.Age = duration(of.now - r.Int(sqlrows.JobCreated))
		p.picked = append(p.picked, one)
		return nil
	})
	slices.SortFunc(p.picked, func(a, b picked) int {
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.since, b.since), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return err
}
