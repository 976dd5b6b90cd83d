package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/chatapi/chatapi/migrations"
)

// ErrNewerSchema is a database written by a newer release than this one.
var ErrNewerSchema = errors.New("sqlite: the database was written by a newer release; start that one, or restore a backup")

// lockPatience is how long Migrate waits for another process that migrates.
const lockPatience = 10 * time.Second

// Migrate brings the database of a DSN to this binary's schema, making it first if need be. Processes that start at
// once wait for each other for 10 s, each step is applied once and as a whole. Errors: ErrInUse when a server has
// the database open, ErrNewerSchema.
func Migrate(ctx context.Context, dsn string) error {
	path, err := PathOf(dsn)
	if err != nil {
		return err
	}
	if path, err = prepareFile(path); err != nil {
		return err
	}
	lock, err := waitForLock(ctx, path, lockPatience)
	if err != nil {
		return err
	}
	return errors.Join(migrate(ctx, path), lock.release())
}

// migrate needs the process lock.
func migrate(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", uri(path)+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"+
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations.SQLite(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if current > known {
		return fmt.Errorf("%w (its schema is %d, known are up to %d)", ErrNewerSchema, current, known)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
