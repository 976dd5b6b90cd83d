package application

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// line is a lane of calls that the courier makes.
type line struct {
	*lane
	c        *Courier
	prepare  func(ctx context.Context, now *call) error
	counters courierCounters
	away     atomic.Bool // what the calls rest on, when last asked

	mu      sync.Mutex
	resting map[domain.TenantID]rest
}

// rest is a tenant's webhook that takes no call now.
type rest struct {
	until time.Time // monotonic
	url   string    // another one need not rest
}

const (
	lineRest = 5 * time.Minute // of an endpoint at most, before it is tried again
	lineAway = 5 * time.Second // until calls are tried again of which it could not be found out who is to be told
)

func newLine(c *Courier, name domain.Lane, perTenant int, prepare func(context.Context, *call) error) *line {
	l := &line{c: c, prepare: prepare, resting: map[domain.TenantID]rest{}}
	l.lane = newLane(c.outbox, name, laneConfig{
		Workers: courierWorkers, PerTenant: perTenant, Lease: c.cfg.Lease, Life: domain.JobLife, Idle: c.cfg.Idle,
	}, c.log, l.carry)
	l.except = l.atRest
	return l
}

// atRest are the tenants whose webhook takes no call now, and how long it is until the first has rested.
func (l *line) atRest(ctx context.Context) (except []domain.TenantID, wait time.Duration) {
	l.mu.Lock()
	resting := maps.Clone(l.resting)
	l.mu.Unlock()
	wait = l.c.cfg.Idle
	for id, r := range resting {
		left := time.Until(r.until)
		tenant, err := l.c.tenants.Tenant(ctx, id)
		if left <= 0 || err == nil && l.c.Webhook(tenant) != r.url {
			l.wakes(id, r)
			continue
		}
		except, wait = append(except, id), min(wait, left)
	}
	return except, wait
}

// wakes ends a tenant's rest, unless it has begun another one meanwhile.
func (l *line) wakes(tenant domain.TenantID, r rest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resting[tenant] == r {
		delete(l.resting, tenant)
	}
}

// restFor lets a tenant's webhook be, whatever else waits for it.
func (l *line) restFor(tenant domain.TenantID, url string, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting[tenant] = rest{time.Now().Add(min(pause, lineRest)), url}
}

// rests reports whether a tenant's webhook takes no call now.
func (l *line) rests(tenant domain.TenantID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.resting[tenant].until) > 0
}

// carry makes one call and settles it. What cannot be prepared because something is away is put off; another failure of the
// store leaves the claim to its lease: the call is made again then.
func (l *line) carry(ctx context.Context, claim ports.Claim, claimed time.Time) {
	now := &call{claim: claim, claimed: claimed}
	s, err := l.attempt(ctx, now)
	switch {
	case err == nil:
		l.away.Store(false)
	case ctx.Err() == nil && (errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrAlone)):
		s, err = l.putOff(now, err), nil
	}
	if err != nil {
		if ctx.Err() == nil {
			l.c.log.Error("outbox job not done", "error", err, "job", claim.ID.String(), "lane", l.name)
		}
		return
	}
	l.settle(ctx, s)
	if err := l.c.heed(ctx, l, now); err != nil {
		l.c.log.Error("endpoint not disabled", "error", err, "tenant", string(claim.Tenant), "lane", l.name)
	}
}

// settle keeps what became of a job. It is repeated for a while when the store cannot be written: a call that was
// acknowledged would be made again when the lease ends.
func (l *line) settle(ctx context.Context, s ports.Settlement) {
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	trying, leave := context.WithTimeout(ctx, flushTimeout)
	defer leave()
	again := false
	err := persist(trying, func() error {
		lost, err := l.c.outbox.Settle(settling, []ports.Settlement{s})
		if err == nil && !again { // else it may have been kept the first time
			l.counters.lost.Add(int64(len(lost)))
		}
		again = true
		return err
	})
	if err != nil {
		l.c.log.Error("outcome of an outbox job not kept", "error", err, "job", s.Claim.ID.String(), "lane", l.name)
	}
}

// putOff gives a job back as it is, with no attempt spent. The lane rests meanwhile, so that an outage does not turn over all
// that waits, and tells of it once.
func (l *line) putOff(now *call, err error) ports.Settlement {
	if !l.away.Swap(true) {
		l.c.log.Warn("calls are put off", "error", err, "lane", l.name)
	}
	l.hold(lineAway)
	job := now.claim.Job
	job.Due = l.c.clock.Now().Add(lineAway)
	return ports.Settlement{Claim: now.claim, Again: &job}
}

// attempt makes the job's present call, if there is anybody to be told, and says what becomes of the job.
func (l *line) attempt(ctx context.Context, now *call) (ports.Settlement, error) {
	done := ports.Settlement{Claim: now.claim}
	if err := l.prepare(ctx, now); err != nil || now.over {
		return done, err
	}
	if now.nobody {
		done.Again = now.next(now.claim.Job, l.c.clock.Now())
		return done, nil
	}
	now.outcome = l.make(ctx, now)
	return l.judge(now, now.outcome), nil
}

// make sends the call, unless it is too old, or nobody is there to receive it, or it cannot be signed. One that was never
// made is made once however old it is: it may have waited here, or its age may be what a clock says that was set.
func (l *line) make(ctx context.Context, now *call) ports.Outcome {
	if now.url == "" { // the receiver has said since that it wants no more
		return ports.Outcome{Result: ports.Gone, Cause: ports.StatusCause(statusGone)}
	}
	if now.age() >= domain.JobLife && (now.claim.Attempts > 0 || l.rests(now.claim.Tenant)) {
		return ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit}
	}
	secrets, err := l.c.secrets(now.tenant)
	if err != nil {
		l.c.log.Error("webhook secret not usable", "error", err, "tenant", string(now.claim.Tenant))
		return ports.Outcome{Result: ports.Permanent, Cause: ports.CauseSecret}
	}
	outcome := l.c.sender.Send(ctx, ports.Attempt{
		Endpoint: now.endpoint, URL: now.url, ID: webhookID(now.claim.Job), Timestamp: l.c.clock.Now(), Body: now.body(),
		Secrets: secrets, Timeout: courierTimeout,
	})
	l.counters.count(outcome)
	return outcome
}
