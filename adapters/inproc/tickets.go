package inproc

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Tickets keeps socket tickets in memory, by the monotonic clock. They end with the process: clients get another one
// before they connect again. It satisfies ports.Tickets.
type Tickets struct {
	mu      sync.Mutex
	waiting map[[32]byte]*waitingTicket
	ending  endingHeap              // the same tickets
	tenants map[domain.TenantID]int // how many of them each has
}

const (
	maxTickets       = 100_000 // at a time; about 40 MB
	maxTenantTickets = maxTickets / 2
)

type waitingTicket struct {
	ports.Ticket
	hash  [32]byte
	ends  time.Time
	place int // in the heap
}

// NewTickets returns a store without tickets.
func NewTickets() *Tickets {
	return &Tickets{waiting: map[[32]byte]*waitingTicket{}, tenants: map[domain.TenantID]int{}}
}

// Issue implements ports.Tickets. At most 100,000 tickets wait, at most half of them one tenant's, so that no tenant
// keeps the others out.
func (t *Tickets) Issue(_ context.Context, hash [32]byte, ticket ports.Ticket, ttl time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.dropExpired(now)
	if len(t.waiting) >= maxTickets || t.tenants[ticket.Tenant] >= maxTenantTickets {
		return domain.ErrBusy
	}
	if old := t.waiting[hash]; old != nil {
		t.drop(old)
	}
	w := &waitingTicket{Ticket: ticket, hash: hash, ends: now.Add(ttl)}
	t.waiting[hash] = w
	t.tenants[w.Tenant]++
	heap.Push(&t.ending, w)
	return nil
}

// Redeem implements ports.Tickets.
func (t *Tickets) Redeem(_ context.Context, hash [32]byte) (ports.Ticket, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropExpired(time.Now())
	w := t.waiting[hash]
	if w == nil {
		return ports.Ticket{}, domain.ErrUnauthenticated
	}
	t.drop(w)
	return w.Ticket, nil
}

func (t *Tickets) dropExpired(now time.Time) {
	for len(t.ending) > 0 && !now.Before(t.ending[0].ends) {
		t.drop(t.ending[0])
	}
}

func (t *Tickets) drop(w *waitingTicket) {
	heap.Remove(&t.ending, w.place)
	delete(t.waiting, w.hash)
	if t.tenants[w.Tenant]--; t.tenants[w.Tenant] == 0 {
		delete(t.tenants, w.Tenant)
	}
}

// endingHeap has the ticket first that ends first. It is container/heap's to call.
type endingHeap []*waitingTicket

// Len implements sort.Interface.
func (h endingHeap) Len() int { return len(h) }

// Less implements sort.Interface.
func (h endingHeap) Less(i, j int) bool { return h[i].ends.Before(h[j].ends) }

// Swap implements sort.Interface.
func (h endingHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *endingHeap) Push(x any) {
	w := x.(*waitingTicket)
	w.place = len(*h)
	*h = append(*h, w)
}

// Pop implements heap.Interface.
func (h *endingHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}
