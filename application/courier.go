package application

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Courier makes the calls that the outbox asks for, each at least once, and gives up only after the attempts that were
// promised. What it holds is leased: when it dies, or is paused beyond the lease, another does the work, and what it
// finds out too late changes nothing. Each lane has its own workers: none waits for another's receivers.
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

	webhooks      *line
	notifications *line
}

// CourierConfig is the operator's.
type CourierConfig struct {
	Retry  domain.Retry
	URL    string        // the webhook of tenants that have none of their own; empty = none
	Secret string        // signs for tenants that have no webhook_secret; empty = unsigned
	Idle   time.Duration // the longest sleep between two looks into the outbox
	Lease  time.Duration // of one call; default 2 min: far above the longest attempt with the store's own waits
}

// CourierStats are counters of a lane since the start.
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
	courierLease   = 2 * time.Minute
	courierWorkers = 128              // calls at a time, of each lane
	courierTimeout = 15 * time.Second // of one call
	// Of the workers a tenant has so many: for its webhook as many as the guard has places for an endpoint, for the
	// endpoints of its subscriptions twice that, so that one that is slow leaves room for another.
	webhooksPerTenant      = 4
	notificationsPerTenant = 8
)

// NewCourier wires the component; Run it.
func NewCourier(outbox ports.Outbox, store ports.Store, tenants CurrentTenants, presence ports.Presence, sender ports.WebhookSender,
	sealer ports.Sealer, ids ports.IDs, enc ports.WebhookEncoder, tenancy *Tenancy, clock ports.Clock, log *slog.Logger, cfg CourierConfig) *Courier {
	if cfg.Lease == 0 {
		cfg.Lease = courierLease
	}
	c := &Courier{
		outbox: outbox, store: store, tenants: tenants, presence: presence, sender: sender, sealer: sealer, ids: ids, enc: enc,
		tenancy: tenancy, clock: clock, log: log, cfg: cfg,
	}
	c.webhooks = newLine(c, domain.LaneWebhook, webhooksPerTenant, c.offline)
	c.notifications = newLine(c, domain.LaneNotification, notificationsPerTenant, c.notification)
	return c
}

// Wake says that there is a job in a lane, due now or after the grace.
func (c *Courier) Wake(name domain.Lane) {
	switch name {
	case domain.LaneWebhook:
		c.webhooks.wakeUp()
	case domain.LaneNotification:
		c.notifications.wakeUp()
	}
}

// Run works until ctx ends, and then lets the calls under way come to their end, which ctx's end hastens.
func (c *Courier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() {
		if sleep(ctx, domain.PresenceGrace+presenceTick) { // so that those who come back after a restart are there
			c.webhooks.run(ctx)
		}
	})
	running.Go(func() { c.notifications.run(ctx) })
	running.Wait()
	return nil
}

// Webhook is where a tenant's backend is called now; empty when nobody is.
func (c *Courier) Webhook(t domain.Tenant) string { return t.Config.Webhook(c.cfg.URL) }

// WebhookEndpoint names a tenant's webhook to the guard.
func WebhookEndpoint(tenant domain.TenantID) string { return string(tenant) + "/webhook" }

// SubscriptionEndpoint names the place that subscriptions of a tenant share when they have the same URL.
func SubscriptionEndpoint(tenant domain.TenantID, url string) string {
	hash := sha256.Sum256([]byte(url))
	return string(tenant) + "/subscription/" + hex.EncodeToString(hash[:8])
}

// Stats reads the counters of each lane.
func (c *Courier) Stats() map[domain.Lane]CourierStats {
	return map[domain.Lane]CourierStats{
		domain.LaneWebhook: c.webhooks.counters.read(), domain.LaneNotification: c.notifications.counters.read(),
	}
}

func (n *courierCounters) read() CourierStats {
	return CourierStats{
		Attempts: n.attempts.Load(), Delivered: n.delivered.Load(), Failed: n.failed.Load(), Deferred: n.deferred.Load(),
		Dead: n.dead.Load(), Lost: n.lost.Load(),
	}
}

func (n *courierCounters) count(o ports.Outcome) {
	if !o.Spent() {
		n.deferred.Add(1)
		return
	}
	n.attempts.Add(1)
	if o.Result == ports.Delivered {
		n.delivered.Add(1)
		return
	}
	n.failed.Add(1)
}
