package application

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// call is a job's present call: what is to be sent where, and what a dead letter would say of it.
type call struct {
	claim   ports.Claim
	claimed time.Time

	tenant   domain.Tenant
	endpoint string // its name to the guard
	url      string // empty: it is not to be called any more
	body     func() []byte
	letter   domain.DeadLetter // User, FromSeq and ToSeq
	from     string            // the place that the call begins behind
	through  string            // and the one it reaches to
	outcome  ports.Outcome     // zero when nothing was to be sent
	nobody   bool              // nobody is to be told by it
	over     bool              // nothing more to do: what was to be told is gone, or everybody was dealt with
}

const (
	statusGone = 410
	emptySteps = 50 // of a large room, in which nobody is to be told, in one go
)

// age of the job, which no clock that is set can change.
func (n *call) age() time.Duration { return n.claim.Age + time.Since(n.claimed) }

// webhookID is the same for every attempt of one call, and another one for each call of a job.
func webhookID(j domain.Job) string { return j.Event.String() + "." + strconv.Itoa(j.Step) }

// offline finds out whom a message has not reached: who has come online since gets it over the socket.
func (c *Courier) offline(ctx context.Context, now *call) (err error) {
	now.tenant, err = c.tenants.Tenant(ctx, now.claim.Tenant)
	if errors.Is(err, domain.ErrUnauthenticated) || err == nil && now.tenant.Config.WebhookURL == nil && c.cfg.URL == "" {
		now.over = true
		return nil
	}
	if err != nil {
		return err
	}
	event := ports.OfflineEvent{Tenant: now.claim.Tenant}
	now.from = now.claim.From
	for range emptySteps {
		err = c.nextRecipients(ctx, now, &event)
		if err != nil || now.over || len(event.Recipients) > 0 || now.claim.Through != "" {
			break
		}
		now.from = now.through
	}
	if err != nil || now.over {
		return err
	}
	now.nobody = len(event.Recipients) == 0
	now.endpoint = WebhookEndpoint(now.claim.Tenant)
	now.url = c.Webhook(now.tenant)
	now.body = func() []byte { return c.enc.Offline(event) }
	now.letter = domain.DeadLetter{FromSeq: event.Message.Seq, ToSeq: event.Message.Seq}
	if len(event.Recipients) == 1 {
		now.letter.User = event.Recipients[0]
	}
	return nil
}

// nextRecipients reads the next stretch of a room's members, and who of them is to be told.
func (c *Courier) nextRecipients(ctx context.Context, now *call, event *ports.OfflineEvent) error {
	var waiting []domain.UserID
	job := now.claim.Job
	err := c.store.View(ctx, now.claim.Tenant, func(r ports.Reader) (err error) {
		if event.Room, _, err = r.Access(job.Room, ""); err != nil {
			return err
		}
		if event.Message, err = r.Message(job.Room, job.Message); err != nil {
			return err
		}
		waiting, now.through, err = r.Recipients(job.Room, event.Message, now.from, job.Through, domain.MaxWebhookRecipients)
		return err
	})
	if errors.Is(err, domain.ErrRoomNotFound) || err == nil && (event.Message.IsDeleted() || now.through == "") {
		now.over = true
		return nil
	}
	if err != nil {
		return err
	}
	online, err := c.presence.Online(ctx, now.claim.Tenant, waiting)
	if err != nil {
		return err
	}
	var chatting map[domain.UserID]bool
	if event.Room.Type == domain.RoomChat {
		if chatting, err = inChat(ctx, c.presence, now.claim.Tenant, job.Room, waiting); err != nil {
			return err
		}
	}
	for _, user := range waiting {
		if !online[user] && !chatting[user] {
			event.Recipients = append(event.Recipients, user)
		}
	}
	return err
}

// notification finds what the endpoint of a subscription is to be told. When the subscription has ended there is nobody.
func (c *Courier) notification(ctx context.Context, now *call) (err error) {
	now.tenant, err = c.tenants.Tenant(ctx, now.claim.Tenant)
	if errors.Is(err, domain.ErrUnauthenticated) {
		now.over = true
		return nil
	}
	if err != nil {
		return err
	}
	event := ports.NotificationEvent{Tenant: now.claim.Tenant}
	var to domain.Subscription
	err = c.store.View(ctx, now.claim.Tenant, func(r ports.Reader) (err error) {
		if to, err = r.Subscription(now.claim.Subscription); err != nil {
			return err
		}
		event.Notification, err = r.Notification(now.claim.Notification)
		return err
	})
	if errors.Is(err, domain.ErrNoSubscription) {
		now.over = true
		return nil
	}
	if err != nil {
		return err
	}
	event.User = to.User
	now.endpoint, now.url = SubscriptionEndpoint(now.claim.Tenant, to.Endpoint), to.Endpoint
	now.body = func() []byte { return c.enc.Notification(event) }
	now.letter = domain.DeadLetter{User: to.User}
	return nil
}

// secrets are what the tenant's calls are signed with, the newest first.
func (c *Courier) secrets(tenant domain.Tenant) ([]ports.Secret, error) {
	if tenant.Config.WebhookSecret == nil {
		if c.cfg.Secret == "" {
			return nil, nil
		}
		return []ports.Secret{ports.NewSecret(c.cfg.Secret)}, nil
	}
	return openWebhookSecrets(c.sealer, tenant, c.clock.Now())
}

// heed does what an outcome says about the endpoint: it rests, or is called no more. The endpoints of subscriptions are
// too many to remember which rests: their calls come back and are put off again, more and more seldom.
func (c *Courier) heed(ctx context.Context, l *line, now *call) error {
	switch outcome := now.outcome; {
	case outcome.Result == ports.Deferred && l == c.webhooks && now.url != "":
		l.restFor(now.claim.Tenant, now.url, outcome.RetryAfter)
	case outcome.Result == ports.Gone && l == c.webhooks && now.tenant.Config.WebhookURL == nil:
		l.restFor(now.claim.Tenant, now.url, lineRest) // the operator's, which is not the tenant's to disable
	case outcome.Result == ports.Gone && l == c.webhooks && now.url != "":
		return c.tenancy.DisableWebhook(context.WithoutCancel(ctx), now.claim.Tenant, now.url)
	case outcome.Result == ports.Gone && l == c.notifications:
		err := c.store.Update(context.WithoutCancel(ctx), now.claim.Tenant, func(tx ports.Tx) error {
			return tx.RemoveSubscription(now.claim.Subscription)
		})
		return ignoreGone(err)
	}
	return nil
}

// judge says what becomes of the job after an outcome.
func (l *line) judge(now *call, outcome ports.Outcome) ports.Settlement {
	at := l.c.clock.Now()
	job := now.claim.Job
	job.From, job.Through = now.from, now.through // from here on the call is for these, whoever comes or goes
	retry := now.tenant.Config.RetryOf(l.c.cfg.Retry)
	if job.Once {
		retry.Max = 1
	}
	if outcome.Spent() && now.url != "" {
		job.Attempts++
		job.LastAttemptAt, job.LastError = at, string(outcome.Cause)
	}
	s := ports.Settlement{Claim: now.claim}
	final := outcome.Result == ports.Refused || outcome.Result == ports.Permanent || outcome.Result == ports.Gone
	switch {
	case outcome.Result == ports.Delivered:
		s.Again = now.next(job, at)
	case outcome.Result == ports.Interrupted:
		job.Due = at
		s.Again = &job
	case final, outcome.Spent() && retry.IsSpent(job.Attempts), now.age() >= domain.JobLife:
		s.Dead = l.giveUp(now, job, outcome, at)
		s.Again = now.next(job, at)
	default:
		wait := max(outcome.RetryAfter, time.Second)
		switch {
		case outcome.Spent():
			wait = retry.Wait(job.Attempts, rand.Float64(), outcome.RetryAfter)
		case l == l.c.notifications:
			wait = max(wait, min(now.age()/4, lineRest))
		}
		job.Due = at.Add(min(wait, domain.JobLife-now.age()))
		s.Again = &job
	}
	return s
}

// next is the job after its present call; nil when that was the only one.
func (n *call) next(job domain.Job, at time.Time) *domain.Job {
	if job.Once || n.through == "" {
		return nil
	}
	job.Step++
	job.From, job.Through, job.Attempts, job.Due = n.through, "", 0, at
	job.LastAttemptAt, job.LastError = time.Time{}, ""
	return &job
}

// giveUp is the dead letter of a call. One that could not be made to the end of its life says what came of the last
// attempt, if there was one.
func (l *line) giveUp(now *call, job domain.Job, outcome ports.Outcome, at time.Time) *domain.DeadLetter {
	l.counters.dead.Add(1)
	letter := now.letter
	letter.ID, letter.Job, letter.At = domain.DeadLetterID(l.c.ids.NewUUID()), job, at
	letter.Attempts, letter.LastAttemptAt, letter.Error = job.Attempts, job.LastAttemptAt, string(outcome.Cause)
	if outcome.Result == ports.Deferred && job.LastError != "" {
		letter.Error = job.LastError
	}
	return &letter
}
