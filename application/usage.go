package application

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Usage counts what tenants use, by month. It writes every usageFlush: a crash loses what was counted since, as a bill
// may, a message never.
type Usage struct {
	meters ports.Meters
	clock  ports.Clock
	log    *slog.Logger

	writing sync.Mutex // held while what was counted is on its way to the store, and nowhere else
	mu      sync.Mutex
	pending map[domain.TenantID]domain.Usage
}

const (
	usageFlush  = 10 * time.Second
	usageMonths = 12 // that are told
)

// NewUsage wires the component; Run it.
func NewUsage(meters ports.Meters, clock ports.Clock, log *slog.Logger) *Usage {
	return &Usage{meters: meters, clock: clock, log: log, pending: map[domain.TenantID]domain.Usage{}}
}

// Committed counts the messages among committed events.
func (u *Usage) Committed(events []domain.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range events {
		if events[i].Kind == domain.EventMessage {
			used := u.pending[events[i].Tenant]
			used.Messages++
			u.pending[events[i].Tenant] = used
		}
	}
}

func (u *Usage) called(tenant domain.TenantID, refused bool) {
	used := domain.Usage{Requests: 1}
	if refused {
		used.RateLimited = 1
	}
	u.add(tenant, used)
}

func (u *Usage) refusedFrame(tenant domain.TenantID) { u.add(tenant, domain.Usage{RateLimited: 1}) }

func (u *Usage) opened(tenant domain.TenantID) { u.add(tenant, domain.Usage{Sockets: 1}) }

// spoke counts tokens, and has all nodes know of them: there is a budget to keep.
func (u *Usage) spoke(ctx context.Context, tenant domain.TenantID, tokens int64) {
	u.add(tenant, domain.Usage{Tokens: tokens})
	u.flush(ctx)
}

// tokens are those that a tenant's bots have used this month.
func (u *Usage) tokens(ctx context.Context, tenant domain.TenantID) (int64, error) {
	months, err := u.Of(ctx, tenant)
	if err != nil {
		return 0, err
	}
	return months[0].Tokens, nil
}

func (u *Usage) add(tenant domain.TenantID, more domain.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending[tenant] = u.pending[tenant].Add(more)
}

// Of returns a tenant's latest months, newest first, with what is not written yet; this month is always there.
func (u *Usage) Of(ctx context.Context, tenant domain.TenantID) ([]domain.Usage, error) {
	month := domain.MonthOf(u.clock.Now())
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	current := u.pending[tenant]
	u.mu.Unlock()
	kept, err := u.meters.Usage(ctx, tenant, usageMonths)
	if err != nil {
		return nil, err
	}
	current.Month = month
	if len(kept) > 0 && kept[0].Month == month {
		current, kept = current.Add(kept[0]), kept[1:]
	}
	return append([]domain.Usage{current}, kept...), nil
}

// Run writes what was counted every usageFlush, and once more when ctx ends.
func (u *Usage) Run(ctx context.Context) error {
	for sleep(ctx, usageFlush) {
		u.flush(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	u.flush(last)
	return nil
}

// flush writes what was counted; what cannot be written stays. It is booked to the month in which it is written.
func (u *Usage) flush(ctx context.Context) {
	month := domain.MonthOf(u.clock.Now())
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	pending := u.pending
	u.pending = map[domain.TenantID]domain.Usage{}
	u.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	for tenant, used := range pending {
		used.Month = month
		pending[tenant] = used
	}
	if err := u.meters.AddUsage(ctx, pending); err != nil {
		u.log.Warn("usage not written yet", "error", err, "tenants", len(pending))
		for tenant, used := range pending {
			u.add(tenant, used)
		}
	}
}
