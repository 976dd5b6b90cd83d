// Package tickettest is the contract suite of ports.Tickets: every adapter's test calls Run with a function that opens
// a fresh backend. There are no capability flags. The suite never measures time: a ticket either lasts for far longer
// than a case runs, or the backend is asked to let it expire.
package tickettest

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Backend is what the nodes of a cluster share. A backend for one node returns the same value for all of them.
type Backend interface {
	// Node is the tickets as one more node sees them; it is closed in t.Cleanup.
	Node(t *testing.T) ports.Tickets
	// Pass returns when at least d has passed for tickets: by waiting, or by setting a clock.
	Pass(d time.Duration)
	// Capacity is how many tickets wait at most, whosever they are.
	Capacity() int
}

// Open gives test a fresh backend, and closes it when test has returned. It may run test in a synctest bubble.
type Open func(t *testing.T, test func(t *testing.T, b Backend))

// The lives of the suite's tickets.
const (
	long  = time.Hour // outlasts every case
	short = 20 * time.Millisecond
)

var contracts = []struct {
	name string
	test func(t *testing.T, b Backend)
}{
	{"ATicketComesBackAsItWas", comesBackAsItWas},
	{"ATicketIsRedeemedOnAnyNode", redeemedOnAnyNode},
	{"ATicketIsRedeemedOnce", redeemedOnce},
	{"OfParallelCallersOneGetsIt", parallelCallers},
	{"AnUnknownTicketIsRefused", unknown},
	{"AnExpiredTicketIsRefused", expired},
	{"EveryTicketExpiresByItself", expiresByItself},
	{"ParallelTicketsAreApart", parallelTickets},
	{"TheNumberThatWaitsIsBounded", bounded},
	{"ExpiredTicketsMakeRoom", expiredMakeRoom},
}

// Run proves the contract on backends that open gives.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range contracts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			open(t, c.test)
		})
	}
}
