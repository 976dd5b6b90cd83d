package sqlite

import (
	"errors"
	"log/slog"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// writer owns the connection that writes and everything it caches. Its fields belong to its goroutine alone.
type writer struct {
	store *Store
	conn  *conn // nil after it broke, until it is opened again
	log   *slog.Logger
	cache *caches
	wal   wal

	batch  []*job
	next   int  // the first job of the batch that has not run
	open   bool // the batch's transaction was begun
	failed error
	events []domain.Event
	time   Stats  // of this batch
	body   []byte // room to encode one

	clockwork clockwork
	turns     map[domain.Lane]int64 // the tenant that was the last to be given a job

	ailed bool // writing failed in this batch
	sick  bool // writing failed lately: said once, not for every batch
	swept time.Time
	more  bool // this batch's sweep has left expired rows
	dead  bool // durability is unknown: nothing is written or answered any more
	ended bool
}

// errLost is the outcome of a job whose durability is unknown, for callers that outlive Config.OnFatal.
var errLost = errors.New("sqlite: the outcome of this write is unknown and the process must end")

const (
	idle       = time.Second // without work, before the write-ahead log is put away
	sweepEvery = time.Minute // between looks for expired rows; while there are more, every batch takes a step
)

// loop runs batches until the queue is closed and empty. A closure that calls runtime.Goexit ends this goroutine; a
// fresh one goes on with the next job of the same batch.
func (w *writer) loop() {
	defer func() {
		if w.ended {
			close(w.store.drained)
			return
		}
		go w.loop()
	}()
	quiet := time.NewTimer(w.patience())
	defer quiet.Stop()
	if len(w.batch) > 0 {
		w.runBatch()
	}
	for !w.dead {
		batch, ended := w.store.queue.take(w.batch[:0])
		if ended {
			break
		}
		if w.batch = w.withSweep(batch); len(w.batch) > 0 {
			w.runBatch()
			continue
		}
		quiet.Reset(w.patience())
		select {
		case <-w.store.queue.wake:
		case <-quiet.C:
			w.emptyWhenQuiet()
		}
	}
	w.ended = true
}

// patience is how long to wait for work before there is something else to do.
func (w *writer) patience() time.Duration {
	if w.wal.empty {
		return sweepEvery
	}
	return idle
}

// withSweep adds a step of removing expired rows to a batch when it is due. One that fails, or whose batch does, is
// due again in a minute: a disk that is full now will be full at once, too.
func (w *writer) withSweep(batch []*job) []*job {
	if time.Since(w.swept) < sweepEvery {
		return batch
	}
	w.swept = time.Now()
	return append(batch, &job{ctx: background, done: make(chan struct{}), run: func(t *tx) (err error) {
		w.more, err = t.sweep(w.store.cfg.Clock.Now())
		return err
	}})
}

// runBatch runs what is left of the batch, commits and answers. It may be entered again after a Goexit.
func (w *writer) runBatch() {
	if !w.open {
		w.begin()
	}
	for w.next < len(w.batch) && w.failed == nil && !w.dead {
		j := w.batch[w.next]
		w.next++
		if j.start() {
			w.runJob(j)
		}
	}
	if w.failed == nil && !w.dead {
		w.commit()
	}
	if w.dead {
		return
	}
	if w.failed != nil {
		w.abandon()
	} else {
		w.publish()
	}
	w.answer()
	w.housekeep()
}

func (w *writer) begin() {
	w.next, w.failed, w.open, w.ailed, w.more, w.clockwork.used = 0, nil, true, false, false, false
	if w.conn == nil {
		w.conn, w.failed = openWith(w.store.path, writerPragmas(w.store.cfg.UnsafeDurability))
	}
	if w.failed == nil {
		w.conn.trouble = nil
		w.failed = w.conn.run("BEGIN IMMEDIATE")
	}
}

// commit writes each changed room once, and the time when the outbox goes by it, and makes the whole batch durable.
func (w *writer) commit() {
	started := time.Now()
	kept := w.clockwork.kept
	if w.failed = w.cache.flush(w.conn); w.failed == nil {
		kept, w.failed = w.clockwork.flush(w.conn, w.store.steady.now())
	}
	if w.failed == nil {
		w.failed = w.conn.run("COMMIT")
	}
	if w.failed == nil {
		w.clockwork.kept = kept
	}
	w.time.commit(len(w.batch), time.Since(started))
	w.store.stats.add(w.time)
	w.time = Stats{}
	if isIO(w.failed) {
		w.die(w.failed) // the frames may or may not be on the disk
	}
}

// publish makes what the batch changed visible to those who are answered next.
func (w *writer) publish() {
	w.cache.publish()
	if w.more {
		w.swept = time.Time{}
	}
	if w.sick && !w.ailed {
		w.sick = false
		w.log.Info("store is writable again")
	}
	events := w.events
	w.events = nil
	if fn := w.store.onCommit.Load(); fn != nil && len(events) > 0 {
		(*fn)(events)
	}
}

// ail notes that writing failed for a reason outside of the jobs.
func (w *writer) ail(err error) {
	w.ailed = true
	if !w.sick {
		w.sick = true
		w.log.Error("store cannot be written", "error", err)
	}
}

// abandon rolls the batch back: nothing of it happened.
func (w *writer) abandon() {
	w.ail(w.failed)
	w.cache.drop()
	w.events = nil
	if w.conn == nil {
		return
	}
	if err := w.conn.run("ROLLBACK"); err != nil && w.conn.inTransaction() {
		w.log.Error("store connection is broken", "error", err)
		w.conn.close()
		w.conn, w.wal.empty = nil, false
	}
}

// answer releases the callers. An outcome of a failed batch may rest on a neighbour's row that is gone: all fail.
func (w *writer) answer() {
	for _, j := range w.batch {
		if !j.start() && j.state.Load() == jobRemoved {
			continue
		}
		if w.failed != nil {
			j.err = domain.ErrUnavailable
		}
		close(j.done)
	}
	clear(w.batch)
	w.batch, w.open = w.batch[:0], false
}

// die is for an unknown durability: no answer, no further commit, and the process is to end.
func (w *writer) die(err error) {
	w.dead = true
	w.store.queue.close()
	w.log.Error("durability of a write is unknown, ending", "error", err)
	w.store.fatal.Store(true)
	w.store.cfg.OnFatal(err)
}
