package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
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
