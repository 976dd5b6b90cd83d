package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// FreePort finds a loopback port that nobody listens on. It looks below the range the kernel hands to outgoing
// connections (32768 and up on Linux), so that a server which is killed and started again finds its port free. No other test
// of this user is given the port while this process lives: a server that came to listen there first would be taken for
// the one that was to.
func FreePort() (int, error) {
	const low, high, tries = 10_000, 32_000, 200
	for range tries {
		port := low + rand.IntN(high-low)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err != nil || l.Close() != nil {
			continue
		}
		if mine, err := claimPort(port); mine || err != nil {
			return port, err
		}
	}
	return 0, fmt.Errorf("no free port in %d tries", tries)
}

// claimPort locks an empty file that stands for the port, and stays. The kernel lets go of it when this process ends.
func claimPort(port int) (bool, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("chatapi-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	fd, err := syscall.Open(filepath.Join(dir, strconv.Itoa(port)), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return false, err
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false, syscall.Close(fd)
	}
	return true, nil // the descriptor stays open
}
