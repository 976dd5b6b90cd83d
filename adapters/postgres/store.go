package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Store keeps everything in one Postgres database, which other nodes may use too. It is safe for use by many goroutines.
type Store struct {
	cfg       Config
	log       *slog.Logger
	epoch     domain.Epoch
	tenants   *pgxpool.Pool // of the role that sees one tenant's rows
	appenders *pgxpool.Pool // the same, for batches of sends, which do not wait behind other work
	operators *pgxpool.Pool // of the role that sees all
	work      *gate         // units of work of the tenants' pool
	views     *gate         // views of it
	doors     *doors
	claim     *claim
	steady    *steady
	time      *timekeeper // nil for a command
	dispatch  *dispatcher
	counts    *sqlrows.Counts
	departing departing
	appends   *batcher
	numbers   numbers
	sweeper   *sweeper
	turns     turns
	waiting   waiting
	stats     counters
	sick      atomic.Bool // the server failed lately: said once, not for every unit of work

	mu      sync.Mutex
	ending  bool           // no more work is taken
	working sync.WaitGroup // units of work and views that have begun

	closing sync.Once
	outcome error
}

// The ports that Store implements.
var (
	_ ports.Store         = (*Store)(nil)
	_ ports.Appender      = (*Store)(nil)
	_ ports.CommitLog     = (*Store)(nil)
	_ ports.Tenants       = (*Store)(nil)
	_ ports.TenantWriter  = (*Store)(nil)
	_ ports.Purger        = (*Store)(nil)
	_ ports.Meters        = (*Store)(nil)
	_ ports.Outbox        = (*Store)(nil)
	_ ports.Notifications = (*Store)(nil)
	_ ports.Keys          = (*Store)(nil)
	_ ports.KeyWriter     = (*Store)(nil)
	_ ports.Prober        = (*Store)(nil)
	_ ports.EpochReader   = (*Store)(nil)
	_ ports.Proofs        = (*Store)(nil)
	_ ports.Reader        = (*view)(nil)
	_ ports.Tx            = (*tx)(nil)
)

// Open opens the store, making and migrating its schema as needed; nodes that start at once wait for each other. Errors:
// ErrDSN, ErrServer, ErrRoles, ErrNewerSchema, ErrNotAlone when another process has it and one of them must be alone.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if _, err := cfg.parse(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: cfg.Logger, counts: sqlrows.NewCounts(countedMembers)}
	work := placesOfWork(cfg.MaxConns)
	s.work, s.views, s.doors = newGate(work, greedOfWork), newGate(cfg.MaxConns, greedOfViews), newDoors(work)
	if err := s.start(ctx); err != nil {
		s.end()
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) (err error) {
	if s.claim, err = claimStore(ctx, s.cfg); err != nil {
		return err
	}
	if err := s.claim.use(func(c *pgx.Conn) error { return migrate(ctx, c, s.cfg) }); err != nil {
		return err
	}
	if s.tenants, err = newPool(ctx, s.cfg, "chatapi_tenant", s.cfg.MaxConns); err != nil {
		return err
	}
	if s.appenders, err = newPool(ctx, s.cfg, "chatapi_tenant", maxFlights, planOnce); err != nil {
		return err
	}
	if s.operators, err = newPool(ctx, s.cfg, "chatapi_operator", operatorConns); err != nil {
		return err
	}
	s.dispatch = newDispatcher()
	if err := s.ensureEpoch(ctx); err != nil {
		return err
	}
	if err := s.openOutbox(ctx); err != nil {
		return err
	}
	if s.time, err = s.keepTimeAlways(ctx); err != nil {
		return err
	}
	s.appends = newBatcher(s)
	s.sweeper = newSweeper(s)
	return nil
}

// ensureEpoch reads the epoch, made by the first node at its first start.
func (s *Store) ensureEpoch(ctx context.Context) error {
	fresh, err := s.cfg.newEpoch()
	if err != nil {
		return err
	}
	text, err := s.keepMeta(ctx, "epoch", string(fresh))
	if err != nil {
		return err
	}
	s.epoch = domain.Epoch(text)
	s.claim.standOn(s.epoch)
	return nil
}

func (cfg Config) newEpoch() (domain.Epoch, error) {
	fresh := make([]byte, 16)
	if _, err := io.ReadFull(cfg.Random, fresh); err != nil {
		return "", fmt.Errorf("make an epoch: %w", err)
	}
	return domain.Epoch(hex.EncodeToString(fresh)), nil
}

// ErrNoEpoch is a database that has no epoch to be renewed.
var ErrNoEpoch = errors.New("postgres: no epoch is stored: this is no store, or one that no server has opened yet")

// RenewEpoch gives the database another epoch, so that clients take it for another log than the one they have seen. It
// neither makes nor migrates a schema, and holds the database alone meanwhile. A node that had lost its hold, as at a failover,
// finds out when it takes it again, and ends. Errors: ErrDSN, ErrServer, ErrNoEpoch, ErrNotAlone when a server has it open.
func RenewEpoch(ctx context.Context, cfg Config) (epoch domain.Epoch, err error) {
	cfg = cfg.withDefaults()
	cfg.Alone, cfg.Beside = true, false
	held, err := claimStore(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, held.release()) }()
	if epoch, err = cfg.newEpoch(); err != nil {
		return "", err
	}
	err = held.use(func(c *pgx.Conn) error {
		done, err := c.Exec(ctx, "UPDATE store_meta SET value = $1 WHERE name = 'epoch'", string(epoch))
		if codeOf(err) == undefinedTable || err == nil && done.RowsAffected() == 0 {
			return ErrNoEpoch
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("renew the epoch: %w", err)
	}
	return epoch, nil
}

// keepMeta stores a value that is made once, and returns what is kept.
func (s *Store) keepMeta(ctx context.Context, name, fresh string) (kept string, err error) {
	err = s.operate(ctx, func(t *tx) error {
		if err := t.put("INSERT INTO store_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", name, fresh); err != nil {
			return err
		}
		_, err := t.conn.first("SELECT value FROM store_meta WHERE name = $1", args(name), func(r row) { kept = r.Text(0) })
		return err
	})
	return kept, err
}

// Epoch implements ports.EpochReader.
func (s *Store) Epoch() domain.Epoch { return s.epoch }

// OnCommit implements ports.CommitLog. It tells of this process's commits.
func (s *Store) OnCommit(fn func([]domain.Event)) { s.dispatch.listen(fn) }

// Probe implements ports.Prober.
func (s *Store) Probe(ctx context.Context) error {
	now := s.cfg.Clock.Now().Format(time.RFC3339Nano)
	return s.operate(ctx, func(t *tx) error {
		return t.put("INSERT INTO store_meta (name, value) VALUES ('probe', $1) ON CONFLICT (name) DO UPDATE SET value = $1", now)
	})
}

// KeepProof implements ports.Proofs.
func (s *Store) KeepProof(ctx context.Context, fresh domain.Sealed) (domain.Sealed, error) {
	text, err := s.keepMeta(ctx, "proof", hex.EncodeToString(fresh))
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(text)
}

// enter begins a unit of work or a view, unless the store is closing; leave ends it.
func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.working.Add(1)
	}
	return !s.ending
}

func (s *Store) leave() { s.working.Done() }

func (s *Store) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// Close refuses new work, finishes what has begun or is queued, and lets the database go.
func (s *Store) Close() error {
	s.closing.Do(s.end)
	return s.outcome
}

// end closes as much of the store as was opened.
func (s *Store) end() {
	s.time.close()
	if s.sweeper != nil {
		s.sweeper.close()
	}
	if s.appends != nil {
		s.appends.close()
	}
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.working.Wait()
	if s.dispatch != nil {
		s.dispatch.close()
	}
	for _, pool := range []*pgxpool.Pool{s.tenants, s.appenders, s.operators} {
		if pool != nil {
			pool.Close()
		}
	}
	if s.claim != nil {
		s.outcome = errors.Join(s.outcome, s.claim.release())
	}
}

// ail says once that the server cannot be used, and recover that it can be again.
func (s *Store) ail(err error) {
	if s.sick.CompareAndSwap(false, true) {
		s.log.Error("store cannot be used", "error", err)
	}
}

func (s *Store) recover() {
	if s.sick.Load() && s.sick.CompareAndSwap(true, false) {
		s.log.Info("store can be used again")
	}
}
