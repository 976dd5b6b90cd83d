package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options say how a server is started; the zero value is a fresh server with random secrets.
type Options struct {
	Dir     string            // the data directory and working directory; empty makes a new one
	Env     map[string]string // beside, or instead of, what the harness sets
	Wrapper []string          // a command to run the binary under, such as strace and its flags
	Admin   bool              // listen on ADMIN_ADDR too, see Server.Metric
	Bare    bool              // set no secret and no format: the environment of somebody's very first start
	Args    []string          // the arguments; nil is "serve"

	Topology Topology  // empty: what TopologyEnv says; a DATABASE_DSN in Env, or Bare, is one node on that
	Nodes    int       // of a Cluster; 0 is 3
	Empty    bool      // on Postgres: the database has no schema yet, and is nobody else's later
	Proxied  bool      // put proxies between each node and its backends: Node.ToRedis, Node.ToPostgres
	Backends *Backends // nil: those that the servers of this process share
}

// Server is a chatapi server, running or stopped, and the place of its data: one process, or several behind a balancer.
type Server struct {
	Base      string // http://127.0.0.1:port, of the balancer where there is one
	Dir       string
	MasterKey string
	JWTSecret string
	Nodes     []*Node
	Balancer  *Balancer // nil in front of one node

	opts   Options
	vars   map[string]string // what the harness sets for every node
	http   *http.Client
	canary *Canary
	forget []func() // end the canary's watch over sockets
	drift  drift
	sql    func(statement string) error
	give   []func() error // what is to be given back at the end, the latest first
}

// Launch starts a server and waits until it is healthy. The caller ends it with Terminate or Kill, then calls Release.
func Launch(opts Options) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, Dir: opts.Dir, MasterKey: "master-" + randomHex(24), JWTSecret: "jwt-" + randomHex(24), canary: NewCanary(),
	}
	s.canary.Secret(s.MasterKey, s.JWTSecret)
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "chatapi-data-"); err != nil {
			return nil, err
		}
	}
	if err := s.place(binary); err != nil {
		return s, err
	}
	if err := s.each((*Node).firstStart); err != nil {
		return s, err
	}
	if err := s.balance(); err != nil {
		return s, err
	}
	for _, base := range s.bases() {
		s.forget = append(s.forget, s.canary.Watch(base))
	}
	return s, nil
}

// place lays out the nodes and what they share.
func (s *Server) place(binary string) error {
	layout, err := s.opts.layout(s.Dir)
	if err != nil {
		return err
	}
	s.give, s.sql = append(s.give, layout.release), layout.sql
	s.vars = map[string]string{}
	if !s.opts.Bare {
		s.vars = map[string]string{"LOG_FORMAT": "json", "MASTER_API_KEY": s.MasterKey, "JWT_SECRET": s.JWTSecret}
	}
	maps.Copy(s.vars, layout.vars)
	s.http = &http.Client{Timeout: 30 * time.Second, Transport: transportTo(len(layout.nodes))}
	for _, at := range layout.nodes {
		if err := os.MkdirAll(at.dir, 0o700); err != nil {
			return err
		}
		n := &Node{
			Dir: at.dir, binary: binary, args: layout.args, opts: s.opts, http: s.http, canary: s.canary, logPath: filepath.Join(at.dir, "server.log"),
		}
		s.Nodes = append(s.Nodes, n)
		if err := s.connect(n, at); err != nil {
			return err
		}
	}
	return nil
}

// connect gives a node the addresses of its backends, which may be those of proxies of its own.
func (s *Server) connect(n *Node, at berth) (err error) {
	n.vars = maps.Clone(s.vars)
	if !s.opts.Proxied {
		maps.Copy(n.vars, at.backends)
		return nil
	}
	for name, proxy := range map[string]**Proxy{"DATABASE_DSN": &n.ToPostgres, "REDIS_URL": &n.ToRedis} {
		value, has := at.backends[name]
		if !has {
			continue
		}
		if *proxy, n.vars[name], err = proxied(value); err != nil {
			return err
		}
		s.give = append(s.give, (*proxy).Close)
	}
	return nil
}

// balance puts a balancer in front of several nodes.
func (s *Server) balance() (err error) {
	if len(s.Nodes) == 1 {
		s.Base = s.Nodes[0].Base
		return nil
	}
	if s.Balancer, err = NewBalancer(s.Nodes); err != nil {
		return err
	}
	s.give = append(s.give, s.Balancer.Close)
	s.Base = s.Balancer.Base()
	return nil
}

// bases are the addresses at which clients may meet the server.
func (s *Server) bases() []string {
	all := []string{s.Base}
	for _, n := range s.Nodes {
		if n.Base != s.Base {
			all = append(all, n.Base)
		}
	}
	return all
}

// each calls f for every node at once and joins the errors.
func (s *Server) each(f func(*Node) error) error {
	errs := make([]error, len(s.Nodes))
	var wg sync.WaitGroup
	for i, n := range s.Nodes {
		wg.Go(func() { errs[i] = f(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Start starts all nodes on their ports and data, and waits until each is healthy.
func (s *Server) Start() error {
	if err := s.each((*Node).Start); err != nil {
		return err
	}
	if s.Balancer != nil {
		s.Balancer.Look()
	}
	return nil
}

// Exec starts all processes and does not wait for them to be healthy.
func (s *Server) Exec() error { return s.each((*Node).Exec) }

// Healthy reports whether /health answers 200 now.
func (s *Server) Healthy() bool {
	res, err := s.Anonymous().Do(context.Background(), http.MethodGet, "/health", nil)
	return err == nil && res.Status == http.StatusOK
}

// Exited is closed when the first node's process has ended.
func (s *Server) Exited() <-chan struct{} { return s.Nodes[0].Exited() }

// PID is the process id of the first node.
func (s *Server) PID() int { return s.Nodes[0].PID() }

// Terminate reads what the canary is to search, sends SIGTERM to every node and returns the exit code, of several the
// first that is not 0; a process still there after limit is killed and an error.
func (s *Server) Terminate(limit time.Duration) (int, error) {
	var shown error
	if s.running() {
		shown = s.exposeDeadLetters()
	}
	code, err := s.exit(func(n *Node) (int, error) { return n.Terminate(limit) })
	return code, errors.Join(err, shown)
}

// WaitExit waits for every process to end and returns the exit code, of several the first that is not 0; one still there
// after limit is killed and an error.
func (s *Server) WaitExit(limit time.Duration) (int, error) {
	return s.exit(func(n *Node) (int, error) { return n.WaitExit(limit) })
}

func (s *Server) exit(end func(*Node) (int, error)) (int, error) {
	var mu sync.Mutex
	first := 0
	err := s.each(func(n *Node) error {
		code, err := end(n)
		mu.Lock()
		defer mu.Unlock()
		if first == 0 {
			first = code
		}
		return err
	})
	return first, err
}

// Signal sends every node a signal.
func (s *Server) Signal(sig syscall.Signal) error {
	return s.each(func(n *Node) error { return n.Signal(sig) })
}

// Kill is kill -9 of every node: it returns when they are gone.
func (s *Server) Kill() error { return s.each((*Node).Kill) }

// Release gives back what the server had beside its processes, which must have ended: its database, its proxies.
func (s *Server) Release() error {
	var errs []error
	for _, give := range s.give {
		errs = append([]error{give()}, errs...)
	}
	s.give = nil
	return errors.Join(errs...)
}

// Command runs the binary with other arguments in the environment and directory of the first node, as an operator would
// beside the running server. The credentials that it prints become secrets; its diagnostics are errors, in which there
// may be none.
func (s *Server) Command(ctx context.Context, args ...string) (string, error) {
	return s.Nodes[0].Command(ctx, args...)
}

// Command runs the binary with other arguments in the node's environment and directory.
func (n *Node) Command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.binary, args...)
	cmd.Dir, cmd.Env = n.Dir, n.env
	var diagnostics strings.Builder
	cmd.Stderr = &diagnostics
	out, err := cmd.Output()
	n.canary.printed(out)
	n.canary.Seen(InErrors, []byte(diagnostics.String()))
	if err != nil {
		return string(out), fmt.Errorf("chatapi %s: %w: %s", strings.Join(args, " "), err, diagnostics.String())
	}
	return string(out), nil
}

// Start launches a server for a test. At the end of the test what still runs must end with code 0 on SIGTERM, and nothing may
// have let a secret or a message be seen, in its log, metrics, errors or lists of dead letters; else the test fails. A test
// that ends a node itself has its code checked there.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	ownDir := opts.Dir == ""
	opts.Admin = opts.Admin || !opts.Bare // for the metrics
	s, err := Launch(opts)
	if s != nil {
		t.Cleanup(func() {
			s.finish(t)
			if ownDir { // short, and not t.TempDir(): the path of a unix socket has at most 108 bytes
				_ = os.RemoveAll(s.Dir)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Server) finish(t testing.TB) {
	if s.running() {
		if err := s.exposeDeadLetters(); err != nil {
			t.Errorf("what the server shows at its end: %v", err)
		}
	}
	for _, n := range s.Nodes {
		n.finish(t)
	}
	s.http.CloseIdleConnections()
	for _, forget := range s.forget {
		forget()
	}
	found := s.CanaryHits()
	for _, base := range s.bases() {
		found = append(found, undocumented.take(base)...)
	}
	for _, found := range append(found, s.drift.all()...) {
		t.Error(found)
	}
	if err := s.Release(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		for _, n := range s.Nodes {
			t.Logf("the end of the log of %s:\n%s", n.Base, n.LogTail(30))
		}
	}
}

// finish ends a node that runs, and fails the test when it does not end well.
func (n *Node) finish(t testing.TB) {
	if n.proc.ended() {
		return
	}
	if code, err := n.Terminate(20 * time.Second); err != nil {
		t.Error(err)
	} else if code != 0 {
		t.Errorf("exit code after SIGTERM: got %d, want 0", code)
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand.Reader, b); err != nil {
		panic(err) // the system has no randomness: nothing here can go on
	}
	return hex.EncodeToString(b)
}

// CloseIdleConnections closes the client's kept-alive connections, so that the server holds none of them.
func (s *Server) CloseIdleConnections() { s.http.CloseIdleConnections() }

// RemoveData deletes everything in the nodes' directories but their logs; the processes must have ended.
func (s *Server) RemoveData() error { return s.each((*Node).removeData) }

// Log is everything the nodes have written to stdout and stderr, over all their starts, one node after the other.
func (s *Server) Log() string {
	var all strings.Builder
	for _, n := range s.Nodes {
		all.WriteString(n.Log())
	}
	return all.String()
}

// LogTail is the last lines of each node's log.
func (s *Server) LogTail(lines int) string {
	var all []string
	for _, n := range s.Nodes {
		all = append(all, n.LogTail(lines))
	}
	return strings.Join(all, "\n")
}
