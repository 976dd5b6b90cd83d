package application

import (
	"context"
	"sync"

	"github.com/chatapi/chatapi/domain"
)

// turns lets one at a time write much, and of each tenant one at a time wait for that: many steps of one request after the
// other leave room between them for everybody's small writes, and one tenant's many requests none the less for others'.
type turns struct {
	one chan struct{}

	mu      sync.Mutex
	tenants map[domain.TenantID]*turn
}

// turn is the place of one tenant.
type turn struct {
	place chan struct{}
	users int // that hold it or wait for it
}

func newTurns() *turns {
	return &turns{one: make(chan struct{}, 1), tenants: map[domain.TenantID]*turn{}}
}

// take waits for the tenant's turn, then for the only place; leave gives both back.
func (t *turns) take(ctx context.Context, tenant domain.TenantID) (leave func(), err error) {
	t.mu.Lock()
	own := t.tenants[tenant]
	if own == nil {
		own = &turn{place: make(chan struct{}, 1)}
		t.tenants[tenant] = own
	}
	own.users++
	t.mu.Unlock()
	forget := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(t.tenants, tenant)
		}
	}
	for _, place := range []chan struct{}{own.place, t.one} {
		select {
		case place <- struct{}{}:
		case <-ctx.Done():
			if place == t.one {
				<-own.place
			}
			forget()
			return nil, ctx.Err()
		}
	}
	return func() {
		<-t.one
		<-own.place
		forget()
	}, nil
}
