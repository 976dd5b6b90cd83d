package presencetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/ports"
)

// tally counts how often each user was told of.
type tally struct {
	mu    sync.Mutex
	times map[ports.TenantUser]int
}

func (c *tally) add(users []ports.TenantUser) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == nil {
		c.times = map[ports.TenantUser]int{}
	}
	for _, u := range users {
		c.times[u]++
	}
}

func (c *tally) expectOnce(t *testing.T, what string, users []ports.TenantUser) {
	t.Helper()
	for _, u := range users {
		if n := c.times[u]; n != 1 {
			t.Errorf("%s of %s was told %d times, want once", what, u, n)
		}
	}
	if len(c.times) != len(users) {
		t.Errorf("%s of %d users was told, want %d", what, len(c.times), len(users))
	}
}

// together runs fn for each node at once: none begins before all are there.
func together(nodes []node, fn func(n node)) {
	var ready, running sync.WaitGroup
	ready.Add(len(nodes))
	for _, n := range nodes {
		running.Go(func() {
			ready.Done()
			ready.Wait()
			fn(n)
		})
	}
	running.Wait()
}

const rounds = 10

// crowd is 16 callers on four nodes, each under a name of its own, and 50 users.
func crowd(t *testing.T, b Backend) (nodes []node, users []ports.TenantUser) {
	t.Helper()
	for i := range 4 {
		first := newNode(t, b, "")
		for j := range 4 {
			nodes = append(nodes, node{t, first.port, fmt.Sprintf("node-%d-%d", i, j)})
		}
	}
	for i := range 50 {
		users = append(users, ports.TenantUser{Tenant: acme, User: userNumber(i)})
	}
	return nodes, users
}

func parallelArrivals(t *testing.T, b Backend) {
	nodes, users := crowd(t, b)
	for range rounds {
		var arrivals tally
		together(nodes, func(n node) {
			for _, i := range rand.Perm(len(users)) {
				arrivals.add(n.arrive(long, users[i]))
			}
		})
		arrivals.expectOnce(t, "the arrival", users)
		for _, n := range nodes {
			n.leave(users...)
		}
	}
}

func parallelDepartures(t *testing.T, b Backend) {
	nodes, users := crowd(t, b)
	for range rounds {
		for _, n := range nodes {
			n.arrive(long, users...)
		}
		var departures tally
		together(nodes, func(n node) {
			for _, i := range rand.Perm(len(users)) {
				departures.add(n.leave(users[i]))
				departures.add(n.expire())
			}
		})
		departures.expectOnce(t, "the departure", users)
	}
}

func parallelExpiries(t *testing.T, b Backend) {
	nodes, users := crowd(t, b)
	for range rounds {
		for _, n := range nodes {
			n.arrive(short, users...)
		}
		b.Pass(2 * short)
		var departures tally
		together(nodes, func(n node) { departures.add(n.expire()) })
		departures.expectOnce(t, "the departure", users)
	}
}

// churn has callers come and go about the same few users at once. In the end everybody has left, and each departure
// had its arrival.
func churn(t *testing.T, b Backend) {
	nodes, users := crowd(t, b)
	users = users[:4]
	var arrivals, departures tally
	together(nodes, func(n node) {
		random := rand.New(rand.NewPCG(rand.Uint64(), 0))
		for range 60 {
			some := pick(random, users)
			arrivals.add(n.arrive(long, some...))
			departures.add(n.expire())
			departures.add(n.leave(some...))
		}
	})
	for _, u := range users {
		if came, went := arrivals.times[u], departures.times[u]; came != went || came == 0 {
			t.Errorf("%s: %d arrivals and %d departures were told, want as many of both", u, came, went)
		}
	}
	same(t, "online at the end", nodes[0].online(users...))
}
