package deployments

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatapi/chatapi/test/harness"
)

// wait is how long anything may take here before it counts as never.
const wait = 20 * time.Second

func TestCaddyTakesItsConfiguration(t *testing.T) {
	t.Parallel()
	path := place(t, "caddy", "Caddyfile")
	cmd := exec.Command("caddy", "validate", "--config", path, "--adapter", "caddyfile")
	cmd.Env = caddyEnv(t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.Command("caddy", "fmt", path).Output(); err != nil || string(out) != read(t, path) {
		t.Errorf("not formatted: caddy fmt --overwrite %s (%v)", path, err)
	}
}

// TestNginxTakesItsConfiguration with addresses in place of the names, which only the stack's network knows.
func TestNginxTakesItsConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "nginx.conf"), nginxConfig(t, dir, 8080, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"))
	out, err := exec.Command(nginx(t), "-t", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "[warn]") {
		t.Errorf("%v\n%s", err, out)
	}
}

// nginx is the program; Debian has it where the PATH of ordinary users does not lead.
func nginx(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return harness.Must(exec.LookPath("/usr/sbin/nginx"))(t)
}

// nginxConfig is the file of the stack with other addresses, and with its own directory for what it writes.
func nginxConfig(t testing.TB, dir string, port int, nodes ...string) string {
	t.Helper()
	conf := text(t, "nginx", "nginx.conf")
	replace := func(old, with string) {
		if strings.Count(conf, old) != 1 {
			t.Fatalf("nginx.conf has %q %d times", old, strings.Count(conf, old))
		}
		conf = strings.Replace(conf, old, with, 1)
	}
	for i := range 3 {
		if name := fmt.Sprintf("server node%d:8080 max_fails=1 fail_timeout=5s;", i+1); i < len(nodes) {
			replace(name, "server "+nodes[i]+" max_fails=1 fail_timeout=5s;")
		} else {
			replace(name, "")
		}
	}
	replace("listen 8080;", fmt.Sprintf("listen 127.0.0.1:%d;", port))
	replace("pid /tmp/nginx.pid;", "pid "+dir+"/nginx.pid;")
	replace("access_log /dev/stdout ", "access_log "+dir+"/access.log ")
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	replace("server_tokens off;", "server_tokens off;\n"+temp.String())
	return conf
}

func caddyEnv(dir string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, more...)
}

// balancer is a program between clients and nodes.
type balancer struct {
	base string
	dir  string
}

// logged is everything that the balancer has written.
func (b balancer) logged(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	for _, path := range harness.Must(filepath.Glob(filepath.Join(b.dir, "*.log")))(t) {
		all.WriteString(read(t, path))
	}
	return all.String()
}

// start runs a balancer until the end of the test.
func start(t testing.TB, kind string, nodes ...*harness.Server) balancer {
	t.Helper()
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, strings.TrimPrefix(n.Base, "http://"))
	}
	port := harness.Must(harness.FreePort())(t)
	b := balancer{base: fmt.Sprintf("http://127.0.0.1:%d", port), dir: t.TempDir()}
	var cmd *exec.Cmd
	switch kind {
	case "caddy":
		cmd = exec.Command("caddy", "run", "--config", place(t, "caddy", "Caddyfile"), "--adapter", "caddyfile")
		cmd.Env = caddyEnv(b.dir, fmt.Sprintf("CHATAPI_SITE=:%d", port), "CHATAPI_BIND=127.0.0.1",
			"CHATAPI_NODES="+strings.Join(addresses, " "))
	case "nginx":
		conf := filepath.Join(b.dir, "nginx.conf")
		write(t, conf, nginxConfig(t, b.dir, port, addresses...))
		cmd = exec.Command(nginx(t), "-p", b.dir, "-c", conf, "-g", "daemon off;")
	}
	log := harness.Must(os.Create(filepath.Join(b.dir, "output.log")))(t)
	defer log.Close()
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	harness.Check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ends is nothing of ours
		if t.Failed() {
			t.Logf("the end of the log of %s: %s", kind, b.logged(t)[max(0, len(b.logged(t))-2000):])
		}
	})
	harness.Eventually(t, wait, kind+" answers", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.base, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return b
}

// node starts one server whose default tenant all nodes share a secret of: a token is good on each of them.
func node(t testing.TB) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Options{Env: map[string]string{
		"JWT_SECRET": sharedSecret, "TRUSTED_PROXIES": "127.0.0.1", "DEFAULT_RATE_LIMIT": "0",
	}})
}

const sharedSecret = "one-secret-for-all-nodes-of-this-test"

func tokenFor(t testing.TB, user string) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()}
	return harness.Must(jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(sharedSecret)))(t)
}

// kinds are the balancers that deployments/ has a configuration for.
var kinds = []string{"caddy", "nginx"}

// TestBalancersCarrySocketsAndLoseNoCallWhenNodesEnd has calls run through each balancer while one node drains and another is
// killed. Each of the three nodes has a store of its own: what is tested is the way to them.
func TestBalancersCarrySocketsAndLoseNoCallWhenNodesEnd(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			nodes := []*harness.Server{node(t), node(t), node(t)}
			b := start(t, kind, nodes...)
			sockets := spread(t, b, nodes)
			stop := callAllTheTime(t, b)

			if code, err := nodes[0].Terminate(wait); code != 0 || err != nil {
				t.Errorf("drain: exit code %d, %v", code, err)
			}
			if f, err := sockets[0].AwaitType("server.shutdown"); err != nil || f.ReconnectMS < 500 {
				t.Errorf("the goodbye did not come through: %+v, %v", f, err)
			}
			if code, err := sockets[0].CloseCode(wait); err != nil || code != 1001 {
				t.Errorf("the close did not come through: %d, %v", code, err)
			}
			harness.Check(t, nodes[1].Kill())
			for user := range 6 { // wherever they were, they come back
				connect(t, b, fmt.Sprintf("user%d", user))
			}
			stop()
			if open := openSockets(t, nodes[2]); open < 7 {
				t.Errorf("the last node has %v sockets, want 7: its own and those that came back", open)
			}
		})
	}
}

// connect opens a socket through the balancer and waits for its greeting.
func connect(t testing.TB, b balancer, user string) *harness.Conn {
	t.Helper()
	c := harness.Must(harness.Dial(b.base, harness.DialOptions{Query: url.Values{"token": {tokenFor(t, user)}}}))(t)
	harness.Must(c.AwaitType("connected"))(t)
	return c
}

func openSockets(t testing.TB, s *harness.Server) float64 {
	t.Helper()
	return harness.Must(s.Metric("chatapi_sockets_open"))(t)
}

// spread opens sockets until each node has one, and returns one of each.
func spread(t testing.TB, b balancer, nodes []*harness.Server) []*harness.Conn {
	t.Helper()
	const enough = 30
	found := make([]*harness.Conn, len(nodes))
	for n := range enough {
		before := make([]float64, len(nodes))
		for i, s := range nodes {
			before[i] = openSockets(t, s)
		}
		c := connect(t, b, fmt.Sprintf("early%d", n))
		for i, s := range nodes {
			if openSockets(t, s) > before[i] {
				found[i] = c
			}
		}
		if !slices.Contains(found, nil) {
			return found
		}
	}
	t.Fatalf("%d sockets are not spread over the nodes", enough)
	return nil
}

// callAllTheTime reads through the balancer, over several connections, until the returned function is called; that fails the
// test for each call that was not answered with 200, and when there were none.
func callAllTheTime(t *testing.T, b balancer) (stop func()) {
	t.Helper()
	const callers = 4
	token := tokenFor(t, "reader")
	client := &http.Client{Timeout: wait}
	done, answered := make(chan struct{}), atomic.Int64{}
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if status, err := get(client, b.base+"/rooms", token); status != http.StatusOK {
					t.Errorf("a call was answered with %d, %v", status, err)
				}
				answered.Add(1)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(done)
		running.Wait()
		client.CloseIdleConnections()
		if answered.Load() < callers {
			t.Error("nothing was called")
		}
	})
	t.Cleanup(stop) // a test that ends early
	return stop
}

func get(client *http.Client, target, token string, headers ...string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// TestBalancersTellWhoTheClientIs: an address that shows wrong credentials is slowed down whatever it claims in
// X-Forwarded-For, and no other client of the same balancer is.
func TestBalancersTellWhoTheClientIs(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := start(t, kind, node(t))
			guesser, neighbour := from("127.0.0.5"), from("127.0.0.6")
			defer guesser.CloseIdleConnections()
			defer neighbour.CloseIdleConnections()
			if !guess(guesser, b) {
				t.Error("wrong credentials in a row, as fast as it goes, and no answer is 429")
			}
			if status, err := get(neighbour, b.base+"/rooms", tokenFor(t, "alice")); status != http.StatusOK {
				t.Errorf("the neighbour got %d, %v", status, err)
			}
		})
	}
}

// guess shows wrong credentials, many at once and each with another claim of who asks, and reports whether it was slowed down.
func guess(client *http.Client, b balancer) bool {
	const guessers, each = 16, 100
	var slowed atomic.Bool
	var running sync.WaitGroup
	for range guessers {
		running.Go(func() {
			for n := 0; n < each && !slowed.Load(); n++ {
				claim := fmt.Sprintf("203.0.113.%d", n)
				if status, _ := get(client, b.base+"/rooms", "wrong", "X-Forwarded-For", claim); status == http.StatusTooManyRequests {
					slowed.Store(true)
				}
			}
		})
	}
	running.Wait()
	return slowed.Load()
}

// from is a client with an address of its own.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Timeout: wait, Transport: &http.Transport{DialContext: dialer.DialContext}}
}

// TestBalancersKeepCredentialsOutOfTheirLogs: queries and headers of requests that are logged, upgrades among them.
func TestBalancersKeepCredentialsOutOfTheirLogs(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := start(t, kind, node(t))
			connect(t, b, "alice").Close()
			token := tokenFor(t, "logged")
			for _, path := range []string{"/rooms", "/ws?token=" + token, "/health/live?once=1"} {
				if _, err := get(http.DefaultClient, b.base+path, token); err != nil {
					t.Error(err)
				}
			}
			harness.Eventually(t, wait, "the requests are logged", func() bool {
				return strings.Contains(b.logged(t), "/health/live") && strings.Contains(b.logged(t), "/ws")
			})
			if log := b.logged(t); strings.Contains(log, "eyJ") || strings.Contains(log, "once=1") {
				t.Errorf("a token or a query stands in the log:\n%s", log)
			}
		})
	}
}
