package application

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Upkeep does what nobody waits for: it notes when keys were last used, and removes what deleted tenants left behind,
// in steps small enough that no sender notices.
type Upkeep struct {
	tenants  ports.TenantWriter
	keys     ports.KeyWriter
	identity *Identity
	log      *slog.Logger
}

const (
	upkeepEvery = 30 * time.Second
	purgePause  = 10 * time.Millisecond
)

// NewUpkeep wires the use case.
func NewUpkeep(tenants ports.TenantWriter, keys ports.KeyWriter, identity *Identity, log *slog.Logger) *Upkeep {
	return &Upkeep{tenants: tenants, keys: keys, identity: identity, log: log}
}

// Run works once at the start, so that a purge cut short by a restart goes on, and then every 30 s until ctx ends.
func (u *Upkeep) Run(ctx context.Context) error {
	for {
		u.purge(ctx)
		u.noteUse(ctx)
		if !sleep(ctx, upkeepEvery) {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			u.noteUse(last)
			return nil
		}
	}
}

func (u *Upkeep) purge(ctx context.Context) {
	for {
		more, err := u.tenants.PurgeDeleted(ctx)
		if err != nil && ctx.Err() == nil {
			u.log.Warn("deleted tenants not purged yet", "error", err)
		}
		if err != nil || !more || !sleep(ctx, purgePause) {
			return
		}
	}
}

func (u *Upkeep) noteUse(ctx context.Context) {
	used := u.identity.takeUsed()
	if len(used) == 0 {
		return
	}
	if err := u.keys.TouchKeys(ctx, used); err != nil {
		u.log.Warn("last use of keys not noted", "error", err)
	}
}
