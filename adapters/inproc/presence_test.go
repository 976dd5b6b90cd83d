package inproc_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/ports/presencetest"
)

// presenceBackend is one process under the names of many nodes, on the time of a bubble.
type presenceBackend struct{ presence *inproc.Presence }

func (b presenceBackend) Node(*testing.T) ports.Presence { return b.presence }
func (b presenceBackend) Pass(d time.Duration)           { time.Sleep(d) }

func TestPresenceKeepsItsContract(t *testing.T) {
	t.Parallel()
	presencetest.Run(t, func(t *testing.T, test func(*testing.T, presencetest.Backend)) {
		synctest.Test(t, func(t *testing.T) { test(t, presenceBackend{inproc.NewPresence()}) })
	})
}

func TestALeaseLastsToTheNanosecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := inproc.NewPresence()
		alice := []ports.TenantUser{{Tenant: "t", User: "alice"}}
		if _, err := p.Arrive(t.Context(), "n", alice, time.Second); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait   time.Duration
			online bool
		}{{time.Second - time.Nanosecond, true}, {time.Nanosecond, false}} {
			time.Sleep(step.wait)
			online, err := p.Online(t.Context(), "t", []domain.UserID{"alice"})
			if err != nil || online["alice"] != step.online {
				t.Errorf("after another %s: online %v, %v, want %v", step.wait, online, err, step.online)
			}
			left, err := p.Expire(t.Context())
			if err != nil || (len(left) == 0) != step.online {
				t.Errorf("after another %s: expired %v, %v", step.wait, left, err)
			}
		}
	})
}

// BenchmarkExpireAmongHundredThousand has one lease that passes at every look, so that all users are looked at.
func BenchmarkExpireAmongHundredThousand(b *testing.B) {
	p := inproc.NewPresence()
	var users []ports.TenantUser
	for i := range 100_000 {
		users = append(users, ports.TenantUser{Tenant: "t", User: domain.UserID(fmt.Sprint("user-", i))})
	}
	if _, err := p.Arrive(b.Context(), "n", users, time.Hour); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Arrive(b.Context(), "n", users[:1], 0); err != nil {
			b.Fatal(err)
		}
		if left, err := p.Expire(b.Context()); err != nil || len(left) != 1 {
			b.Fatal(left, err)
		}
	}
}

func BenchmarkRenewFiveHundred(b *testing.B) {
	p := inproc.NewPresence()
	var users []ports.TenantUser
	for i := range 500 {
		users = append(users, ports.TenantUser{Tenant: "t", User: domain.UserID(fmt.Sprint("user-", i))})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Arrive(b.Context(), "n", users, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
