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

// Backup copies the database of a DSN to a file that does not exist yet, also beside a running server. The copy is of one
// moment and has all that was confirmed before the call; it is there as a whole, and on the disk, or not at all, unless the
// process is killed: that leaves a directory beside it. What a server commits meanwhile stays in its write-ahead log until the
// copy is made. Errors: ErrDSN, fs.ErrNotExist when there is no database, fs.ErrExist.
func Backup(ctx context.Context, dsn, to string) (err error) {
	path, err := PathOf(dsn)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "back up to", Path: to, Err: fs.ErrExist}
	}
	if err := syncDir(filepath.Dir(to)); err != nil { // must be possible in the end
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(to), filepath.Base(to)+".part-*") // for its owner alone
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }() // and what SQLite leaves of a copy that has failed
	part := filepath.Join(work, "copy")
	if err := copyInto(ctx, path, part); err != nil {
		return fmt.Errorf("back up %s to %s: %w", path, to, err)
	}
	if err := makeDurable(part); err != nil {
		return err
	}
	if err := reserve(to); err != nil {
		return err
	}
	if err := os.Rename(part, to); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return syncDir(filepath.Dir(to))
}

func copyInto(ctx context.Context, path, file string) (err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", file); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return os.Chmod(file, 0o600)
}

// openReadOnly is for a look beside a running server.
func openReadOnly(path string) (*sql.DB, error) {
	return sql.Open("sqlite", uri(path)+"?mode=ro&_pragma=busy_timeout(5000)")
}

// makeDurable does what VACUUM INTO leaves to its caller.
func makeDurable(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// reserve makes an empty file where nothing is: of two that back up to one name one is told.
func reserve(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// ErrNoEpoch is a database that has no epoch to be renewed.
var ErrNoEpoch = errors.New("sqlite: no epoch is stored: this is no store, or one that no server has opened yet")

// renewPatience is for a command at work.
const renewPatience = time.Second

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
	lock, err := waitForLock(ctx, path, renewPatience)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	if err := hasEpoch(ctx, path); err != nil {
		return "", err
	}
	db, err := openWith(path, writerPragmas(false))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	epoch = newEpoch()
	if err := db.run("UPDATE store_meta SET value = ? WHERE name = 'epoch'", string(epoch)); err != nil {
		return "", fmt.Errorf("renew the epoch: %w", err)
	}
	return epoch, nil
}

// hasEpoch looks without a change: the file may be anything.
func hasEpoch(ctx context.Context, path string) (err error) {
	db, err := openReadOnly(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables, epochs int
	const hasTable = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'store_meta'"
	if err := db.QueryRowContext(ctx, hasTable).Scan(&tables); err != nil {
		return err
	}
	if tables > 0 {
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM store_meta WHERE name = 'epoch'").Scan(&epochs); err != nil {
			return err
		}
	}
	if epochs == 0 {
		return ErrNoEpoch
	}
	return nil
}
