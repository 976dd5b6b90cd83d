package tickettest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// number is the n-th ticket of a case, and its hash.
func number(n int) (hash [32]byte, ticket ports.Ticket) {
	ticket.Actor = domain.Actor{
		Tenant: domain.TenantID(fmt.Sprintf("tenant_%d", n%4)), Kind: domain.ActorUser, User: domain.UserID(fmt.Sprintf("user-%d", n)),
	}
	ticket.Source = fmt.Sprintf("kid:%d", n)
	return sha256.Sum256([]byte(ticket.Source)), ticket
}

func issue(t *testing.T, tickets ports.Tickets, n int, ttl time.Duration) {
	t.Helper()
	hash, ticket := number(n)
	if err := tickets.Issue(t.Context(), hash, ticket, ttl); err != nil {
		t.Fatalf("Issue of ticket %d: %v", n, err)
	}
}

// redeem fails unless the answer is the n-th ticket.
func redeem(t *testing.T, tickets ports.Tickets, n int) {
	t.Helper()
	hash, want := number(n)
	if got, err := tickets.Redeem(t.Context(), hash); err != nil || got != want {
		t.Errorf("Redeem of ticket %d: got %+v, %v, want %+v", n, got, err, want)
	}
}

// refuse fails unless the n-th ticket is refused with nothing said of it.
func refuse(t *testing.T, tickets ports.Tickets, n int) {
	t.Helper()
	hash, _ := number(n)
	if got, err := tickets.Redeem(t.Context(), hash); !errors.Is(err, domain.ErrUnauthenticated) || got != (ports.Ticket{}) {
		t.Errorf("Redeem of ticket %d: got %+v, %v, want domain.ErrUnauthenticated", n, got, err)
	}
}

func comesBackAsItWas(t *testing.T, b Backend) {
	tickets := b.Node(t)
	for i, want := range []ports.Ticket{
		{Actor: domain.Actor{Tenant: "t", Kind: domain.ActorBackendUser, User: "alice", Credential: "key_1"}, Source: "key:x"},
		{Actor: domain.Actor{Tenant: "t", Kind: domain.ActorUser, User: "größer \"🙂\" <a:b>", Credential: "kid_1",
			Expires: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)}, Source: "kid:\x00\xff\n"},
		{Actor: domain.Actor{Tenant: "t", Kind: domain.ActorBackend}},
	} {
		hash := [32]byte{31: byte(i)}
		if err := tickets.Issue(t.Context(), hash, want, long); err != nil {
			t.Fatal(err)
		}
		got, err := tickets.Redeem(t.Context(), hash)
		if err == nil && got.Expires.Equal(want.Expires) && got.Expires.IsZero() == want.Expires.IsZero() {
			got.Expires = want.Expires // the same moment may be spelled in another way
		}
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

func redeemedOnAnyNode(t *testing.T, b Backend) {
	one, two := b.Node(t), b.Node(t)
	issue(t, one, 1, long)
	issue(t, two, 2, long)
	redeem(t, two, 1)
	redeem(t, one, 2)
	refuse(t, one, 1)
	refuse(t, two, 2)
}

func redeemedOnce(t *testing.T, b Backend) {
	tickets := b.Node(t)
	issue(t, tickets, 1, long)
	issue(t, tickets, 2, long)
	redeem(t, tickets, 1)
	refuse(t, tickets, 1)
	refuse(t, tickets, 1)
	redeem(t, tickets, 2)
}

func parallelCallers(t *testing.T, b Backend) {
	nodes := []ports.Tickets{b.Node(t), b.Node(t), b.Node(t)}
	const callers = 50
	for n := range 20 {
		issue(t, nodes[0], n, long)
		hash, want := number(n)
		var got, refused atomic.Int64
		var running sync.WaitGroup
		for caller := range callers {
			running.Go(func() {
				switch ticket, err := nodes[caller%len(nodes)].Redeem(t.Context(), hash); {
				case err == nil && ticket == want:
					got.Add(1)
				case errors.Is(err, domain.ErrUnauthenticated):
					refused.Add(1)
				default:
					t.Errorf("got %+v, %v", ticket, err)
				}
			})
		}
		running.Wait()
		if got.Load() != 1 || refused.Load() != callers-1 {
			t.Errorf("ticket %d: %d of %d callers got it and %d were refused, want one to get it", n, got.Load(), callers, refused.Load())
		}
	}
}

func unknown(t *testing.T, b Backend) {
	tickets := b.Node(t)
	refuse(t, tickets, 1)
	issue(t, tickets, 2, long)
	refuse(t, tickets, 1)
	hash, _ := number(2)
	for i := range hash {
		other := hash
		other[i] ^= 1
		if _, err := tickets.Redeem(t.Context(), other); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("a hash that differs in byte %d: %v, want domain.ErrUnauthenticated", i, err)
		}
	}
	redeem(t, tickets, 2)
}

func expired(t *testing.T, b Backend) {
	tickets := b.Node(t)
	issue(t, tickets, 1, short)
	b.Pass(2 * short)
	refuse(t, tickets, 1)
	refuse(t, b.Node(t), 1)
}

func expiresByItself(t *testing.T, b Backend) {
	tickets := b.Node(t)
	for n := range 20 {
		ttl := short
		if n%2 == 0 {
			ttl = long
		}
		issue(t, tickets, n, ttl)
	}
	b.Pass(2 * short)
	issue(t, tickets, 20, long)
	for n := 20; n >= 0; n-- {
		if n%2 == 0 {
			redeem(t, tickets, n)
		} else {
			refuse(t, tickets, n)
		}
	}
}

func parallelTickets(t *testing.T, b Backend) {
	const callers, each = 8, 50
	var running sync.WaitGroup
	for caller := range callers {
		one, two := b.Node(t), b.Node(t)
		running.Go(func() {
			for n := caller * each; n < (caller+1)*each; n++ {
				hash, ticket := number(n)
				if err := one.Issue(t.Context(), hash, ticket, long); err != nil {
					t.Errorf("Issue of ticket %d: %v", n, err)
				}
				redeem(t, two, n)
				refuse(t, one, n)
			}
		})
	}
	running.Wait()
}

// fill issues tickets until the store is full.
func fill(t *testing.T, tickets ports.Tickets, capacity int, ttl time.Duration) {
	t.Helper()
	for n := range capacity {
		issue(t, tickets, n, ttl)
	}
}

func busy(t *testing.T, tickets ports.Tickets, n int) {
	t.Helper()
	hash, ticket := number(n)
	if err := tickets.Issue(t.Context(), hash, ticket, long); !errors.Is(err, domain.ErrBusy) {
		t.Errorf("Issue to a full store: %v, want domain.ErrBusy", err)
	}
}

func bounded(t *testing.T, b Backend) {
	tickets, capacity := b.Node(t), b.Capacity()
	fill(t, tickets, capacity, long)
	busy(t, tickets, capacity)
	busy(t, b.Node(t), capacity)
	refuse(t, tickets, capacity)
	for _, n := range []int{0, capacity / 2, capacity - 1} {
		redeem(t, tickets, n)
		issue(t, tickets, capacity+n, long)
		busy(t, tickets, capacity)
		redeem(t, tickets, capacity+n)
		issue(t, tickets, n, long)
	}
}

func expiredMakeRoom(t *testing.T, b Backend) {
	tickets, capacity := b.Node(t), b.Capacity()
	fill(t, tickets, capacity-1, long)
	issue(t, tickets, capacity-1, short)
	b.Pass(2 * short)
	issue(t, tickets, capacity, long)
	busy(t, tickets, capacity+1)
	redeem(t, tickets, capacity)
	refuse(t, tickets, capacity-1)
	redeem(t, tickets, 0)
}
