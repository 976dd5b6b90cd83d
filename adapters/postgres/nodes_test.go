package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path"
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

// nodes are stores on one database, as several servers have them.
type nodes struct {
	testing.TB
	stores []*postgres.Store
	clock  *passing
	tenant domain.TenantID
}

// passing is the time of all nodes, which passes when the test says so.
type passing struct{ elapsed atomic.Int64 }

func (p *passing) Now() time.Time {
	return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC).Add(p.Elapsed())
}

func (p *passing) Elapsed() time.Duration { return time.Duration(p.elapsed.Load()) }

func (p *passing) pass(d time.Duration) { p.elapsed.Add(int64(d)) }

// openNodes opens n stores on a database that has one tenant.
func openNodes(tb testing.TB, n int) *nodes {
	tb.Helper()
	of := &nodes{TB: tb, clock: &passing{}, tenant: "tenant_nodes"}
	dsn := newDatabase(tb)
	for range n {
		of.open(dsn)
	}
	of.addTenant(of.tenant)
	return of
}

// open adds a store. To the nodes no time passes on the server either: one that opens later has the time of the first.
func (n *nodes) open(dsn string) {
	n.Helper()
	harness.Check(n, server.Do(path.Base(dsn), "UPDATE outbox_state SET at = now + 86400000 WHERE now > 0"))
	n.stores = append(n.stores, openStore(n, postgres.Config{DSN: dsn, MaxConns: 8, Clock: n.clock, Elapsed: n.clock.Elapsed}))
}

func (n *nodes) addTenant(id domain.TenantID) {
	n.Helper()
	err := n.stores[0].CreateTenant(n.Context(), domain.Tenant{ID: id, Name: string(id), CreatedAt: n.clock.Now()})
	if err != nil {
		n.Fatal(err)
	}
}

func fresh() (u domain.UUID) {
	_, _ = rand.Read(u[:])
	return u
}

// update runs fn on one of the nodes.
func (n *nodes) update(node int, fn func(ports.Tx) error) {
	n.Helper()
	if err := n.stores[node].Update(n.Context(), n.tenant, fn); err != nil {
		n.Fatal(err)
	}
}

func (n *nodes) view(node int, fn func(ports.Reader) error) {
	n.Helper()
	if err := n.stores[node].View(n.Context(), n.tenant, fn); err != nil {
		n.Fatal(err)
	}
}

// each runs fn on all nodes at once, and waits.
func (n *nodes) each(fn func(node int, s *postgres.Store) error) {
	n.Helper()
	errs := make([]error, len(n.stores))
	var all sync.WaitGroup
	for i, s := range n.stores {
		all.Go(func() { errs[i] = fn(i, s) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		n.Fatal(err)
	}
}

// atOnce runs a unit of work on all nodes: when all have begun, fn. It may run again.
func (n *nodes) atOnce(fn func(node int, tx ports.Tx) error) []error {
	errs := make([]error, len(n.stores))
	var begun sync.WaitGroup
	begun.Add(len(n.stores))
	n.each(func(node int, s *postgres.Store) error {
		var first sync.Once
		errs[node] = s.Update(n.Context(), n.tenant, func(tx ports.Tx) error {
			first.Do(begun.Done)
			begun.Wait()
			return fn(node, tx)
		})
		return nil
	})
	return errs
}

// enqueue adds jobs that are due to a tenant's lane of webhooks.
func (n *nodes) enqueue(tenant domain.TenantID, jobs int) {
	n.Helper()
	err := n.stores[0].Update(n.Context(), tenant, func(tx ports.Tx) error {
		for range jobs {
			if err := tx.Enqueue(n.job()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
}

func (n *nodes) job() domain.Job {
	now := n.clock.Now()
	return domain.Job{
		ID: domain.JobID(fresh()), Event: domain.JobID(fresh()), Lane: domain.LaneWebhook, Room: domain.RoomID(fresh()),
		Message: domain.MessageID(fresh()), Due: now, CreatedAt: now,
	}
}

// webhooks claims up to limit jobs, so many of one tenant at a time.
func claimsOf(limit, perTenant int) ports.ClaimQuery {
	return ports.ClaimQuery{Lane: domain.LaneWebhook, Limit: limit, PerTenant: perTenant, Lease: time.Minute}
}

// room makes a group of these users.
func (n *nodes) room(users ...domain.UserID) domain.Room {
	n.Helper()
	now := n.clock.Now()
	members := make([]domain.Member, len(users))
	for i, user := range users {
		members[i] = domain.Member{User: user, Role: domain.RoleMember, State: domain.Active, JoinedAt: now}
	}
	room := domain.Room{
		ID: domain.RoomID(fresh()), Type: domain.RoomGroup, FirstSeq: 1, Members: int64(len(users)),
		Handoff: domain.Handoff{Mode: domain.HandoffBot}, CreatedAt: now,
	}
	n.update(0, func(tx ports.Tx) (err error) {
		room, err = tx.CreateRoom(room, members)
		return err
	})
	return room
}

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

func TestNodesThatExpandANotificationTogetherReachEachTargetOnce(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	const named, members = 50, 60
	var users, people []domain.UserID
	for i := range members {
		people = append(people, domain.UserID(fmt.Sprint("member", i)))
	}
	for i := range named {
		users = append(users, domain.UserID(fmt.Sprint("named", i)))
	}
	room := n.room(people...)
	note := domain.Notification{ID: domain.NotificationID(fresh()), Topic: "orders", Payload: []byte(`{"n":1}`), CreatedAt: n.clock.Now()}
	subscribed := map[domain.SubscriptionID]int{}
	n.update(0, func(tx ports.Tx) error {
		for i := range 10 {
			s := domain.Subscription{ID: domain.SubscriptionID(fresh()), Topic: "orders", Endpoint: fmt.Sprint("https://a.example/", i), CreatedAt: note.CreatedAt}
			subscribed[s.ID] = 0
			if _, _, err := tx.AddSubscription(s); err != nil {
				return err
			}
		}
		return tx.AddNotification(note, domain.Targets{Users: users, Room: room.ID, Subscribers: true})
	})
	var mu sync.Mutex
	reached, total := 0, 0
	n.each(func(_ int, s *postgres.Store) error {
		for done := false; !done; {
			next, err := ports.Update(t.Context(), s, n.tenant, func(tx ports.Tx) (ports.Expansion, error) { return tx.Expand(note.ID, 7) })
			if err != nil {
				return err
			}
			mu.Lock()
			reached += next.Recipients
			for _, e := range next.Endpoints {
				subscribed[e.ID]++
			}
			total = max(total, next.Total)
			mu.Unlock()
			done = next.Done
		}
		return nil
	})
	if reached != named+members || total != named+members+10 {
		t.Errorf("%d users were reached, %d in all; want %d and %d", reached, total, named+members, named+members+10)
	}
	for id, times := range subscribed {
		if times != 1 {
			t.Errorf("endpoint %s was reached %d times", id, times)
		}
	}
	for _, user := range slices.Concat(users, people) {
		n.view(1, func(r ports.Reader) error {
			waiting, err := r.Notices(user, 0, 10)
			if len(waiting) != 1 {
				t.Errorf("%s has %d notices, want one", user, len(waiting))
			}
			return err
		})
	}
}

// TestPlacesOfNoticesBecomeVisibleInTheirOrder has nodes make recipients while others look: what was not there at a place up
// to the last never comes.
func TestPlacesOfNoticesBecomeVisibleInTheirOrder(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 3)
	const rounds = 40
	var writers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notify := func(s *postgres.Store) error {
		note := domain.Notification{ID: domain.NotificationID(fresh()), Topic: "t", Payload: []byte(`{}`), CreatedAt: n.clock.Now()}
		return s.Update(t.Context(), n.tenant, func(tx ports.Tx) error {
			if err := tx.AddNotification(note, domain.Targets{Users: []domain.UserID{"ann", "bob"}}); err != nil {
				return err
			}
			_, err := tx.Expand(note.ID, 10)
			return err
		})
	}
	for range 2 {
		for _, s := range n.stores[:2] {
			writers.Go(func() {
				for range rounds {
					if err := notify(s); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	go func() {
		writers.Wait()
		cancel()
	}()
	known := map[int64]bool{}
	var last int64
	for looking := true; looking; {
		looking = ctx.Err() == nil
		var visible []domain.Notice
		var place int64
		n.view(2, func(r ports.Reader) (err error) {
			if place, err = r.LastNotice(); err != nil {
				return err
			}
			visible, err = r.Notices("ann", 0, 10*rounds)
			return err
		})
		now := map[int64]bool{}
		for _, notice := range visible {
			if now[notice.Place] = true; notice.Place > place {
				t.Errorf("a notice has the place %d, and the last is %d", notice.Place, place)
			}
			if notice.Place <= last && !known[notice.Place] {
				t.Errorf("the notice at %d became visible after the last had been %d", notice.Place, last)
			}
		}
		maps.Copy(known, now)
		last = place
	}
	if len(known) != 4*rounds {
		t.Errorf("%d notices were seen, want %d", len(known), 4*rounds)
	}
}

func TestThePayloadIsGoneHoweverTheLastWhoWaitEndTogether(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	users := []domain.UserID{"ann", "bob"}
	for range 30 {
		note := domain.Notification{ID: domain.NotificationID(fresh()), Topic: "t", Payload: []byte(`{"n":1}`), CreatedAt: n.clock.Now()}
		n.update(0, func(tx ports.Tx) error {
			if err := tx.AddNotification(note, domain.Targets{Users: users}); err != nil {
				return err
			}
			_, err := tx.Expand(note.ID, 10)
			return err
		})
		var settled sync.WaitGroup // both end their units of work when neither waits, and none of that is committed
		settled.Add(2)
		var first [2]sync.Once
		errs := n.atOnce(func(node int, tx ports.Tx) error {
			_, err := tx.SettleNotice(users[node], note.ID)
			first[node].Do(settled.Done)
			settled.Wait()
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		n.view(0, func(r ports.Reader) error {
			found, err := r.Notification(note.ID)
			if found.Payload != nil {
				t.Errorf("nobody waits for it, and the payload is %s", found.Payload)
			}
			return err
		})
	}
}

func TestADeadLetterIsTakenOnceAndARunHasOne(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	for range 15 {
		room := domain.RoomID(fresh())
		n.each(func(node int, s *postgres.Store) error {
			run := domain.DeadLetter{
				ID: domain.DeadLetterID(fresh()), Job: domain.Job{ID: domain.JobID(fresh()), Lane: domain.LaneSocket, Room: room},
				User: "bob", FromSeq: int64(10 - node), ToSeq: int64(10 + node), Attempts: 5, At: n.clock.Now(), Error: "not acknowledged",
			}
			return s.Update(t.Context(), n.tenant, func(tx ports.Tx) error { return tx.GrowDeadLetter(run) })
		})
		var letters []domain.DeadLetter
		n.view(0, func(r ports.Reader) (err error) {
			letters, err = r.DeadLetters(false, 10)
			return err
		})
		if len(letters) != 1 || letters[0].FromSeq != 7 || letters[0].ToSeq != 13 {
			t.Fatalf("the letters of one run are %+v, want one of 7 to 13", letters)
		}
		var taken atomic.Int64
		n.each(func(_ int, s *postgres.Store) error {
			err := s.Update(t.Context(), n.tenant, func(tx ports.Tx) error {
				_, err := tx.TakeDeadLetter(letters[0].ID)
				return err
			})
			if errors.Is(err, domain.ErrLetterNotFound) {
				return nil
			}
			taken.Add(1)
			return err
		})
		if taken.Load() != 1 {
			t.Errorf("a dead letter was taken %d times", taken.Load())
		}
	}
}

// fillUp has all nodes add what there may be just once more, again and again: one can, the others are refused. add returns
// how to take it back.
func (n *nodes) fillUp(want error, add func(node int, tx ports.Tx) (undo func(ports.Tx) error, err error)) {
	n.Helper()
	for range 8 {
		undo := make([]func(ports.Tx) error, len(n.stores))
		errs := n.atOnce(func(node int, tx ports.Tx) (err error) {
			undo[node], err = add(node, tx)
			for range 30 { // who does not wait for this unit of work comes as far while it is not committed
				if err == nil {
					_, err = tx.LastNotice()
				}
			}
			return err
		})
		added := 0
		for node, err := range errs {
			switch {
			case err == nil:
				added++
				n.update(node, undo[node])
			case !errors.Is(err, want):
				n.Error(err)
			}
		}
		if added != 1 {
			n.Errorf("%d nodes could add the last there may be, want one; others get %v", added, want)
		}
	}
}

func TestNodesTogetherMakeNoMoreBotsThanThereMayBe(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	add := func(tx ports.Tx, count int) (ids []domain.BotID, err error) {
		for range count {
			bot := domain.Bot{ID: domain.BotID(fresh()), Name: "b", Provider: domain.ProviderOpenAI, Model: "m", CreatedAt: n.clock.Now()}
			if err := tx.AddBot(bot); err != nil {
				return nil, err
			}
			ids = append(ids, bot.ID)
		}
		return ids, nil
	}
	n.update(0, func(tx ports.Tx) error {
		_, err := add(tx, domain.MaxBots-2)
		return err
	})
	n.fillUp(domain.ErrTooManyBots, func(_ int, tx ports.Tx) (func(ports.Tx) error, error) {
		ids, err := add(tx, 2)
		return func(tx ports.Tx) (err error) {
			for _, id := range ids {
				err = errors.Join(err, tx.RemoveBot(id))
			}
			return err
		}, err
	})
}

func TestNodesTogetherAddNoMoreSubscriptionsThanThereMayBe(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	add := func(tx ports.Tx, count int, of domain.Subscription) (ids []domain.SubscriptionID, err error) {
		for range count {
			one := of
			one.ID, one.CreatedAt = domain.SubscriptionID(fresh()), n.clock.Now()
			one.Topic += one.ID.String()
			if _, _, err := tx.AddSubscription(one); err != nil {
				return nil, err
			}
			ids = append(ids, one.ID)
		}
		return ids, nil
	}
	const endpoint = "https://a.example/"
	for _, of := range []struct {
		before domain.Subscription
		want   error
		more   func(node int) domain.Subscription
	}{
		{domain.Subscription{User: "ann"}, domain.ErrTooManyTopics, func(int) domain.Subscription { return domain.Subscription{User: "ann"} }},
		{domain.Subscription{Endpoint: endpoint}, domain.ErrTooManyTopics, func(int) domain.Subscription { return domain.Subscription{} }},
		{domain.Subscription{}, domain.ErrTooManyEndpoints, func(node int) domain.Subscription {
			return domain.Subscription{User: domain.UserID(fmt.Sprint("user", node)), Endpoint: endpoint}
		}},
	} {
		n.update(0, func(tx ports.Tx) error {
			most := domain.MaxSubscriptions - 2
			if of.want == domain.ErrTooManyEndpoints {
				most = 0 // they are the backend's, from before
			}
			_, err := add(tx, most, of.before)
			return err
		})
		n.fillUp(of.want, func(node int, tx ports.Tx) (func(ports.Tx) error, error) {
			ids, err := add(tx, 2, of.more(node))
			return func(tx ports.Tx) (err error) {
				for _, id := range ids {
					err = errors.Join(err, tx.RemoveSubscription(id))
				}
				return err
			}, err
		})
	}
}

func TestASubscriptionThatNodesMakeTogetherIsOne(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	for _, user := range []domain.UserID{"new", ""} {
		var made atomic.Int64
		ids := make([]domain.SubscriptionID, len(n.stores))
		errs := n.atOnce(func(node int, tx ports.Tx) error {
			s := domain.Subscription{ID: domain.SubscriptionID(fresh()), User: user, Topic: "t", Endpoint: "https://a.example", CreatedAt: n.clock.Now()}
			stored, existed, err := tx.AddSubscription(s)
			if ids[node] = stored.ID; !existed {
				made.Add(1)
			}
			return err
		})
		if err := errors.Join(errs...); err != nil || made.Load() != 1 || len(slices.Compact(ids)) != 1 {
			t.Errorf("subscriptions made of %q: %d, as %v; %v", user, made.Load(), ids, err)
		}
	}
}
