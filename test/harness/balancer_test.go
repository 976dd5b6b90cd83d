package harness

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// fakeNode is a node that says its name.
func fakeNode(t *testing.T, name string, ready *atomic.Bool) (*Node, *httptest.Server) {
	t.Helper()
	ready.Store(true)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health/ready" && !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(s.Close)
	return &Node{Base: s.URL}, s
}

func TestABalancerGivesEachNodeItsTurnAndPassesOverThoseThatAreNotReady(t *testing.T) {
	t.Parallel()
	ready := make([]atomic.Bool, 3)
	var nodes []*Node
	var servers []*httptest.Server
	for i := range ready {
		n, s := fakeNode(t, fmt.Sprint(i), &ready[i])
		nodes, servers = append(nodes, n), append(servers, s)
	}
	b := Must(NewBalancer(nodes))(t)
	t.Cleanup(func() { Check(t, b.Close()) })
	// Each request on a connection of its own.
	c := &Client{Base: b.Base(), header: http.Header{}, canary: NewCanary(), http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	answers := func() string {
		var all string
		for range 2 * len(nodes) {
			res, err := c.Do(t.Context(), http.MethodGet, "/", nil)
			if err != nil {
				all += "-"
				continue
			}
			all += string(res.Body)
		}
		return all
	}
	if got := answers(); got != "012012" {
		t.Errorf("answered by %s, want each in turn", got)
	}
	ready[1].Store(false)
	b.Look()
	if got := answers(); got != "020202" {
		t.Errorf("with a node that is not ready answered by %s", got)
	}
	servers[0].Close() // nobody has looked since
	if got := answers(); got != "222222" {
		t.Errorf("with one more that is down answered by %s", got)
	}
	ready[1].Store(true)
	Eventually(t, startTimeout, "the node that is ready again has its turn", func() bool { return answers() == "121212" || answers() == "212121" })
	ready[1].Store(false)
	ready[2].Store(false)
	b.Look()
	if got := answers(); got != "------" {
		t.Errorf("with no node that is ready answered by %s", got)
	}
}
