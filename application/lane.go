package application

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// lane takes the jobs of one lane from the outbox and carries them out.
type lane struct {
	c         *Courier
	name      domain.Lane
	perTenant int // workers
	prepare   func(ctx context.Context, now *call) error
	wake      chan struct{} // there may be a job
	freed     chan struct{} // a worker is free, or a tenant may have another one
	counters  courierCounters

	mu      sync.Mutex
	resting map[domain.TenantID]rest
}

// rest is a tenant's webhook that takes no call now.
type rest struct {
	until time.Time // monotonic
	url   string    // another one need not rest
}

const (
	lanePause = time.Second           // after a failure of the store
	laneRest  = 5 * time.Minute       // of an endpoint at most, before it is tried again
	lanePace  = 50 * time.Millisecond // between two looks that find nothing
)

func newLane(c *Courier, name domain.Lane, perTenant int, prepare func(context.Context, *call) error) *lane {
	return &lane{
		c: c, name: name, perTenant: perTenant, prepare: prepare, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
		resting: map[domain.TenantID]rest{},
	}
}

func (l *lane) wakeUp() { signalTo(l.wake) }

// signalTo makes one signal wait in a channel, however many are sent.
func signalTo(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *lane) run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, l.c.cfg.Workers)
	for {
		wait, err := l.claim(ctx, places, &working)
		if err != nil {
			l.c.log.Warn("outbox not read", "error", err, "lane", l.name)
			if !sleep(ctx, lanePause) {
				return
			}
			continue
		}
		if !l.pause(ctx, wait) {
			return
		}
	}
}

// pause waits until a job may be due.
func (l *lane) pause(ctx context.Context, wait time.Duration) bool {
	if wait == 0 {
		return ctx.Err() == nil
	}
	pace := time.NewTimer(lanePace) // every send of a tenant with a webhook wakes
	defer pace.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-l.freed:
		return true
	case <-pace.C:
	}
	timer := time.NewTimer(min(wait, l.c.cfg.Idle))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-l.freed:
	case <-l.wake:
	}
	return true
}

// claim takes as many due jobs as there are places, and returns how long nothing more is to be done.
func (l *lane) claim(ctx context.Context, places chan struct{}, working *sync.WaitGroup) (wait time.Duration, err error) {
	free := cap(places) - len(places)
	if free == 0 {
		return l.c.cfg.Idle, nil // whoever ends wakes
	}
	except, wait := l.atRest(ctx)
	claims, next, err := l.c.outbox.Claim(ctx, ports.ClaimQuery{
		Lane: l.name, Limit: free, PerTenant: l.perTenant, Except: except, Life: domain.JobLife, Lease: l.c.cfg.Lease,
	})
	claimed := time.Now()
	for _, claim := range claims {
		places <- struct{}{}
		working.Go(func() {
			l.carry(ctx, claim, claimed)
			<-places
			signalTo(l.freed)
		})
	}
	switch {
	case err != nil:
		return 0, err
	case len(claims) > 0:
		return 0, nil // there may be more
	case next > 0:
		return min(next, wait), nil
	}
	return wait, nil
}

// atRest are the tenants whose webhook takes no call now, and how long it is until the first has rested.
func (l *lane) atRest(ctx context.Context) (except []domain.TenantID, wait time.Duration) {
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
func (l *lane) wakes(tenant domain.TenantID, r rest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resting[tenant] == r {
		delete(l.resting, tenant)
	}
}

// restFor lets a tenant's webhook be, whatever else waits for it.
func (l *lane) restFor(tenant domain.TenantID, url string, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting[tenant] = rest{time.Now().Add(min(pause, laneRest)), url}
}

// carry makes one call and settles it. A failure of the store leaves the claim to its lease: the call is made again then.
func (l *lane) carry(ctx context.Context, claim ports.Claim, claimed time.Time) {
	now := &call{claim: claim, claimed: claimed}
	s, err := l.attempt(ctx, now)
	if err != nil {
		if ctx.Err() == nil {
			l.c.log.Error("outbox job not done", "error", err, "job", claim.ID.String(), "lane", l.name)
		}
		return
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	lost, err := l.c.outbox.Settle(settling, []ports.Settlement{s})
	if err != nil {
		l.c.log.Error("outcome of an outbox job not kept", "error", err, "job", claim.ID.String(), "lane", l.name)
	}
	l.counters.lost.Add(int64(len(lost)))
	if err := l.c.heed(ctx, l, now); err != nil {
		l.c.log.Error("endpoint not disabled", "error", err, "tenant", string(claim.Tenant), "lane", l.name)
	}
}

// attempt makes the job's present call, if there is anybody to be told, and says what becomes of the job.
func (l *lane) attempt(ctx context.Context, now *call) (ports.Settlement, error) {
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

// make sends the call, unless it is too old, or nobody is there to receive it, or it cannot be signed.
func (l *lane) make(ctx context.Context, now *call) ports.Outcome {
	if now.url == "" { // the receiver has said since that it wants no more
		return ports.Outcome{Result: ports.Gone, Cause: ports.StatusCause(statusGone)}
	}
	if now.age() >= domain.JobLife {
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
