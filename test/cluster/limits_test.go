package cluster

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// fills is how long a bucket that is empty takes in what nobody asks for: what comes in later is lost.
const fills = time.Second

// flooded is what came of a flood.
type flooded struct {
	passed int64
	took   time.Duration
	still  time.Duration // of it no node answered and buckets were full, by the average of the nodes
}

// answered notes when a node answers.
type answered struct {
	mu    sync.Mutex
	last  time.Time
	still time.Duration
}

func (a *answered) now() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.still += max(time.Since(a.last)-fills, 0)
	a.last = time.Now()
}

// flood asks more than the rate at some nodes for a while. Rates are low, so that a busy machine asks more than them too.
func flood(t *testing.T, u *harness.User, nodes []*harness.Node, span time.Duration) (out flooded) {
	t.Helper()
	const each, pause = 6, 4 * time.Millisecond
	var ok atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	answers := make([]answered, len(nodes))
	for i, n := range nodes {
		answers[i].last = began
		for range each {
			at := u.At(n)
			all.Go(func() {
				for time.Since(began) < span {
					res, err := at.Do(t.Context(), http.MethodGet, "/rooms?limit=1", nil)
					answers[i].now()
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
	out = flooded{passed: ok.Load(), took: time.Since(began)}
	for i := range answers {
		out.still += answers[i].still / time.Duration(len(nodes))
	}
	return out
}

// want fails unless a share of the rate was let through within a tenth: a full bucket, and what comes in meanwhile. Of a smaller
// share at least must be that.
func (f flooded) want(t *testing.T, name string, rate, most, least float64) {
	t.Helper()
	promised := rate + rate*f.took.Seconds()
	asked := rate + rate*(f.took-f.still).Seconds()
	t.Logf("%s: %d calls let through in %s, of which %s were lost; %.0f to %.0f are promised", name, f.passed,
		f.took.Round(time.Millisecond), f.still.Round(time.Millisecond), least*asked, most*promised)
	if f.still > f.took/2 {
		t.Errorf("%s: nothing moved for %s of %s", name, f.still, f.took)
	}
	if got := float64(f.passed); got > 1.1*most*promised || got < 0.9*least*asked {
		t.Errorf("%s: %d calls were let through, want from %.0f to %.0f within a tenth", name, f.passed, least*asked, most*promised)
	}
}

// alone is how many calls nodes have answered without Redis.
func alone(t *testing.T, nodes []*harness.Node) (calls float64) {
	t.Helper()
	for _, n := range nodes {
		calls += harness.Must(n.Metric("chatapi_limits_alone_total"))(t)
	}
	return calls
}

// TestATenantsRateHoldsOverAllNodesWithinATenth, spread over three nodes and at one alone.
func TestATenantsRateHoldsOverAllNodesWithinATenth(t *testing.T) {
	t.Parallel()
	const rate, span = 40, 6 * time.Second
	tenant, nodes := nodesOf(t, harness.Options{})
	for name, at := range map[string][]*harness.Node{"at three nodes": nodes, "at one of three": nodes[:1]} {
		limited := harness.Must(tenant.Server().NewTenantWith(name, map[string]any{"rate_limit": rate}))(t)
		before := alone(t, at)
		f, least := flood(t, limited.User("alice"), at, span), 1.0
		if alone(t, at) > before { // Redis was late to answer: the nodes' shares alone are promised
			least = float64(len(at)) / float64(len(nodes))
		}
		f.want(t, name, rate, 1, least)
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
		flood(t, limited.User("alice"), c.at, span).want(t, c.name+" without Redis", rate, c.share, c.share)
		<-time.After(1200 * time.Millisecond) // each bucket is full again
	}
}
