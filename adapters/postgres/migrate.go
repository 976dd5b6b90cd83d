package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/chatapi/chatapi/migrations"
)

// ErrNewerSchema is a database written by a newer release than this one.
var ErrNewerSchema = errors.New("postgres: the database was written by a newer release; start that one, or restore a backup")

// Migrate brings the database of a DSN to this binary's schema. Processes that start at once wait for each other, and each
// step is applied once and as a whole; servers that run go on. Errors: ErrDSN, ErrServer, ErrRoles, ErrNewerSchema.
func Migrate(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	c, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer closeNow(c)
	if err := checkServer(ctx, c, cfg); err != nil {
		return err
	}
	return migrate(ctx, c, cfg)
}

// migrate applies what the database lacks. Most starts find nothing to be done, by a look on a connection that is there.
func migrate(ctx context.Context, c *pgx.Conn, cfg Config) error {
	steps, err := statusOf(ctx, c)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(steps, func(m Migration) bool { return m.AppliedAt.IsZero() }) {
		return applySteps(ctx, cfg)
	}
	return nil
}

// How long a process waits for another that migrates, in seconds.
const (
	migratePoll     = 1
	migratePatience = 300
)

func applySteps(ctx context.Context, cfg Config) (err error) {
	db, err := openSQL(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	waiting, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(migratePoll, migratePatience), lock.WithUnlockTimeout(1, 10))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Postgres(),
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(waiting))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", explainRoles(err))
	}
	return nil
}

// openSQL is for goose, whose steps may take as long as they do.
func openSQL(cfg Config) (*sql.DB, error) {
	parsed, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	prepareConnect(parsed.ConnConfig)
	parsed.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	return stdlib.OpenDB(*parsed.ConnConfig), nil
}

// Migration is one step of the schema.
type Migration struct {
	Version   int64
	Name      string    // as in the file's name, without number and ending
	AppliedAt time.Time // in whole seconds; zero: pending
}

// MigrationStatus lists the steps that this binary knows, in order, and which of them the database has. It only reads, and
// takes no lock, so that it works beside running servers. Errors: ErrDSN, ErrNewerSchema.
func MigrationStatus(ctx context.Context, cfg Config) ([]Migration, error) {
	c, err := connect(ctx, cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	defer closeNow(c)
	return statusOf(ctx, c)
}

func statusOf(ctx context.Context, c *pgx.Conn) ([]Migration, error) {
	applied, err := appliedVersions(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	return matchSteps(applied)
}

// appliedVersions is when each step was applied. A database that was never migrated has none.
func appliedVersions(ctx context.Context, c *pgx.Conn) (map[int64]time.Time, error) {
	var exists bool
	const hasTable = "SELECT to_regclass('" + goose.DefaultTablename + "') IS NOT NULL"
	if err := c.QueryRow(ctx, hasTable).Scan(&exists); err != nil || !exists {
		return nil, err
	}
	const list = "SELECT version_id, extract(epoch FROM max(tstamp))::bigint FROM " + goose.DefaultTablename +
		" WHERE is_applied AND version_id > 0 GROUP BY version_id"
	rows, err := c.Query(ctx, list)
	if err != nil {
		return nil, err
	}
	applied := map[int64]time.Time{}
	var version, at int64
	_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error {
		applied[version] = time.Unix(at, 0).UTC()
		return nil
	})
	return applied, err
}

// matchSteps refuses a database that has a step beyond the last one known.
func matchSteps(applied map[int64]time.Time) (steps []Migration, err error) {
	files, err := fs.Glob(migrations.Postgres(), "*.sql")
	if err != nil {
		return nil, err
	}
	var newest, current int64
	for _, file := range files {
		number, name, _ := strings.Cut(strings.TrimSuffix(file, ".sql"), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the migrations: %w", err)
		}
		steps = append(steps, Migration{Version: version, Name: name, AppliedAt: applied[version]})
		newest = max(newest, version)
	}
	for version := range applied {
		current = max(current, version)
	}
	if current > newest {
		return nil, fmt.Errorf("%w (its schema is %d, known are up to %d)", ErrNewerSchema, current, newest)
	}
	return steps, nil
}
