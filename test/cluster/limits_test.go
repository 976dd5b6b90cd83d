package cluster

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// flood asks more than the rate at some nodes for a while, and returns what was let through and how long it took. Rates are
// low, so that a busy machine asks more than them too.
func flood(t *testing.T, u *harness.User, nodes []*harness.Node, span time.Duration) (passed int64, took time.Duration) {
	t.Helper()
	const each, pause = 6, 4 * time.Millisecond
	var ok atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, n := range nodes {
		for range each {
			at := u.At(n)
			all.Go(func() {
				for time.Since(began) < span {
					res, err := at.Do(t.Context(), http.MethodGet, "/rooms?limit=1", nil)
					switch {
					case err != nil:
						t.Error(err)
						return
					case res.Status == http.StatusOK:
						ok.Add(1)
					case res.Status != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "":
						t.Errorf("status %d, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
						return
					}
					<-time.After(pause)
				}
			})
		}
	}
	all.Wait()
	return ok.Load(), time.Since(began)
}

// TestATenantsRateHoldsOverAllNodesWithinATenth, spread over three nodes and at one alone.
func TestATenantsRateHoldsOverAllNodesWithinATenth(t *testing.T) {
	t.Parallel()
	const rate, span = 40, 6 * time.Second
	tenant, nodes := nodesOf(t, harness.Options{})
	for name, at := range map[string][]*harness.Node{"at three nodes": nodes, "at one of three": nodes[:1]} {
		limited := harness.Must(tenant.Server().NewTenantWith(name, map[string]any{"rate_limit": rate}))(t)
		passed, took := flood(t, limited.User("alice"), at, span)
		promised := rate + rate*took.Seconds() // a full bucket, and what comes in meanwhile
		t.Logf("%s: %d calls let through in %s, %.0f are promised", name, passed, took.Round(time.Millisecond), promised)
		if got := float64(passed); got > 1.1*promised || got < 0.9*promised {
			t.Errorf("%s: %d calls were let through, want %.0f within a tenth", name, passed, promised)
		}
	}
}

// TestATenantsRateHoldsWithoutRedis: each node gives the share that it had when Redis was last there.
func TestATenantsRateHoldsWithoutRedis(t *testing.T) {
	t.Parallel()
	const rate, span = 45, 6 * time.Second
	s, b := breakable(t)
	limited := harness.Must(s.NewTenantWith("limited", map[string]any{"rate_limit": rate}))(t)
	for _, n := range s.Nodes {
		harness.Eventually(t, 60*time.Second, "each node knows of all", func() bool {
			return int(harness.Must(n.Metric("chatapi_redis_nodes"))(t)) == len(s.Nodes)
		})
	}
	harness.Check(t, b.Redis.Stop())
	wantHealth(t, s.Nodes, "degraded")
	for _, c := range []struct {
		name  string
		at    []*harness.Node
		share float64
	}{{"at three nodes", s.Nodes, 1}, {"at one of three", s.Nodes[:1], 1.0 / 3}} {
		passed, took := flood(t, limited.User("alice"), c.at, span)
		promised := c.share * (rate + rate*took.Seconds())
		t.Logf("%s: %d calls let through in %s, %.0f are promised", c.name, passed, took.Round(time.Millisecond), promised)
		if got := float64(passed); got > 1.1*promised || got < 0.9*promised {
			t.Errorf("%s without Redis: %d calls were let through, want %.0f within a tenth", c.name, passed, promised)
		}
		<-time.After(1200 * time.Millisecond) // each bucket is full again
	}
}
