package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/test/harness"
)

// server is a private Postgres for the tests of this process, without fsync; template is a migrated database of it.
var (
	server   *harness.PGServer
	template string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	err := launch()
	defer func() {
		if server != nil {
			if err := server.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "close Postgres:", err)
			}
		}
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start a Postgres for the tests:", err)
		return 1
	}
	return m.Run()
}

func launch() (err error) {
	if server, err = harness.LaunchPG(false); err != nil {
		return err
	}
	if template, err = server.NewDatabase(); err != nil {
		return err
	}
	ctx := context.Background()
	if err := postgres.Migrate(ctx, postgres.Config{DSN: server.URL(template), UnsafeDurability: true}); err != nil {
		return err
	}
	spare.wipe, err = wipeAll(ctx, server.URL(template))
	return err
}

// newDatabase is the DSN of a migrated database without rows, the test's until its end. The next test is given it then:
// removing a test's rows costs a tenth of another database. Who alters the schema takes an ownDatabase.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	name, ok := spare.take()
	if !ok {
		name = clone(tb)
	}
	tb.Cleanup(func() {
		if err := server.Do(name, spare.wipe); err != nil {
			tb.Errorf("empty a database: %v", err)
			return
		}
		spare.put(name)
	})
	return server.URL(name)
}

// ownDatabase is the name of a migrated database that is removed at the end of the test.
func ownDatabase(tb testing.TB) string {
	tb.Helper()
	name := clone(tb)
	tb.Cleanup(func() {
		if err := server.Drop(name); err != nil {
			tb.Errorf("drop a database: %v", err)
		}
	})
	return name
}

func clone(tb testing.TB) string {
	tb.Helper()
	name, err := server.Clone(template)
	if err != nil {
		tb.Fatalf("make a database: %v", err)
	}
	return name
}

// spare are databases that no test uses at the moment.
var spare databases

type databases struct {
	wipe string // statements that leave no row, set once
	mu   sync.Mutex
	free []string
}

func (d *databases) take() (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.free) == 0 {
		return "", false
	}
	name := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	return name, true
}

func (d *databases) put(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = append(d.free, name)
}

// wipeAll makes the statements that empty a database like the one of a DSN.
func wipeAll(ctx context.Context, dsn string) (string, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
	if err != nil {
		return "", err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	statements := []string{"SET session_replication_role = replica"} // foreign keys are of no interest
	for _, table := range tables {
		switch table {
		case "goose_db_version":
		case "outbox_state":
			statements = append(statements, "UPDATE outbox_state SET now = 0, at = 0")
		default:
			statements = append(statements, "DELETE FROM "+table)
		}
	}
	return strings.Join(statements, "; "), nil
}

// openStore opens a store, on a database of the test's own if none is named, and closes it at the end.
func openStore(tb testing.TB, cfg postgres.Config) *postgres.Store {
	tb.Helper()
	if cfg.DSN == "" {
		cfg.DSN = newDatabase(tb)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})) // is shown of a test that fails
	}
	if cfg.OnFatal == nil {
		cfg.OnFatal = func(err error) { tb.Errorf("fatal: %v", err) }
	}
	cfg.UnsafeDurability = true
	s, err := postgres.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatalf("open the store: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil { // of one that was closed before: what its first Close has said
			tb.Errorf("close the store: %v", err)
		}
	})
	return s
}
