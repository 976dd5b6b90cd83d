package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// ErrNoEpoch is a database that has no epoch to be renewed.
var ErrNoEpoch = errors.New("sqlite: no epoch is stored: this is no store, or one that no server has opened yet")

// commandPatience is how long a command at work is waited for. A server is not.
const commandPatience = time.Second

// Restore puts a copy of a database in the place of the DSN's, with an epoch of its own, and moves what was there to a name
// that it returns; empty when nothing was. The copy is read as a whole first and stays as it is; nothing is touched before
// that has succeeded. Errors: ErrDSN, fs.ErrNotExist when there is no copy, ErrNoEpoch, ErrInUse when a server has the
// database open.
func Restore(ctx context.Context, dsn, from string) (kept string, err error) {
	path, err := PathOf(dsn)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(from); err != nil {
		return "", err
	}
	if from, err = filepath.Abs(from); err != nil {
		return "", err
	}
	if path, err = resolve(path); err != nil {
		return "", err
	}
	lock, err := waitForLock(ctx, path, commandPatience)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	work, err := os.MkdirTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	part := filepath.Join(work, "copy")
	if err := copyInto(ctx, from, part); err != nil {
		return "", fmt.Errorf("read %s: %w", from, err)
	}
	if _, err := renewEpoch(ctx, part); err != nil {
		return "", fmt.Errorf("%s: %w", from, err)
	}
	if err := errors.Join(ownLike(part, filepath.Dir(path)), makeDurable(part)); err != nil {
		return "", err
	}
	if kept, err = setAside(path); err != nil {
		return kept, err
	}
	if err := os.Rename(part, path); err != nil {
		return kept, fmt.Errorf("what was there is at %s now, and nothing in its place: %w", kept, err)
	}
	return kept, syncDir(filepath.Dir(path))
}

// setAside moves what there is of a database to another name. A write-ahead log that stayed would be taken for the next one's.
func setAside(path string) (kept string, err error) {
	if _, err := os.Stat(path); err == nil {
		if db, err := openWith(path, writerPragmas(false)); err == nil {
			_ = db.close() // takes the log into the file; one that is damaged keeps it, and is moved with it
		}
	}
	to := path + ".old-" + time.Now().UTC().Format("20060102T150405.000")
	for _, ending := range []string{"", "-wal", "-shm"} {
		switch failed := os.Rename(path+ending, to+ending); {
		case failed == nil:
			kept = to
		case !errors.Is(failed, fs.ErrNotExist):
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		return kept, fmt.Errorf("set aside what was there as %s: %w", to, err)
	}
	return kept, nil
}

// RenewEpoch gives the database of a DSN another epoch, so that clients take it for another log than the one they have
// seen. It neither makes nor migrates a database. Errors: ErrDSN, fs.ErrNotExist when there is none, ErrNoEpoch, ErrInUse when
// a server has it open.
func RenewEpoch(ctx context.Context, dsn string) (epoch domain.Epoch, err error) {
	path, err := PathOf(dsn)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	if path, err = resolve(path); err != nil {
		return "", err
	}
	lock, err := waitForLock(ctx, path, commandPatience)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	return renewEpoch(ctx, path)
}

// renewEpoch needs the process lock, or a file that is nobody else's. Of one that is no store it changes nothing.
func renewEpoch(ctx context.Context, path string) (epoch domain.Epoch, err error) {
	db, err := sql.Open("sqlite", uri(path)+"?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables int
	const hasTable = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'store_meta'"
	if err := db.QueryRowContext(ctx, hasTable).Scan(&tables); err != nil {
		return "", err
	}
	if tables == 0 {
		return "", ErrNoEpoch
	}
	epoch = newEpoch()
	done, err := db.ExecContext(ctx, "UPDATE store_meta SET value = ? WHERE name = 'epoch'", string(epoch))
	if err != nil {
		return "", fmt.Errorf("renew the epoch: %w", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return "", errors.Join(err, ErrNoEpoch)
	}
	return epoch, nil
}
