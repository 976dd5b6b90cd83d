package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/migrations"
	"github.com/chatapi/chatapi/test/harness"
)

func quiet(dsn string) postgres.Config {
	return postgres.Config{DSN: dsn, Logger: slog.New(slog.DiscardHandler), UnsafeDurability: true}
}

func TestServerThatDoesNotSyncIsRefused(t *testing.T) {
	t.Parallel()
	cfg := quiet(newDatabase(t))
	cfg.UnsafeDurability = false
	_, err := postgres.Open(t.Context(), cfg)
	if !errors.Is(err, postgres.ErrServer) || !strings.Contains(err.Error(), "fsync is off") {
		t.Errorf("opening a store on a server without fsync: %v", err)
	}
	if err := postgres.Migrate(t.Context(), cfg); !errors.Is(err, postgres.ErrServer) {
		t.Errorf("migrating it: %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	if err := server.Do(name, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"); err != nil {
		t.Fatal(err)
	}
	_, err := postgres.Open(t.Context(), quiet(server.URL(name)))
	_, status := postgres.MigrationStatus(t.Context(), quiet(server.URL(name)))
	for what, err := range map[string]error{"Open": err, "Migrate": postgres.Migrate(t.Context(), quiet(server.URL(name))), "MigrationStatus": status} {
		if !errors.Is(err, postgres.ErrNewerSchema) {
			t.Errorf("%s of a newer schema: %v", what, err)
		}
	}
}

func TestNodesThatStartAtOnceMigrateOnce(t *testing.T) {
	t.Parallel()
	name, err := server.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.Check(t, server.Drop(name)) })
	steps, err := postgres.MigrationStatus(t.Context(), quiet(server.URL(name)))
	if err != nil || len(steps) < 5 || !steps[0].AppliedAt.IsZero() || steps[0].Name != "spine" || steps[0].Version != 1 {
		t.Errorf("the steps of an empty database: %+v, %v", steps, err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			s, err := postgres.Open(t.Context(), quiet(server.URL(name)))
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	all.Wait()
	c := connectTo(t, server.URL(name))
	if n := count(t, c, "SELECT count(*) FROM goose_db_version WHERE version_id > 0"); n != len(steps) {
		t.Errorf("%d steps were applied, want each of %d once", n, len(steps))
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	steps, err = postgres.MigrationStatus(t.Context(), quiet(server.URL(name)))
	if err != nil || steps[len(steps)-1].AppliedAt.IsZero() {
		t.Errorf("the steps afterwards: %+v, %v", steps, err)
	}
}

func TestSchemaGoesDownAndUpAgain(t *testing.T) {
	t.Parallel()
	dsn := server.URL(ownDatabase(t))
	parsed, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*parsed)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Postgres(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, postgres.Config{DSN: dsn})
	fillTenant(t, s, "tenant_a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for version := int64(4); version >= 0; version-- {
		if _, err := provider.DownTo(t.Context(), version); err != nil {
			t.Fatalf("down to %d: %v", version, err)
		}
	}
	c := connectTo(t, dsn)
	if n := count(t, c, `SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace
		AND relname NOT LIKE 'goose%'`); n != 0 {
		t.Errorf("%d tables and sequences are left", n)
	}
	s = openStore(t, postgres.Config{DSN: dsn})
	fillTenant(t, s, "tenant_a")
}

// as is a DSN with another user.
func as(tb testing.TB, dsn, user, password string) string {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

func TestUserWhoMayNotMakeRolesIsToldWhatToRun(t *testing.T) {
	t.Parallel()
	name, err := server.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		harness.Check(t, server.Drop(name))
		harness.Check(t, server.Do("postgres", "DROP ROLE plain"))
	})
	for _, statement := range []string{"CREATE ROLE plain LOGIN PASSWORD 'plain'", "ALTER DATABASE " + name + " OWNER TO plain"} {
		if err := server.Do("postgres", statement); err != nil {
			t.Fatal(err)
		}
	}
	cfg := quiet(as(t, server.URL(name), "plain", "plain"))
	_, err = postgres.Open(t.Context(), cfg)
	if !errors.Is(err, postgres.ErrRoles) || !strings.Contains(err.Error(), "GRANT chatapi_tenant, chatapi_operator TO") {
		t.Fatalf("opening a store without the right to its roles: %v", err)
	}
	if err := server.Do("postgres", "GRANT chatapi_tenant, chatapi_operator TO plain"); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, cfg)
	fillTenant(t, s, "tenant_a")
}

func TestPasswordIsInNoErrorAndNoLog(t *testing.T) {
	t.Parallel()
	const password = "p4ss:w/rd!canary"
	good := newDatabase(t)
	var said bytes.Buffer
	for what, dsn := range map[string]string{
		"a wrong password":    as(t, good, "chatapi", password),
		"a wrong port":        "postgres://chatapi:p4ss%3Aw%2Frd!canary@127.0.0.1:1/chat",
		"a port that is none": "postgres://chatapi:p4ss%3Aw%2Frd!canary@127.0.0.1:port/chat",
		"a password as is":    "postgres://chatapi:" + password + "@127.0.0.1/chat",
		"keywords":            "host=127.0.0.1 port=x password=" + password,
		"a bad setting":       "postgres://chatapi:p4ss%3Aw%2Frd!canary@127.0.0.1/chat?sslmode=maybe",
		"nothing that reads":  "://" + password,
	} {
		cfg := postgres.Config{DSN: dsn, Logger: slog.New(slog.NewTextHandler(&said, nil)), UnsafeDurability: true}
		s, err := postgres.Open(t.Context(), cfg)
		if err == nil {
			t.Errorf("%s: the store was opened", what)
			harness.Check(t, s.Close())
			continue
		}
		_, status := postgres.MigrationStatus(t.Context(), cfg)
		text := fmt.Sprint(err, status, said.String())
		for _, secret := range []string{password, "canary", "p4ss"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the password is told: %s", what, text)
			}
		}
	}
}

func TestStoreThatMustBeAloneIsOpenedOnce(t *testing.T) {
	t.Parallel()
	cfg := quiet(newDatabase(t))
	alone := cfg
	alone.Alone = true
	first := openStore(t, alone)
	for what, second := range map[string]postgres.Config{"another that is alone": alone, "one that is not": cfg} {
		_, err := postgres.Open(t.Context(), second)
		if !errors.Is(err, postgres.ErrNotAlone) || !strings.Contains(err.Error(), "REDIS_URL") {
			t.Errorf("%s beside one that is alone: %v", what, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	together := []*postgres.Store{openStore(t, cfg), openStore(t, cfg)}
	if _, err := postgres.Open(t.Context(), alone); !errors.Is(err, postgres.ErrNotAlone) {
		t.Errorf("one that is alone beside two that are not: %v", err)
	}
	for _, s := range together {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	openStore(t, alone)
}

const holders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"

func TestHoldOfTheDatabaseIsTakenAgainOrTheProcessEnds(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	fatal := make(chan error, 1)
	cfg := quiet(server.URL(name))
	cfg.Alone, cfg.OnFatal = true, func(err error) { fatal <- err }
	openStore(t, cfg)
	cut := fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_locks l WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = '%s')`, name)
	harness.Check(t, server.Do(name, cut))
	c := connectTo(t, server.URL(name))
	harness.Eventually(t, 20*time.Second, "the hold is taken again", func() bool { return count(t, c, holders) == 1 })
	// Another is waiting for the lock when the session is lost once more.
	var key int64
	if err := c.QueryRow(t.Context(), "SELECT hashtextextended('chatapi ' || current_schema(), 0)").Scan(&key); err != nil {
		t.Fatal(err)
	}
	taken := make(chan error, 1)
	go func() {
		_, err := c.Exec(context.Background(), "SELECT pg_advisory_lock($1)", key)
		taken <- err
	}()
	watch := connectTo(t, server.URL(name))
	harness.Eventually(t, 10*time.Second, "the other waits for the lock", func() bool {
		return count(t, watch, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 1
	})
	harness.Check(t, server.Do(name, cut))
	harness.Check(t, <-taken)
	select {
	case err := <-fatal:
		if !errors.Is(err, postgres.ErrNotAlone) {
			t.Errorf("the process ends for %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a database that was taken over has not ended the process")
	}
}

// TestANewEpochEndsWhoeverLostItsHoldMeanwhile, as at a failover: the server would tell clients of a log that is no more.
func TestANewEpochEndsWhoeverLostItsHoldMeanwhile(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	fatal := make(chan error, 2)
	cfg := quiet(server.URL(name))
	if _, err := postgres.RenewEpoch(t.Context(), cfg); !errors.Is(err, postgres.ErrNoEpoch) {
		t.Errorf("a new epoch of a database that nobody has opened: %v", err)
	}
	cfg.OnFatal = func(err error) { fatal <- err }
	before := []domain.Epoch{openStore(t, cfg).Epoch(), openStore(t, cfg).Epoch()}
	if _, err := postgres.RenewEpoch(t.Context(), cfg); !errors.Is(err, postgres.ErrNotAlone) {
		t.Errorf("a new epoch beside servers: %v", err)
	}
	var renewed domain.Epoch
	harness.Eventually(t, 60*time.Second, "the epoch is renewed before they have hold of the database again", func() bool {
		harness.Check(t, server.Do(name, fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_locks l WHERE locktype = 'advisory'
			AND granted AND database = (SELECT oid FROM pg_database WHERE datname = '%s')`, name)))
		var err error
		renewed, err = postgres.RenewEpoch(t.Context(), cfg)
		return err == nil
	})
	if slices.Contains(before, renewed) {
		t.Errorf("the epoch was %v and is %s", before, renewed)
	}
	for range before {
		select {
		case err := <-fatal:
			if !strings.Contains(err.Error(), "another epoch") {
				t.Errorf("a process ends for %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a server with the old epoch goes on")
		}
	}
}

// TestStoreInASchemaThatIsItsUsersOwn: Postgres looks for tables in the schema of the user's name first, and the store's
// sessions work under names of their own.
func TestStoreInASchemaThatIsItsUsersOwn(t *testing.T) {
	t.Parallel()
	name, err := server.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		harness.Check(t, server.Drop(name))
		harness.Check(t, server.Do("postgres", "DROP ROLE own_schema"))
	})
	for _, statement := range []string{
		"CREATE ROLE own_schema LOGIN PASSWORD 'own'", "GRANT chatapi_tenant, chatapi_operator TO own_schema",
	} {
		harness.Check(t, server.Do("postgres", statement))
	}
	harness.Check(t, server.Do(name, "CREATE SCHEMA AUTHORIZATION own_schema"))
	s := openStore(t, quiet(as(t, server.URL(name), "own_schema", "own")))
	fillTenant(t, s, "tenant_a")
}

// TestHoldOfTheDatabaseEndsWithTheMachine: a machine that is gone says nothing, and the server must find out.
func TestHoldOfTheDatabaseEndsWithTheMachine(t *testing.T) {
	t.Parallel()
	s := openStore(t, quiet(newDatabase(t)))
	err := s.Hold(func(c *pgx.Conn) error {
		for setting, want := range map[string]string{"tcp_keepalives_idle": "10", "tcp_user_timeout": "15000"} {
			var have string
			if err := c.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&have); err != nil {
				return err
			}
			if have != want {
				t.Errorf("the session's %s is %s, want %s", setting, have, want)
			}
		}
		return nil
	})
	harness.Check(t, err)
}

func TestAStartThatWaitsForAnothersMigrationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	empty, err := server.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.Check(t, server.Drop(empty)) })
	other := connectTo(t, server.URL(empty))
	mustExec(t, other, fmt.Sprintf("SELECT pg_advisory_lock(%d)", lock.DefaultLockID)) // as a node that migrates
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		s, err := postgres.Open(ctx, quiet(server.URL(empty)))
		if err == nil {
			err = errors.Join(errors.New("it was opened"), s.Close())
		}
		ended <- err
	}()
	watch := connectTo(t, server.URL(empty))
	harness.Eventually(t, 10*time.Second, "the start waits", func() bool {
		return count(t, watch, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock($1)%'") > 0
	})
	stop()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a start that was stopped: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a start that was stopped goes on waiting")
	}
}
