package postgres_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

func TestFourNodesClaimEachJobOnceAndATenantsShareTogether(t *testing.T) {
	t.Parallel()
	const tenants, jobs, perTenant = 5, 400, 6
	n := openNodes(t, 4)
	held := map[domain.TenantID]*atomic.Int64{}
	for i := range tenants {
		id := domain.TenantID(fmt.Sprint("tenant_", i))
		n.addTenant(id)
		n.enqueue(id, jobs)
		held[id] = &atomic.Int64{}
	}
	var mu sync.Mutex
	seen, by, fences := map[domain.JobID]int{}, make([]int, 4), map[int64]int{}
	n.each(func(node int, s *postgres.Store) error {
		for {
			claims, next, err := s.Claim(t.Context(), claimsOf(8, perTenant))
			if err != nil || len(claims) == 0 && next == 0 {
				return err
			}
			settlements := make([]ports.Settlement, len(claims))
			for i, c := range claims {
				if now := held[c.Tenant].Add(1); now > perTenant {
					t.Errorf("%d jobs of a tenant are held, want at most %d", now, perTenant)
				}
				settlements[i].Claim = c
			}
			mu.Lock()
			for _, c := range claims {
				seen[c.ID]++
				by[node]++
				if other, ok := fences[c.Fence]; ok && other != node {
					t.Errorf("two nodes have the fence %d", c.Fence)
				}
				fences[c.Fence] = node
			}
			mu.Unlock()
			for _, c := range claims {
				held[c.Tenant].Add(-1)
			}
			if lost, err := s.Settle(t.Context(), settlements); err != nil || len(lost) > 0 {
				return fmt.Errorf("lost %d: %w", len(lost), err)
			}
		}
	})
	for id, times := range seen {
		if times != 1 {
			t.Errorf("job %s was claimed %d times", id, times)
		}
	}
	if len(seen) != tenants*jobs || slices.Contains(by, 0) {
		t.Errorf("%d jobs were claimed, want %d; by node: %v", len(seen), tenants*jobs, by)
	}
}

func TestNoTenantHoldsMoreThanItMayWhileNodesClaimAtOnce(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	n.enqueue(n.tenant, 100)
	var claimed atomic.Int64
	n.each(func(_ int, s *postgres.Store) error {
		for range 10 {
			claims, _, err := s.Claim(t.Context(), claimsOf(4, 5))
			claimed.Add(int64(len(claims)))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if claimed.Load() != 5 {
		t.Errorf("%d jobs of a tenant are held, want 5", claimed.Load())
	}
}

func TestALeaseThatOneNodeLostIsAnothersAlone(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	n.enqueue(n.tenant, 1)
	a, b := n.stores[0], n.stores[1]
	first := n.claimOne(a, claimsOf(1, 1))
	if claims, next, err := b.Claim(t.Context(), claimsOf(1, 1)); err != nil || len(claims) > 0 || next != time.Minute {
		t.Fatalf("while the lease stands: %d claims, next in %v, %v", len(claims), next, err)
	}
	n.clock.pass(time.Minute)
	second := n.claimOne(b, claimsOf(1, 1))
	if second.ID != first.ID || second.Fence <= first.Fence {
		t.Errorf("the fence of the second claim is %d, after %d", second.Fence, first.Fence)
	}
	stale := []ports.Settlement{{Claim: first}, {Claim: first, Again: &first.Job}}
	for _, s := range stale {
		if lost, err := a.Settle(t.Context(), []ports.Settlement{s}); err != nil || len(lost) != 1 {
			t.Errorf("a settlement by the first: lost %v, %v", lost, err)
		}
	}
	if lost, err := a.Renew(t.Context(), []ports.Claim{first}, time.Hour); err != nil || len(lost) != 1 {
		t.Errorf("a renewal by the first: lost %v, %v", lost, err)
	}
	if lost, err := b.Renew(t.Context(), []ports.Claim{second}, time.Hour); err != nil || len(lost) > 0 {
		t.Errorf("a renewal by the second: lost %v, %v", lost, err)
	}
	if lost, err := b.Settle(t.Context(), []ports.Settlement{{Claim: second}}); err != nil || len(lost) > 0 {
		t.Errorf("the settlement by the second: lost %v, %v", lost, err)
	}
}

func (n *nodes) claimOne(s *postgres.Store, q ports.ClaimQuery) ports.Claim {
	n.Helper()
	claims, _, err := s.Claim(n.Context(), q)
	if err != nil || len(claims) != 1 {
		n.Fatalf("%d jobs were claimed, want one; %v", len(claims), err)
	}
	return claims[0]
}

func TestNodesThatOpenWhileOthersHaveClaimsLeaveThemStanding(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	clock := &passing{}
	cfg := postgres.Config{DSN: dsn, MaxConns: 4, Clock: clock, Elapsed: clock.Elapsed}
	n := &nodes{TB: t, clock: clock, tenant: "tenant_nodes", stores: []*postgres.Store{openStore(t, cfg)}}
	n.addTenant(n.tenant)
	n.enqueue(n.tenant, 1)
	claim := n.claimOne(n.stores[0], claimsOf(1, 1))
	late := openStore(t, cfg)
	if claims, _, err := late.Claim(t.Context(), claimsOf(1, 1)); err != nil || len(claims) > 0 {
		t.Errorf("a node that has just opened claims %d jobs that another holds, %v", len(claims), err)
	}
	if lost, err := n.stores[0].Settle(t.Context(), []ports.Settlement{{Claim: claim}}); err != nil || len(lost) > 0 {
		t.Errorf("lost %v, %v", lost, err)
	}
}

// wrongClock is passing by a clock that is wrong.
type wrongClock struct {
	*passing
	by time.Duration
}

func (w wrongClock) Now() time.Time { return w.passing.Now().Add(w.by) }

// moments are what passes on the server while a test opens stores.
const moments = 10 * time.Second

// TestWrongClockOfANodeEndsNoLeaseAndMovesNoJob has nodes whose clocks are far off open beside one that holds a job.
func TestWrongClockOfANodeEndsNoLeaseAndMovesNoJob(t *testing.T) {
	t.Parallel()
	n := &nodes{TB: t, clock: &passing{}, tenant: "tenant_nodes"}
	dsn := newDatabase(t)
	clocks := []wrongClock{{n.clock, 0}, {n.clock, 10 * time.Minute}, {n.clock, -10 * 365 * 24 * time.Hour}}
	open := func(c wrongClock) *postgres.Store {
		return openStore(t, postgres.Config{DSN: dsn, MaxConns: 4, Clock: c, Elapsed: n.clock.Elapsed})
	}
	n.stores = append(n.stores, open(clocks[0]))
	n.addTenant(n.tenant)
	n.enqueue(n.tenant, 1)
	claim := n.claimOne(n.stores[0], claimsOf(1, 8)) // for a minute
	for _, c := range clocks[1:] {
		n.stores = append(n.stores, open(c))
	}
	const wait = 10 * time.Minute
	due := map[domain.JobID]bool{}
	for node, s := range n.stores {
		job := n.job()
		job.Due = clocks[node].Now().Add(wait)
		due[job.ID] = true
		harness.Check(t, n.tryUpdate(s, func(tx ports.Tx) error { return tx.Enqueue(job) }))
		harness.Check(t, s.Probe(t.Context())) // any work of a store that has used its time
	}
	n.stores = append(n.stores, open(clocks[1]), open(clocks[2])) // after those wrote theirs down
	nothing := func(what string, near time.Duration) {
		t.Helper()
		for node, s := range n.stores {
			claims, next, err := s.Claim(t.Context(), claimsOf(8, 8))
			if err != nil || len(claims) > 0 || next < near-moments || next > near+moments {
				t.Errorf("%s node %d claims %d jobs, and the next is in %v, %v; want none, and about %v", what, node, len(claims), next, err, near)
			}
		}
	}
	nothing("while the lease stands", time.Minute)
	if lost, err := n.stores[0].Settle(t.Context(), []ports.Settlement{{Claim: claim}}); err != nil || len(lost) > 0 {
		t.Errorf("lost %v, %v", lost, err)
	}
	n.clock.pass(wait / 2)
	nothing("before any job is due", wait/2)
	n.clock.pass(wait/2 + moments)
	claims, _, err := n.stores[0].Claim(t.Context(), claimsOf(8, 8))
	if err != nil || len(claims) != len(due) {
		t.Errorf("%d jobs are due when all should be, %v, want %d", len(claims), err, len(due))
	}
	for _, c := range claims {
		if !due[c.ID] {
			t.Errorf("%s was not to be claimed", c.ID)
		}
	}
}

// TestTimeThatNoNodeWasOpenCountsByTheServersClock closes all nodes, and has another open after an hour of the server's.
func TestTimeThatNoNodeWasOpenCountsByTheServersClock(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ passed, want time.Duration }{
		"an hour has passed on the server":  {time.Hour, time.Hour},
		"the server's clock was set back":   {-24 * time.Hour, 0},
		"the node was opened anew, at once": {0, 0},
	} {
		dsn := newDatabase(t)
		clock := &passing{}
		first := openStore(t, postgres.Config{DSN: dsn, MaxConns: 2, Clock: clock, Elapsed: clock.Elapsed})
		last := first.Now()
		harness.Check(t, first.Close())
		mustExec(t, connectTo(t, dsn), fmt.Sprintf("UPDATE outbox_state SET at = at - %d", c.passed.Milliseconds()))
		wrong := wrongClock{clock, -24 * time.Hour}
		again := openStore(t, postgres.Config{DSN: dsn, MaxConns: 2, Clock: wrong, Elapsed: clock.Elapsed})
		passed := time.Duration(again.Now()-last) * time.Millisecond
		if passed < c.want || passed > c.want+moments {
			t.Errorf("%s, and %v of the store's time; want %v", what, passed, c.want)
		}
	}
}
