package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
)

type storeCommand struct {
	Backup   storeBackup   `cmd:"" help:"Copy a SQLite store to a new file; also beside a running server."`
	Restore  storeRestore  `cmd:"" help:"Put a copy in a SQLite store's place, for a server that is stopped; what was there is kept beside it."`
	NewEpoch storeNewEpoch `cmd:"" help:"After a restore by other means, before the first start: have every client fetch anew."`
}

type storeBackup struct {
	File string `arg:"" help:"Where the copy goes; nothing may be there yet."`
	printing
}

// Run implements the command.
func (b *storeBackup) Run(ctx context.Context, c console) error {
	cfg, err := commandConfig(c)
	if err != nil {
		return err
	}
	if cfg.onPostgres() {
		return errors.New("the store is on Postgres: back it up with the tools of Postgres, continuous archiving or pg_dump")
	}
	if _, err := os.Stat(cfg.DataPath); errors.Is(err, fs.ErrNotExist) {
		return noStore(c, cfg.DataPath)
	}
	if strings.HasPrefix(b.File, "file:") {
		return fmt.Errorf("%s: say where the copy goes as a path, not as a DSN", b.File)
	}
	ctx, stop := untilStopped(ctx)
	defer stop()
	if err := sqlite.Backup(ctx, cfg.DatabaseDSN, b.File); err != nil {
		return err
	}
	file, err := filepath.Abs(b.File)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.keyPath()); err == nil && !cfg.SecretsKey.IsSet() {
		_, _ = fmt.Fprintf(c.err, "chatapi: keep a copy of %s too, in another place: it opens the secrets that are in the store\n", cfg.keyPath())
	}
	answer, err := json.Marshal(map[string]any{"file": file, "bytes": info.Size()})
	if err != nil {
		return err
	}
	return b.print(c, answer, "file", "bytes")
}

type storeRestore struct {
	File string `arg:"" help:"The copy; it stays as it is."`
	printing
}

// Run implements the command.
func (r *storeRestore) Run(ctx context.Context, c console) error {
	cfg, err := commandConfig(c)
	if err != nil {
		return err
	}
	if cfg.onPostgres() {
		return errors.New("the store is on Postgres: restore it with the tools of Postgres, then run chatapi store new-epoch")
	}
	ctx, stop := untilStopped(ctx)
	defer stop()
	kept, err := sqlite.Restore(ctx, cfg.DatabaseDSN, r.File)
	if errors.Is(err, sqlite.ErrInUse) {
		return inUse(err)
	}
	if err != nil {
		return err
	}
	restored := map[string]string{"store": cfg.DataPath}
	if kept != "" {
		restored["kept"] = kept
	}
	answer, err := json.Marshal(restored)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.keyPath()); errors.Is(err, fs.ErrNotExist) && !cfg.SecretsKey.IsSet() {
		_, _ = fmt.Fprintf(c.err, "chatapi: put the copy of %s in its place before the start: without it the secrets in the store stay closed\n", cfg.keyPath())
	}
	return r.print(c, answer, "store", "kept")
}

func inUse(err error) error {
	return fmt.Errorf("a server, or a command, has the store open: stop it first, or its clients would not fetch anew (%w)", err)
}

// untilStopped ends with a signal: what is cut short in order leaves nothing.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

type storeNewEpoch struct{ printing }

// Run implements the command. It makes no store.
func (n *storeNewEpoch) Run(ctx context.Context, c console) error {
	cfg, err := commandConfig(c)
	if err != nil {
		return err
	}
	epoch, err := renewEpoch(ctx, cfg)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return noStore(c, cfg.DataPath)
	case errors.Is(err, sqlite.ErrInUse):
		return inUse(err)
	case errors.Is(err, postgres.ErrNotAlone):
		return fmt.Errorf("a server has the store open: %s: stop all of them first, or their clients would not fetch anew", cfg.storeName())
	case err != nil:
		return fmt.Errorf("DATABASE_DSN: %w", err)
	}
	answer, err := json.Marshal(map[string]any{"epoch": epoch})
	if err != nil {
		return err
	}
	return n.print(c, answer, "epoch")
}

func renewEpoch(ctx context.Context, cfg *Config) (domain.Epoch, error) {
	if cfg.onPostgres() {
		return postgres.RenewEpoch(ctx, postgres.Config{DSN: cfg.DatabaseDSN, UnsafeDurability: true})
	}
	return sqlite.RenewEpoch(ctx, cfg.DatabaseDSN)
}
