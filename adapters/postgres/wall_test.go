package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
)

// connectTo opens a connection of the test's own.
func connectTo(tb testing.TB, dsn string) *pgx.Conn {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), dsn)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func mustExec(tb testing.TB, c *pgx.Conn, query string) {
	tb.Helper()
	if _, err := c.Exec(tb.Context(), query); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

func count(tb testing.TB, c *pgx.Conn, query string) (n int) {
	tb.Helper()
	if err := c.QueryRow(tb.Context(), query).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
}

// The tables that hold no tenant's rows, or none that a unit of work of a tenant may see.
var withoutTenants = []string{"goose_db_version", "store_meta", "outbox_state", "tenants", "api_keys", "signing_keys", "usage"}

func TestEveryTableOfTenantsIsBehindTheWall(t *testing.T) {
	t.Parallel()
	c := connectTo(t, newDatabase(t))
	rows, err := c.Query(t.Context(), `SELECT c.relname::text, c.relrowsecurity AND c.relforcerowsecurity,
		EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant'),
		has_table_privilege('chatapi_tenant', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
		FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var behind, tenant, open bool
	seen := 0
	_, err = pgx.ForEachRow(rows, []any{&name, &behind, &tenant, &open}, func() error {
		seen++
		if slices.Contains(withoutTenants, name) {
			if open && !behind {
				t.Errorf("%s is no tenant's and the tenants' role may write there", name)
			}
			return nil
		}
		if !behind || !tenant {
			t.Errorf("%s: behind the wall %t, with a column tenant %t; want both", name, behind, tenant)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("%d tables were looked at", seen)
	}
}

// walled are the tables behind the wall.
func walled(tb testing.TB, c *pgx.Conn) []string {
	tb.Helper()
	rows, err := c.Query(tb.Context(), "SELECT relname::text FROM pg_class WHERE relforcerowsecurity ORDER BY 1")
	if err != nil {
		tb.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) == 0 {
		tb.Fatalf("tables behind the wall: %v, %v", tables, err)
	}
	return tables
}

func TestWithoutATenantNothingIsSeenOrWritten(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := openStore(t, postgres.Config{DSN: dsn})
	for _, id := range []string{"tenant_a", "tenant_b"} {
		fillTenant(t, s, id)
	}
	owner := connectTo(t, dsn)
	own, all := connectTo(t, dsn), connectTo(t, dsn)
	mustExec(t, own, "SET ROLE chatapi_tenant")
	mustExec(t, all, "SET ROLE chatapi_operator")
	filled := 0
	for _, table := range walled(t, owner) {
		total := count(t, all, "SELECT count(*) FROM "+table)
		if total > 0 {
			filled++
		}
		for who, c := range map[string]*pgx.Conn{"the tenants' role": own, "the owner": owner} {
			if n := count(t, c, "SELECT count(*) FROM "+table); n != 0 {
				t.Errorf("%s sees %d of %d rows of %s without a tenant", who, n, total, table)
			}
			tag, err := c.Exec(t.Context(), "DELETE FROM "+table)
			if err != nil || tag.RowsAffected() != 0 {
				t.Errorf("%s deletes from %s without a tenant: %s, %v", who, table, tag, err)
			}
		}
		if n := count(t, all, "SELECT count(*) FROM "+table); n != total {
			t.Errorf("%s has %d rows, and had %d", table, n, total)
		}
	}
	if filled < 4 {
		t.Errorf("only %d tables have rows", filled)
	}
	_, err := own.Exec(t.Context(), "INSERT INTO users (tenant, id) SELECT number, 'mallory' FROM tenants LIMIT 1")
	if err == nil {
		t.Error("the tenants' role makes a user without a tenant")
	}
}

func TestWithATenantOnlyItsRowsAreThere(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	s := openStore(t, postgres.Config{DSN: dsn})
	for _, id := range []string{"tenant_a", "tenant_b"} {
		fillTenant(t, s, id)
	}
	c := connectTo(t, dsn)
	mustExec(t, c, "SET ROLE chatapi_tenant")
	mustExec(t, c, "SELECT set_config('chatapi.tenant', number::text, false) FROM tenants WHERE id = 'tenant_a'")
	for _, table := range []string{"rooms", "users", "members", "messages", "room_changes"} {
		if n := count(t, c, "SELECT count(*) FROM "+table); n == 0 {
			t.Errorf("the tenant sees none of its %s", table)
		}
		others := fmt.Sprintf("SELECT count(*) FROM %s WHERE tenant <> current_setting('chatapi.tenant')::bigint", table)
		if n := count(t, c, others); n != 0 {
			t.Errorf("the tenant sees %d %s of others", n, table)
		}
	}
	tag, err := c.Exec(t.Context(), "UPDATE rooms SET name = 'mine' WHERE tenant <> current_setting('chatapi.tenant')::bigint")
	if err != nil || tag.RowsAffected() != 0 {
		t.Errorf("the tenant changes rooms of others: %s, %v", tag, err)
	}
	for _, query := range []string{
		"UPDATE rooms SET tenant = tenant + 1", "INSERT INTO users (tenant, id) SELECT max(number), 'mallory' FROM tenants",
		"SELECT config FROM tenants", "SELECT hash FROM api_keys", "SELECT value FROM store_meta", "TRUNCATE messages",
		"UPDATE tenants SET name = 'x'", "ALTER TABLE rooms DISABLE ROW LEVEL SECURITY",
	} {
		if _, err := c.Exec(t.Context(), query); err == nil {
			t.Errorf("the tenants' role may: %s", query)
		}
	}
}

// TestTheStoreItselfWorksBehindTheWall: its sessions have the role that the wall binds, and are bound to a tenant for a unit
// of work and no longer.
func TestTheStoreItselfWorksBehindTheWall(t *testing.T) {
	t.Parallel()
	s := openStore(t, postgres.Config{})
	for _, id := range []string{"tenant_a", "tenant_b"} {
		fillTenant(t, s, id)
	}
	looked := map[string]int{}
	err := s.EachSession(t.Context(), "tenant_a", func(what string, bound bool, c *pgx.Conn) {
		looked[what]++
		var role string
		if err := c.QueryRow(t.Context(), "SELECT current_user::text").Scan(&role); err != nil || role != "chatapi_tenant" {
			t.Errorf("%s works as %s, %v; want chatapi_tenant", what, role, err)
		}
		for _, table := range []string{"rooms", "users", "members", "messages", "room_changes"} {
			all := count(t, c, "SELECT count(*) FROM "+table)
			own := count(t, c, "SELECT count(*) FROM "+table+" WHERE tenant = (SELECT number FROM tenants WHERE id = 'tenant_a')")
			if bound && (own == 0 || all != own) {
				t.Errorf("%s of a tenant sees %d of its %s, and %d of others", what, own, table, all-own)
			}
			if !bound && all != 0 {
				t.Errorf("a connection for %s sees %d %s while it is nobody's", what, all, table)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int{"a unit of work": 3, "a batch of sends": 3, "a view": 1}; !maps.Equal(looked, want) {
		t.Errorf("looked at %v, want %v", looked, want)
	}
}
