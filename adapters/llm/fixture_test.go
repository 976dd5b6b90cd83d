package llm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/model/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-canary-8c1f"

var providers = []domain.Provider{domain.ProviderOpenAI, domain.ProviderAnthropic}

// opener is a ports.StreamOpener over HTTP with neither guard nor limits.
type opener struct {
	transport *http.Transport
	open      atomic.Int64 // bodies that nobody has closed
}

func (o *opener) Open(ctx context.Context, c ports.StreamCall) (*ports.Stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(c.Body))
	if err != nil {
		return nil, failed(ports.Permanent, ports.CauseRequest)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range c.Header {
		req.Header.Set(name, value)
	}
	resp, err := o.transport.RoundTrip(req)
	if err != nil {
		return nil, o.failure(ctx)
	}
	o.open.Add(1)
	after, _ := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
	return &ports.Stream{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), RetryAfter: after,
		Body: &body{ReadCloser: resp.Body, opener: o, ctx: ctx}}, nil
}

func (o *opener) failure(ctx context.Context) error {
	if ctx.Err() != nil {
		return failed(ports.Interrupted, ports.CauseInterrupted)
	}
	return failed(ports.Retryable, ports.CauseUnreachable)
}

func failed(r ports.Result, cause ports.Cause) *ports.CallError {
	return &ports.CallError{Outcome: ports.Outcome{Result: r, Cause: cause}}
}

type body struct {
	io.ReadCloser
	opener *opener
	ctx    context.Context
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.opener.failure(b.ctx)
	}
	return n, err
}

func (b *body) Close() error {
	b.opener.open.Add(-1)
	return b.ReadCloser.Close()
}

// fixture is a client with a scripted model.
type fixture struct {
	*llm.Client
	model  *scripted.Server
	opener *opener
}

func newFixture(t testing.TB, l net.Listener, dial func(context.Context, string, string) (net.Conn, error)) *fixture {
	t.Helper()
	o := &opener{transport: &http.Transport{DialContext: dial}}
	return &fixture{Client: llm.New(o), model: scripted.Serve(l), opener: o}
}

// close ends the fixture, and fails the test when a call was left open.
func (f *fixture) close(t testing.TB) {
	t.Helper()
	f.mustBeIdle(t)
	f.opener.transport.CloseIdleConnections()
	f.model.Close()
}

// mustBeIdle checks that no call goes on at either end.
func (f *fixture) mustBeIdle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.model.WaitIdle(ctx); err != nil {
		t.Error(err)
	}
	if n := f.opener.open.Load(); n != 0 {
		t.Errorf("%d bodies are not closed", n)
	}
}

// onTCP is a fixture on 127.0.0.1.
func onTCP(t testing.TB) *fixture {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, l, new(net.Dialer).DialContext)
	t.Cleanup(func() { f.close(t) })
	return f
}

// pipes is a network that works within a synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

// onPipes is a fixture of such a network. Close it before the bubble ends.
func onPipes(t testing.TB) *fixture {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	return newFixture(t, p, func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case p.conns <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// question asks the fixture's model to play a script.
func (f *fixture) question(p domain.Provider, script string) ports.Question {
	return ports.Question{Endpoint: "tenant_a/bot_1", Provider: p, BaseURL: f.model.URL, Key: ports.NewSecret(key), Model: script,
		Turns: []ports.Turn{{Role: "user", Text: "Hello"}}}
}

// heard is all that came of a question.
type heard struct {
	Text   string
	Finish domain.FinishReason
	Usage  ports.TokenUsage
	Err    ports.ModelError // its zero value = none
	Pieces int
}

// listen hears an answer to its end, and checks what holds for all of them.
func listen(t testing.TB, ctx context.Context, m ports.LLM, q ports.Question) heard { //nolint:revive // t comes first in helpers
	t.Helper()
	var h heard
	ended := false
	for piece, err := range m.Answer(ctx, q) {
		if ended {
			t.Errorf("%s: after the end came %+v, %v", q.Model, piece, err)
		}
		if err != nil {
			ended, h.Err = true, wantModelError(t, err)
			continue
		}
		h.Pieces++
		h.Text += piece.Text
		if piece.Usage != nil {
			h.Usage = *piece.Usage
		}
		if h.Finish = piece.Finish; h.Finish != "" {
			ended = true
		} else if piece.Text == "" {
			t.Errorf("%s: an empty piece that is not the last", q.Model)
		}
	}
	if !ended {
		t.Errorf("%s: the answer has no end", q.Model)
	}
	return h
}

func wantModelError(t testing.TB, err error) ports.ModelError {
	t.Helper()
	var failed *ports.ModelError
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a model's error", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", err, *failed, *failed); strings.Contains(text, "canary") {
		t.Errorf("the key is in %s", text)
	}
	return *failed
}

func wantHeard(t testing.TB, name string, got, want heard) {
	t.Helper()
	got.Pieces = 0
	if got != want {
		t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
	}
}

// canned is an opener whose every call gets this answer.
type canned struct {
	io.Reader
	contentType string
}

func (c canned) Open(context.Context, ports.StreamCall) (*ports.Stream, error) {
	return &ports.Stream{Status: http.StatusOK, ContentType: c.contentType, Body: io.NopCloser(c.Reader)}, nil
}
