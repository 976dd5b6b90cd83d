package onefile

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// TestSIGTERMClosesTheDoorAndReadinessSaysSo, as the operator sees on the doors of their own, which stay open until the
// clients have left.
func TestSIGTERMClosesTheDoorAndReadinessSaysSo(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Topology: harness.OnSQLite, Env: map[string]string{"SHUTDOWN_DRAIN_TIMEOUT": "1m"}})
	tenant := harness.Must(s.NewTenant("door"))(t)
	held := harness.Must(tenant.User("alice").Unfinished("/rooms"))(t) // the drain lasts as long
	t.Cleanup(func() { _ = held.Close() })
	harness.Check(t, s.Signal(syscall.SIGTERM))
	address := strings.TrimPrefix(s.Base, "http://")
	harness.Eventually(t, 30*time.Second, "no connection is taken", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	operator := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.Dir, "chatapi.db.sock"))
		},
	}}
	answer := harness.Must(operator.Get("http://operator/health/ready"))(t)
	body := harness.Must(io.ReadAll(answer.Body))(t)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "draining") || answer.Header.Get("Retry-After") == "" {
		t.Errorf("GET /health/ready of a server that stops: %d %v %s", answer.StatusCode, answer.Header, body)
	}
	harness.Must(s.Metric("chatapi_bots_running"))(t)
	_ = held.Close()
	if code, err := s.WaitExit(30 * time.Second); err != nil || code != 0 {
		t.Errorf("SIGTERM: exit code %d, %v", code, err)
	}
}
