package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/ports/bustest"
	"github.com/chatapi/chatapi/ports/limittest"
	"github.com/chatapi/chatapi/ports/presencetest"
	"github.com/chatapi/chatapi/ports/tickettest"
)

// cluster is an installation of its own on a server; each node has a connection of its own. Its time is the machine's.
type cluster struct {
	url   string
	epoch domain.Epoch
}

func newCluster() cluster { return cluster{shared.url(), newEpoch()} }

func (c cluster) Pass(d time.Duration) { time.Sleep(d) }

type limitCluster struct{ cluster }

func (c limitCluster) Node(t *testing.T) ports.Limiter {
	l := redis.NewLimiter(open(t, c.url, c.epoch))
	l.SetWait(5 * time.Second) // the machine is busy with the other tests
	return l
}

// Unsure is what an answer of Redis takes on a machine that is busy with the other tests.
func (c limitCluster) Unsure() time.Duration { return 250 * time.Millisecond }

type presenceCluster struct{ cluster }

func (c presenceCluster) Node(t *testing.T) ports.Presence {
	return redis.NewPresence(open(t, c.url, c.epoch))
}

type ticketCluster struct{ cluster }

const testCapacity = 400

func (c ticketCluster) Capacity() int { return testCapacity }

func (c ticketCluster) Node(t *testing.T) ports.Tickets {
	tickets := redis.NewTickets(open(t, c.url, c.epoch))
	tickets.SetCapacity(testCapacity)
	return tickets
}

func TestBusKeepsItsContract(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t testing.TB) ports.Bus { return redis.NewBus(open(t, shared.url(), newEpoch())) })
}

// across publishes on one node what it subscribes to on another.
type across struct{ from, to *redis.Bus }

func (a across) Publish(ctx context.Context, channel string, payload []byte) error {
	return a.from.Publish(ctx, channel, payload)
}

func (a across) Subscribe(channel string, deliver func(ports.Signal)) (cancel func(), err error) {
	return a.to.Subscribe(channel, deliver)
}

func TestBusKeepsItsContractAcrossNodes(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t testing.TB) ports.Bus {
		epoch := newEpoch()
		return across{redis.NewBus(open(t, shared.url(), epoch)), redis.NewBus(open(t, shared.url(), epoch))}
	})
}

func TestPresenceKeepsItsContract(t *testing.T) {
	t.Parallel()
	presencetest.Run(t, func(t *testing.T, test func(*testing.T, presencetest.Backend)) {
		test(t, presenceCluster{newCluster()})
	})
}

func TestLimiterKeepsItsContract(t *testing.T) {
	t.Parallel()
	limittest.Run(t, func(t *testing.T, test func(*testing.T, limittest.Backend)) { test(t, limitCluster{newCluster()}) })
}

func TestTicketsKeepTheirContract(t *testing.T) {
	t.Parallel()
	tickettest.Run(t, func(t *testing.T, test func(*testing.T, tickettest.Backend)) { test(t, ticketCluster{newCluster()}) })
}
