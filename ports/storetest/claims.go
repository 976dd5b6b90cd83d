package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var claimContracts = []contract{
	{"each job is claimed once by 20 parallel claimers", claimedOnce},
	{"jobs are claimed when they are due, those due longest first", claimedWhenDue},
	{"a claim says how long until the next job is due", claimTellsNext},
	{"tenants are given jobs in turn", tenantsInTurn},
	{"a tenant with one job is served beside one with many", fewBesideMany},
	{"no tenant holds more jobs than it may", perTenantIsHeld},
	{"tenants that are left out are given nothing", exceptedTenants},
	{"a claim takes no more jobs than it asks for", claimIsLimited},
	{"a claim takes as many jobs as there are, whoever has them", claimTakesAll},
	{"lanes do not know of each other", lanesAreApart},
	{"what a tenant holds of one lane is no bound of another", heldInAnotherLane},
	{"jobs at the end of their life are handed out of tenants that are left out, due or not", agedJobs},
	{"a claim says how long until a job of a tenant that is left out is at the end of its life", nextOfAged},
	{"jobs at the end of their life are held by leases like others", agedAreLeased},
	{"no claim of jobs at the end of their life is larger than it may be", agedAreBounded},
	{"tenants that are left out and others are given jobs in turn", agedBesideOthers},
	{"the life of jobs is of no matter to tenants that are not left out", lifeOfOthers},
	{"jobs that wait are counted, by lane", waitingIsCounted},
	{"a claim or a settlement whose context has ended changes nothing", endedContextClaimsNothing},
	{"a closed store neither claims nor settles", closedStoreClaimsNothing},
}

func claimedOnce(f *fixture) {
	const claimers, jobs = 20, 120
	other := f.newTenant("second")
	f.newly(make([]time.Duration, jobs)...)
	other.newly(make([]time.Duration, jobs)...)
	var mu sync.Mutex
	taken := map[domain.JobID]int{}
	parallel(f.t, claimers, func(i int) error {
		for {
			q := ports.ClaimQuery{Lane: f.lane(), Limit: 1 + i%7, PerTenant: page, Lease: lease}
			claims, _, err := f.db.Claim(f.t.Context(), q)
			if err != nil || len(claims) == 0 {
				return err
			}
			mu.Lock()
			for _, c := range claims {
				taken[c.ID]++
			}
			mu.Unlock()
		}
	})
	equal(f.t, "jobs claimed", len(taken), 2*jobs)
	for id, n := range taken {
		if n != 1 {
			f.t.Errorf("job %s was claimed %d times", id, n)
		}
	}
	equal(f.t, "how long until a lease ends", f.next(), lease)
}

func claimedWhenDue(f *fixture) {
	waits := []time.Duration{3 * time.Second, time.Second, 24 * time.Hour, -time.Hour, 0, 2 * time.Second, -24 * time.Hour}
	jobs := f.newly(waits...)
	in := func(numbers ...int) (ids []domain.JobID) {
		for _, n := range numbers {
			ids = append(ids, jobs[n].ID)
		}
		return ids
	}
	equalList(f.t, "jobs at once", jobIDs(f.claim()), in(6, 3, 4))
	f.times.pass(time.Second - time.Millisecond)
	equal(f.t, "how long until the first", f.next(), time.Millisecond)
	f.times.pass(time.Millisecond)
	equalList(f.t, "jobs after a second", jobIDs(f.claim()), in(1))
	f.times.pass(2 * time.Second)
	equalList(f.t, "jobs after 3 seconds", jobIDs(f.claim()), in(5, 0))
	f.times.pass(24 * time.Hour)
	claims := f.claim()
	equal(f.t, "jobs after a day, with those whose lease is lost", len(claims), len(jobs))
	f.done(claims...)
	f.isEmpty("in the end")
}

func claimTellsNext(f *fixture) {
	other := f.newTenant("second")
	f.isEmpty("at first")
	f.newly(time.Hour)
	equal(f.t, "with one job", f.next(), time.Hour)
	other.newly(time.Minute, 2*time.Hour)
	equal(f.t, "with an earlier one of another tenant", f.next(), time.Minute)
	f.times.pass(time.Minute)
	claim := f.theOnly()
	equal(f.t, "with that one held", f.next(), lease)
	f.done(claim)
	equal(f.t, "with that one done", f.next(), time.Hour-time.Minute)
	_, next := f.claimBy(ports.ClaimQuery{Except: []domain.TenantID{f.tenant}})
	equal(f.t, "without the first tenant", next, 2*time.Hour-time.Minute)
	_, next = f.claimBy(ports.ClaimQuery{Except: []domain.TenantID{f.tenant, other.tenant}})
	equal(f.t, "without any", next, 0)
}

// byTenant counts claims.
func byTenant(claims []ports.Claim) map[domain.TenantID]int {
	n := map[domain.TenantID]int{}
	for _, c := range claims {
		n[c.Tenant]++
	}
	return n
}

func tenantsInTurn(f *fixture) {
	sides := []*fixture{f, f.newTenant("second"), f.newTenant("third")}
	for i, side := range sides {
		waits := make([]time.Duration, 30)
		for j := range waits {
			waits[j] = -time.Duration(3-i) * time.Hour // the first tenant's are all due longest
		}
		side.newly(waits...)
	}
	claims, _ := f.claimBy(ports.ClaimQuery{Limit: 6})
	equal(f.t, "six jobs of three tenants", byTenant(claims), map[domain.TenantID]int{
		sides[0].tenant: 2, sides[1].tenant: 2, sides[2].tenant: 2,
	})
	for round := range 4 {
		seen := map[domain.TenantID]int{}
		for range sides {
			claims, _ := f.claimBy(ports.ClaimQuery{Limit: 1})
			seen[claims[0].Tenant]++
		}
		equal(f.t, fmt.Sprintf("tenants that were given one of three jobs, round %d", round), len(seen), len(sides))
	}
	f.newTenant("fourth").newly(0)
	var last []domain.TenantID
	for range 4 {
		claims, _ := f.claimBy(ports.ClaimQuery{Limit: 1})
		last = append(last, claims[0].Tenant)
	}
	slices.Sort(last)
	equal(f.t, "tenants that were given one of four jobs", len(slices.Compact(last)), 4)
}

func fewBesideMany(f *fixture) {
	few := f.newTenant("few")
	f.newly(make([]time.Duration, 60)...)
	own := few.newly(0, 0, 0)
	claims, _ := f.claimBy(ports.ClaimQuery{Limit: 10})
	equal(f.t, "jobs claimed", byTenant(claims), map[domain.TenantID]int{f.tenant: 7, few.tenant: 3})
	var got []domain.JobID
	for _, c := range claims {
		if c.Tenant == few.tenant {
			got = append(got, c.ID)
		}
	}
	equal(f.t, "jobs of the tenant with few", sameIDs(got, idsOf(own)), true)
}

// sameIDs compares without order.
func sameIDs(a, b []domain.JobID) bool {
	order := func(x, y domain.JobID) int { return slices.Compare(x[:], y[:]) }
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	return slices.Equal(a, b)
}

func perTenantIsHeld(f *fixture) {
	other := f.newTenant("second")
	f.newly(make([]time.Duration, 10)...)
	q := ports.ClaimQuery{PerTenant: 4}
	first, _ := f.claimBy(q)
	equal(f.t, "jobs of one tenant", len(first), 4)
	f.times.pass(time.Second)
	none, next := f.claimBy(q)
	equalList(f.t, "jobs while it holds as many as it may", jobIDs(none), nil)
	equal(f.t, "how long until a lease ends", next, lease-time.Second)
	other.newly(0)
	claims, _ := f.claimBy(q)
	equal(f.t, "jobs beside it", byTenant(claims), map[domain.TenantID]int{other.tenant: 1})
	f.done(first[0])
	again := f.newJob(time.Hour)
	f.settle(ports.Settlement{Claim: first[1], Again: &again})
	claims, _ = f.claimBy(q)
	equal(f.t, "jobs once two are settled", byTenant(claims), map[domain.TenantID]int{f.tenant: 2})
	f.times.pass(lease - time.Second)
	claims, _ = f.claimBy(ports.ClaimQuery{PerTenant: 3, Limit: page})
	equal(f.t, "jobs once two leases are lost", byTenant(claims), map[domain.TenantID]int{f.tenant: 1})
}

func exceptedTenants(f *fixture) {
	sides := []*fixture{f, f.newTenant("second"), f.newTenant("third")}
	for _, side := range sides {
		side.newly(0)
	}
	claims, _ := f.claimBy(ports.ClaimQuery{Except: []domain.TenantID{sides[0].tenant, "tenant_unknown", sides[2].tenant}})
	equal(f.t, "jobs", byTenant(claims), map[domain.TenantID]int{sides[1].tenant: 1})
	claims, next := f.claimBy(ports.ClaimQuery{Except: []domain.TenantID{sides[0].tenant, sides[2].tenant}})
	equal(f.t, "jobs then", len(claims), 0)
	equal(f.t, "how long until a lease ends", next, lease)
	equal(f.t, "jobs of the others", byTenant(f.claim()), map[domain.TenantID]int{sides[0].tenant: 1, sides[2].tenant: 1})
}

func claimIsLimited(f *fixture) {
	f.newly(make([]time.Duration, 7)...)
	f.newTenant("second").newly(make([]time.Duration, 2)...)
	none, _, err := f.db.Claim(f.t.Context(), ports.ClaimQuery{Lane: f.lane(), PerTenant: page, Lease: lease})
	equal(f.t, "the error of a claim of none", err, nil)
	equal(f.t, "a claim of none", len(none), 0)
	for _, want := range []int{1, 3, 3, 2, 0} {
		claims, _ := f.claimBy(ports.ClaimQuery{Limit: max(want, 1)})
		equal(f.t, "jobs", len(claims), want)
	}
}

func claimTakesAll(f *fixture) {
	f.newly(0)
	f.newTenant("second").newly(0)
	f.newTenant("third").newly(0, 0, 0)
	claims, _ := f.claimBy(ports.ClaimQuery{Limit: 5})
	equal(f.t, "jobs of one, one and three", len(claims), 5)
}

func lanesAreApart(f *fixture) {
	const side domain.Lane = "another lane ✓"
	own, theirs := f.newJob(0), f.newJob(time.Hour)
	theirs.Lane = side
	f.enqueue(own, theirs)
	_, next := f.claimBy(ports.ClaimQuery{Lane: side})
	equal(f.t, "how long to wait in the other lane", next, time.Hour)
	_, next = f.claimBy(ports.ClaimQuery{Lane: "no lane"})
	equal(f.t, "how long to wait in an empty lane", next, 0)
	f.times.pass(time.Hour)
	claims, _ := f.claimBy(ports.ClaimQuery{Lane: side})
	equalList(f.t, "jobs of the other lane", claims, []ports.Claim{{Job: theirs, Tenant: f.tenant, Fence: claims[0].Fence, Age: time.Hour}})
	equal(f.t, "the job of the first lane", f.theOnly().Job, own)
	equal(f.t, "what waits", f.allStats(), map[domain.Lane]ports.OutboxStats{
		f.lane(): {Waiting: 1}, side: {Waiting: 1},
	})
}

func heldInAnotherLane(f *fixture) {
	const side domain.Lane = "side"
	f.newly(make([]time.Duration, 10)...)
	theirs := f.newJob(0)
	theirs.Lane = side
	f.enqueue(theirs)
	held, _ := f.claimBy(ports.ClaimQuery{PerTenant: 4})
	equal(f.t, "jobs of the first lane", len(held), 4)
	claims, _ := f.claimBy(ports.ClaimQuery{Lane: side, PerTenant: 1})
	equalList(f.t, "jobs of the other lane", jobIDs(claims), []domain.JobID{theirs.ID})
	f.times.pass(time.Second)
	_, next := f.claimBy(ports.ClaimQuery{PerTenant: 4})
	equal(f.t, "how long until a lease of the first lane ends", next, lease-time.Second)
	f.done(claims...)
	claims, next = f.claimBy(ports.ClaimQuery{Lane: side})
	equal(f.t, "jobs of the other lane in the end", len(claims), 0)
	equal(f.t, "how long to wait there", next, 0)
}

// rested is a claim that leaves tenants out but for what has outlived life.
func rested(life time.Duration, sides ...*fixture) ports.ClaimQuery {
	q := ports.ClaimQuery{Life: life}
	for _, side := range sides {
		q.Except = append(q.Except, side.tenant)
	}
	return q
}

// agedJobs has jobs of three ages, due at different times.
func agedJobs(f *fixture) {
	first := f.newly(time.Minute, day)
	f.times.pass(time.Hour)
	second := f.newly(0, 2*time.Hour)
	f.times.pass(time.Hour)
	f.newly(0)
	q := rested(2*time.Hour+time.Millisecond, f)
	none, _ := f.claimBy(q)
	equalList(f.t, "jobs before the end of their life", jobIDs(none), nil)
	f.times.pass(time.Millisecond)
	claims, _ := f.claimBy(q)
	equal(f.t, "jobs at the end of their life", sameIDs(jobIDs(claims), idsOf(first)), true)
	for _, c := range claims {
		equal(f.t, "the age", c.Age, 2*time.Hour+time.Millisecond)
	}
	f.times.pass(time.Hour)
	f.times.turn(-day) // it is the store's own time that counts
	f.done(claims...)
	claims, _ = f.claimBy(q)
	equal(f.t, "jobs an hour later", sameIDs(jobIDs(claims), idsOf(second)), true)
	f.done(claims...)
	none, _ = f.claimBy(q)
	equalList(f.t, "jobs in the end", jobIDs(none), nil)
	equal(f.t, "what waits", f.stats().Waiting, 1)
}

func nextOfAged(f *fixture) {
	other := f.newTenant("second")
	f.newly(-day, time.Minute, day)
	f.times.pass(time.Second)
	other.newly(time.Minute, day)
	q := rested(time.Hour, f, other)
	_, next := f.claimBy(q)
	equal(f.t, "with both tenants left out", next, time.Hour-time.Second)
	_, next = f.claimBy(rested(time.Hour, f))
	equal(f.t, "with one of them left out", next, time.Minute)
	_, next = f.claimBy(rested(0, f, other))
	equal(f.t, "without a life", next, 0)
	f.times.pass(next)
	f.times.pass(time.Hour - time.Second)
	claims, _ := f.claimBy(q)
	equal(f.t, "jobs of the first", byTenant(claims), map[domain.TenantID]int{f.tenant: 3})
	_, next = f.claimBy(q)
	equal(f.t, "with the first's held", next, time.Second)
	f.times.pass(time.Second)
	theirs, _ := f.claimBy(q)
	equal(f.t, "jobs of the second", byTenant(theirs), map[domain.TenantID]int{other.tenant: 2})
	_, next = f.claimBy(q)
	equal(f.t, "with all held", next, lease-time.Second)
	f.done(append(claims, theirs...)...)
	_, next = f.claimBy(q)
	equal(f.t, "in the end", next, 0)
}

func agedAreLeased(f *fixture) {
	jobs := f.newly(0, day)
	young := f.theOnly()
	q := rested(time.Minute, f)
	_, next := f.claimBy(q)
	equal(f.t, "how long until the one that is not held has lived", next, time.Minute)
	f.times.pass(time.Minute)
	claims, _ := f.claimBy(q)
	equalList(f.t, "jobs at the end of their life that are not held", jobIDs(claims), []domain.JobID{jobs[1].ID})
	_, next = f.claimBy(q)
	equal(f.t, "how long the first lease goes on", next, lease-time.Minute)
	f.times.pass(lease - time.Minute)
	again, _ := f.claimBy(q)
	equalList(f.t, "jobs whose lease was lost", jobIDs(again), []domain.JobID{young.ID})
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: young}), []domain.JobID{young.ID})
	goesOn := again[0].Job
	goesOn.Due, goesOn.Step = goesOn.Due.Add(day), 1
	f.settle(ports.Settlement{Claim: again[0], Again: &goesOn}, ports.Settlement{Claim: claims[0]})
	claims, _ = f.claimBy(q)
	equal(f.t, "a job that goes on, given out at once", claims[0].Step, 1)
	f.done(claims...)
	f.isEmpty("in the end")
}

func agedAreBounded(f *fixture) {
	f.newly(make([]time.Duration, 20)...)
	f.times.pass(time.Hour)
	q := rested(time.Hour, f)
	q.Limit, q.PerTenant = 3, 5
	for _, want := range []int{3, 2, 0} {
		claims, next := f.claimBy(q)
		equal(f.t, "jobs", len(claims), want)
		if want == 0 {
			equal(f.t, "how long until a lease ends", next, lease)
		}
	}
	f.times.pass(lease)
	claims, _ := f.claimBy(q)
	equal(f.t, "jobs when the leases are lost", len(claims), 3)
}

func agedBesideOthers(f *fixture) {
	resting, other := f.newTenant("resting"), f.newTenant("other")
	resting.newly(make([]time.Duration, 20)...)
	f.times.pass(time.Hour)
	other.newly(make([]time.Duration, 20)...)
	f.newly(make([]time.Duration, 20)...)
	q := rested(time.Hour, resting)
	q.Limit = 6
	for range 3 {
		claims, _ := f.claimBy(q)
		equal(f.t, "six jobs of three tenants", byTenant(claims), map[domain.TenantID]int{f.tenant: 2, other.tenant: 2, resting.tenant: 2})
	}
}

func lifeOfOthers(f *fixture) {
	f.newly(time.Hour)
	other := f.newTenant("second")
	other.newly(2 * time.Hour)
	f.times.pass(30 * time.Minute)
	claims, next := f.claimBy(rested(time.Minute))
	equal(f.t, "jobs that are not due", len(claims), 0)
	equal(f.t, "how long until one is", next, 30*time.Minute)
	claims, _ = f.claimBy(rested(time.Minute, other))
	equal(f.t, "jobs of the one that is left out", byTenant(claims), map[domain.TenantID]int{other.tenant: 1})
}

func waitingIsCounted(f *fixture) {
	other := f.newTenant("second")
	equal(f.t, "what waits in an empty outbox", len(f.allStats()), 0)
	f.newly(time.Minute, time.Hour)
	equal(f.t, "what waits before any is due", f.stats(), ports.OutboxStats{Waiting: 2})
	f.times.pass(90 * time.Second)
	equal(f.t, "what waits when one is due", f.stats(), ports.OutboxStats{Waiting: 2, Oldest: 30 * time.Second})
	other.newly(-time.Minute)
	equal(f.t, "what waits with another tenant's", f.stats(), ports.OutboxStats{Waiting: 3, Oldest: time.Minute})
	claims := f.claim()
	equal(f.t, "what waits when those due are held", f.stats(), ports.OutboxStats{Waiting: 3})
	f.done(claims...)
	equal(f.t, "what waits when those are done", f.stats(), ports.OutboxStats{Waiting: 1})
	f.reopen()
	equal(f.t, "what waits after a restart", f.stats(), ports.OutboxStats{Waiting: 1})
}

func endedContextClaimsNothing(f *fixture) {
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	f.newly(0)
	_, _, err := f.db.Claim(ctx, ports.ClaimQuery{Lane: f.lane(), Limit: 1, PerTenant: 1, Lease: lease})
	wantError(f.t, "Claim", err, context.Canceled)
	claim := f.theOnly()
	_, err = f.db.Settle(ctx, []ports.Settlement{{Claim: claim}})
	wantError(f.t, "Settle", err, context.Canceled)
	_, err = f.db.OutboxStats(ctx)
	wantError(f.t, "OutboxStats", err, context.Canceled)
	f.done(claim)
}

func closedStoreClaimsNothing(f *fixture) {
	f.newly(0, time.Hour)
	claim, closed := f.theOnly(), f.db
	f.reopen()
	isClosing(f.t, closed, claim)
	f.times.pass(lease)
	f.done(f.theOnly())
}

func isClosing(t *testing.T, closed Backend, claim ports.Claim) {
	t.Helper()
	ctx := t.Context()
	_, _, err := closed.Claim(ctx, ports.ClaimQuery{Lane: claim.Lane, Limit: 1, PerTenant: 1, Lease: lease})
	wantError(t, "Claim of a closed store", err, domain.ErrClosing)
	_, err = closed.Settle(ctx, []ports.Settlement{{Claim: claim}})
	wantError(t, "Settle of a closed store", err, domain.ErrClosing)
	_, err = closed.OutboxStats(ctx)
	wantError(t, "OutboxStats of a closed store", err, domain.ErrClosing)
}
