package application

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
)

// brittleMeters keeps usage, and fails while it is told to.
type brittleMeters struct {
	fails bool
	kept  map[domain.TenantID]map[domain.Month]domain.Usage
}

func (m *brittleMeters) AddUsage(_ context.Context, used map[domain.TenantID]domain.Usage) error {
	if m.fails {
		return errors.New("away")
	}
	for tenant, more := range used {
		if m.kept[tenant] == nil {
			m.kept[tenant] = map[domain.Month]domain.Usage{}
		}
		sum := m.kept[tenant][more.Month].Add(more)
		sum.Month = more.Month
		m.kept[tenant][more.Month] = sum
	}
	return nil
}

func (m *brittleMeters) Usage(_ context.Context, tenant domain.TenantID, _ int) (months []domain.Usage, err error) {
	for _, u := range m.kept[tenant] { // at most one in these tests
		months = append(months, u)
	}
	return months, nil
}

// TestUsageIsCountedOnceWhateverFails: what cannot be written stays, what is on its way is not counted twice, and the last
// of it is written at the end.
func TestUsageIsCountedOnceWhateverFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		meters := &brittleMeters{fails: true, kept: map[domain.TenantID]map[domain.Month]domain.Usage{}}
		u := NewUsage(meters, system.Clock{}, slog.New(slog.DiscardHandler))
		count := func() {
			u.Committed([]domain.Event{{Tenant: "t", Kind: domain.EventMessage}, {Tenant: "t", Kind: domain.EventRoomUpdated}, {Tenant: "other", Kind: domain.EventMessage}})
			u.called("t", false)
			u.called("t", true)
			u.refusedFrame("t")
			u.opened("t")
		}
		want := func(times int64) {
			t.Helper()
			got, err := u.Of(context.Background(), "t")
			if err != nil {
				t.Fatal(err)
			}
			whole := domain.Usage{Month: domain.MonthOf(time.Now()), Messages: times, Requests: 2 * times, RateLimited: 2 * times, Sockets: times}
			if diff := cmp.Diff([]domain.Usage{whole}, got); diff != "" {
				t.Errorf("after %d rounds (-want +got):\n%s", times, diff)
			}
		}
		want(0)
		ctx := context.Background()
		count()
		u.flush(ctx)
		want(1)
		meters.fails = false
		count()
		u.flush(ctx)
		want(2)
		u.flush(ctx)
		count()
		want(3)
		running, stop := context.WithCancel(ctx)
		stop()
		if err := u.Run(running); err != nil {
			t.Fatal(err)
		}
		if got := meters.kept["t"][domain.MonthOf(time.Now())].Messages; got != 3 {
			t.Errorf("%d messages are written at the end", got)
		}
	})
}
