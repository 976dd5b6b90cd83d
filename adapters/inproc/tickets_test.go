package inproc_test

import (
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/ports/tickettest"
)

// ticketBackend is one process under the names of many nodes, on the time of a bubble.
type ticketBackend struct{ tickets *inproc.Tickets }

func (b ticketBackend) Node(*testing.T) ports.Tickets { return b.tickets }
func (b ticketBackend) Pass(d time.Duration)          { time.Sleep(d) }
func (b ticketBackend) Capacity() int                 { return inproc.MaxTickets }

func TestTicketsKeepTheirContract(t *testing.T) {
	t.Parallel()
	tickettest.Run(t, func(t *testing.T, test func(*testing.T, tickettest.Backend)) {
		synctest.Test(t, func(t *testing.T) { test(t, ticketBackend{inproc.NewTickets()}) })
	})
}

// hashOf is the hash of the n-th ticket.
func hashOf(n int) (hash [32]byte) {
	binary.BigEndian.PutUint64(hash[:], uint64(n))
	return hash
}

func TestATicketLastsToTheNanosecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tickets := inproc.NewTickets()
		for n := range 2 {
			if err := tickets.Issue(t.Context(), hashOf(n), ports.Ticket{}, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if _, err := tickets.Redeem(t.Context(), hashOf(0)); err != nil {
			t.Errorf("a nanosecond before its end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := tickets.Redeem(t.Context(), hashOf(1)); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("at its end: %v", err)
		}
	})
}

func TestOneTenantLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	tickets := inproc.NewTickets()
	greedy := ports.Ticket{Actor: domain.Actor{Tenant: "greedy"}}
	for n := range inproc.MaxTickets / 2 {
		if err := tickets.Issue(t.Context(), hashOf(n), greedy, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	next := hashOf(inproc.MaxTickets)
	if err := tickets.Issue(t.Context(), next, greedy, time.Hour); !errors.Is(err, domain.ErrBusy) {
		t.Errorf("more than half: %v, want domain.ErrBusy", err)
	}
	if err := tickets.Issue(t.Context(), next, ports.Ticket{Actor: domain.Actor{Tenant: "other"}}, time.Hour); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := tickets.Redeem(t.Context(), hashOf(7)); err != nil {
		t.Fatal(err)
	}
	if err := tickets.Issue(t.Context(), hashOf(7), greedy, time.Hour); err != nil {
		t.Errorf("after one was redeemed: %v", err)
	}
}

func TestATicketIssuedAgainHasTheSecondLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tickets := inproc.NewTickets()
		for _, ttl := range []time.Duration{time.Second, time.Minute} {
			if err := tickets.Issue(t.Context(), hashOf(1), ports.Ticket{Source: ttl.String()}, ttl); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		if got, err := tickets.Redeem(t.Context(), hashOf(1)); err != nil || got.Source != "1m0s" {
			t.Errorf("got %+v, %v, want the second", got, err)
		}
	})
}

func TestNothingIsKeptOfTicketsThatAreOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tickets := inproc.NewTickets()
		for n := range 1000 {
			ticket := ports.Ticket{Actor: domain.Actor{Tenant: domain.TenantID(rune('a' + n%20))}}
			if err := tickets.Issue(t.Context(), hashOf(n%900), ticket, time.Duration(n%7+1)*time.Second); err != nil {
				t.Fatal(err)
			}
			if n%3 == 0 {
				_, _ = tickets.Redeem(t.Context(), hashOf(n/2)) // there or not
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		_, _ = tickets.Redeem(t.Context(), hashOf(0))
		if waiting, ending, tenants := tickets.Kept(); waiting+ending+tenants != 0 {
			t.Errorf("kept: %d tickets, %d ends, %d tenants", waiting, ending, tenants)
		}
	})
}

func BenchmarkIssueAndRedeemAmongMany(b *testing.B) {
	tickets := inproc.NewTickets()
	for n := range inproc.MaxTickets / 2 {
		if err := tickets.Issue(b.Context(), hashOf(n), ports.Ticket{}, time.Duration(n+1)*time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	other := ports.Ticket{Actor: domain.Actor{Tenant: "other"}}
	next := hashOf(inproc.MaxTickets)
	b.ReportAllocs()
	for b.Loop() {
		if err := tickets.Issue(b.Context(), next, other, time.Minute); err != nil {
			b.Fatal(err)
		}
		if _, err := tickets.Redeem(b.Context(), next); err != nil {
			b.Fatal(err)
		}
	}
}
