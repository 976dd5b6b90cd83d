package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/domain"
)

// ErrNotAlone is a database that another process has open, when one of the two does without Redis: their users would not
// see each other's messages until they come back.
var ErrNotAlone = errors.New("postgres: another server has this database open; to run more than one, set REDIS_URL for all of them")

// errRestored is a database that was given another epoch while this process had no hold of it: what it tells clients is of
// another log.
var errRestored = errors.New("postgres: the database has another epoch than at the start: it was restored")

// claim is the hold of a process on the database: a lock of a session of its own, exclusive when the process must be
// alone, shared when there may be others of its kind. It ends with the process, whatever way that ends.
type claim struct {
	cfg    Config
	stop   context.CancelFunc
	ended  chan struct{}
	mu     sync.Mutex
	holder *pgx.Conn    // nil while it is lost
	keeps  bool         // the store's time, which others are to know
	epoch  domain.Epoch // that clients were told; empty until it is known
}

const (
	watchEvery    = 2 * time.Second // between looks whether the session is still there
	watchPatience = 3 * time.Second // for an answer
	claimPatience = 3 * time.Second // at Open: a process that was killed may still be there for a moment
	claimEvery    = 100 * time.Millisecond
)

// claimStore takes hold of the database, or says that somebody else has it.
func claimStore(ctx context.Context, cfg Config) (*claim, error) {
	c := &claim{cfg: cfg, ended: make(chan struct{})}
	deadline := time.Now().Add(claimPatience)
	for {
		holder, err := c.take(ctx)
		if err == nil {
			c.holder = holder
			break
		}
		if !errors.Is(err, ErrNotAlone) || time.Now().After(deadline) || ctx.Err() != nil {
			return nil, err
		}
		select {
		case <-time.After(claimEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	watching, stop := context.WithCancel(background)
	c.stop = stop
	go c.watch(watching)
	return c, nil
}

// The lock is the schema's, so that two stores may be in schemas of one database.
const (
	claimAlone    = "SELECT pg_try_advisory_lock(hashtextextended('chatapi ' || current_schema(), 0))"
	claimNothing  = "SELECT true"
	claimTogether = "SELECT pg_try_advisory_lock_shared(hashtextextended('chatapi ' || current_schema(), 0))"
)

// take makes a session that has the lock. The server may be another than before, after a failover: it is looked at anew.
func (c *claim) take(ctx context.Context) (*pgx.Conn, error) {
	holder, err := connect(ctx, c.cfg)
	if err != nil {
		return nil, err
	}
	if _, err := holder.PgConn().Exec(ctx, alive).ReadAll(); err != nil {
		closeNow(holder)
		return nil, fmt.Errorf("set up a session: %w", err)
	}
	if err := checkServer(ctx, holder, c.cfg); err != nil {
		closeNow(holder)
		return nil, err
	}
	query := claimTogether
	switch {
	case c.cfg.Alone:
		query = claimAlone
	case c.cfg.Beside:
		query = claimNothing
	}
	var taken bool
	if err = holder.QueryRow(ctx, query).Scan(&taken); err == nil && !taken {
		err = ErrNotAlone
	}
	if err == nil && c.keeps {
		_, err = holder.Exec(ctx, timeKept)
	}
	if err == nil && c.epoch != "" {
		err = c.compareEpoch(ctx, holder)
	}
	if err != nil {
		closeNow(holder)
		return nil, err
	}
	return holder, nil
}

// standOn has the process end when it finds another epoch after it had lost its hold.
func (c *claim) standOn(epoch domain.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch = epoch
}

func (c *claim) compareEpoch(ctx context.Context, holder *pgx.Conn) error {
	var now string
	if err := holder.QueryRow(ctx, "SELECT value FROM store_meta WHERE name = 'epoch'").Scan(&now); err != nil {
		c.cfg.Logger.Warn("does not know whether the database is the one it was", "error", err)
		return fmt.Errorf("read the epoch: %w", err)
	}
	if domain.Epoch(now) != c.epoch {
		return errRestored
	}
	return nil
}

// watch sees to it that the lock is held, or taken again when its session was lost.
func (c *claim) watch(ctx context.Context) {
	defer close(c.ended)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.look(ctx)
		if errors.Is(err, errRestored) {
			c.cfg.Logger.Error("the database was restored, ending", "error", err)
			c.cfg.OnFatal(err)
			return
		}
		if !errors.Is(err, ErrNotAlone) {
			continue // held, or not to be had at the moment by anybody
		}
		if c.cfg.Alone {
			c.cfg.Logger.Error("the database was taken over, ending", "error", err)
			c.cfg.OnFatal(err)
			return
		}
		c.cfg.Logger.Error("another process takes the database for its own: a server needs REDIS_URL, or is to be stopped; `chatapi store new-epoch` is for when all are")
	}
}

// look is nil when the lock is held.
func (c *claim) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder != nil {
		err := c.holder.Ping(ctx)
		if err == nil || errors.Is(err, context.Canceled) {
			return err
		}
		c.cfg.Logger.Warn("lost hold of the database, taking it again", "error", err)
		closeNow(c.holder)
		c.holder = nil
	}
	holder, err := c.take(ctx)
	if err == nil {
		c.holder = holder
		c.cfg.Logger.Info("has hold of the database again")
	}
	return err
}

// use lends the session, for what is done once at the start.
func (c *claim) use(fn func(*pgx.Conn) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder == nil {
		return domain.ErrUnavailable
	}
	return fn(c.holder)
}

// keepTime lets others know, from now on, that this process keeps the store's time.
func (c *claim) keepTime(ctx context.Context) error {
	return c.use(func(holder *pgx.Conn) error {
		if _, err := holder.Exec(ctx, timeKept); err != nil {
			return fmt.Errorf("keep the store's time: %w", err)
		}
		c.keeps = true
		return nil
	})
}

func (c *claim) release() error {
	c.stop()
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(background, watchPatience)
	defer cancel()
	_, err := c.holder.Exec(ctx, "SELECT pg_advisory_unlock_all()") // at once, for whoever comes next
	closeNow(c.holder)
	if isLost(err) {
		return nil // and the lock with it
	}
	if err != nil {
		return fmt.Errorf("let the database go: %w", err)
	}
	return nil
}

// connect opens a connection beside the pools, as the DSN's own role.
func connect(ctx context.Context, cfg Config) (*pgx.Conn, error) {
	parsed, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	prepareConnect(parsed.ConnConfig)
	c, err := pgx.ConnectConfig(ctx, parsed.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}

func closeNow(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(background, time.Second)
	defer cancel()
	_ = c.Close(ctx)
}
