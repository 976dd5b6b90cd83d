//go:build !unix

package ws

import "syscall"

// canWriteFD is false where a write on a socket's descriptor would wait: every session writes from a goroutine then.
const canWriteFD = false

func writeFD(uintptr, []byte) (int, error) { return 0, syscall.EINVAL }
