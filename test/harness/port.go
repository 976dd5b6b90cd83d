package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort finds a loopback port that nobody listens on. It looks below the range the kernel hands to outgoing
// connections (32768 and up on Linux), so that a server which is killed and started again finds its port free.
func FreePort() (int, error) {
	const low, high, tries = 10_000, 32_000, 200
	for range tries {
		port := low + rand.IntN(high-low)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port in %d tries", tries)
}
