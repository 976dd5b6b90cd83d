package application

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Courier makes the calls that the outbox asks for, each at least once, and gives up only after the attempts that were
// promised. What it holds is leased: when it dies, or is paused beyond the lease, another does the work, and what it
// finds out too late changes nothing.
type Courier struct {
	outbox   ports.Outbox
	store    ports.Store
	tenants  CurrentTenants
	presence ports.Presence
	sender   ports.WebhookSender
	sealer   ports.Sealer
	ids      ports.IDs
	enc      ports.WebhookEncoder
	clock    ports.Clock
	log      *slog.Logger
	tenancy  *Tenancy
	cfg      CourierConfig

	wake     chan struct{}
	counters courierCounters

	mu      sync.Mutex
	resting map[domain.TenantID]time.Time // until when a tenant's endpoint takes none; monotonic
}

// CourierConfig is the operator's.
type CourierConfig struct {
	Retry   domain.Retry
	Secret  string        // signs for tenants that have no webhook_secret; empty = unsigned
	Idle    time.Duration // the longest sleep between two looks into the outbox
	Workers int           // calls at a time; default 32
}

// CourierStats are counters since the start.
type CourierStats struct {
	Attempts  int64 // calls made
	Delivered int64
	Failed    int64 // of the attempts
	Deferred  int64 // calls put off because the endpoint takes none now
	Dead      int64 // calls given up
	Lost      int64 // outcomes that came after the lease
}

type courierCounters struct {
	attempts, delivered, failed, deferred, dead, lost atomic.Int64
}

const (
	courierLease     = 2 * time.Minute // of one call: far above the longest attempt with the store's own waits
	courierWorkers   = 32
	courierPerTenant = 4                     // of them, at most: as many as the guard has places for an endpoint
	courierTimeout   = 15 * time.Second      // of one call
	courierPause     = time.Second           // after a failure of the store
	courierRest      = 5 * time.Minute       // of an endpoint, before it is looked at again: it may have changed
	courierPace      = 50 * time.Millisecond // between two looks that find nothing
)

// NewCourier wires the component; Run it.
func NewCourier(outbox ports.Outbox, store ports.Store, tenants CurrentTenants, presence ports.Presence, sender ports.WebhookSender,
	sealer ports.Sealer, ids ports.IDs, enc ports.WebhookEncoder, tenancy *Tenancy, clock ports.Clock, log *slog.Logger, cfg CourierConfig) *Courier {
	if cfg.Workers == 0 {
		cfg.Workers = courierWorkers
	}
	return &Courier{
		outbox: outbox, store: store, tenants: tenants, presence: presence, sender: sender, sealer: sealer, ids: ids, enc: enc,
		tenancy: tenancy, clock: clock, log: log, cfg: cfg, wake: make(chan struct{}, 1),
		resting: map[domain.TenantID]time.Time{},
	}
}

// Wake says that there is a job, due now or after the grace.
func (c *Courier) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and then lets the calls under way come to their end, which ctx's end hastens.
func (c *Courier) Run(ctx context.Context) error {
	if !sleep(ctx, domain.PresenceGrace+presenceTick) { // so that those who come back after a restart are there
		return nil
	}
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, c.cfg.Workers)
	for {
		wait, err := c.claim(ctx, places, &working)
		if err != nil {
			c.log.Warn("outbox not read", "error", err)
			if !sleep(ctx, courierPause) {
				return nil
			}
			continue
		}
		if !c.rest(ctx, wait) {
			return nil
		}
	}
}

// rest waits until a job may be due.
func (c *Courier) rest(ctx context.Context, wait time.Duration) bool {
	if wait > 0 && !sleep(ctx, courierPace) { // every send of a tenant with a webhook wakes
		return false
	}
	timer := time.NewTimer(min(wait, c.cfg.Idle))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-c.wake:
	}
	return ctx.Err() == nil
}

// claim takes as many due jobs as there are places, and returns how long nothing more is to be done.
func (c *Courier) claim(ctx context.Context, places chan struct{}, working *sync.WaitGroup) (wait time.Duration, err error) {
	free := cap(places) - len(places)
	if free == 0 {
		return c.cfg.Idle, nil // whoever ends wakes
	}
	except, wait := c.atRest(time.Now())
	claims, next, err := c.outbox.Claim(ctx, ports.ClaimQuery{
		Lane: domain.LaneWebhook, Limit: free, PerTenant: courierPerTenant, Except: except, Lease: courierLease,
	})
	for _, claim := range claims {
		places <- struct{}{}
		working.Go(func() {
			c.carry(ctx, claim)
			<-places
			c.Wake()
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

// atRest are the tenants whose endpoint takes no call now, and how long it is until the first has rested.
func (c *Courier) atRest(now time.Time) (except []domain.TenantID, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = c.cfg.Idle
	for tenant, until := range c.resting {
		if rest := until.Sub(now); rest > 0 {
			except, wait = append(except, tenant), min(wait, rest)
			continue
		}
		delete(c.resting, tenant)
	}
	return except, wait
}

// restFor lets a tenant's endpoint be, whatever else waits for it.
func (c *Courier) restFor(tenant domain.TenantID, rest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resting[tenant] = time.Now().Add(min(rest, courierRest))
}

// carry makes one call and settles it. A failure of the store leaves the claim to its lease: the call is made again then.
func (c *Courier) carry(ctx context.Context, claim ports.Claim) {
	s, err := c.attempt(ctx, claim)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Error("outbox job not done", "error", err, "job", claim.ID.String(), "lane", claim.Lane)
		}
		return
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	lost, err := c.outbox.Settle(settling, []ports.Settlement{s})
	if err != nil {
		c.log.Error("outcome of an outbox job not kept", "error", err, "job", claim.ID.String(), "lane", claim.Lane)
	}
	c.counters.lost.Add(int64(len(lost)))
}

// call is what is to be sent, and to whom.
type call struct {
	tenant     domain.Tenant
	room       domain.Room
	message    domain.Message
	recipients []domain.UserID
	through    string
	over       bool // nothing more to do: the message, the room or the webhook is gone, or everybody was dealt with
}

// attempt makes the job's present call, if there is anybody to be told, and says what becomes of the job.
func (c *Courier) attempt(ctx context.Context, claim ports.Claim) (ports.Settlement, error) {
	s := ports.Settlement{Claim: claim}
	now, err := c.prepare(ctx, claim)
	if err != nil || now.over {
		return s, err
	}
	if len(now.recipients) == 0 {
		s.Again = nextStep(claim.Job, now.through, c.clock.Now())
		return s, nil
	}
	if !now.tenant.Config.HasWebhook() { // the receiver has said since that it wants no more
		c.judge(&s, now, ports.Outcome{Result: ports.Gone, Cause: ports.StatusCause(statusGone)})
		return s, nil
	}
	if c.clock.Now().Sub(claim.CreatedAt) >= domain.JobLife {
		c.judge(&s, now, ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit})
		return s, nil
	}
	secrets, err := c.secrets(now.tenant)
	if err != nil {
		c.log.Error("webhook secret not usable", "error", err, "tenant", string(claim.Tenant))
		c.judge(&s, now, ports.Outcome{Result: ports.Permanent, Cause: ports.CauseSecret})
		return s, nil
	}
	outcome := c.sender.Send(ctx, ports.Attempt{
		Endpoint: WebhookEndpoint(claim.Tenant), URL: *now.tenant.Config.WebhookURL,
		ID: webhookID(claim.Job), Timestamp: c.clock.Now(), Body: c.enc.Offline(now.event()), Secrets: secrets, Timeout: courierTimeout,
	})
	c.count(outcome)
	c.heed(ctx, claim.Tenant, *now.tenant.Config.WebhookURL, outcome)
	c.judge(&s, now, outcome)
	return s, nil
}

const statusGone = 410

// webhookID is the same for every attempt of one call, and another one for each call of a job.
func webhookID(j domain.Job) string { return j.Event.String() + "." + strconv.Itoa(j.Step) }

// WebhookEndpoint names a tenant's webhook to the guard.
func WebhookEndpoint(tenant domain.TenantID) string { return string(tenant) + "/webhook" }

func (n call) event() ports.OfflineEvent {
	return ports.OfflineEvent{Tenant: n.tenant.ID, Room: n.room, Message: n.message, Recipients: n.recipients}
}

// prepare finds out what there is to be said now. Who has come online since the message gets it over the socket.
func (c *Courier) prepare(ctx context.Context, claim ports.Claim) (now call, err error) {
	now.tenant, err = c.tenants.Tenant(ctx, claim.Tenant)
	if errors.Is(err, domain.ErrUnauthenticated) || err == nil && now.tenant.Config.WebhookURL == nil {
		return call{over: true}, nil
	}
	if err != nil {
		return now, err
	}
	var waiting []domain.UserID
	err = c.store.View(ctx, claim.Tenant, func(r ports.Reader) (err error) {
		if now.room, _, err = r.Access(claim.Room, ""); err != nil {
			return err
		}
		if now.message, err = r.Message(claim.Room, claim.Message); err != nil {
			return err
		}
		waiting, now.through, err = r.Recipients(claim.Room, now.message, claim.From, claim.Through, domain.MaxWebhookRecipients)
		return err
	})
	if errors.Is(err, domain.ErrRoomNotFound) || err == nil && (now.message.IsDeleted() || now.through == "") {
		return call{over: true}, nil
	}
	if err != nil {
		return now, err
	}
	online, err := c.presence.Online(ctx, claim.Tenant, waiting)
	for _, user := range waiting {
		if !online[user] {
			now.recipients = append(now.recipients, user)
		}
	}
	return now, err
}

// secrets are what the tenant's calls are signed with.
func (c *Courier) secrets(tenant domain.Tenant) ([]ports.Secret, error) {
	secret := c.cfg.Secret
	if tenant.Config.WebhookSecret != nil {
		opened, err := openWebhookSecret(c.sealer, tenant)
		if err != nil {
			return nil, err
		}
		secret = opened
	}
	if secret == "" {
		return nil, nil
	}
	return []ports.Secret{ports.NewSecret(secret)}, nil
}

// heed does what an outcome says about the endpoint: it rests, or is called no more.
func (c *Courier) heed(ctx context.Context, tenant domain.TenantID, url string, outcome ports.Outcome) {
	switch outcome.Result {
	case ports.Deferred:
		c.restFor(tenant, outcome.RetryAfter)
	case ports.Gone:
		if err := c.tenancy.DisableWebhook(context.WithoutCancel(ctx), tenant, url); err != nil {
			c.log.Error("webhook not disabled", "error", err, "tenant", string(tenant))
		}
	}
}

// judge says what becomes of the job after an outcome.
func (c *Courier) judge(s *ports.Settlement, now call, outcome ports.Outcome) {
	at := c.clock.Now()
	job := s.Job
	job.Through = now.through // from here on the call is for these, whoever comes or goes
	retry := now.tenant.Config.RetryOf(c.cfg.Retry)
	if job.Once {
		retry.Max = 1
	}
	if outcome.Spent() && now.tenant.Config.HasWebhook() {
		job.Attempts++
	}
	final := outcome.Result == ports.Refused || outcome.Result == ports.Permanent || outcome.Result == ports.Gone
	switch {
	case outcome.Result == ports.Delivered:
		s.Again = nextStep(job, now.through, at)
	case final, outcome.Spent() && retry.IsSpent(job.Attempts), at.Sub(job.CreatedAt) >= domain.JobLife:
		s.Dead = c.deadLetter(job, now, outcome, at)
		s.Again = nextStep(job, now.through, at)
	default:
		wait := max(outcome.RetryAfter, time.Second)
		if outcome.Spent() {
			wait = retry.Wait(job.Attempts, rand.Float64(), outcome.RetryAfter)
		}
		if job.Due = at.Add(wait); job.Due.Sub(job.CreatedAt) > domain.JobLife {
			job.Due = job.CreatedAt.Add(domain.JobLife)
		}
		s.Again = &job
	}
}

// nextStep is the job after its present call; nil when a replay is done with it.
func nextStep(job domain.Job, through string, now time.Time) *domain.Job {
	if job.Once {
		return nil
	}
	job.Step++
	job.From, job.Through, job.Attempts, job.Due = through, "", 0, now
	return &job
}

func (c *Courier) deadLetter(job domain.Job, now call, outcome ports.Outcome, at time.Time) *domain.DeadLetter {
	c.counters.dead.Add(1)
	letter := &domain.DeadLetter{
		ID: domain.DeadLetterID(c.ids.NewUUID()), Job: job, FromSeq: now.message.Seq, ToSeq: now.message.Seq,
		Attempts: job.Attempts, Error: string(outcome.Cause),
	}
	if len(now.recipients) == 1 {
		letter.User = now.recipients[0]
	}
	if outcome.Spent() && job.Attempts > 0 { // else it was before, and is not kept
		letter.LastAttemptAt = at
	}
	return letter
}

func (c *Courier) count(o ports.Outcome) {
	if !o.Spent() {
		c.counters.deferred.Add(1)
		return
	}
	c.counters.attempts.Add(1)
	if o.Result == ports.Delivered {
		c.counters.delivered.Add(1)
		return
	}
	c.counters.failed.Add(1)
}

// Stats reads the counters.
func (c *Courier) Stats() CourierStats {
	n := &c.counters
	return CourierStats{
		Attempts: n.attempts.Load(), Delivered: n.delivered.Load(), Failed: n.failed.Load(), Deferred: n.deferred.Load(),
		Dead: n.dead.Load(), Lost: n.lost.Load(),
	}
}
