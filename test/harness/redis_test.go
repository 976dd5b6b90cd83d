package harness

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func ownRedis(t *testing.T) *Redis {
	t.Helper()
	r := Must(LaunchRedis())(t)
	t.Cleanup(func() { Check(t, r.Close()) })
	return r
}

// client is one as the server has it.
func client(t *testing.T, r *Redis, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, Password: r.Password})
	t.Cleanup(func() { _ = c.Close() }) // its connections may be cut by then
	return c
}

func TestARedisThatIsStoppedComesBackEmptyOnItsPort(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	before := r.Address()
	c := client(t, r, before)
	Check(t, c.Set(t.Context(), "lasting", "1", 0).Err())
	Check(t, c.Set(t.Context(), "leased", "1", time.Minute).Err())
	if got := Must(r.Lasting())(t); !slices.Equal(got, []string{"lasting"}) {
		t.Errorf("keys without an end: %q, want the one", got)
	}
	Check(t, r.Flush())
	if n := c.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys after a flush", n)
	}
	Check(t, c.Set(t.Context(), "lasting", "1", 0).Err())
	Check(t, r.Stop())
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("a stopped server answers")
	}
	Check(t, r.Start())
	if n := c.DBSize(t.Context()).Val(); n != 0 || r.Address() != before {
		t.Errorf("started again it has %d keys and is at %s, want none and %s", n, r.Address(), before)
	}
}

func TestAPausedRedisAnswersWhenItGoesOn(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	c := client(t, r, r.Address())
	Check(t, r.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Error("a paused server answers")
	}
	Check(t, r.Resume())
	Check(t, c.Ping(t.Context()).Err())
}

func TestSubscribersAreKilledAndNobodyElse(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	c := client(t, r, r.Address())
	id := c.ClientID(t.Context()).Val()
	sub := c.Subscribe(t.Context(), "channel")
	defer sub.Close()
	Must(sub.Receive(t.Context()))(t)
	if killed := Must(r.KillSubscribers())(t); killed != 1 {
		t.Errorf("%d connections were killed, want the subscriber's", killed)
	}
	if again := c.ClientID(t.Context()).Val(); again != id {
		t.Error("another connection was killed too")
	}
}

// TestAFilterTakesMessagesAndNothingElse in both versions of the protocol.
func TestAFilterTakesMessagesAndNothingElse(t *testing.T) {
	t.Parallel()
	r := ownRedis(t)
	p := Must(NewProxy(r.Address()))(t)
	t.Cleanup(func() { Check(t, p.Close()) })
	for _, version := range []int{2, 3} {
		p.Filter(WithoutMessages)
		c := redis.NewClient(&redis.Options{Addr: p.Address(), Password: r.Password, Protocol: version})
		Check(t, c.HSet(t.Context(), "hash", "a", "1", "message", "2").Err())
		if got := c.HGetAll(t.Context(), "hash").Val(); len(got) != 2 || got["message"] != "2" {
			t.Errorf("version %d: a hash is %v through the filter", version, got)
		}
		if got := c.Eval(t.Context(), `return {1, {"x", false}, "y"}`, nil).Val(); len(got.([]any)) != 3 {
			t.Errorf("version %d: an array is %v through the filter", version, got)
		}
		heard := func() bool {
			sub := c.Subscribe(t.Context(), "channel")
			defer sub.Close()
			Must(sub.Receive(t.Context()))(t) // the subscription itself
			Check(t, c.Publish(t.Context(), "channel", "hello").Err())
			Check(t, sub.Ping(t.Context(), "after"))
			got := Must(sub.ReceiveTimeout(t.Context(), 5*time.Second))(t)
			_, message := got.(*redis.Message)
			return message
		}
		if heard() {
			t.Errorf("version %d: a message came through the filter", version)
		}
		p.Filter(nil)
		if !heard() {
			t.Errorf("version %d: no message comes without the filter", version)
		}
		Check(t, c.Close())
	}
}
