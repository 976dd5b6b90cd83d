package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/domain"
)

// runJob runs one job in the batch's transaction. Whatever way it fails, only its own effects are undone.
func (w *writer) runJob(j *job) {
	if err := j.ctx.Err(); err != nil {
		j.err = err
		return
	}
	t := newTx(w)
	err := w.call(j, t)
	if j.panicked != nil {
		w.undo(t, nil)
		return
	}
	if err == nil {
		err = t.failure()
	}
	if err == nil {
		w.keep(t)
		return
	}
	w.undo(t, err)
	j.err = w.refuse(err)
}

// call runs the closure. A panic is noted, to be raised again in the caller. runtime.Goexit ends this goroutine once
// the job is undone; the next one goes on with the batch.
func (w *writer) call(j *job, t *tx) (err error) {
	started := time.Now()
	returned := false
	defer func() {
		t.done = true
		w.time.closure(time.Since(started))
		if returned {
			return
		}
		if j.panicked = recover(); j.panicked == nil {
			j.exited = true
			w.undo(t, nil)
		}
	}()
	if err = j.run(t); err == nil && t.failure() == nil {
		err = t.finish()
	}
	returned = true
	return err
}

// keep makes the job's effects part of the batch.
func (w *writer) keep(t *tx) {
	if t.saved {
		w.failed = w.conn.run("RELEASE job")
	}
	w.cache.release()
}

// undo takes the job's effects back. After some errors SQLite has rolled back the whole transaction unasked: then
// the batch is lost, and nothing may be committed as if it were not.
func (w *writer) undo(t *tx, err error) {
	w.cache.rollback()
	w.events = w.events[:t.firstEvent]
	trouble := w.conn.trouble
	w.conn.trouble = nil
	if trouble == nil && codeOf(err) != 0 && !isConstraint(err) {
		trouble = err
	}
	if isFsync(trouble) {
		w.die(trouble)
		return
	}
	if trouble != nil && !w.conn.inTransaction() {
		w.failed = trouble
		return
	}
	if !t.saved {
		return
	}
	if err := w.conn.run("ROLLBACK TO job"); err != nil {
		w.failed = err
		return
	}
	w.failed = w.conn.run("RELEASE job")
}

// refuse is translate for the writer, which says only once that the disk is full, not for every job.
func (w *writer) refuse(err error) error {
	if !isEnvironment(err) {
		return err
	}
	w.ail(err)
	return domain.ErrUnavailable
}

// translate answers domain.ErrUnavailable for failures of the store's surroundings, whose detail is the operator's
// business and goes to the log; other errors, the domain's too, come back as they are.
func (s *Store) translate(err error) error {
	if !isEnvironment(err) {
		return err
	}
	s.log.Error("store cannot be read", "error", err)
	return domain.ErrUnavailable
}
