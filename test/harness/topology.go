package harness

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Topology is what a server is made of. The same tests hold for each.
type Topology string

// The topologies.
const (
	OnSQLite   Topology = "sqlite"   // one node, its data in a file
	OnPostgres Topology = "postgres" // one node on Postgres
	Clustered  Topology = "cluster"  // several nodes on Postgres and Redis, behind a balancer
)

// TopologyEnv names a variable with the topology of every server whose test does not choose one.
const TopologyEnv = "CHATAPI_TEST_TOPOLOGY"

const defaultNodes = 3

// DefaultTopology is that of servers whose test does not choose one.
func DefaultTopology() Topology {
	if t := os.Getenv(TopologyEnv); t != "" {
		return Topology(t)
	}
	return OnSQLite
}

func (o Options) topology() Topology {
	if o.Topology != "" {
		return o.Topology
	}
	if _, own := o.Env["DATABASE_DSN"]; own || o.Bare {
		return OnSQLite
	}
	return DefaultTopology()
}

// layout is what a server is laid out as.
type layout struct {
	vars    map[string]string // what every node is told
	args    []string          // with which it is started, unless the test says
	nodes   []berth
	release func() error
	sql     func(statement string) error // nil on SQLite
}

// berth is where a node runs and what it runs on.
type berth struct {
	dir      string
	backends map[string]string // DATABASE_DSN and REDIS_URL
}

func (o Options) layout(dir string) (layout, error) {
	switch t := o.topology(); {
	case t == OnSQLite && o.Bare:
		return layout{nodes: []berth{{dir: dir}}, release: nothing}, nil
	case t == OnSQLite:
		file := "file:" + filepath.Join(dir, "chatapi.db")
		return layout{nodes: []berth{{dir, map[string]string{"DATABASE_DSN": file}}}, release: nothing}, nil
	case t == OnPostgres:
		return o.onBackends(dir, 1, false)
	case t == Clustered:
		nodes := o.Nodes
		if nodes == 0 {
			nodes = defaultNodes
		}
		return o.onBackends(dir, nodes, true)
	default:
		return layout{}, fmt.Errorf("%s: %q is none of %s, %s, %s", TopologyEnv, t, OnSQLite, OnPostgres, Clustered)
	}
}

func nothing() error { return nil }

// onBackends lays out nodes on a database of their own.
func (o Options) onBackends(dir string, nodes int, withRedis bool) (layout, error) {
	b := o.Backends
	if b == nil {
		var err error
		if b, err = SharedBackends(); err != nil {
			return layout{}, err
		}
	}
	database, err := o.database(b.Postgres)
	if err != nil {
		return layout{}, fmt.Errorf("make a database: %w", err)
	}
	l := layout{
		vars:    map[string]string{"SECRETS_KEY": randomHex(32)},
		release: func() error { return b.Postgres.Reuse(database) },
		sql:     func(statement string) error { return b.Postgres.Do(database, statement) },
	}
	if o.Empty {
		l.release = func() error { return b.Postgres.Drop(database) }
	}
	if !b.Postgres.Durable {
		l.args = []string{"serve", "--unsafe-durability"}
	}
	backends := map[string]string{"DATABASE_DSN": b.Postgres.URL(database)}
	if withRedis {
		backends["REDIS_URL"] = b.Redis.URL()
	}
	for i := range nodes {
		l.nodes = append(l.nodes, berth{filepath.Join(dir, fmt.Sprintf("node%d", i+1)), backends})
	}
	return l, nil
}

// database makes a database of the server's own.
func (o Options) database(p *PGServer) (name string, err error) {
	if o.Empty {
		return p.NewDatabase()
	}
	return p.NewMigrated(func(url string) error {
		binary, err := Binary()
		if err != nil {
			return err
		}
		cmd := exec.Command(binary, "migrate", "up")
		cmd.Dir, cmd.Env = os.TempDir(), []string{"DATABASE_DSN=" + url}
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("chatapi migrate up: %w\n%s", err, said)
		}
		return nil
	})
}

// Backends are the Postgres and the Redis that servers run on. Each server has a database of its own; in Redis it keeps apart
// by itself.
type Backends struct {
	Postgres *PGServer
	Redis    *Redis
}

// LaunchBackends starts both. The caller ends them with Close.
func LaunchBackends(durable bool) (*Backends, error) {
	b := &Backends{}
	var pgErr, redisErr error
	var both sync.WaitGroup
	both.Go(func() { b.Postgres, pgErr = LaunchPG(durable) })
	both.Go(func() { b.Redis, redisErr = LaunchRedis() })
	both.Wait()
	if err := errors.Join(pgErr, redisErr); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close ends both and removes their data.
func (b *Backends) Close() error {
	var err error
	if b.Postgres != nil {
		err = b.Postgres.Close()
	}
	if b.Redis != nil {
		err = errors.Join(err, b.Redis.Close())
	}
	return err
}

// ours are those of SharedBackends.
var ours struct {
	mu       sync.Mutex
	backends *Backends
}

// SharedBackends are those that the servers of this process share, from the first call until CloseBackends. What they keep is
// for a test's life: they do not sync to disk.
func SharedBackends() (*Backends, error) {
	ours.mu.Lock()
	defer ours.mu.Unlock()
	if ours.backends != nil {
		return ours.backends, nil
	}
	var err error
	ours.backends, err = LaunchBackends(false)
	return ours.backends, err
}

// CloseBackends ends what the servers of this process shared.
func CloseBackends() error {
	ours.mu.Lock()
	defer ours.mu.Unlock()
	if ours.backends == nil {
		return nil
	}
	err := ours.backends.Close()
	ours.backends = nil
	return err
}

// transportTo keeps connections alive. In front of several nodes there are as many sets of connections, used in turn: what a
// client does next it does, more often than not, at another node.
func transportTo(nodes int) http.RoundTripper {
	all := make([]*http.Transport, nodes)
	for i := range all {
		all[i] = &http.Transport{
			MaxIdleConns: 512, MaxIdleConnsPerHost: 512, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		}
	}
	if nodes == 1 {
		return all[0]
	}
	return &inTurn{transports: all}
}

// inTurn hands each request to the next transport.
type inTurn struct {
	transports []*http.Transport
	next       atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (t *inTurn) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.transports[t.next.Add(1)%uint64(len(t.transports))].RoundTrip(r)
}

// CloseIdleConnections is what http.Client looks for.
func (t *inTurn) CloseIdleConnections() {
	for _, each := range t.transports {
		each.CloseIdleConnections()
	}
}

// Backends is what the node is told of its database, its Redis and the key of its secrets: the environment of one more node.
func (n *Node) Backends() map[string]string {
	told := map[string]string{}
	for _, name := range []string{"DATABASE_DSN", "REDIS_URL", "SECRETS_KEY"} {
		if value, set := n.vars[name]; set {
			told[name] = value
		}
	}
	return told
}

// DoSQL runs a statement in the server's database on Postgres as its superuser, whom no policy holds back.
func (s *Server) DoSQL(statement string) error { return s.sql(statement) }
