package postgres_test

import (
	"crypto/rand"
	"errors"
	"path"
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
