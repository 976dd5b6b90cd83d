package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/test/harness"
)

// durableServer is a Postgres of the test's own that syncs.
func durableServer(t *testing.T) *harness.PGServer {
	t.Helper()
	own, err := harness.LaunchPG(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.Check(t, own.Close()) })
	return own
}

// TestSessionsWaitForTheDiskWhateverTheDatabaseSays: only a throw-away store takes synchronous_commit = off as it is. One that
// waits for standbys waits for them.
func TestSessionsWaitForTheDiskWhateverTheDatabaseSays(t *testing.T) {
	t.Parallel()
	own := durableServer(t)
	name, err := own.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		set    string
		unsafe bool
		want   string
	}{
		{"off", false, "on"}, {"on", false, "on"}, {"remote_apply", false, "remote_apply"}, {"off", true, "off"},
	} {
		harness.Check(t, own.Do("postgres", fmt.Sprintf("ALTER DATABASE %s SET synchronous_commit = %s", name, c.set)))
		cfg := quiet(own.URL(name))
		cfg.UnsafeDurability = c.unsafe
		s, err := postgres.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("tenant_%s_%t", c.set, c.unsafe)
		fillTenant(t, s, id)
		look := func(what string, conn *pgx.Conn) {
			var have string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting('synchronous_commit')").Scan(&have); err != nil || have != c.want {
				t.Errorf("the database says %s, a throw-away store %t: %s has %s, %v; want %s", c.set, c.unsafe, what, have, err, c.want)
			}
		}
		err = errors.Join(
			s.EachSession(t.Context(), domain.TenantID(id), func(what string, _ bool, conn *pgx.Conn) { look(what, conn) }),
			s.OperatorSession(t.Context(), func(conn *pgx.Conn) { look("work across tenants", conn) }),
			s.Close(),
		)
		if err != nil {
			t.Error(err)
		}
	}
}

// TestServerThatWritesPagesInPartIsRefusedByName, though it syncs.
func TestServerThatWritesPagesInPartIsRefusedByName(t *testing.T) {
	t.Parallel()
	own := durableServer(t)
	name, err := own.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	harness.Check(t, own.Do("postgres", "ALTER SYSTEM SET full_page_writes = off"))
	harness.Check(t, own.Do("postgres", "SELECT pg_reload_conf()"))
	c := connectTo(t, own.URL(name))
	harness.Eventually(t, 20*time.Second, "the server has the setting", func() bool {
		return count(t, c, "SELECT (current_setting('full_page_writes') = 'off')::int") == 1
	})
	cfg := quiet(own.URL(name))
	cfg.UnsafeDurability = false
	_, err = postgres.Open(t.Context(), cfg)
	for what, err := range map[string]error{"opening a store": err, "migrating it": postgres.Migrate(t.Context(), cfg)} {
		if !errors.Is(err, postgres.ErrServer) || !strings.Contains(err.Error(), "full_page_writes is off") || strings.Contains(err.Error(), "fsync") {
			t.Errorf("%s on a server without full_page_writes: %v", what, err)
		}
	}
}
