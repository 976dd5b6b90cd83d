package postgres

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// tx is one unit of work: a transaction at READ COMMITTED in which whatever is read in order to be changed is locked first.
type tx struct {
	reader
	store   *Store
	rooms   map[domain.RoomID]*room // locked, and as their rows are; nil: removed by this unit of work
	users   map[domain.UserID]int64 // numbers
	done    bool
	events  []domain.Event
	settled []sqlrows.Settled // notifications that somebody has ceased to wait for
	at      *visit            // of the first room; nil: it may wait at any lock
}

func newTx(s *Store, c *pgxpool.Conn, number int64, tenant domain.TenantID) *tx {
	t := &tx{store: s, rooms: map[domain.RoomID]*room{}, users: map[domain.UserID]int64{}}
	t.reader = reader{conn: working(c), source: t, tenant: number, tenantID: tenant}
	return t
}

// put runs a statement that changes rows.
func (t *tx) put(query string, args ...any) error { return t.conn.run(query, args...) }

// remove is put for the number of rows it changed.
func (t *tx) remove(query string, args ...any) (int64, error) { return t.conn.exec(query, args...) }

// returning is put for the rows it changed.
func (t *tx) returning(query string, args []any, each func(row) error) error {
	return t.conn.query(query, args, each)
}

func (t *tx) ready() error {
	if t.done {
		return errDone
	}
	return nil
}

// emit adds an event of a room to what is published after the commit.
func (t *tx) emit(e domain.Event) {
	e.Tenant = t.tenantID
	t.events = append(t.events, e)
}

// waitsNoMore has a notification released at the end of the unit of work, unless somebody else waits for it by then. Not
// before: what was a dead letter may be a job again, and what was a recipient a dead letter.
func (t *tx) waitsNoMore(id domain.NotificationID) {
	t.settled = sqlrows.AddSettled(t.settled, t.tenant, id)
}

// finish does what is left to the end of a unit of work. Notifications are locked for it, in one order for all.
func (t *tx) finish() error {
	slices.SortFunc(t.settled, func(a, b sqlrows.Settled) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), bytes.Compare(a.ID[:], b.ID[:]))
	})
	for _, of := range t.settled {
		t.tenant = of.Tenant
		if err := t.releaseNotification(of.ID); err != nil {
			return err
		}
	}
	return nil
}
