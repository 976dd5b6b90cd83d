package application

import (
	"context"
	"errors"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// DeadLetters lets a tenant's backend, or the operator for it, see what was given up, and have it tried once more.
type DeadLetters struct {
	store   ports.Store
	tenants CurrentTenants
	ids     ports.IDs
	clock   ports.Clock
	courier *Courier
	hints   *Hints
	places  ports.Endpoints
}

// NewDeadLetters wires the use case.
func NewDeadLetters(store ports.Store, tenants CurrentTenants, ids ports.IDs, clock ports.Clock, courier *Courier, hints *Hints, places ports.Endpoints) *DeadLetters {
	return &DeadLetters{store: store, tenants: tenants, ids: ids, clock: clock, courier: courier, hints: hints, places: places}
}

// Overseer is who asks for dead letters: a caller of a tenant, or the operator; Named is the tenant that was named, if one
// was.
type Overseer struct {
	Caller   Caller
	Operator bool
	Named    domain.TenantID
}

// tenant is the one whose dead letters the overseer may see: the operator must name it, a backend need not name its own,
// and any other is to it one that does not exist. Users may not.
func (o Overseer) tenant() (domain.TenantID, error) {
	own := o.Caller.Tenant.ID
	switch {
	case !o.Operator && o.Caller.Kind != domain.ActorBackend:
		return "", domain.ErrBackendOnly
	case o.Operator && o.Named == "":
		return "", domain.Invalid("tenant_id", "tenant_id is required with the master key")
	case o.Operator:
		return o.Named, nil
	case o.Named != "" && o.Named != own:
		return "", domain.ErrTenantNotFound
	}
	return own, nil
}

// Given is what was given up of a tenant's deliveries, each newest first.
type Given struct {
	Messages      []domain.DeadLetter
	Notifications []domain.DeadLetter
}

// List returns the newest dead letters, of messages and of notifications at most limit each.
func (d *DeadLetters) List(ctx context.Context, o Overseer, limit int) (given Given, err error) {
	tenant, err := o.tenant()
	if err != nil {
		return given, err
	}
	err = d.store.View(ctx, tenant, func(r ports.Reader) (err error) {
		if given.Messages, err = r.DeadLetters(false, limit); err != nil {
			return err
		}
		given.Notifications, err = r.DeadLetters(true, limit)
		return err
	})
	return given, err
}

// Replay takes a dead letter off the list and has it delivered once more, under the same ids. When that fails too there
// is a new dead letter. domain.ErrLetterNotFound when there is no such letter, domain.ErrNoWebhook and
// domain.ErrNoEndpoint when there is nobody to call.
func (d *DeadLetters) Replay(ctx context.Context, o Overseer, id domain.DeadLetterID) error {
	tenant, err := o.tenant()
	if err != nil {
		return err
	}
	found, err := d.tenants.Tenant(ctx, tenant)
	if errors.Is(err, domain.ErrUnauthenticated) { // to whom it is a credential, and here a name
		err = domain.ErrTenantNotFound
	}
	if err != nil {
		return err
	}
	letter, err := ports.Update(ctx, d.store, tenant, func(tx ports.Tx) (domain.DeadLetter, error) {
		letter, err := tx.TakeDeadLetter(id)
		if err != nil {
			return letter, err
		}
		return letter, d.replay(tx, found, letter)
	})
	if err != nil {
		return err
	}
	d.courier.Wake(letter.Job.Lane)
	if letter.Job.Lane == domain.LaneSocket && !letter.IsNotification() {
		d.hints.sendAgain(context.WithoutCancel(ctx), tenant, letter) // the letter is taken already
	}
	return nil
}

// replay has a letter delivered again: by a job, or to a user's sockets. Messages are in their room: there a hint does.
func (d *DeadLetters) replay(tx ports.Tx, tenant domain.Tenant, letter domain.DeadLetter) error {
	job := letter.Job
	switch job.Lane {
	case domain.LaneSocket:
		if letter.IsNotification() {
			return tx.AddRecipient(job.Notification, letter.User)
		}
		return nil
	case domain.LaneNotification:
		if _, err := tx.Subscription(job.Subscription); errors.Is(err, domain.ErrNoSubscription) {
			return domain.ErrNoEndpoint
		} else if err != nil {
			return err
		}
	default:
		if d.courier.Webhook(tenant) == "" {
			return domain.ErrNoWebhook
		}
	}
	now := d.clock.Now()
	job.ID = domain.JobID(d.ids.NewUUID())
	job.Once, job.Attempts, job.LastAttemptAt, job.LastError, job.Due, job.CreatedAt = true, 0, time.Time{}, "", now, now
	return tx.Enqueue(job)
}

// Delete takes a dead letter off the list for good.
func (d *DeadLetters) Delete(ctx context.Context, o Overseer, id domain.DeadLetterID) error {
	tenant, err := o.tenant()
	if err != nil {
		return err
	}
	return d.store.Update(ctx, tenant, func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(id)
		return err
	})
}

// Health tells the tenant's backend how its webhook is doing; ok is false when it has none. domain.ErrBackendOnly to users.
func (d *DeadLetters) Health(_ context.Context, c Caller) (health ports.Health, url string, ok bool, err error) {
	switch {
	case c.Kind != domain.ActorBackend:
		return health, "", false, domain.ErrBackendOnly
	case c.Tenant.Config.WebhookURL == nil:
		return health, "", false, nil
	}
	return d.places.Health(ports.OutboundWebhook, WebhookEndpoint(c.Tenant.ID)), *c.Tenant.Config.WebhookURL, true, nil
}
