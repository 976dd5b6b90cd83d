package harness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// echoServer repeats lines.
func echoServer(t *testing.T) string {
	t.Helper()
	l := Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// line sends a line and returns what comes back within a time.
func line(c net.Conn, text string, limit time.Duration) (string, error) {
	if _, err := fmt.Fprintln(c, text); err != nil {
		return "", err
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	got, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(got), err
}

func TestAProxyFailsAsNetworksDo(t *testing.T) {
	t.Parallel()
	const soon, long = 200 * time.Millisecond, 10 * time.Second
	p := Must(NewProxy(echoServer(t)))(t)
	t.Cleanup(func() { Check(t, p.Close()) })
	dial := func() net.Conn {
		c := Must(net.Dial("tcp", p.Address()))(t)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := dial()
	if got, err := line(c, "one", long); got != "one" || err != nil {
		t.Fatalf("through a proxy: %q, %v", got, err)
	}

	p.Silence()
	if got, err := line(c, "two", soon); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an open connection through silence: %q, %v", got, err)
	}
	if got, err := line(dial(), "new", soon); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection into silence: %q, %v", got, err)
	}
	p.Restore()
	if got, err := line(c, "three", long); got != "two" || err != nil {
		t.Errorf("after the silence: %q, %v, want what was sent in it", got, err)
	}

	p.Delay(2 * soon)
	began := time.Now()
	if got, err := line(dial(), "slow", long); got != "slow" || err != nil || time.Since(began) < 2*soon {
		t.Errorf("late: %q, %v after %s, want at least %s", got, err, time.Since(began), 2*soon)
	}
	p.Restore()

	p.Cut()
	if got, err := line(c, "cut", long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an open connection that is cut: %q, %v", got, err)
	}
	if fresh, err := net.Dial("tcp", p.Address()); err == nil { // it may be cut before the dial returns
		t.Cleanup(func() { _ = fresh.Close() })
		if got, err := line(fresh, "cut", long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a new connection that is cut: %q, %v", got, err)
		}
	}
	p.Restore()
	if got, err := line(dial(), "again", long); got != "again" || err != nil {
		t.Errorf("restored: %q, %v", got, err)
	}
}
