//go:build unix

package main

import (
	"net"
	"syscall"
)

// listenPrivate makes a socket that only the process's own user can open: it is born with mode 0600. The mask is the
// whole process's, and a file made at the same moment only turns out more private.
func listenPrivate(address string) (net.Listener, error) {
	const ownerOnly = 0o177
	before := syscall.Umask(ownerOnly)
	defer syscall.Umask(before)
	return net.Listen("unix", address)
}
