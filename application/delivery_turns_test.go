package application

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// devicesSeen is a store in which the work of one tenant waits until it is let go on.
type devicesSeen struct {
	ports.Store
	stuck domain.TenantID
	goOn  chan struct{}

	mu   sync.Mutex
	seen []domain.DeviceID
}

type devicesSeenTx struct {
	ports.Tx
	s *devicesSeen
}

func (s *devicesSeen) Update(_ context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	if tenant == s.stuck {
		<-s.goOn
	}
	return fn(devicesSeenTx{s: s})
}

func (t devicesSeenTx) SeeDevice(_ domain.UserID, id domain.DeviceID, _ int64, _ time.Time) error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.seen = append(t.s.seen, id)
	return nil
}

func (s *devicesSeen) sorted() []domain.DeviceID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.seen))
}

func TestATenantWhoseWritesWaitDelaysNoOthersMarks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &devicesSeen{stuck: "stuck", goOn: make(chan struct{})}
		d := NewDelivery(store, nil, system.Clock{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		confirms := func(tenant domain.TenantID, devices ...domain.DeviceID) {
			var c Caller
			c.Tenant.ID, c.User = tenant, "ann"
			for _, id := range devices {
				d.Learned(c, id, 0)
			}
		}
		wants := func(when string, want ...domain.DeviceID) {
			t.Helper()
			time.Sleep(2 * markFlush)
			if got := store.sorted(); !slices.Equal(got, want) {
				t.Errorf("%s: %v are written, want %v", when, got, want)
			}
		}
		confirms("stuck", "s1")
		confirms("calm", "c1")
		wants("at once", "c1")
		confirms("stuck", "s2") // while the first is on its way
		confirms("calm", "c2")
		wants("a second later", "c1", "c2")
		close(store.goOn)
		wants("when it goes on", "c1", "c2", "s1", "s2")
		confirms("stuck", "s3")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := len(store.sorted()); got != 5 {
			t.Errorf("%d devices are written at the end, want 5", got)
		}
	})
}
