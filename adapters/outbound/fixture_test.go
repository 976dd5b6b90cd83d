package outbound_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	endpoint = "tenant_a/webhook"
	secret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func allow(t testing.TB, entries ...string) outbound.Allow {
	t.Helper()
	a, err := outbound.ParseAllow(entries)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newClient returns a client of the real network that may call this machine.
func newClient(t testing.TB, entries ...string) *outbound.Client {
	t.Helper()
	c := outbound.New(outbound.Config{Allow: allow(t, entries...)})
	t.Cleanup(c.Close)
	return c
}

func attempt(url string) ports.Attempt {
	return ports.Attempt{Endpoint: endpoint, URL: url, ID: "msg_1", Timestamp: time.Now(),
		Body: []byte(`{"type":"message.offline"}`), Secrets: []ports.Secret{ports.NewSecret(secret)}, Timeout: 10 * time.Second}
}

// want is an outcome without what differs from run to run.
func wantOutcome(t testing.TB, got ports.Outcome, result ports.Result, cause ports.Cause) {
	t.Helper()
	if got.Result != result || got.Cause != cause {
		t.Errorf("got result %d, cause %q, status %d; want result %d, cause %q", got.Result, got.Cause, got.Status, result, cause)
	}
}

// receiver is a server on 127.0.0.1.
func receiver(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// hang holds a request until its client has gone, which a server learns only after reading the body.
func hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// tcp is a server below HTTP: talk has the connection, and closing it ends it.
func tcp(t testing.TB, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				talk(conn)
			})
		}
	})
	t.Cleanup(talks.Wait)
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

// silent is a listener that nobody is to connect to.
type silent struct {
	net.Listener
	addr netip.AddrPort
}

func listen(t testing.TB, at string) silent {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return silent{l, netip.MustParseAddrPort(l.Addr().String())}
}

func (s silent) port() string { _, port, _ := net.SplitHostPort(s.addr.String()); return port }

// mustBeQuiet proves that nobody connected: a connection that is made now is the first in the listener's queue.
func (s silent) mustBeQuiet(t testing.TB) {
	t.Helper()
	probe, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	first, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if got, want := first.RemoteAddr().String(), probe.LocalAddr().String(); got != want {
		t.Errorf("%s was dialled by %s", s.addr, got)
	}
}

// names is a scripted resolver: each name has answers, one a lookup, the last for ever.
type names struct {
	mu      sync.Mutex
	answers map[string][]string // addresses with commas between
	lookups int
}

func (n *names) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups++
	answers := n.answers[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		n.answers[host] = answers[1:]
	}
	var addrs []netip.Addr
	for text := range strings.SplitSeq(answers[0], ",") {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	return addrs, nil
}

// scripted returns a client of the real network with scripted names.
func scripted(t testing.TB, n *names, entries ...string) *outbound.Client {
	t.Helper()
	c := outbound.NewScripted(outbound.Config{Allow: allow(t, entries...)}, n.lookup, nil)
	t.Cleanup(c.Close)
	return c
}

// virtual is a network of pipes: every connection to any address reaches one server. It works within a synctest bubble.
type virtual struct {
	conns  chan net.Conn
	done   chan struct{}
	server *http.Server
}

func newVirtual(h http.HandlerFunc) *virtual {
	v := &virtual{conns: make(chan net.Conn), done: make(chan struct{}), server: &http.Server{Handler: h}}
	go func() { _ = v.server.Serve(v) }()
	return v
}

func (v *virtual) connect(ctx context.Context, _ *net.Dialer, _ netip.AddrPort) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case v.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (v *virtual) Accept() (net.Conn, error) {
	select {
	case conn := <-v.conns:
		return conn, nil
	case <-v.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (v *virtual) Close() error { close(v.done); return nil }

// Addr implements net.Listener.
func (v *virtual) Addr() net.Addr { return &net.TCPAddr{} }

// virtualClient returns a client whose every call reaches h, and what closes both.
func virtualClient(t testing.TB, h http.HandlerFunc) (c *outbound.Client, stop func()) {
	t.Helper()
	n, v := &names{answers: map[string][]string{"hooks.example": {"8.8.8.8"}, "llm.example": {"8.8.8.8"}}}, newVirtual(h)
	c = outbound.NewScripted(outbound.Config{Allow: allow(t, "webhook=hooks.example", "llm=llm.example")}, n.lookup, v.connect)
	return c, func() {
		c.Close()
		_ = v.server.Close()
	}
}

// journal is a log to search.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
