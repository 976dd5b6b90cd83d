package redis_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/ports/bustest"
	"github.com/chatapi/chatapi/ports/limittest"
	"github.com/chatapi/chatapi/ports/presencetest"
	"github.com/chatapi/chatapi/ports/tickettest"
)

// newRedisCluster is a Redis Cluster of three masters.
func newRedisCluster(t *testing.T) (servers []*server) {
	t.Helper()
	const masters, slots = 3, 16384
	for range masters {
		servers = append(servers, newServer(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "2000"))
	}
	for at, s := range servers {
		s.do(t, "CLUSTER", "ADDSLOTSRANGE", at*slots/masters, (at+1)*slots/masters-1)
		if at > 0 {
			s.do(t, "CLUSTER", "MEET", "127.0.0.1", servers[0].port, servers[0].args[3])
		}
	}
	for _, s := range servers {
		eventually(t, "the cluster is whole", func() bool {
			state, ok := s.do(t, "CLUSTER", "INFO").(string)
			return ok && strings.Contains(state, "cluster_state:ok") && strings.Contains(state, "cluster_size:3")
		})
	}
	return servers
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestARedisClusterKeepsTheContracts(t *testing.T) {
	t.Parallel()
	servers := newRedisCluster(t)
	url := "redis+cluster://" + servers[1].addr()
	fresh := func() cluster { return cluster{url, newEpoch()} }
	t.Run("Bus", func(t *testing.T) {
		bustest.Run(t, func(t testing.TB) ports.Bus {
			epoch := newEpoch()
			return across{redis.NewBus(open(t, url, epoch)), redis.NewBus(open(t, servers[2].url(), epoch))}
		})
	})
	t.Run("Presence", func(t *testing.T) {
		presencetest.Run(t, func(t *testing.T, test func(*testing.T, presencetest.Backend)) { test(t, presenceCluster{fresh()}) })
	})
	t.Run("Limiter", func(t *testing.T) {
		limittest.Run(t, func(t *testing.T, test func(*testing.T, limittest.Backend)) { test(t, limitCluster{fresh()}) })
	})
	t.Run("Tickets", func(t *testing.T) {
		tickettest.Run(t, func(t *testing.T, test func(*testing.T, tickettest.Backend)) { test(t, ticketCluster{fresh()}) })
	})
}

// TestOneAddressOfARedisClusterIsEnough, and so is a list; the hints travel over its sharded pub/sub.
func TestOneAddressOfARedisClusterIsEnough(t *testing.T) {
	t.Parallel()
	servers := newRedisCluster(t)
	list := fmt.Sprintf("redis://%s,%s,%s/0", servers[0].addr(), servers[1].addr(), servers[2].addr())
	one, two := pair(t, servers[0].url(), list)
	var ears []*ear
	for n := range 66 {
		ears = append(ears, listen(t, two, fmt.Sprint("channel ", n)))
	}
	heard := func(what string) {
		for n, e := range ears {
			text := fmt.Sprint(what, n)
			eventually(t, "it is heard", func() bool {
				return e.has(text)
			})
		}
	}
	for n := range ears {
		publish(t, one, fmt.Sprint("channel ", n), fmt.Sprint("hello", n))
	}
	heard("hello")
	for _, e := range ears {
		if _, lost := e.heard(); lost != 0 {
			t.Errorf("told Lost %d times", lost)
		}
	}
	for _, s := range servers {
		if n := len(s.do(t, "PUBSUB", "SHARDCHANNELS").([]any)); n == 0 {
			t.Errorf("the server on port %s has no channels: they are spread over all", s.port)
		}
		s.do(t, "CLIENT", "KILL", "TYPE", "pubsub")
	}
	for _, e := range ears {
		eventually(t, "all are told", func() bool { return e.losses() >= 2 })
	}
	eventually(t, "connected again", func() bool { return two.Stats().Connected })
	for n := range ears {
		publish(t, one, fmt.Sprint("channel ", n), fmt.Sprint("again", n))
	}
	heard("again")
}
