package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// prepareFile makes the data directory (0700) and an empty database file (0600) unless they exist: SQLite would make
// the file, and the -wal and -shm files that copy its mode, readable to others. It returns the file's real path, so
// that one file has one lock and one write-ahead log whatever links lead to it. Names of what it made are on the disk
// when it returns.
func prepareFile(path string) (string, error) {
	path, err := resolve(path)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("make the database file: %w", err)
	}
	if err := errors.Join(f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return "", fmt.Errorf("make the database file: %w", err)
	}
	return path, nil
}

// maxLinks is how many symbolic links may lead from one to the next, as in Linux.
const maxLinks = 40

// resolve follows symbolic links, also one to a file that is yet to be made, and makes the directories on the way.
func resolve(path string) (string, error) {
	for range maxLinks {
		dir, err := makeDir(filepath.Dir(path))
		if err != nil {
			return "", fmt.Errorf("make the data directory: %w", err)
		}
		path = filepath.Join(dir, filepath.Base(path))
		target, isLink := linkTarget(path)
		if !isLink { // a file, or nothing yet
			return path, nil
		}
		if path = target; !filepath.IsAbs(target) {
			path = filepath.Join(dir, target)
		}
	}
	return "", fmt.Errorf("%w: too many symbolic links", ErrDSN)
}

func linkTarget(path string) (target string, isLink bool) {
	target, err := os.Readlink(path)
	return target, err == nil
}

// makeDir makes a directory with those above it, each known to the one above by the time it returns, and resolves it.
func makeDir(dir string) (string, error) {
	_, err := os.Stat(dir)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		above, err := makeDir(parent)
		if err != nil {
			return "", err
		}
		dir = filepath.Join(above, filepath.Base(dir))
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if err := syncDir(above); err != nil {
			return "", err
		}
	}
	return filepath.EvalSymlinks(dir)
}
