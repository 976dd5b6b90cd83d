package postgres

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/ports"
)

// Config says where the store is and what it needs. Only DSN is required.
type Config struct {
	// DSN is a URL, postgres://user:password@host:5432/database?sslmode=…, or keywords, "host=… user=…". Its password is
	// in no error and no log. A pooler in between must keep sessions: the store sets a role for each.
	DSN string
	// Alone says that no other process may have the store open: the case without Redis, in which nodes would not hear of
	// each other. Leases of a process that was there before are ended.
	Alone bool
	// Beside says that this process is a command beside whatever servers have the store open: it holds nothing of it.
	Beside bool
	// UnsafeDurability accepts a server that may lose what it has confirmed. For throw-away stores.
	UnsafeDurability bool
	// MaxConns is how many connections units of work and views have; 0 is 16, or 4 for each processor if that is more. Units
	// of work have three quarters of them at most, and of one tenant half of those.
	// Batches of sends have up to 4 beside them, work across tenants 4 too, and one holds the store.
	MaxConns int
	// Clock says when Idempotency-Keys expire, and what time of day the times of jobs mean; nil is the system's.
	Clock ports.Clock
	// Elapsed is how much time has passed since some moment, whatever is done to the clock: what the outbox goes by. nil
	// is the system's. Safe for concurrent use, like Clock.
	Elapsed func() time.Duration
	// Random is the source of the epoch; nil is the system's.
	Random io.Reader
	// Logger hears of failures that clients see only as a 503; nil is slog.Default().
	Logger *slog.Logger
	// OnFatal is called once when the store is not this process's alone any more, although it must be, or was given another
	// epoch: it must end the process. nil exits with status 1; the failure was logged.
	OnFatal func(error)
}

// ErrDSN is a DSN this store cannot be opened from.
var ErrDSN = errors.New("postgres: bad DSN")

// operatorConns are the connections of work across tenants: claims, keys, purges.
const operatorConns = 4

func (cfg Config) withDefaults() Config {
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = max(16, 4*runtime.GOMAXPROCS(0))
	}
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.Elapsed == nil {
		started := time.Now()
		cfg.Elapsed = func() time.Duration { return time.Since(started) }
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.OnFatal == nil {
		cfg.OnFatal = func(error) { os.Exit(1) }
	}
	return cfg
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// parse reads the DSN. What the library says of one that it cannot read may quote it, password and all: it is not told.
func (cfg Config) parse() (*pgxpool.Config, error) {
	parsed, err := pgxpool.ParseConfig(cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("%w: it is neither a postgres:// URL nor a list of keyword=value, or names a file of certificates "+
			"that cannot be read", ErrDSN)
	}
	return parsed, nil
}
