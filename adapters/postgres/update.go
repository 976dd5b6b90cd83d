package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// The beginnings of transactions.
const (
	toWrite = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
	toRead  = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
)

// attempts is how often a unit of work is run that loses against others.
const attempts = 5

// Update implements ports.Store.
func (s *Store) Update(ctx context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	return s.submit(ctx, s.tenants, tenant, func(t *tx) error { return fn(t) })
}

// operate runs fn in a transaction that sees the rows of all tenants.
func (s *Store) operate(ctx context.Context, fn func(*tx) error) error {
	return s.submit(ctx, s.operators, "", fn)
}

// submit runs fn in a transaction and returns once it is durable, or rolled back. A panic or Goexit of fn goes on in the
// caller, whose goroutine runs it. What loses against another transaction is run again, from its beginning, and so is what
// comes to a room that others wait for already, once it is its turn there.
func (s *Store) submit(ctx context.Context, pool *pgxpool.Pool, tenant domain.TenantID, fn func(*tx) error) error {
	if !s.enter() {
		return domain.ErrClosing
	}
	defer s.leave()
	at, started := visit{doors: s.doors}, time.Now()
	for attempt := 1; ; attempt++ {
		place, err := s.attempt(ctx, pool, tenant, &at, fn)
		if at.refused != nil {
			if err = at.wait(ctx, roomPatience-time.Since(started)); err == nil {
				attempt--
				continue
			}
		}
		if attempt == attempts || !isRetryable(err) {
			place.wait()
			s.keepTime()
			return s.translateStatement(err)
		}
		s.stats.retried()
		ctx = context.WithoutCancel(ctx) // it has started
		pause(attempt)
	}
}

// pause lets the winner of two transactions end, and parts two losers.
func pause(attempt int) {
	<-time.After(time.Duration(1+rand.IntN(4<<attempt)) * time.Millisecond)
}

// statementError is an error of a statement, or of the connection, and not a closure's own.
type statementError struct{ error }

func (e statementError) Unwrap() error { return e.error }

// translateStatement is translate for what a closure may have returned: an error of its own comes back as it is, however
// much it looks like a lost connection.
func (s *Store) translateStatement(err error) error {
	var ours statementError
	if !errors.As(err, &ours) {
		return err
	}
	if translated := s.translate(ours.error); !errors.Is(translated, ours.error) {
		return translated
	}
	return err
}

// attempt runs fn once, and returns the place of its events. The connection is free by then: while they wait to be told
// others have work for it.
func (s *Store) attempt(ctx context.Context, pool *pgxpool.Pool, tenant domain.TenantID, at *visit, fn func(*tx) error) (*ticket, error) {
	defer at.leave()
	if pool == s.tenants {
		if err := s.work.enter(ctx, tenant, acquirePatience); err != nil {
			return nil, err
		}
		defer s.work.leave(tenant)
	}
	c, number, err := s.begin(ctx, pool, toWrite, tenant)
	if err != nil {
		return nil, err
	}
	t := newTx(s, c, number, tenant)
	t.at = at
	defer func() {
		t.done = true
		rollback(c)
		release(c)
	}()
	started := time.Now()
	err = fn(t)
	if err == nil && t.conn.trouble == nil {
		err = t.finish()
	}
	s.stats.closure(time.Since(started))
	if at.refused != nil {
		return nil, errCrowded
	}
	if trouble := t.conn.trouble; trouble != nil && (err == nil || isEnvironment(trouble) || isRetryable(trouble)) {
		return nil, statementError{trouble} // whatever the closure made of it
	}
	if err != nil {
		return nil, err
	}
	t.done = true
	return s.commit(c, t.events)
}

// begin opens a transaction on a connection of the pool, for a tenant or, of the operators' pool, for none. Nothing has run yet when a
// connection turns out to be dead, as all are that were idle when the server was started anew: the next is tried.
func (s *Store) begin(ctx context.Context, pool *pgxpool.Pool, how string, tenant domain.TenantID) (*pgxpool.Conn, int64, error) {
	for started := time.Now(); ; {
		c, err := s.acquire(ctx, pool, acquirePatience)
		if err != nil {
			return nil, 0, err
		}
		limit(c, beginLimit)
		number := int64(0)
		if pool == s.operators {
			err = (&conn{pg: c.Conn(), ctx: background}).run(how)
		} else {
			number, err = open(c, how, tenant)
		}
		if err == nil {
			limit(c, workLimit)
			return c, number, nil
		}
		rollback(c)
		release(c)
		if errors.Is(err, domain.ErrTenantNotFound) {
			return nil, 0, err
		}
		if !isLost(err) || time.Since(started) > acquirePatience {
			return nil, 0, statementError{err}
		}
	}
}

// inTenant finds a live tenant, and binds the transaction to its rows.
const inTenant = "SELECT number, set_config('chatapi.tenant', number::text, true) FROM tenants WHERE id = $1 AND deleted IS NULL"

// open begins a tenant's transaction in one exchange with the server.
func open(c *pgxpool.Conn, how string, tenant domain.TenantID) (number int64, err error) {
	db := &conn{pg: c.Conn(), ctx: background}
	err = db.together(step{query: how}, step{query: inTenant, args: args(string(tenant)), each: func(r row) error {
		number = r.Int(0)
		return nil
	}})
	if err == nil && number == 0 {
		err = domain.ErrTenantNotFound
	}
	return number, err
}

// errAborted is a transaction that the server rolled back where it was asked to commit.
var errAborted = errors.New("postgres: a transaction that had failed was to be committed")

// commit makes a transaction durable and has its events told. The locks of its rooms are held until the server has
// committed, so the order of tickets is that of the commits of each room. When the connection is lost the outcome is
// unknown: it is answered domain.ErrUnavailable, and what is stored all the same comes out in the rooms' logs, which
// everybody reads who finds a gap. last is run first, in the same exchange. Callers are answered when the events at place,
// nil without any, were told.
func (s *Store) commit(c *pgxpool.Conn, events []domain.Event, last ...step) (place *ticket, err error) {
	limit(c, commitLimit)
	if len(events) > 0 {
		place = s.dispatch.take()
	}
	started := time.Now()
	db := &conn{pg: c.Conn(), ctx: background}
	done := ""
	err = db.together(append(last, step{query: "COMMIT", done: func(tag pgconn.CommandTag) { done = tag.String() }})...)
	s.stats.commit(time.Since(started))
	if err == nil && done != "COMMIT" {
		err = errAborted
	}
	if err != nil {
		events = nil
	}
	if place != nil {
		s.dispatch.resolve(place, events)
	}
	if err != nil {
		return nil, statementError{err}
	}
	s.recover()
	return place, nil
}
