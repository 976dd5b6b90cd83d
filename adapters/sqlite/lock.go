package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// ErrInUse is a database that another process has open.
var ErrInUse = errors.New("sqlite: the database is in use by another process")

// errLocked is what tryLock answers when another holder has the lock.
var errLocked = errors.New("locked")

// processLock keeps a second process, whose caches and numbers would be its own, away from the database. The
// operating system releases it however the process ends.
type processLock struct{ file *os.File }

// lockProcess takes the lock of a database, or says who has it.
func lockProcess(path string) (*processLock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("%w%s: %s", ErrInUse, holder(f), path)
		}
		return nil, fmt.Errorf("lock the database: %w", err)
	}
	l := &processLock{f}
	return l, l.sign()
}

// sign leaves the process id for the error of whoever comes second.
func (l *processLock) sign() error {
	err := l.file.Truncate(0)
	if err == nil {
		_, err = l.file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil && !isNoSpace(err) { // a full disk must not keep the server from starting and reading
		l.release()
		return fmt.Errorf("sign the lock file: %w", err)
	}
	return nil
}

func holder(f *os.File) string {
	raw, err := io.ReadAll(io.LimitReader(f, 32))
	if pid := strings.TrimSpace(string(raw)); err == nil && pid != "" {
		return " (" + pid + ")"
	}
	return ""
}

// waitForLock takes the lock, waiting for another holder at most until patience or ctx ends.
func waitForLock(ctx context.Context, path string, patience time.Duration) (*processLock, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		l, err := lockProcess(path)
		if !errors.Is(err, ErrInUse) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-poll.C:
		}
	}
}

// release lets the next process in. The file stays: removing it would let two processes lock two files of one name.
func (l *processLock) release() error { return l.file.Close() }
