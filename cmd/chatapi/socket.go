package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is the longest path of a unix socket on every system: sun_path has 104 bytes on some, NUL included.
const maxSocketPath = 103

// socketAddress is the path of the operator's socket as it can be used from this working directory.
func socketAddress(path string) (string, error) {
	if len(path) <= maxSocketPath {
		return path, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if short, err := filepath.Rel(dir, path); err == nil && len(short) <= maxSocketPath {
		return short, nil
	}
	return "", fmt.Errorf("the path %s is too long for a unix socket (%d bytes at most): use a shorter data directory",
		path, maxSocketPath)
}

// listenOperator opens the operator's socket. The caller holds the store's lock, so that a socket lying there is the
// leftover of a process that was killed.
func listenOperator(path string) (net.Listener, error) {
	address, err := socketAddress(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(address)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s exists and is no socket", path)
	default:
		if err := os.Remove(address); err != nil {
			return nil, err
		}
	}
	return listenPrivate(address)
}
