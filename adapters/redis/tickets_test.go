package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var ticket = ports.Ticket{Actor: domain.Actor{Tenant: "t", Kind: domain.ActorUser, User: "alice"}, Source: "kid:1"}

func TestTicketsIssuedWhileRedisIsAwayOpenSocketsOnTheirNode(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	conn := open(t, s.url(), newEpoch())
	tickets := redis.NewTickets(conn)
	s.kill()
	for n, when := range []string{"when nobody knows yet", "when it is known"} {
		for _, hash := range [][32]byte{{byte(n), 1}, {byte(n), 2}} {
			if err := tickets.Issue(t.Context(), hash, ticket, time.Minute); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
		}
		if got, err := tickets.Redeem(t.Context(), [32]byte{byte(n), 1}); err != nil || got != ticket {
			t.Errorf("%s: got %+v, %v", when, got, err)
		}
		if got, err := tickets.Redeem(t.Context(), [32]byte{byte(n), 1}); err == nil {
			t.Errorf("%s: got %+v again", when, got)
		}
		eventually(t, "it is known", func() bool { ok, _ := conn.Healthy(); return !ok })
	}
	if err := tickets.Issue(t.Context(), [32]byte{9}, ticket, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := tickets.Redeem(t.Context(), [32]byte{9}); !errors.Is(err, domain.ErrAlone) {
		t.Errorf("one that has expired: %+v, %v", got, err)
	}
	s.restart(t)
	eventually(t, "Redis is back", func() bool { ok, _ := conn.Healthy(); return ok })
	if got, err := tickets.Redeem(t.Context(), [32]byte{1, 2}); err != nil || got != ticket {
		t.Errorf("one of before: got %+v, %v", got, err)
	}
	if _, err := tickets.Redeem(t.Context(), [32]byte{1, 2}); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("again: %v", err)
	}
}

// TestATicketThatMayBeInRedisIsNotKeptTwice: two nodes could redeem it.
func TestATicketThatMayBeInRedisIsNotKeptTwice(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	conn := open(t, p.url(), newEpoch())
	tickets := redis.NewTickets(conn)
	if err := tickets.Issue(t.Context(), [32]byte{1}, ticket, time.Minute); err != nil {
		t.Fatal(err)
	}
	p.setSilent(true)
	began := time.Now()
	if err := tickets.Issue(t.Context(), [32]byte{2}, ticket, time.Minute); !errors.Is(err, domain.ErrAlone) {
		t.Errorf("Issue: %v, want domain.ErrAlone", err)
	}
	if _, err := tickets.Redeem(t.Context(), [32]byte{1}); !errors.Is(err, domain.ErrAlone) {
		t.Errorf("Redeem: %v, want domain.ErrAlone", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("two calls took %s", took)
	}
	eventually(t, "it is known that Redis does not answer", func() bool { ok, _ := conn.Healthy(); return !ok })
	if err := tickets.Issue(t.Context(), [32]byte{3}, ticket, time.Minute); err != nil {
		t.Errorf("Issue, when it is not asked any more: %v", err)
	}
	if got, err := tickets.Redeem(t.Context(), [32]byte{3}); err != nil || got != ticket {
		t.Errorf("Redeem of that: %+v, %v", got, err)
	}
}

func TestOneTenantLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	tickets := redis.NewTickets(open(t, shared.url(), newEpoch()))
	tickets.SetCapacity(100)
	greedy := ports.Ticket{Actor: domain.Actor{Tenant: "greedy"}}
	for n := range 50 {
		if err := tickets.Issue(t.Context(), [32]byte{byte(n)}, greedy, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	next := [32]byte{100}
	if err := tickets.Issue(t.Context(), next, greedy, time.Hour); !errors.Is(err, domain.ErrBusy) {
		t.Errorf("more than half: %v, want domain.ErrBusy", err)
	}
	if err := tickets.Issue(t.Context(), next, ticket, time.Hour); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := tickets.Redeem(t.Context(), [32]byte{7}); err != nil {
		t.Fatal(err)
	}
	if err := tickets.Issue(t.Context(), [32]byte{7}, greedy, time.Hour); err != nil {
		t.Errorf("after one was redeemed: %v", err)
	}
}

func TestTheTicketsANodeKeepsItselfAreBounded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	conn := open(t, s.url(), newEpoch())
	tickets := redis.NewTickets(conn)
	s.kill()
	eventually(t, "it is known", func() bool { ok, _ := conn.Healthy(); return !ok })
	var err error
	n := 0
	for ; err == nil && n < 100_000; n++ {
		err = tickets.Issue(t.Context(), [32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, ticket, time.Minute)
	}
	if !errors.Is(err, domain.ErrBusy) {
		t.Errorf("after %d: %v, want domain.ErrBusy", n, err)
	}
}

func BenchmarkIssueAndRedeem(b *testing.B) {
	tickets := redis.NewTickets(open(b, shared.url(), newEpoch()))
	b.ReportAllocs()
	for b.Loop() {
		if err := tickets.Issue(b.Context(), [32]byte{1}, ticket, time.Minute); err != nil {
			b.Fatal(err)
		}
		if _, err := tickets.Redeem(b.Context(), [32]byte{1}); err != nil {
			b.Fatal(fmt.Errorf("redeem: %w", err))
		}
	}
}
