package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var alice = ports.TenantUser{Tenant: "tenant_a", User: "alice"}

func arrive(t testing.TB, p *redis.Presence, node string, lease time.Duration, users ...ports.TenantUser) []ports.TenantUser {
	t.Helper()
	arrived, err := p.Arrive(t.Context(), node, users, lease)
	if err != nil {
		t.Fatalf("Arrive: %v", err)
	}
	return arrived
}

func TestAFlushIsMendedByTheNextRenewal(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	epoch := newEpoch()
	one, two := redis.NewPresence(open(t, s.url(), epoch)), redis.NewPresence(open(t, s.url(), epoch))
	arrive(t, one, "one", time.Minute, alice)
	s.do(t, "FLUSHALL")
	s.do(t, "SCRIPT", "FLUSH")
	if online, err := two.Online(t.Context(), alice.Tenant, []domain.UserID{alice.User}); err != nil || online[alice.User] {
		t.Errorf("right after the flush: %v, %v", online, err)
	}
	if arrived := arrive(t, one, "one", time.Minute, alice); len(arrived) != 1 {
		t.Errorf("the renewal: %v has arrived, want alice", arrived)
	}
	if online, err := two.Online(t.Context(), alice.Tenant, []domain.UserID{alice.User}); err != nil || !online[alice.User] {
		t.Errorf("after the renewal: %v, %v", online, err)
	}
}

func TestPresenceWithoutRedisIsUnavailableSoon(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	presence := redis.NewPresence(open(t, p.url(), newEpoch()))
	arrive(t, presence, "one", time.Minute, alice)
	for what, begin := range map[string]func(){
		"silent": func() { p.setSilent(true) },
		"gone":   func() { s.kill(); p.close() },
	} {
		if what == "gone" {
			p.setSilent(false)
		}
		begin()
		for call, err := range map[string]func() error{
			"Arrive": func() error {
				_, err := presence.Arrive(t.Context(), "one", []ports.TenantUser{alice}, time.Minute)
				return err
			},
			"Leave":  func() error { _, _, err := presence.Leave(t.Context(), "one", []ports.TenantUser{alice}); return err },
			"Expire": func() error { _, err := presence.Expire(t.Context()); return err },
			"Online": func() error { _, err := presence.Online(t.Context(), "a", []domain.UserID{"b"}); return err },
		} {
			began := time.Now()
			if err := err(); !errors.Is(err, domain.ErrAlone) {
				t.Errorf("%s, %s: %v, want domain.ErrAlone", what, call, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s, %s took %s", what, call, took)
			}
		}
	}
}

func TestNobodyWaitsForARedisThatIsKnownToBeAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	conn := open(t, p.url(), newEpoch())
	presence := redis.NewPresence(conn)
	p.setSilent(true)
	eventually(t, "the node knows", func() bool { ok, _ := conn.Healthy(); return !ok })
	began := time.Now()
	for range 50 {
		if _, err := presence.Online(t.Context(), "a", []domain.UserID{"b"}); !errors.Is(err, domain.ErrAlone) {
			t.Fatalf("Online: %v, want domain.ErrAlone", err)
		}
		if _, err := presence.Expire(t.Context()); !errors.Is(err, domain.ErrAlone) {
			t.Fatalf("Expire: %v, want domain.ErrAlone", err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("100 calls took %s", took)
	}
	p.setSilent(false)
	eventually(t, "it is asked again", func() bool {
		_, err := presence.Online(t.Context(), "a", []domain.UserID{"b"})
		return err == nil
	})
}

func TestTheUsersOfAKilledNodeLeaveWithTheirLeases(t *testing.T) {
	t.Parallel()
	epoch := newEpoch()
	dying, err := redis.Open(redis.Config{URL: shared.url(), Epoch: epoch, Logger: discard})
	if err != nil {
		t.Fatal(err)
	}
	var users []ports.TenantUser
	for i := range 1200 {
		users = append(users, ports.TenantUser{Tenant: "t", User: domain.UserID(fmt.Sprint("user-", i))})
	}
	arrive(t, redis.NewPresence(dying), "dying", 50*time.Millisecond, users...)
	if err := dying.Close(); err != nil {
		t.Fatal(err)
	}
	alive := redis.NewPresence(open(t, shared.url(), epoch))
	left := map[ports.TenantUser]int{}
	eventually(t, "all have left", func() bool {
		some, err := alive.Expire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range some {
			left[u]++
		}
		return len(left) == len(users)
	})
	for u, n := range left {
		if n != 1 {
			t.Errorf("%s was told %d times", u, n)
		}
	}
}

func BenchmarkArrive(b *testing.B) {
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := redis.NewPresence(open(b, shared.url(), newEpoch()))
			var users []ports.TenantUser
			for i := range n {
				users = append(users, ports.TenantUser{Tenant: "t", User: domain.UserID(fmt.Sprint("user-", i))})
			}
			b.ReportAllocs()
			for b.Loop() {
				arrive(b, p, "n", time.Hour, users...)
			}
		})
	}
}

func BenchmarkOnlineHundred(b *testing.B) {
	p := redis.NewPresence(open(b, shared.url(), newEpoch()))
	var users []domain.UserID
	for i := range 100 {
		users = append(users, domain.UserID(fmt.Sprint("user-", i)))
	}
	arrive(b, p, "n", time.Hour, ports.TenantUser{Tenant: "t", User: users[7]})
	b.ReportAllocs()
	for b.Loop() {
		if online, err := p.Online(b.Context(), "t", users); err != nil || len(online) != 1 {
			b.Fatal(online, err)
		}
	}
}

func BenchmarkExpireNobody(b *testing.B) {
	p := redis.NewPresence(open(b, shared.url(), newEpoch()))
	for b.Loop() {
		if _, err := p.Expire(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
