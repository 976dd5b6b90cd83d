package application

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Notifications makes what a tenant's backend has to say to users, and sees to it that every one of its targets becomes a
// recipient: a process that ends in the middle leaves the rest to the next.
type Notifications struct {
	store   ports.Store
	left    ports.Notifications
	ids     ports.IDs
	clock   ports.Clock
	courier *Courier
	log     *slog.Logger
	busy    *inFlight
	turns   *turns
}

// Notified is what came of a notification. Replayed: an earlier request with the same Idempotency-Key made it.
type Notified struct {
	Notification domain.Notification
	Recipients   int // users, and endpoints of subscriptions
	Replayed     bool
}

const (
	expandStep  = 250              // recipients in one write
	expandAfter = 30 * time.Second // a notification of this age that is not expanded was left behind
	expandLook  = 10               // of them at a time
)

// NewNotifications wires the use case; Run it.
func NewNotifications(store ports.Store, left ports.Notifications, ids ports.IDs, clock ports.Clock, courier *Courier, log *slog.Logger) *Notifications {
	return &Notifications{store: store, left: left, ids: ids, clock: clock, courier: courier, log: log, busy: newInFlight(), turns: newTurns()}
}

// Notify makes a notification and returns once it is durable, with each of its recipients as a rule: when the store cannot
// be written in the middle of many, Run makes the rest recipients later, and they are not in the count. The backend's
// alone. Errors: validation, domain.ErrBackendOnly, domain.ErrRoomNotFound, domain.ErrIdempotency, domain.ErrIdempotencyBusy,
// and those of ports.Store.
func (n *Notifications) Notify(ctx context.Context, c Caller, draft domain.NotificationDraft, key *domain.Idempotency) (Notified, error) {
	if c.Kind != domain.ActorBackend {
		return Notified{}, domain.ErrBackendOnly
	}
	targets, err := draft.Check()
	if err != nil {
		return Notified{}, err
	}
	done, err := n.busy.enter(c.Tenant.ID, key)
	if err != nil {
		return Notified{}, err
	}
	defer done()
	if err := n.room(ctx, c.Tenant.ID, targets); err != nil {
		return Notified{}, err
	}
	leave, err := n.turns.take(ctx, c.Tenant.ID)
	if err != nil {
		return Notified{}, err
	}
	defer leave()
	made := domain.Notification{
		ID: domain.NotificationID(n.ids.NewUUID()), Topic: draft.Topic, Payload: draft.Payload, CreatedAt: n.clock.Now(),
	}
	begun, first, err := n.begin(ctx, c.Tenant.ID, made, targets, key)
	if err != nil || first.Done && !begun.Replayed {
		return begun, err
	}
	total, err := n.expand(context.WithoutCancel(ctx), c.Tenant.ID, begun.Notification.ID)
	if err != nil {
		n.log.Warn("notification not expanded yet", "error", err, "notification", begun.Notification.ID.String())
	}
	begun.Recipients = max(begun.Recipients, total)
	return begun, nil
}

// room refuses what would be called for longer than calls are kept: a tenant's endpoints are behind with too many.
func (n *Notifications) room(ctx context.Context, tenant domain.TenantID, targets domain.Targets) error {
	if !targets.Subscribers {
		return nil
	}
	waiting, err := ports.View(ctx, n.store, tenant, func(r ports.Reader) (int, error) {
		return r.WaitingJobs(domain.LaneNotification, domain.MaxWaitingJobs)
	})
	if err == nil && waiting >= domain.MaxWaitingJobs {
		err = domain.ErrTooManyWaiting
	}
	return err
}

// begin stores a notification with its first recipients, or finds the one that an Idempotency-Key made.
func (n *Notifications) begin(ctx context.Context, tenant domain.TenantID, made domain.Notification, targets domain.Targets,
	key *domain.Idempotency) (begun Notified, first ports.Expansion, err error) {
	err = n.store.Update(ctx, tenant, func(tx ports.Tx) error {
		begun, first = Notified{}, ports.Expansion{}
		before, err := replayed(tx, key, made.CreatedAt)
		if err != nil {
			return err
		}
		if before != nil {
			id, _ := domain.ParseNotificationID(before.Resource)
			begun.Replayed = true
			begun.Notification, err = tx.Notification(id)
			return err
		}
		if !targets.Room.IsZero() {
			if _, _, err := tx.Access(targets.Room, ""); err != nil {
				return err
			}
		}
		if err := tx.AddNotification(made, targets); err != nil {
			return err
		}
		if first, err = n.step(tx, made); err != nil {
			return err
		}
		begun = Notified{Notification: made, Recipients: first.Total}
		return keep(tx, key, statusAccepted, made.ID.String(), made.CreatedAt)
	})
	if err == nil && len(first.Endpoints) > 0 {
		n.courier.Wake(domain.LaneNotification)
	}
	return begun, first, err
}

// step makes the next targets recipients: users in the store, endpoints by a job each.
func (n *Notifications) step(tx ports.Tx, made domain.Notification) (ports.Expansion, error) {
	step, err := tx.Expand(made.ID, expandStep)
	if err != nil {
		return step, err
	}
	for _, subscription := range step.Endpoints {
		if err := tx.Enqueue(domain.NotificationJob(domain.JobID(n.ids.NewUUID()), made, subscription)); err != nil {
			return step, err
		}
	}
	return step, nil
}

// expand goes on until every target is a recipient, and returns how many there are.
func (n *Notifications) expand(ctx context.Context, tenant domain.TenantID, id domain.NotificationID) (total int, err error) {
	for {
		step, err := ports.Update(ctx, n.store, tenant, func(tx ports.Tx) (ports.Expansion, error) {
			made, err := tx.Notification(id)
			if err != nil {
				return ports.Expansion{}, err
			}
			return n.step(tx, made)
		})
		if err != nil {
			return total, err
		}
		if len(step.Endpoints) > 0 {
			n.courier.Wake(domain.LaneNotification)
		}
		if total = step.Total; step.Done {
			return total, nil
		}
	}
}

// Run takes up, at the start and twice a minute, what was left behind.
func (n *Notifications) Run(ctx context.Context) error {
	for {
		if err := n.takeUp(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("notifications left behind not taken up", "error", err)
		}
		if !sleep(ctx, expandAfter) {
			return nil
		}
	}
}

func (n *Notifications) takeUp(ctx context.Context) error {
	for {
		left, err := n.left.Unexpanded(ctx, n.clock.Now().Add(-expandAfter), expandLook)
		if err != nil || len(left) == 0 {
			return err
		}
		var failed []error
		for _, each := range left {
			if _, err := n.expand(ctx, each.Tenant, each.ID); ignoreGone(err) != nil {
				failed = append(failed, err)
			}
		}
		if len(failed) > 0 {
			return errors.Join(failed...)
		}
	}
}
