package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup copies the database of a DSN to a file that does not exist yet, also beside a running server. The copy is of one
// moment and has all that was confirmed before the call; it is there as a whole, and on the disk, or not at all. A process that
// is killed leaves a directory named like the file and ".part-"; at the last moment also an empty file. What a server commits
// meanwhile stays in its write-ahead log until the copy is made. Errors: ErrDSN, fs.ErrNotExist when there is no database,
// fs.ErrExist.
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
		return err
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
