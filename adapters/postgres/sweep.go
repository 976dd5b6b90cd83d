package postgres

import (
	"context"
	"math/rand/v2"
	"time"
)

// sweepEvery is between two looks for expired rows. Every node looks, and none waits for another.
const sweepEvery = time.Minute

// sweeper removes what has expired, in steps so small that no sender notices one.
type sweeper struct {
	store *Store
	stop  context.CancelFunc
	ended chan struct{}
}

func newSweeper(s *Store) *sweeper {
	ctx, stop := context.WithCancel(background)
	w := &sweeper{store: s, stop: stop, ended: make(chan struct{})}
	go w.run(ctx)
	return w
}

func (w *sweeper) close() {
	w.stop()
	<-w.ended
}

// run sweeps step by step while there is more. A step that fails is due again in a minute.
func (w *sweeper) run(ctx context.Context) {
	defer close(w.ended)
	for {
		pause := sweepEvery + rand.N(sweepEvery/4) // nodes that started at once part
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = w.store.sweepOnce(ctx); err != nil && ctx.Err() == nil {
				w.store.log.Warn("expired rows were not removed", "error", err)
				break
			}
		}
	}
}

// sweepOnce takes one step.
func (s *Store) sweepOnce(ctx context.Context) (more bool, err error) {
	err = s.operate(ctx, func(t *tx) (err error) {
		more, err = t.sweep(s.cfg.Clock.Now())
		return err
	})
	return more, err
}
