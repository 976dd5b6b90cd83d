package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/domain"
)

// How long anything may take: whoever waits for a server that has fallen silent hears of it in about ten seconds. The server
// ends a statement, a wait for a lock and a transaction that does nothing before the client gives up the connection.
const (
	acquirePatience = 2 * time.Second  // for a connection to be free
	connectPatience = 5 * time.Second  // for a connection to be made: a loaded server takes its time over a new session
	beginLimit      = 5 * time.Second  // for a server that may be gone to show that it is not
	loadLimit       = 7 * time.Second  // for a batch of sends to have its rooms, one after another if it must be
	exchangeLimit   = 10 * time.Second // for the answer to a statement, or several that are sent at once
	workLimit       = 20 * time.Second // a unit of work or view, closure included, before its connection is cut
	commitLimit     = 5 * time.Second  // the COMMIT alone
)

// settings are those of every session. A node that is gone is found out by the server within seconds: what it has locked is
// free then.
const settings = `SET statement_timeout = '9s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '15s';` + alive + plans

// alive has the server find out that a client's machine is gone, which says nothing.
const alive = `SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '15s';`

// ownSchema keeps a session to the schema that the DSN's user finds. Left alone the role it is about to take would look in one
// of the role's name, and not in one of the user's.
const ownSchema = "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false)"

// plans has each statement planned once, for an index in its order. Left alone the planner takes what is cheapest by what it
// believes of tables that may have been empty when it last looked: it scans them, or sorts all of a room's rows for one page.
const plans = `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;
	SET jit = off; SET max_parallel_workers_per_gather = 0`

// durable has a session wait for the disk whatever the server's setting is; one that waits for standbys is left as it is.
const durable = `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`

// planOnce is for sessions that run the same few statements over and over: to plan them costs more than to run them. Their
// plans look up row by row whatever the parameters are.
const planOnce = "SET plan_cache_mode = 'force_generic_plan'"

// present is a lock that every session of every node shares while it lasts, whatever user it belongs to: who holds it may
// be at a unit of work.
const (
	present      = "SELECT pg_advisory_lock_shared(" + presentClass + ", " + presentID + ")"
	presentClass = "1667785076" // "chat"
	presentID    = "1936028531" // "sess"
)

// newPool makes a pool whose sessions work as role, with settings of their own.
func newPool(ctx context.Context, cfg Config, role string, size int, own ...string) (*pgxpool.Pool, error) {
	parsed, err := cfg.parse()
	if err != nil {
		return nil, err
	}
	prepareConnect(parsed.ConnConfig)
	parsed.MaxConns, parsed.MinConns = int32(size), 0
	parsed.HealthCheckPeriod = 30 * time.Second
	parsed.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // begin finds out, at no cost
	parsed.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		query := strings.Join(append([]string{settings, ownSchema, present, "SET ROLE " + role}, own...), "; ")
		if !cfg.UnsafeDurability {
			query += "; " + durable
		}
		_, err := c.PgConn().Exec(ctx, query).ReadAll()
		return err
	}
	return pgxpool.NewWithConfig(ctx, parsed)
}

// prepareConnect is for pools and for the connections beside them. Of several hosts the one that takes writes is used.
func prepareConnect(cfg *pgx.ConnConfig) {
	cfg.ConnectTimeout = connectPatience
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "chatapi"
	}
	if cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	cfg.DialFunc = dialer.DialContext
}

// acquire takes a connection of a pool for one unit of work, with so much patience: domain.ErrBusy is a pool all of whose
// connections are in use. Where one is being made there is patience for that. The connection ignores ctx from then on, and
// is cut at the end of workLimit.
func (s *Store) acquire(ctx context.Context, pool *pgxpool.Pool, patience time.Duration) (*pgxpool.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := acquireWithin(ctx, pool, patience)
	if patience < connectPatience && errors.Is(err, context.DeadlineExceeded) && !exhausted(pool) {
		c, err = acquireWithin(ctx, pool, connectPatience-patience)
	}
	switch {
	case err == nil:
		limit(c, workLimit)
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded) && exhausted(pool):
		return nil, domain.ErrBusy
	case s.closed():
		return nil, domain.ErrClosing
	}
	return nil, s.translate(fmt.Errorf("connect: %w", err))
}

func acquireWithin(ctx context.Context, pool *pgxpool.Pool, patience time.Duration) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return pool.Acquire(ctx)
}

// exhausted is a pool all of whose connections are in use.
func exhausted(pool *pgxpool.Pool) bool { return pool.Stat().AcquiredConns() >= pool.Config().MaxConns }

// working is a connection for a unit of work or view that begins now.
func working(c *pgxpool.Conn) *conn {
	return &conn{pg: c.Conn(), ctx: background, end: time.Now().Add(workLimit)}
}

// limit cuts a connection when that much time has passed. One that is dead already shows at its next use.
func limit(c *pgxpool.Conn, after time.Duration) {
	_ = c.Conn().PgConn().Conn().SetDeadline(time.Now().Add(after))
}

// release gives a connection back; one that is in a transaction or broken is closed by the pool.
func release(c *pgxpool.Conn) {
	if !c.Conn().IsClosed() && c.Conn().PgConn().Conn().SetDeadline(time.Time{}) != nil {
		c.Conn().PgConn().Conn().Close() // the pool finds it closed
	}
	c.Release()
}

// rollback takes back what is left open of a transaction; if that fails the connection's end does it.
func rollback(c *pgxpool.Conn) {
	if c.Conn().IsClosed() || c.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	limit(c, commitLimit)
	_, _ = c.Exec(context.Background(), "ROLLBACK")
}
