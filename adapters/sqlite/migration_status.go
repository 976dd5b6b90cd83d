package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/chatapi/chatapi/migrations"
)

// Migration is one step of the schema.
type Migration struct {
	Version   int64
	Name      string    // as in the file's name, without number and ending
	AppliedAt time.Time // in whole seconds; zero: pending
}

// MigrationStatus lists the steps that this binary knows, in order, and which of them the database has. It only reads,
// and takes no lock, so that it works beside a running server; where none runs, SQLite may leave an empty -wal file and
// its -shm until the next start. Errors: ErrDSN, fs.ErrNotExist when there is no database, ErrNewerSchema.
func MigrationStatus(ctx context.Context, dsn string) (steps []Migration, err error) {
	file, err := PathOf(dsn)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", uri(file)+"?mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations.SQLite(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	applied, err := appliedVersions(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	return matchSteps(provider.ListSources(), applied)
}

// appliedVersions is when each step was applied. A file that was never migrated has none. The provider's own listing
// would make its table there.
func appliedVersions(ctx context.Context, db *sql.DB) (applied map[int64]time.Time, err error) {
	var tables int
	const hasTable = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '" + goose.DefaultTablename + "'"
	if err := db.QueryRowContext(ctx, hasTable).Scan(&tables); err != nil || tables == 0 {
		return nil, err
	}
	const list = "SELECT version_id, max(unixepoch(tstamp)) FROM " + goose.DefaultTablename +
		" WHERE is_applied AND version_id > 0 GROUP BY version_id"
	rows, err := db.QueryContext(ctx, list)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	applied = map[int64]time.Time{}
	for rows.Next() {
		var version, at int64
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		applied[version] = time.Unix(at, 0).UTC()
	}
	return applied, rows.Err()
}

// matchSteps refuses a database that has a step beyond the last one known.
func matchSteps(known []*goose.Source, applied map[int64]time.Time) (steps []Migration, err error) {
	var newest, current int64
	for _, source := range known {
		_, name, _ := strings.Cut(strings.TrimSuffix(path.Base(source.Path), ".sql"), "_")
		steps = append(steps, Migration{Version: source.Version, Name: name, AppliedAt: applied[source.Version]})
		newest = max(newest, source.Version)
	}
	for version := range applied {
		current = max(current, version)
	}
	if current > newest {
		return nil, fmt.Errorf("%w (its schema is %d, known are up to %d)", ErrNewerSchema, current, newest)
	}
	return steps, nil
}
