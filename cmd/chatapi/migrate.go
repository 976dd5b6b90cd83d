package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/adapters/sqlite"
)

type migrateCommand struct {
	Up     migrateUp     `cmd:"" help:"Apply the steps that the store's schema lacks, as a server does at its start."`
	Status migrateStatus `cmd:"" help:"List the schema's steps, applied and pending; also beside a running server."`
}

// The states of a step.
const (
	stepApplied = "applied"
	stepPending = "pending"
)

// timeFormat is how the API writes times, too.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// schemaStep is a step of the schema as it is printed.
type schemaStep struct {
	Version   int64  `json:"version"`
	Name      string `json:"name"`
	State     string `json:"state"`
	AppliedAt string `json:"applied_at,omitempty"`
}

type migrateStatus struct{ printing }

// Run implements the command. It makes no store and changes none.
func (m *migrateStatus) Run(ctx context.Context, c console) error {
	cfg, err := commandConfig(c)
	if err != nil {
		return err
	}
	steps, err := schemaSteps(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return noStore(c, cfg.DataPath)
	}
	if err != nil {
		return err
	}
	return m.printSteps(c, steps)
}

type migrateUp struct{ printing }

// Run implements the command: it prints the steps that it applied.
func (m *migrateUp) Run(ctx context.Context, c console) error {
	cfg, err := commandConfig(c)
	if err != nil {
		return err
	}
	before, err := schemaSteps(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		err = newStore(c, cfg.DataPath)
	}
	if err != nil {
		return err
	}
	if err := migrateStopped(ctx, cfg); err != nil {
		return err
	}
	after, err := schemaSteps(ctx, cfg)
	if err != nil {
		return err
	}
	done := slices.DeleteFunc(after, func(s schemaStep) bool { return s.State == stepPending || slices.Contains(before, s) })
	if len(done) == 0 && !m.JSON {
		_, err := fmt.Fprintln(c.err, "nothing to apply: the schema is up to date")
		return err
	}
	return m.printSteps(c, done)
}

// migrateStopped migrates the store of a server that does not run.
func migrateStopped(ctx context.Context, cfg *Config) error {
	if cfg.onPostgres() {
		if err := postgres.Migrate(ctx, postgres.Config{DSN: cfg.DatabaseDSN, UnsafeDurability: true}); err != nil {
			return fmt.Errorf("DATABASE_DSN: %w", err)
		}
		return nil
	}
	address, _ := socketAddress(cfg.socketPath()) // where there can be no socket, the store's lock tells of a server
	if op := dialOperator(ctx, address); op != nil {
		op.close()
		return serverRuns(cfg)
	}
	err := sqlite.Migrate(ctx, cfg.DatabaseDSN)
	if errors.Is(err, sqlite.ErrInUse) {
		return fmt.Errorf("%w (%w)", serverRuns(cfg), err)
	}
	if err != nil {
		return fmt.Errorf("DATABASE_DSN: %w", err)
	}
	return nil
}

func serverRuns(cfg *Config) error {
	return fmt.Errorf("a server has the store open: %s: it has migrated it at its start, as every server does; "+
		"to apply newer steps stop it, and start the newer release in its place", cfg.DataPath)
}

// schemaSteps is fs.ErrNotExist when there is no store.
func schemaSteps(ctx context.Context, cfg *Config) ([]schemaStep, error) {
	var steps []schemaStep
	add := func(version int64, name string, at time.Time) {
		s := schemaStep{Version: version, Name: name, State: stepPending}
		if !at.IsZero() {
			s.State, s.AppliedAt = stepApplied, at.Format(timeFormat)
		}
		steps = append(steps, s)
	}
	if err := eachStep(ctx, cfg, add); err != nil {
		return nil, fmt.Errorf("DATABASE_DSN: %w", err)
	}
	return steps, nil
}

// eachStep tells the steps that the store's dialect has, with a zero time those that were not applied.
func eachStep(ctx context.Context, cfg *Config, tell func(version int64, name string, at time.Time)) error {
	if cfg.onPostgres() {
		migrations, err := postgres.MigrationStatus(ctx, postgres.Config{DSN: cfg.DatabaseDSN})
		for _, m := range migrations {
			tell(m.Version, m.Name, m.AppliedAt)
		}
		return err
	}
	migrations, err := sqlite.MigrationStatus(ctx, cfg.DatabaseDSN)
	for _, m := range migrations {
		tell(m.Version, m.Name, m.AppliedAt)
	}
	return err
}

func (p printing) printSteps(c console, steps []schemaStep) error {
	if p.JSON {
		return writeJSON(c.out, steps)
	}
	objects := make([]json.RawMessage, len(steps))
	for i, s := range steps {
		object, err := json.Marshal(s)
		if err != nil {
			return err
		}
		objects[i] = object
	}
	return printTable(c.out, objects, "version", "name", "state", "applied_at")
}
