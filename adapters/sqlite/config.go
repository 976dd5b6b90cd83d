package sqlite

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Config says where the store is and what it needs. Only DSN is required.
type Config struct {
	// DSN is a path or a file: URI. Only the path is taken from it: the store sets its own pragmas.
	DSN string
	// UnsafeDurability leaves out every fsync: a power cut loses or damages the store. For throw-away stores.
	UnsafeDurability bool
	// Clock says when Idempotency-Keys expire, and what time of day the times of jobs mean; nil is the system's.
	Clock ports.Clock
	// Elapsed is how much time has passed since some moment, whatever is done to the clock: what the outbox goes by. nil
	// is the system's. Safe for concurrent use, like Clock.
	Elapsed func() time.Duration
	// Logger hears of failures that clients see only as a 503; nil is slog.Default().
	Logger *slog.Logger
	// OnFatal is called once when the durability of a commit is unknown, as after a failed fsync. Nothing is answered
	// and nothing written after it: it must end the process. nil logs and exits with status 1.
	OnFatal func(error)
}

// ErrDSN is a DSN this store cannot be opened from.
var ErrDSN = errors.New("sqlite: bad DSN")

func (cfg Config) withDefaults() Config {
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.Elapsed == nil {
		started := time.Now()
		cfg.Elapsed = func() time.Duration { return time.Since(started) }
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

// PathOf returns the file that a DSN names, as an absolute path: "data/chat.db", "file:data/chat.db" and
// "file:///srv/chat.db?_journal_mode=WAL" are accepted, with parameters ignored. Databases in memory are ErrDSN: a
// message must survive the process.
func PathOf(dsn string) (string, error) {
	path, query, _ := strings.Cut(dsn, "?")
	if rest, ok := strings.CutPrefix(path, "file:"); ok {
		unescaped, err := url.PathUnescape(strings.TrimPrefix(rest, "//localhost"))
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrDSN, err)
		}
		path = strings.TrimPrefix(unescaped, "//")
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDSN, err)
	}
	scheme, _, hasScheme := strings.Cut(path, ":")
	switch {
	case hasScheme && len(scheme) > 1 && !strings.ContainsAny(scheme, `/\.`): // one letter is a Windows drive
		return "", fmt.Errorf("%w: %s: is no scheme of a store; say file:PATH, just PATH, or postgres://user@host:5432/database", ErrDSN, scheme)
	case params.Get("mode") == "ro", params.Get("immutable") == "1":
		return "", fmt.Errorf("%w: the store must be writable", ErrDSN)
	case path == "":
		return "", fmt.Errorf("%w: it names no file", ErrDSN)
	case strings.Contains(path, ":memory:"), params.Get("mode") == "memory":
		return "", fmt.Errorf("%w: a database in memory would lose what was acknowledged; name a file", ErrDSN)
	case strings.ContainsRune(path, 0):
		return "", fmt.Errorf("%w: the path holds a NUL", ErrDSN)
	}
	return filepath.Abs(path)
}

// uri spells a path so that the driver reads nothing but a file name in it.
func uri(path string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // a Windows drive
	}
	return (&url.URL{Scheme: "file", Path: slashed}).String()
}
