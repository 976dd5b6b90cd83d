package blackbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestSIGTERMTellsClientsAndEndsWithZero(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	conns := []*harness.Conn{connect(t, alice), connect(t, tenant.User("bob"))}
	harness.Must(alice.Send(room, harness.Body("before the end")))(t)

	began := time.Now()
	code, err := tenant.Server().Terminate(30 * time.Second)
	if err != nil || code != 0 {
		t.Errorf("SIGTERM: exit code %d, %v", code, err)
	}
	t.Logf("the drain took %s", time.Since(began))
	for i, c := range conns {
		goodbye := harness.Must(c.AwaitType("server.shutdown"))(t)
		if goodbye.ReconnectMS < 500 || goodbye.ReconnectMS > 5000 {
			t.Errorf("socket %d: reconnect_after_ms %d, want 500 to 5000", i, goodbye.ReconnectMS)
		}
		if code := harness.Must(c.CloseCode(30 * time.Second))(t); code != 1001 {
			t.Errorf("socket %d: close code %d, want 1001", i, code)
		}
		wantDense(t, c.Messages(room), 1, 1)
	}

	harness.Check(t, tenant.Server().Start())
	wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 1)
}

// addressOf is the host and port of a base URL.
func addressOf(t *testing.T, base string) string {
	t.Helper()
	return harness.Must(url.Parse(base))(t).Host
}

// unfinished is a connection with a request under way, whose body the server waits for.
func unfinished(t *testing.T, tenant *harness.Tenant) net.Conn {
	t.Helper()
	conn := harness.Must(net.Dial("tcp", addressOf(t, tenant.Server().Base)))(t)
	t.Cleanup(func() { _ = conn.Close() })
	harness.Check(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	harness.Must(fmt.Fprintf(conn, "POST /rooms HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nX-User-Id: alice\r\n"+
		"Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", tenant.Key))(t)
	if line := harness.Must(bufio.NewReader(conn).ReadString('\n'))(t); !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("a server that waits for the body says %q", line)
	}
	harness.Must(io.WriteString(conn, "{"))(t)
	return conn
}

// TestSIGTERMClosesTheDoorAndReadinessSaysSo, as the operator sees on the doors of their own, which stay open until the
// clients have left.
func TestSIGTERMClosesTheDoorAndReadinessSaysSo(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"SHUTDOWN_DRAIN_TIMEOUT": "1m"}})
	s := tenant.Server()
	held := unfinished(t, tenant) // the drain lasts as long
	harness.Check(t, syscall.Kill(s.PID(), syscall.SIGTERM))
	address := addressOf(t, s.Base)
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

// TestTheDrainEndsInTimeWhateverClientsDo: a request that never comes to its end, and a socket that never reads.
func TestTheDrainEndsInTimeWhateverClientsDo(t *testing.T) {
	t.Parallel()
	const patience = 5 * time.Second
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"SHUTDOWN_DRAIN_TIMEOUT": patience.String()}})
	s, alice := tenant.Server(), tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	stalled := harness.Must(tenant.User("bob").DialWith(harness.DialOptions{Stalled: true, ReadBuffer: 4096}))(t)
	t.Cleanup(stalled.Drop)
	large := harness.Body("%s", strings.Repeat("x", 12_000))
	const messages = 100 // more than the kernel and the server keep for a socket
	for range messages {
		harness.Must(alice.Send(room, large))(t)
	}
	unfinished(t, tenant)

	began := time.Now()
	harness.Check(t, syscall.Kill(s.PID(), syscall.SIGTERM))
	code, err := s.WaitExit(patience + 30*time.Second)
	if took := time.Since(began); err != nil || code != 0 {
		t.Errorf("after %s: exit code %d, %v", took, code, err)
	}
	if !strings.Contains(s.Log(), "requests cut at the end of the drain") {
		t.Errorf("the log does not say that a request was cut:\n%s", s.LogTail(5))
	}
	harness.Check(t, s.Start())
	wantDense(t, harness.Must(alice.History(room, 0, messages))(t), 1, messages)
}

// TestAMarkAcknowledgedJustBeforeSIGTERMIsKept, though it had half a second to be written in.
func TestAMarkAcknowledgedJustBeforeSIGTERMIsKept(t *testing.T) {
	t.Parallel()
	const messages = 20
	tenant := tenantOf(t, harness.Options{})
	s, alice, bob := tenant.Server(), tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, messages)
	for last := int64(1); last <= messages; last += 6 {
		c := connect(t, bob, "device_id", "phone")
		requested(t, c, ackFrame(room, last))
		harness.Check(t, syscall.Kill(s.PID(), syscall.SIGTERM))
		if code, err := s.WaitExit(30 * time.Second); err != nil || code != 0 {
			t.Fatalf("SIGTERM: exit code %d, %v", code, err)
		}
		harness.Check(t, s.Start())
		if got := lastAck(t, bob, room, "phone"); got != last {
			t.Errorf("the mark is %d after the restart, %d was acknowledged before", got, last)
		}
	}
}
