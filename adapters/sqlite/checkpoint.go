package sqlite

import (
	"errors"
	"fmt"
	"time"
)

// The write-ahead log in frames of a page each. Checkpoints are the writer's, between batches: SQLite's own would hide
// a failed fsync behind the success of the commit that triggered them.
const (
	checkpointFrames = 4000  // 16 MiB: long enough to write each page of a hot room once for many commits
	retryFrames      = 1000  // after a checkpoint that readers kept from being complete
	restartFrames    = 12000 // 48 MiB: from here the readers are waited for, so that the log starts anew
	restartPatience  = 250   // milliseconds
	emptyPatience    = 25    // milliseconds: what a commit may have to wait for when the writer has just been idle
)

// wal is what the writer knows of the write-ahead log.
type wal struct {
	frames int  // written since the last complete checkpoint
	next   int  // frames at which to try again
	empty  bool // its file holds nothing
}

// housekeep runs after each batch.
func (w *writer) housekeep() {
	if w.conn == nil {
		return
	}
	n, err := w.conn.written()
	if err != nil {
		w.log.Error("cannot count the write-ahead log", "error", err)
		n = maxBatch
	}
	w.wal.frames += n
	w.wal.empty = w.wal.empty && n == 0
	if w.wal.frames >= max(w.wal.next, checkpointFrames) {
		w.checkpoint()
	}
}

// emptyWhenQuiet moves the log into the database and empties its file: what was edited or deleted would stay there for as
// long as nothing is written. While readers need the log it is tried again whenever the writer has been idle.
func (w *writer) emptyWhenQuiet() {
	if w.conn == nil || w.wal.empty {
		return
	}
	started := time.Now()
	log, moved, err := w.checkpointWaiting("TRUNCATE", emptyPatience)
	w.checkpointed(started, log, moved, err)
	w.wal.empty = err == nil && log == 0
}

// checkpoint moves the log into the database.
func (w *writer) checkpoint() {
	started := time.Now()
	log, moved, err := w.checkpointAs("PASSIVE")
	if err == nil && log >= restartFrames {
		log, moved, err = w.checkpointWaiting("RESTART", restartPatience)
	}
	w.checkpointed(started, log, moved, err)
}

// checkpointed notes how a checkpoint has ended. A failed fsync is as fatal as in a commit: the pages may be gone from
// the kernel's memory while the log that has them is about to be overwritten.
func (w *writer) checkpointed(started time.Time, log, moved int, err error) {
	w.store.stats.add(Stats{Checkpoints: 1, CheckpointSeconds: time.Since(started).Seconds()})
	switch {
	case isIO(err):
		w.die(err)
	case err != nil:
		w.log.Warn("checkpoint failed", "error", err)
		w.wal.next = w.wal.frames + retryFrames
	case moved < log:
		w.wal = wal{frames: log, next: log + retryFrames}
	default:
		w.wal = wal{}
	}
}

func (w *writer) checkpointAs(mode string) (log, moved int, err error) {
	_, err = w.conn.first("PRAGMA wal_checkpoint("+mode+")", nil, func(r row) { log, moved = int(r.Int(1)), int(r.Int(2)) })
	w.conn.trouble = nil
	return log, moved, err
}

// checkpointWaiting waits for the readers that still need the log, a short while, so that the next commit can begin it
// anew.
func (w *writer) checkpointWaiting(mode string, milliseconds int) (log, moved int, err error) {
	if err := w.conn.pragma("busy_timeout", milliseconds); err != nil {
		return 0, 0, err
	}
	log, moved, err = w.checkpointAs(mode)
	if back := w.conn.pragma("busy_timeout", writerPragmas(false)["busy_timeout"]); err == nil {
		err = back
	}
	return log, moved, err
}

// finish empties the log when the store closes. After a failed write or fsync the connection stays open: closing it
// would checkpoint once more, believe the kernel that nothing is dirty, and remove a log that is still needed.
func (w *writer) finish() error {
	log, moved, err := w.checkpointAs("TRUNCATE")
	if isIO(err) {
		return fmt.Errorf("sqlite: the write-ahead log is kept for the next start: %w", err)
	}
	if err == nil && moved < log {
		err = fmt.Errorf("sqlite: %d of %d frames of the write-ahead log are not in the database yet", log-moved, log)
	}
	return errors.Join(err, w.conn.close())
}
