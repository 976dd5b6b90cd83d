package sqlite

import (
	"database/sql/driver"
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// tx is one job's view of the batch's transaction: it reads through the writer's caches, so that it sees its own and
// its predecessors' writes, and it opens a savepoint at its first write.
type tx struct {
	reader
	w          *writer
	saved      bool  // a savepoint is open
	firstEvent int   // of the batch's events, where this job's begin
	failed     error // a write failed half-way: the job cannot be kept, whatever its closure makes of the error
	done       bool
	settled    []sqlrows.Settled // notifications that somebody has ceased to wait for
}

// errTxDone is a use of a Reader or Tx after its closure has returned.
var errTxDone = errors.New("sqlite: used after its unit of work has ended")

func newTx(w *writer) *tx {
	t := &tx{w: w, firstEvent: len(w.events)}
	t.reader = reader{conn: w.conn, source: t}
	return t
}

// bind resolves the tenant of the unit of work.
func (t *tx) bind(id domain.TenantID) error {
	number, err := t.w.cache.tenant(t.w.conn, id)
	if err != nil {
		return err
	}
	t.tenant, t.tenantID = number, id
	return nil
}

func (t *tx) ready() error {
	if t.done {
		return errTxDone
	}
	return nil
}

// failure is why a job cannot be kept although its closure returned no error.
func (t *tx) failure() error {
	if t.failed != nil {
		return t.failed
	}
	return t.w.conn.trouble
}

// save opens the job's savepoint unless it is open.
func (t *tx) save() error {
	if t.saved {
		return nil
	}
	if err := t.w.conn.run("SAVEPOINT job"); err != nil {
		t.failed = err
		return err
	}
	t.saved = true
	return nil
}

// write runs a statement that changes rows, in the savepoint.
func (t *tx) write(query string, args ...driver.Value) (driver.Result, error) {
	if err := t.save(); err != nil {
		return nil, err
	}
	result, err := t.w.conn.exec(query, args...)
	if err != nil {
		t.failed = err
	}
	return result, err
}

// put is write for its error alone.
func (t *tx) put(query string, args ...driver.Value) error {
	_, err := t.write(query, args...)
	return err
}

// remove is write for the number of rows it changed.
func (t *tx) remove(query string, args ...driver.Value) (int64, error) {
	result, err := t.write(query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// returning is write for the rows it changed.
func (t *tx) returning(query string, args []driver.Value, each func(row) error) error {
	if err := t.save(); err != nil {
		return err
	}
	err := t.w.conn.query(query, args, each)
	if err != nil {
		t.failed = err
	}
	return err
}

// waitsNoMore has a notification released at the end of the unit of work, unless somebody else waits for it by then. Not
// before: what was a dead letter may be a job again, and what was a recipient a dead letter.
func (t *tx) waitsNoMore(id domain.NotificationID) {
	t.settled = sqlrows.AddSettled(t.settled, t.tenant, id)
}

// finish does what is left to the end of a unit of work.
func (t *tx) finish() error {
	for _, of := range t.settled {
		t.tenant = of.Tenant
		if err := t.releaseNotification(of.ID); err != nil {
			return err
		}
	}
	return nil
}

// emit adds an event of a room to what is published after the commit.
func (t *tx) emit(e domain.Event) {
	e.Tenant = t.tenantID
	t.w.events = append(t.w.events, e)
}
