package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/domain"
)

// shared is the server of all tests that do it no harm; each has an epoch of its own.
var shared *server

func TestMain(m *testing.M) {
	os.Exit(withServer(m))
}

func withServer(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chatapi-redis-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if shared, err = start(dir, "0"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.kill()
	code := m.Run()
	// The library's own look for a server that was away ends a second after its client.
	if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// server is a Redis of our own.
type server struct {
	dir  string
	port string
	args []string
	cmd  *exec.Cmd
}

// start starts a server and waits until it answers. Port 0 is any free one.
func start(dir, port string, args ...string) (*server, error) {
	if port == "0" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		l.Close()
	}
	s := &server{dir: dir, port: port, args: args}
	return s, s.begin()
}

func (s *server) begin() error {
	args := append([]string{"--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("redis-server is needed for these tests: %w", err)
	}
	client := s.client()
	defer client.Close()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		// Another server might have taken the port.
		if dir, err := client.ConfigGet(context.Background(), "dir").Result(); err == nil && dir["dir"] == s.dir {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.kill()
	return fmt.Errorf("redis-server in %s does not answer", s.dir)
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) addr() string { return "127.0.0.1:" + s.port }

func (s *server) url() string { return "redis://" + s.addr() }

func (s *server) client() *goredis.Client {
	return goredis.NewClient(&goredis.Options{Addr: s.addr(), MaxRetries: -1, Protocol: 2, DisableIdentity: true})
}

// newServer is a server of a test that does it harm.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	s, err := start(t.TempDir(), "0", args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

// restart starts a killed server on its port, with nothing in it.
func (s *server) restart(t testing.TB) {
	t.Helper()
	if err := s.begin(); err != nil {
		t.Fatal(err)
	}
}

// do runs a command on the server.
func (s *server) do(t testing.TB, args ...any) any {
	t.Helper()
	client := s.client()
	defer client.Close()
	answer, err := client.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return answer
}

var epochs atomic.Int64

// newEpoch is one that no other test has.
func newEpoch() domain.Epoch { return domain.Epoch(fmt.Sprint("epoch-", epochs.Add(1))) }

// open is one node's part in a Redis.
func open(t testing.TB, url string, epoch domain.Epoch) *redis.Conn {
	t.Helper()
	conn, err := redis.Open(redis.Config{URL: url, Epoch: epoch, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return conn
}

// eventually polls until ok, for what no signal tells.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
