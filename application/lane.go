package application

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// lane takes the jobs of one lane from the outbox, and has them carried out side by side.
type lane struct {
	outbox ports.Outbox
	name   domain.Lane
	cfg    laneConfig
	log    *slog.Logger
	carry  func(ctx context.Context, claim ports.Claim, claimed time.Time) // and settles it
	except func(ctx context.Context) (tenants []domain.TenantID, wait time.Duration)
	wake   chan struct{}             // there may be a job
	freed  chan struct{}             // a worker is free, or a tenant may have another one
	closed atomic.Bool               // no more is claimed
	held   atomic.Pointer[time.Time] // nothing is claimed before; nil = never was
}

// laneConfig bounds a lane.
type laneConfig struct {
	Workers   int
	PerTenant int           // of them
	Lease     time.Duration // of a job
	Life      time.Duration // see ports.ClaimQuery
	Idle      time.Duration // the longest sleep between two looks
}

const (
	lanePause = time.Second           // after a failure of the store
	lanePace  = 50 * time.Millisecond // between two looks that find nothing
)

func newLane(outbox ports.Outbox, name domain.Lane, cfg laneConfig, log *slog.Logger, carry func(context.Context, ports.Claim, time.Time)) *lane {
	return &lane{
		outbox: outbox, name: name, cfg: cfg, log: log, carry: carry, wake: make(chan struct{}, 1), freed: make(chan struct{}, 1),
		except: func(context.Context) ([]domain.TenantID, time.Duration) { return nil, cfg.Idle },
	}
}

func (l *lane) wakeUp() { signalTo(l.wake) }

// signalTo makes one signal wait in a channel, however many are sent.
func signalTo(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run works until ctx ends, and returns when what is under way has ended.
func (l *lane) run(ctx context.Context) {
	var working sync.WaitGroup
	defer working.Wait()
	places := make(chan struct{}, l.cfg.Workers)
	for {
		wait, err := l.claim(ctx, places, &working)
		if err != nil {
			l.log.Warn("outbox not read", "error", err, "lane", l.name)
			if !sleep(ctx, lanePause) {
				return
			}
			continue
		}
		if !l.pause(ctx, wait) {
			return
		}
	}
}

// pause waits until a job may be due. Many wake it, every send of a tenant with a webhook among them: it looks again at once,
// unless it has looked a moment ago.
func (l *lane) pause(ctx context.Context, wait time.Duration) bool {
	if wait == 0 {
		return ctx.Err() == nil
	}
	looked := time.Now()
	if woken, ok := l.await(ctx, min(wait, l.cfg.Idle), l.wake); !woken || !ok {
		return ok
	}
	_, ok := l.await(ctx, lanePace-time.Since(looked), nil)
	return ok
}

// await waits for a time, unless a worker is free before; woken says that it was the signal that ended it, ok is false when
// ctx has.
func (l *lane) await(ctx context.Context, wait time.Duration, signal <-chan struct{}) (woken, ok bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-signal:
		return true, true
	case <-l.freed:
	case <-timer.C:
	}
	return false, true
}

// hold has nothing claimed for a while: it could not be carried out.
func (l *lane) hold(d time.Duration) {
	until := time.Now().Add(d)
	l.held.Store(&until)
}

func (l *lane) heldFor() time.Duration {
	if until := l.held.Load(); until != nil {
		return time.Until(*until)
	}
	return 0
}

// claim takes as many due jobs as there are places, and returns how long nothing more is to be done.
func (l *lane) claim(ctx context.Context, places chan struct{}, working *sync.WaitGroup) (wait time.Duration, err error) {
	free := cap(places) - len(places)
	if free == 0 || l.closed.Load() {
		return l.cfg.Idle, nil // whoever ends wakes
	}
	if wait := l.heldFor(); wait > 0 {
		return wait, nil
	}
	except, wait := l.except(ctx)
	claims, next, err := l.outbox.Claim(ctx, ports.ClaimQuery{
		Lane: l.name, Limit: free, PerTenant: l.cfg.PerTenant, Except: except, Life: l.cfg.Life, Lease: l.cfg.Lease,
	})
	claimed := time.Now()
	for _, claim := range claims {
		places <- struct{}{}
		working.Go(func() {
			l.carry(ctx, claim, claimed)
			<-places
			signalTo(l.freed)
		})
	}
	switch {
	case err != nil:
		return 0, err
	case len(claims) > 0:
		return 0, nil // there may be more
	case next > 0:
		return min(next, wait), nil
	}
	return wait, nil
}
