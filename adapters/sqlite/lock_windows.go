package sqlite

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

const (
	lockImmediately syscall.Errno = 33  // ERROR_LOCK_VIOLATION
	diskFull        syscall.Errno = 112 // ERROR_DISK_FULL
)

// tryLock locks one byte far behind the process id, which stays readable to the others.
func tryLock(f *os.File) error {
	const failImmediately, exclusive = 1, 2
	at := syscall.Overlapped{Offset: 1 << 20}
	ok, _, err := lockFileEx.Call(f.Fd(), failImmediately|exclusive, 0, 1, 0, uintptr(unsafe.Pointer(&at)))
	switch {
	case ok != 0:
		return nil
	case errors.Is(err, lockImmediately):
		return errLocked
	}
	return err
}

func isNoSpace(err error) bool { return errors.Is(err, diskFull) }
