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
	NewEpoch storeNewEpoch `cmd:"" help:"After a restore, before the first start: have every client fetch anew."`
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
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM) // a copy that is cut short leaves nothing
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
		return fmt.Errorf("a server, or a command, has the store open: stop it first, or its clients would not fetch anew (%w)", err)
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
