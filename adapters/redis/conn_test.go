package redis_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var discard = slog.New(slog.DiscardHandler)

// keysOf are the keys of a server that match.
func keysOf(t testing.TB, s *server, match string) (keys []string) {
	t.Helper()
	client := s.client()
	defer client.Close()
	all := client.Scan(t.Context(), 0, match, 1000).Iterator()
	for all.Next(t.Context()) {
		keys = append(keys, all.Val())
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

// logbook is a log that may be written and read at once.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestAMalformedURLIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	const secret = "swordfish"
	for _, url := range []string{
		"", "localhost:6379", "http://:" + secret + "@localhost", "redis://:" + secret + "@host:port", "redis+sentinel://:" + secret + "@h",
		"redis://:" + secret + "@[::1", "redis://:" + secret + "%zz@host:1", "redis://:" + secret + "@host:1/x", "redis://:" + secret + "@host:1/1?nonsense=1",
	} {
		conn, err := redis.Open(redis.Config{URL: url, Epoch: "e", Logger: discard})
		if err == nil {
			t.Errorf("%q was accepted", url)
			conn.Close()
			continue
		}
		if strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "redis://") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestAPasswordIsUsedAndNeverTold(t *testing.T) {
	t.Parallel()
	const secret = "swordfish"
	s := newServer(t)
	s.do(t, "CONFIG", "SET", "requirepass", secret)
	for given, want := range map[string]bool{secret: true, secret + "2": false} {
		var log logbook
		conn, err := redis.Open(redis.Config{
			URL: "redis://:" + given + "@" + s.addr() + "/0", Epoch: newEpoch(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = redis.NewPresence(conn).Expire(t.Context())
		if ok, _ := conn.Healthy(); ok != want || (err == nil) != want {
			t.Errorf("healthy %v, Expire: %v, want %v", ok, err, want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if told := log.String() + fmt.Sprint(err); strings.Contains(told, secret) {
			t.Errorf("told: %s", told)
		}
	}
}

func TestHealthFollowsRedisAndIsLoggedOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var log logbook
	began := time.Now()
	conn, err := redis.Open(redis.Config{URL: s.url(), Epoch: newEpoch(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 {
		if ok, since := conn.Healthy(); !ok || since.Before(began) {
			t.Errorf("healthy %v since %s", ok, since)
		}
		s.kill()
		eventually(t, "it is away", func() bool { ok, _ := conn.Healthy(); return !ok })
		s.restart(t)
		eventually(t, "it is back", func() bool { ok, _ := conn.Healthy(); return ok })
	}
	eventually(t, "the last change is logged", func() bool { return strings.Count(log.String(), "\n") >= 4 })
	if lines := strings.Count(log.String(), "\n"); lines != 4 {
		t.Errorf("%d lines were logged, want 4:\n%s", lines, log.String())
	}
}

func TestANodeStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.kill()
	conn := open(t, s.url(), newEpoch())
	bus, limiter := redis.NewBus(conn), redis.NewLimiter(conn)
	if ok, _ := conn.Healthy(); ok || conn.Nodes() != 1 {
		t.Errorf("healthy %v, %d nodes", ok, conn.Nodes())
	}
	e := listen(t, bus, "c")
	publish(t, bus, "c", "hello")
	if !e.has("hello") {
		t.Error("the own node did not hear")
	}
	rate := domain.Rate{PerSecond: 1, Burst: 10}
	for n := range 10 {
		if a := limiter.Take(t.Context(), "a", rate); !a.OK {
			t.Errorf("call %d: %+v", n, a)
		}
	}
	if a := limiter.Take(t.Context(), "a", rate); a.OK {
		t.Errorf("call 10: %+v", a)
	}
	s.restart(t)
	eventually(t, "it is back", func() bool { ok, _ := conn.Healthy(); return ok && bus.Stats().Connected })
	if a := limiter.Take(t.Context(), "a", rate); a.OK && a.Remaining > 8 {
		t.Errorf("when Redis is there: %+v", a)
	}
}

func TestNodesAreCountedWhileTheyLive(t *testing.T) {
	t.Parallel()
	epoch := newEpoch()
	one := open(t, shared.url(), epoch)
	two, err := redis.Open(redis.Config{URL: shared.url(), Epoch: epoch, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two nodes", func() bool { return one.Nodes() == 2 })
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one node", func() bool { return one.Nodes() == 1 })
}

func TestEveryKeyHasAnEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	conn := open(t, s.url(), newEpoch())
	limiter, presence, tickets := redis.NewLimiter(conn), redis.NewPresence(conn), redis.NewTickets(conn)
	for n := range 100 {
		limiter.Take(t.Context(), fmt.Sprint("bucket ", n), domain.Rate{PerSecond: 1, Burst: 10})
		user := ports.TenantUser{Tenant: "t", User: domain.UserID(fmt.Sprint("user ", n))}
		arrive(t, presence, "n", time.Minute, user)
		if n%2 == 0 {
			if _, _, err := presence.Leave(t.Context(), "n", []ports.TenantUser{user}); err != nil {
				t.Fatal(err)
			}
		}
		if err := tickets.Issue(t.Context(), [32]byte{byte(n)}, ticket, time.Minute); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			if _, err := tickets.Redeem(t.Context(), [32]byte{byte(n)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	keys := keysOf(t, s, "*")
	if len(keys) < 100 {
		t.Errorf("only %d keys", len(keys))
	}
	for _, key := range keys {
		if ttl, ok := s.do(t, "PTTL", key).(int64); !ok || ttl == -1 {
			t.Errorf("%q has no end", key)
		}
		if !strings.HasPrefix(key, conn.Prefix()) {
			t.Errorf("%q is not of this installation", key)
		}
	}
}
