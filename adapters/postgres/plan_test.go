package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// explain is the plan of a query with these arguments, in all modes of planning.
func explain(tb testing.TB, c *pgx.Conn, query string, values ...any) (plans string) {
	tb.Helper()
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		mustExec(tb, c, "SET plan_cache_mode = "+mode)
		rows, err := c.Query(tb.Context(), "EXPLAIN (ANALYZE, COSTS off, TIMING off) "+query, values...)
		if err != nil {
			tb.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			tb.Fatalf("%s: %v", query, err)
		}
		plans += strings.Join(lines, "\n") + "\n"
	}
	return plans
}

// TestBatchesOfSendsLookUpRowByRow is about a database whose tables nobody has analysed: the planner takes a tenant to have
// one room.
func TestBatchesOfSendsLookUpRowByRow(t *testing.T) {
	t.Parallel()
	dsn := server.URL(ownDatabase(t))
	s := withTenant(t, postgres.Config{DSN: dsn})
	room := makeRoom(t, s, tenant, "ann")
	c := connectTo(t, dsn)
	mustExec(t, c, "SET ROLE chatapi_tenant")
	mustExec(t, c, "SELECT set_config('chatapi.tenant', number::text, false) FROM tenants")
	number := int64(count(t, c, "SELECT number::int FROM tenants"))
	var rooms [][]byte
	var senders, ids []string
	for i := range 20 {
		rooms, senders, ids = append(rooms, room.ID[:]), append(senders, "ann"), append(ids, fmt.Sprint("c", i))
	}
	plans := explain(t, c, postgres.LockRooms, rooms[:1], number) + explain(t, c, postgres.ReadRooms, rooms[:1], number) +
		explain(t, c, postgres.ReadMembers, number, rooms, senders)
	sent := explain(t, c, postgres.ReadSent, number, rooms, senders, ids)
	for _, wrong := range []string{"rooms_active", "Seq Scan", "Bitmap", "Hash Join"} {
		if strings.Contains(plans+sent, wrong) {
			t.Errorf("a plan has a %s:\n%s", wrong, plans+sent)
		}
	}
	if n := strings.Count(sent, "(client_id = i.client_id)"); n != 2 {
		t.Errorf("client ids are looked up in %d of 2 plans:\n%s", n, sent)
	}
}

// TestALookAtRestingTenantsGoesByTheIndexes, in the way that a session plans which is asked the same over and over.
func TestALookAtRestingTenantsGoesByTheIndexes(t *testing.T) {
	t.Parallel()
	dsn := server.URL(ownDatabase(t))
	withTenant(t, postgres.Config{DSN: dsn})
	c := connectTo(t, dsn)
	mustExec(t, c, "SET ROLE chatapi_operator")
	for _, fill := range waitingJobs(50, 2000, time.Hour) {
		mustExec(t, c, fill)
	}
	mustExec(t, c, "SET enable_seqscan = off")
	mustExec(t, c, "SET enable_bitmapscan = off")
	var tenants []int64
	for number := range 50 {
		tenants = append(tenants, int64(number+1))
	}
	now := time.Now().UnixMilli()
	plans := explain(t, c, postgres.LifeEnds, string(domain.LaneWebhook), now, tenants, domain.JobLife.Milliseconds())
	for _, wrong := range []string{"Seq Scan", "Bitmap", "Sort"} {
		if strings.Contains(plans, wrong) {
			t.Errorf("a plan has a %s:\n%s", wrong, plans)
		}
	}
}

// TestAPurgeLooksUpRowByRowWhatIsBelievedEmpty is about tables that were analysed after their last rows had been removed: until
// the server looks again it plans for one row, whatever there is.
func TestAPurgeLooksUpRowByRowWhatIsBelievedEmpty(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	s := withTenant(t, postgres.Config{DSN: server.URL(name)})
	c := connectTo(t, server.URL(name))
	mustExec(t, c, "SET ROLE chatapi_operator")
	mustExec(t, c, "INSERT INTO users (tenant, id) SELECT 1000, 'user ' || i FROM generate_series(1, 3000) i")
	const members = 700
	room := makeRoom(t, s, tenant, "ann")
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i := range members {
			if _, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprint("user ", i)), domain.RoleMember, now); err != nil {
				return err
			}
		}
		return tx.RemoveRoom(room.ID, now)
	})
	harness.Check(t, err)
	harness.Check(t, server.Do(name, "SET allow_system_table_mods = on; UPDATE pg_class SET reltuples = 0, relpages = 10 "+
		"WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"))
	mustExec(t, c, "SET enable_seqscan = off")
	mustExec(t, c, "SET enable_bitmapscan = off")
	mustExec(t, c, "SET statement_timeout = '9s'")
	last := int64(count(t, c, "SELECT max(user_no)::int FROM (SELECT user_no FROM members ORDER BY user_no LIMIT 300) l"))
	plans := explain(t, c, postgres.CountLeavers, int64(count(t, c, "SELECT number::int FROM rooms")), int64(0), last, int64(domain.Active))
	if strings.Contains(plans, "Join Filter") || strings.Count(plans, "Index Cond: (number = ") != 4 {
		t.Errorf("not every row is looked up by its number:\n%s", plans)
	}
	plans = explain(t, c, postgres.SawUsers, now.UnixMilli(), int64(1000), []string{"user 7", "user 8"})
	if strings.Contains(plans, "Join Filter") || strings.Count(plans, "Index Cond: (number = ") != 2 ||
		strings.Count(plans, "using users_tenant_id_key") != 2 {
		t.Errorf("users are not looked for in their tenant, then by their numbers:\n%s", plans)
	}
	for more := true; more; {
		if more, err = s.Purge(t.Context()); err != nil {
			t.Fatalf("purge: %v", err)
		}
	}
	if left := count(t, c, fmt.Sprint("SELECT count(*)::int FROM members WHERE state = ", int64(domain.Active))); left != 0 {
		t.Errorf("%d members of a room that was purged are in it", left)
	}
}
