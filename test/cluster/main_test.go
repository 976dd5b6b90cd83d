// Package cluster tests several nodes on Postgres and Redis as their clients meet them, and what only several can break. All
// that holds on one node too is in package blackbox, which runs on a cluster unchanged: CHATAPI_TEST_TOPOLOGY=cluster.
package cluster

import (
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// nodesOf starts a cluster of three and makes a tenant without a rate limit.
func nodesOf(t *testing.T, opts harness.Options) (*harness.Tenant, []*harness.Node) {
	t.Helper()
	opts.Topology = harness.Clustered
	s := harness.Start(t, opts)
	return harness.Must(s.NewTenant(t.Name()))(t), s.Nodes
}

// connect opens a user's socket where the user is, and waits until its replay is done.
func connect(t *testing.T, u *harness.User, query ...string) *harness.Conn {
	t.Helper()
	c := harness.Must(u.Dial(query...))(t)
	t.Cleanup(c.Drop)
	harness.Must(c.AwaitType("sync.complete"))(t)
	return c
}

// everywhere opens a socket of a user at each node, each as a device of its own.
func everywhere(t *testing.T, u *harness.User, nodes []*harness.Node) []*harness.Conn {
	t.Helper()
	var conns []*harness.Conn
	for _, n := range nodes {
		conns = append(conns, connect(t, u.At(n), "device_id", n.Base[len("http://"):]))
	}
	return conns
}
