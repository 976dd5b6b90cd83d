//go:build unix

package ws

import (
	"errors"
	"syscall"
)

// canWriteFD says that sockets take a write that does not wait.
const canWriteFD = true

// writeFD is one write(2) that does not wait: sockets of the runtime's poller are non-blocking.
func writeFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}
