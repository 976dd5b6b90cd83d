package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chatapi/chatapi/domain"
)

// Backup copies the database of a DSN to a file that does not exist yet, also beside a running server. The copy is of one
// moment and has all that was confirmed before the call; it is there as a whole, and on the disk, or not at all. What a
// server commits meanwhile stays in its write-ahead log until the copy is made. Errors: ErrDSN, fs.ErrNotExist when there
// is no database, fs.ErrExist.
func Backup(ctx context.Context, dsn, to string) (err error) {
	path, err := PathOf(dsn)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &fs.PathError{Op: "back up to", Path: to, Err: fs.ErrExist})
	}
	part, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".part-*") // for its owner alone to read
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, part.Close()); err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	if err := copyInto(ctx, path, part.Name()); err != nil {
		return fmt.Errorf("copy %s: %w", path, err)
	}
	if err := part.Sync(); err != nil { // VACUUM INTO has not
		return err
	}
	if err := os.Rename(part.Name(), to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func copyInto(ctx context.Context, path, empty string) (err error) {
	db, err := sql.Open("sqlite", uri(path)+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", empty)
	return err
}

// RenewEpoch gives the database of a DSN another epoch, so that clients take it for another log than the one they have
// seen. It neither makes nor migrates a database. Errors: ErrDSN, fs.ErrNotExist when there is none, ErrInUse when a
// server has it open.
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
	lock, err := waitForLock(ctx, path, lockPatience)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	db, err := openWith(path, writerPragmas(false))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	epoch = newEpoch()
	if err := db.run("INSERT OR REPLACE INTO store_meta (name, value) VALUES ('epoch', ?)", string(epoch)); err != nil {
		return "", fmt.Errorf("store the epoch: %w", err)
	}
	return epoch, nil
}
