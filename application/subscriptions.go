package application

import (
	"context"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Subscriptions keeps who wants to hear of which topics.
type Subscriptions struct {
	store  ports.Store
	places ports.Endpoints
	ids    ports.IDs
	clock  ports.Clock
	busy   *inFlight
}

// Subscribing is what came of a subscription. Replayed: the same one was there already.
type Subscribing struct {
	Subscription domain.Subscription
	Replayed     bool
}

// NewSubscriptions wires the use case.
func NewSubscriptions(store ports.Store, places ports.Endpoints, ids ports.IDs, clock ports.Clock) *Subscriptions {
	return &Subscriptions{store: store, places: places, ids: ids, clock: clock, busy: newInFlight()}
}

// Add subscribes the caller's user, or whom the backend names, to a topic. Errors: validation, of the endpoint too,
// domain.ErrForbidden, domain.ErrTooManyTopics, domain.ErrIdempotency, domain.ErrIdempotencyBusy, and those of ports.Store.
func (s *Subscriptions) Add(ctx context.Context, c Caller, draft domain.SubscriptionDraft, key *domain.Idempotency) (Subscribing, error) {
	wanted, err := domain.NewSubscription(c.Actor, c.Tenant.Config, draft, domain.SubscriptionID(s.ids.NewUUID()), s.clock.Now())
	if err != nil {
		return Subscribing{}, err
	}
	if wanted.Endpoint != "" {
		if err := s.places.CheckURL(ports.OutboundWebhook, "endpoint", wanted.Endpoint); err != nil {
			return Subscribing{}, err
		}
	}
	done, err := s.busy.enter(c.Tenant.ID, key)
	if err != nil {
		return Subscribing{}, err
	}
	defer done()
	return ports.Update(ctx, s.store, c.Tenant.ID, func(tx ports.Tx) (Subscribing, error) {
		before, err := replayed(tx, key, wanted.CreatedAt)
		if err != nil {
			return Subscribing{}, err
		}
		if before != nil {
			id, _ := domain.ParseSubscriptionID(before.Resource)
			found, err := tx.Subscription(id)
			return Subscribing{found, true}, err
		}
		stored, existed, err := tx.AddSubscription(wanted)
		if err != nil {
			return Subscribing{}, err
		}
		return Subscribing{stored, existed}, keep(tx, key, statusCreated, stored.ID.String(), wanted.CreatedAt)
	})
}

// List returns the caller's subscriptions, or to the backend those of a user or, with user nil, of all of its tenant, and
// whether there are more. Users name nobody else: domain.ErrForbidden. Endpoints are the backend's to know: users see
// theirs without.
func (s *Subscriptions) List(ctx context.Context, c Caller, user *domain.UserID, offset, limit int) ([]domain.Subscription, bool, error) {
	if c.Kind != domain.ActorBackend {
		if user != nil && *user != c.User {
			return nil, false, domain.ErrForbidden
		}
		user = &c.User
	}
	found, err := ports.View(ctx, s.store, c.Tenant.ID, func(r ports.Reader) ([]domain.Subscription, error) {
		return r.Subscriptions(user, offset, limit+1)
	})
	for i := range found {
		if c.Kind != domain.ActorBackend {
			found[i].Endpoint = ""
		}
	}
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// Remove ends a subscription: its user's to do, unless it has an endpoint, or the backend's. domain.ErrNoSubscription,
// domain.ErrForbidden.
func (s *Subscriptions) Remove(ctx context.Context, c Caller, id domain.SubscriptionID) error {
	return s.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		found, err := tx.Subscription(id)
		if err != nil {
			return err
		}
		if err := c.CheckUser(found.User); err != nil || found.Endpoint != "" && c.Kind != domain.ActorBackend {
			return domain.ErrForbidden
		}
		return tx.RemoveSubscription(id)
	})
}

// Health tells how calls to a subscription's endpoint have gone, on this node since it started; ok is false when it has
// none.
func (s *Subscriptions) Health(tenant domain.TenantID, of domain.Subscription) (health ports.Health, ok bool) {
	if of.Endpoint == "" {
		return health, false
	}
	return s.places.Health(ports.OutboundWebhook, SubscriptionEndpoint(tenant, of.Endpoint)), true
}
