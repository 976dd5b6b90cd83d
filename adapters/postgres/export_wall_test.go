package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// EachSession runs fn with a connection of each kind that works for a tenant, as it comes from its pool, bound to the tenant,
// and back in its pool.
func (s *Store) EachSession(ctx context.Context, tenant domain.TenantID, fn func(what string, bound bool, c *pgx.Conn)) error {
	for what, pool := range map[string]*pgxpool.Pool{"a unit of work": s.tenants, "a batch of sends": s.appenders} {
		bare := func() error {
			return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error { fn(what, false, c.Conn()); return nil })
		}
		if err := bare(); err != nil {
			return err
		}
		if err := s.submit(ctx, pool, tenant, func(t *tx) error { fn(what, true, t.conn.pg); return nil }); err != nil {
			return err
		}
		if err := bare(); err != nil {
			return err
		}
	}
	return s.View(ctx, tenant, func(r ports.Reader) error { fn("a view", true, r.(*view).conn.pg); return nil })
}

// OperatorSession runs fn with a connection that works across tenants.
func (s *Store) OperatorSession(ctx context.Context, fn func(*pgx.Conn)) error {
	return s.operate(ctx, func(t *tx) error { fn(t.conn.pg); return nil })
}
