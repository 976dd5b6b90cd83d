package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/domain"
)

// AcquirePatience is how long work waits for a connection.
const AcquirePatience = acquirePatience

// Limits of what waits to be appended.
const (
	MaxBatch = maxBatch
	MaxShare = maxShare
)

// InTenant runs fn with the connection of a unit of work.
func (s *Store) InTenant(ctx context.Context, tenant domain.TenantID, fn func(run func(query string, args ...any) error) error) error {
	return s.submit(ctx, s.tenants, tenant, func(t *tx) error { return fn(t.conn.run) })
}

// AsOperator is InTenant for work across tenants.
func (s *Store) AsOperator(ctx context.Context, fn func(run func(query string, args ...any) error) error) error {
	return s.operate(ctx, func(t *tx) error { return fn(t.conn.run) })
}

// SweepOnce takes one step of removing what has expired.
func (s *Store) SweepOnce(ctx context.Context) (more bool, err error) { return s.sweepOnce(ctx) }

// Now is the store's own time.
func (s *Store) Now() int64 { return s.now() }

// Dispatcher is what tells of commits, for tests of its order.
type Dispatcher struct{ d *dispatcher }

// NewDispatcher starts one that tells fn.
func NewDispatcher(fn func([]domain.Event)) Dispatcher {
	d := newDispatcher()
	d.listen(fn)
	return Dispatcher{d}
}

// Take takes a place; resolving it tells of the events in their turn, and waits until they were told.
func (d Dispatcher) Take() (resolve func([]domain.Event) (told <-chan struct{})) {
	place := d.d.take()
	return func(events []domain.Event) <-chan struct{} {
		d.d.resolve(place, events)
		return place.told
	}
}

// Close ends it.
func (d Dispatcher) Close() { d.d.close() }

// The look-ups of a batch of sends.
const (
	LockRooms   = lockAllRooms
	ReadRooms   = readAllRooms
	ReadMembers = readAllMembers
	ReadSent    = readAllSent
)

// Hold lends the session that has hold of the database.
func (s *Store) Hold(fn func(*pgx.Conn) error) error { return s.claim.use(fn) }
