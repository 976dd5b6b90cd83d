package sqlite

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Store keeps everything in one SQLite file. It is safe for use by many goroutines.
type Store struct {
	cfg      Config
	path     string
	log      *slog.Logger
	lock     *processLock
	epoch    domain.Epoch
	steady   steady
	readers  *readers
	names    *names
	counts   *sqlrows.Counts
	tenants  *tenantNumbers
	queue    *queue
	writer   *writer
	onCommit atomic.Pointer[func([]domain.Event)]
	stats    counters
	fatal    atomic.Bool

	drained chan struct{} // closed by the writer when it has ended
	lost    chan struct{} // closed by Close when the writer ended without answering
	closing sync.Once
	closed  error
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

// Open opens the store, making and migrating it as needed. Errors: ErrDSN, ErrInUse when another process has it,
// ErrNewerSchema, and a pragma that this file system cannot honour.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	path, err := PathOf(cfg.DSN)
	if err != nil {
		return nil, err
	}
	if path, err = prepareFile(path); err != nil {
		return nil, err
	}
	lock, err := lockProcess(path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, path: path, log: cfg.Logger, lock: lock, names: newNames(), counts: sqlrows.NewCounts(cachedMembers), tenants: newTenantNumbers(),
		queue:   newQueue(),
		drained: make(chan struct{}), lost: make(chan struct{}),
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), lock.release())
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) error {
	if err := migrate(ctx, s.path); err != nil {
		return err
	}
	db, err := openWith(s.path, writerPragmas(s.cfg.UnsafeDurability))
	if err != nil {
		return err
	}
	if s.epoch, err = ensureEpoch(db); err != nil {
		return errors.Join(err, db.close())
	}
	if s.steady, err = openOutbox(db, s.cfg); err != nil {
		return errors.Join(err, db.close())
	}
	if s.readers, err = openReaders(s.path, s.cfg.UnsafeDurability); err != nil {
		return errors.Join(err, db.close())
	}
	s.writer = &writer{
		store: s, conn: db, log: s.log, cache: newCaches(s.tenants.forget), swept: time.Now(), turns: map[domain.Lane]int64{},
	}
	go s.writer.loop()
	return nil
}

// ensureEpoch reads the epoch, made at the first start.
func ensureEpoch(db *conn) (epoch domain.Epoch, err error) {
	read := func() (bool, error) {
		return db.first("SELECT value FROM store_meta WHERE name = 'epoch'", nil, func(r row) { epoch = domain.Epoch(r.Text(0)) })
	}
	found, err := read()
	if err != nil || found {
		return epoch, err
	}
	if err := db.run("INSERT INTO store_meta (name, value) VALUES ('epoch', ?)", string(newEpoch())); err != nil {
		return "", fmt.Errorf("store the epoch: %w", err)
	}
	_, err = read()
	return epoch, err
}

func newEpoch() domain.Epoch {
	fresh := make([]byte, 16)
	_, _ = rand.Read(fresh) // never fails: the runtime ends the process instead
	return domain.Epoch(hex.EncodeToString(fresh))
}

// Epoch implements ports.EpochReader.
func (s *Store) Epoch() domain.Epoch { return s.epoch }

// OnCommit implements ports.CommitLog.
func (s *Store) OnCommit(fn func([]domain.Event)) { s.onCommit.Store(&fn) }

// Update implements ports.Store.
func (s *Store) Update(ctx context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	return s.submit(ctx, tenant, func(t *tx) error {
		if err := t.bind(tenant); err != nil {
			return err
		}
		return fn(t)
	})
}

// Probe implements ports.Prober. It shares a commit with whatever else is being written.
func (s *Store) Probe(ctx context.Context) error {
	now := s.cfg.Clock.Now().Format(time.RFC3339Nano)
	return s.submit(ctx, operator, func(t *tx) error {
		return t.put("INSERT OR REPLACE INTO store_meta (name, value) VALUES ('probe', ?)", now)
	})
}

// KeepProof implements ports.Proofs.
func (s *Store) KeepProof(ctx context.Context, fresh domain.Sealed) (kept domain.Sealed, err error) {
	err = s.submit(ctx, operator, func(t *tx) error {
		err := t.put("INSERT OR IGNORE INTO store_meta (name, value) VALUES ('proof', ?)", hex.EncodeToString(fresh))
		if err != nil {
			return err
		}
		var text string
		if _, err = t.conn.first("SELECT value FROM store_meta WHERE name = 'proof'", nil, func(r row) { text = r.Text(0) }); err != nil {
			return err
		}
		kept, err = hex.DecodeString(text)
		return err
	})
	return kept, err
}

// Close refuses new work, finishes what is queued, empties the write-ahead log and lets the file go. It waits for
// views that are under way. After a failed fsync it leaves the file as it is.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Store) close() error {
	s.queue.close()
	<-s.drained
	failed := []error{s.readers.close()}
	switch {
	case s.fatal.Load():
		close(s.lost) // the writer's connection stays open: closing the last one would checkpoint what may not be on the disk
	case s.writer.conn != nil:
		failed = append(failed, s.writer.finish())
	}
	return errors.Join(append(failed, s.lock.release())...)
}
