package application

import (
	"context"
	"errors"

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
	places  ports.Endpoints
}

// NewDeadLetters wires the use case.
func NewDeadLetters(store ports.Store, tenants CurrentTenants, ids ports.IDs, clock ports.Clock, courier *Courier, places ports.Endpoints) *DeadLetters {
	return &DeadLetters{store: store, tenants: tenants, ids: ids, clock: clock, courier: courier, places: places}
}

// List returns a tenant's dead letters, newest first.
func (d *DeadLetters) List(ctx context.Context, tenant domain.TenantID, limit int) ([]domain.DeadLetter, error) {
	return ports.View(ctx, d.store, tenant, func(r ports.Reader) ([]domain.DeadLetter, error) { return r.DeadLetters(limit) })
}

// Replay takes a dead letter off the list and has its call made once more, under the same ids. When that fails too there
// is a new dead letter. domain.ErrLetterNotFound when there is no such letter, domain.ErrNoWebhook when there is nobody to
// call.
func (d *DeadLetters) Replay(ctx context.Context, tenant domain.TenantID, id domain.DeadLetterID) error {
	found, err := d.tenants.Tenant(ctx, tenant)
	if errors.Is(err, domain.ErrUnauthenticated) { // to whom it is a credential, and here a name
		err = domain.ErrTenantNotFound
	}
	if err != nil {
		return err
	}
	now := d.clock.Now()
	err = d.store.Update(ctx, tenant, func(tx ports.Tx) error {
		letter, err := tx.TakeDeadLetter(id)
		if err != nil {
			return err
		}
		if !found.Config.HasWebhook() {
			return domain.ErrNoWebhook
		}
		job := letter.Job
		job.ID = domain.JobID(d.ids.NewUUID())
		job.Once, job.Attempts, job.Due, job.CreatedAt = true, 0, now, now
		return tx.Enqueue(job)
	})
	if err == nil {
		d.courier.Wake()
	}
	return err
}

// Delete takes a dead letter off the list for good.
func (d *DeadLetters) Delete(ctx context.Context, tenant domain.TenantID, id domain.DeadLetterID) error {
	return d.store.Update(ctx, tenant, func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(id)
		return err
	})
}

// Health tells the tenant's backend how its webhook is doing; ok is false when it has none. domain.ErrForbidden to users.
func (d *DeadLetters) Health(_ context.Context, c Caller) (health ports.Health, url string, ok bool, err error) {
	switch {
	case c.Kind != domain.ActorBackend:
		return health, "", false, domain.ErrForbidden
	case c.Tenant.Config.WebhookURL == nil:
		return health, "", false, nil
	}
	return d.places.Health(ports.OutboundWebhook, WebhookEndpoint(c.Tenant.ID)), *c.Tenant.Config.WebhookURL, true, nil
}
