package postgres

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// The places of tenants' work at the connections. Views never wait for a lock, and units of work do, with a connection in
// hand: of four places they have three, so that a read always finds a connection behind other reads alone. A tenant is let
// in while it holds fewer places than it would leave free, or than three times as many for views: half of them and three
// quarters when it is alone, less with each other one. The last place is for whoever has none.
const (
	greedOfWork  = 1
	greedOfViews = 3
)

// placesOfWork are those of so many connections that units of work may have.
func placesOfWork(conns int) int { return max(1, conns*3/4) }

// gate lets the work of tenants in, at most so much at once. Whoever waits is let in as soon as it may: the tenant first that
// has least, and of one tenant who came first.
type gate struct {
	greed int

	mu      sync.Mutex
	free    int
	held    map[domain.TenantID]int
	waiting map[domain.TenantID][]*waiter
	came    int64 // waiters so far
	waited  time.Duration
}

// waiter is somebody at a gate, or at a room's door.
type waiter struct {
	number int64
	let    chan struct{} // closed when it is in
}

func newGate(places, greed int) *gate {
	return &gate{greed: greed, free: places, held: map[domain.TenantID]int{}, waiting: map[domain.TenantID][]*waiter{}}
}

// enter waits for a place, which leave gives back: domain.ErrBusy when there was none for so long.
func (g *gate) enter(ctx context.Context, tenant domain.TenantID, patience time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := g.join(tenant)
	if w == nil {
		return nil
	}
	started := time.Now()
	err := w.wait(ctx, patience)
	g.count(time.Since(started))
	if err != nil && !g.quit(tenant, w) {
		g.leave(tenant) // it was let in at that moment
	}
	return err
}

func (g *gate) count(waited time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waited += waited
}

// waits is how often somebody had to wait, and for how long in all.
func (g *gate) waits() (times int64, total time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came, g.waited
}

// wait is until the waiter is in, ctx ends, or patience does: domain.ErrBusy.
func (w *waiter) wait(ctx context.Context, patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-w.let:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return domain.ErrBusy
	}
}

// join takes a place, or one in the tenant's queue.
func (g *gate) join(tenant domain.TenantID) *waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting[tenant]) == 0 && g.open(tenant) { // others who wait may not come in now, or they would be in
		g.take(tenant)
		return nil
	}
	g.came++
	w := &waiter{number: g.came, let: make(chan struct{})}
	g.waiting[tenant] = append(g.waiting[tenant], w)
	return w
}

// quit takes a waiter out of the queue, unless it is in.
func (g *gate) quit(tenant domain.TenantID, w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting[tenant], w)
	if i >= 0 {
		g.drop(tenant, i)
	}
	return i >= 0
}

// leave gives a place back.
func (g *gate) leave(tenant domain.TenantID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free++
	if g.held[tenant]--; g.held[tenant] == 0 {
		delete(g.held, tenant)
	}
	g.letIn()
}

// letIn lets in who may come. It needs mu, as what follows does.
func (g *gate) letIn() {
	for {
		tenant, some := g.next()
		if !some {
			return
		}
		first := g.waiting[tenant][0]
		g.drop(tenant, 0)
		g.take(tenant)
		close(first.let)
	}
}

// next is the tenant whose turn it is.
func (g *gate) next() (next domain.TenantID, some bool) {
	for tenant, all := range g.waiting {
		if !g.open(tenant) {
			continue
		}
		if held, least := g.held[tenant], g.held[next]; !some || held < least || held == least && all[0].number < g.waiting[next][0].number {
			next, some = tenant, true
		}
	}
	return next, some
}

func (g *gate) open(tenant domain.TenantID) bool {
	held := g.held[tenant]
	return g.free > 0 && (held == 0 || held < g.greed*(g.free-1))
}

func (g *gate) take(tenant domain.TenantID) {
	g.free--
	g.held[tenant]++
}

func (g *gate) drop(tenant domain.TenantID, i int) {
	if g.waiting[tenant] = slices.Delete(g.waiting[tenant], i, i+1); len(g.waiting[tenant]) == 0 {
		delete(g.waiting, tenant)
	}
}
