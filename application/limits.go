package application

import (
	"context"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Limits says whether a call may go on: each tenant has a bucket for its calls and frames, each client address one for
// the credentials it got wrong.
type Limits struct {
	limiter ports.Limiter
	tenants CurrentTenants
	usage   *Usage
	cfg     LimitsConfig

	taken, refused, addresses atomic.Int64
}

// LimitsStats are counters since the start.
type LimitsStats struct {
	Taken     int64 // calls and frames that were let through
	Refused   int64 // calls and frames over their tenant's rate
	Addresses int64 // times that a client address was found to have shown too many wrong credentials
}

// LimitsConfig is the operator's.
type LimitsConfig struct {
	PerSecond int // of a tenant whose config says nothing; 0 = unlimited
}

// addressRate is how many wrong credentials one client address may show.
var addressRate = domain.Rate{PerSecond: 50, Burst: 50}

// NewLimits wires the use case.
func NewLimits(limiter ports.Limiter, tenants CurrentTenants, usage *Usage, cfg LimitsConfig) *Limits {
	return &Limits{limiter: limiter, tenants: tenants, usage: usage, cfg: cfg}
}

// Call takes a REST call from the tenant's bucket.
func (l *Limits) Call(ctx context.Context, c Caller) domain.Allowance {
	a := l.limiter.Take(ctx, "tenant:"+string(c.Tenant.ID), c.Tenant.Config.RateOf(l.cfg.PerSecond))
	l.count(a)
	l.usage.called(c.Tenant.ID, !a.OK)
	return a
}

// Chat takes a call of the chats API from the tenant's bucket for those, which no other call touches.
func (l *Limits) Chat(ctx context.Context, c Caller) domain.Allowance {
	a := l.limiter.Take(ctx, "chats:"+string(c.Tenant.ID), c.Tenant.Config.ChatRate())
	l.count(a)
	l.usage.called(c.Tenant.ID, !a.OK)
	return a
}

// Frame takes a frame that counts as a call from the tenant's bucket, by the rate as it is configured now. A tenant that
// cannot be looked up is let through: the frame's own work meets the same trouble and says so.
func (l *Limits) Frame(ctx context.Context, c Caller) domain.Allowance {
	tenant, err := l.tenants.Tenant(ctx, c.Tenant.ID)
	if err != nil {
		return domain.Allowance{OK: true}
	}
	a := l.limiter.Take(ctx, "tenant:"+string(tenant.ID), tenant.Config.RateOf(l.cfg.PerSecond))
	if l.count(a); !a.OK {
		l.usage.refusedFrame(tenant.ID)
	}
	return a
}

// Address asks, before any credential is looked at, whether the client address has shown too many wrong ones.
func (l *Limits) Address(ctx context.Context, address string) domain.Allowance {
	a := l.limiter.Peek(ctx, "address:"+address, addressRate)
	if !a.OK {
		l.addresses.Add(1)
	}
	return a
}

// Failed counts a wrong credential against the client address.
func (l *Limits) Failed(ctx context.Context, address string) {
	l.limiter.Take(ctx, "address:"+address, addressRate)
}

func (l *Limits) count(a domain.Allowance) {
	if a.OK {
		l.taken.Add(1)
		return
	}
	l.refused.Add(1)
}

// Stats reads the counters.
func (l *Limits) Stats() LimitsStats {
	return LimitsStats{Taken: l.taken.Load(), Refused: l.refused.Load(), Addresses: l.addresses.Load()}
}
