package application

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Upkeep does what nobody waits for: it notes when keys were last used, and removes what removed rooms and deleted tenants left
// behind, in steps small enough that no sender notices.
type Upkeep struct {
	purger   ports.Purger
	keys     ports.KeyWriter
	identity *Identity
	log      *slog.Logger
	wake     chan struct{}
}

const (
	upkeepEvery = 30 * time.Second
	purgePause  = 10 * time.Millisecond
)

// NewUpkeep wires the use case.
func NewUpkeep(purger ports.Purger, keys ports.KeyWriter, identity *Identity, log *slog.Logger) *Upkeep {
	return &Upkeep{purger: purger, keys: keys, identity: identity, log: log, wake: make(chan struct{}, 1)}
}

// Wake says that there is something to purge.
func (u *Upkeep) Wake() { signalTo(u.wake) }

// Run works once at the start, so that a purge cut short by a restart goes on, and then every 30 s, or when there is
// something to purge, until ctx ends.
func (u *Upkeep) Run(ctx context.Context) error {
	for {
		u.noteUse(ctx)
		u.purge(ctx)
		if !u.rest(ctx) {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			u.noteUse(last)
			return nil
		}
	}
}

// rest waits for the next turn; false when ctx has ended.
func (u *Upkeep) rest(ctx context.Context) bool {
	timer := time.NewTimer(upkeepEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-u.wake:
	case <-timer.C:
	}
	return true
}

func (u *Upkeep) purge(ctx context.Context) {
	for {
		more, err := u.purger.Purge(ctx)
		if err != nil && ctx.Err() == nil {
			u.log.Warn("removed rooms and deleted tenants not purged yet", "error", err)
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
