package outbound_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

func TestStatusesAreOutcomes(t *testing.T) {
	t.Parallel()
	var status atomic.Int64
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
	c := newClient(t, "webhook=127.0.0.1")
	for code, want := range map[int]ports.Result{
		200: ports.Delivered, 201: ports.Delivered, 202: ports.Delivered, 204: ports.Delivered, 299: ports.Delivered,
		300: ports.Retryable, 301: ports.Retryable, 302: ports.Retryable, 304: ports.Retryable, 307: ports.Retryable, 308: ports.Retryable,
		400: ports.Retryable, 401: ports.Retryable, 403: ports.Retryable, 404: ports.Retryable, 408: ports.Retryable, 409: ports.Retryable,
		410: ports.Gone, 413: ports.Retryable, 422: ports.Retryable, 425: ports.Retryable, 429: ports.Retryable,
		500: ports.Retryable, 501: ports.Retryable, 502: ports.Retryable, 503: ports.Retryable, 504: ports.Retryable, 599: ports.Retryable,
	} {
		status.Store(int64(code))
		out := c.Send(t.Context(), attempt(url))
		cause := ports.Cause("")
		if want != ports.Delivered {
			cause = ports.Cause(fmt.Sprintf("http %d", code))
		}
		wantOutcome(t, out, want, cause)
		if out.Status != code || !out.Spent() || out.Took <= 0 || out.Answer != nil {
			t.Errorf("%d: got %+v", code, out)
		}
		c.Forget(ports.OutboundWebhook, endpoint)
	}
}

func TestAnAnswerIsKeptWhenItIsWanted(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"skip":true}`) })
	c := newClient(t, "webhook=127.0.0.1")
	a := attempt(url)
	if out := c.Send(t.Context(), a); out.Answer != nil {
		t.Errorf("got an answer nobody asked for: %q", out.Answer)
	}
	a.KeepAnswer = true
	if out := c.Send(t.Context(), a); string(out.Answer) != `{"skip":true}` {
		t.Errorf("got %q", out.Answer)
	}
}

func TestARedirectIsAFailureAndNotFollowed(t *testing.T) {
	t.Parallel()
	inside := listen(t, "127.0.0.1:0")
	var calls atomic.Int64
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{"http://" + inside.addr.String() + "/", "//" + inside.addr.String(), "/again"} {
			url := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", location)
				w.WriteHeader(code)
			})
			c := newClient(t, "webhook=127.0.0.1")
			wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Retryable, ports.StatusCause(code))
		}
	}
	if calls.Load() != 15 {
		t.Errorf("got %d calls, want 15", calls.Load())
	}
	inside.mustBeQuiet(t)
}

func TestNoCookieComesBack(t *testing.T) {
	t.Parallel()
	var cookies atomic.Int64
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		cookies.Add(int64(len(r.Cookies())))
		http.SetCookie(w, &http.Cookie{Name: "track", Value: "1"})
	})
	c := newClient(t, "webhook=127.0.0.1")
	for range 3 {
		wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Delivered, "")
	}
	if cookies.Load() != 0 {
		t.Errorf("got %d cookies back", cookies.Load())
	}
}

// TestNoProxyOfTheEnvironmentIsAsked is not parallel: it sets the environment. The host is no loopback name, to which
// the standard library would never use a proxy.
func TestNoProxyOfTheEnvironmentIsAsked(t *testing.T) {
	proxy := listen(t, "127.0.0.1:0")
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "http://"+proxy.addr.String())
	}
	var calls atomic.Int64
	url := receiver(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	c := scripted(t, &names{answers: map[string][]string{"hooks.example.com": {"127.0.0.1"}}}, "webhook=hooks.example.com")
	out := c.Send(t.Context(), attempt(strings.Replace(url, "127.0.0.1", "hooks.example.com", 1)))
	wantOutcome(t, out, ports.Delivered, "")
	proxy.mustBeQuiet(t)
	if calls.Load() != 1 {
		t.Errorf("got %d calls, want 1", calls.Load())
	}
}

// hostile answers raw bytes to every request, for as long as the client listens.
func hostile(t testing.TB, head, more string, forever bool) string {
	return tcp(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		_, err := io.WriteString(conn, head)
		for err == nil && forever {
			_, err = io.WriteString(conn, more)
		}
	})
}

func TestHostileAnswersAreCut(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	_, _ = packer.Write(make([]byte, 8<<20))
	_ = packer.Close()
	line := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		head, more string
		forever    bool
		result     ports.Result
		cause      ports.Cause
	}{
		"endless body":            {"HTTP/1.1 200 OK\r\n\r\n", line, true, ports.Retryable, ports.CauseTooLarge},
		"endless chunks":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3e8\r\n" + line + "\r\n", true, ports.Retryable, ports.CauseTooLarge},
		"endless chunk extension": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", line, true, ports.Retryable, ports.CauseResponse},
		"endless tiny chunks":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1;" + line + "\r\nx\r\n", true, ports.Retryable, ports.CauseResponse},
		"endless trailers":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: " + line + "\r\n", true, ports.Retryable, ports.CauseResponse},
		"promised gigabyte":       {"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", line, true, ports.Retryable, ports.CauseTooLarge},
		"short of its length":     {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "", false, ports.Retryable, ports.CauseUnreachable},
		"endless header":          {"HTTP/1.1 200 OK\r\nX-A: ", line, true, ports.Retryable, ports.CauseResponse},
		"endless headers":         {"HTTP/1.1 200 OK\r\n", "X-A: b\r\n", true, ports.Retryable, ports.CauseResponse},
		"large headers":           {"HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat(line, 40) + "\r\n\r\n", "", false, ports.Retryable, ports.CauseResponse},
		"endless status line":     {"HTTP/1.1 200 ", line, true, ports.Retryable, ports.CauseResponse},
		"1xx flood":               {"", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", true, ports.Retryable, ports.CauseResponse},
		"100 flood":               {"", "HTTP/1.1 100 Continue\r\n\r\n", true, ports.Retryable, ports.CauseResponse},
		"not HTTP":                {"SSH-2.0-OpenSSH_9.6\r\n", "", false, ports.Retryable, ports.CauseResponse},
		"HTTP/2 unasked":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", false, ports.Retryable, ports.CauseResponse},
		"two lengths":             {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "", false, ports.Retryable, ports.CauseResponse},
		"switch of protocols":     {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", line, true, ports.Retryable, "http 101"},
		"nothing":                 {"", "", false, ports.Retryable, ports.CauseUnreachable},
		"gzip bomb":               {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " + fmt.Sprint(bomb.Len()) + "\r\n\r\n" + bomb.String(), "", false, ports.Delivered, ""},
		"endless 500":             {"HTTP/1.1 500 x\r\n\r\n", line, true, ports.Retryable, "http 500"},
		"as large as allowed":     {"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n" + strings.Repeat("x", outbound.MaxAnswerBytes), "", false, ports.Delivered, ""},
		"one byte more":           {"HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n" + strings.Repeat("x", outbound.MaxAnswerBytes+1), "", false, ports.Retryable, ports.CauseTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := attempt(hostile(t, c.head, c.more, c.forever))
			a.KeepAnswer, a.Timeout = true, 30*time.Second
			out := newClient(t, "webhook=127.0.0.1").Send(t.Context(), a)
			wantOutcome(t, out, c.result, c.cause)
			if out.Took > 20*time.Second || len(out.Answer) > outbound.MaxAnswerBytes || name == "gzip bomb" && out.Answer != nil {
				t.Errorf("took %s, answer has %d bytes", out.Took, len(out.Answer))
			}
		})
	}
}

// TestADrippingBodyIsCutAtTheDeadline drips for as long as it is listened to.
func TestADrippingBodyIsCutAtTheDeadline(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"body": "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "header": "HTTP/1.1 200 OK\r\nX-A: "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cut := make(chan struct{})
			url := tcp(t, func(conn net.Conn) {
				defer close(cut)
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					t.Error(err)
				}
				_, err := io.WriteString(conn, head)
				for tick := time.NewTicker(5 * time.Millisecond); err == nil; <-tick.C {
					_, err = io.WriteString(conn, "x")
				}
			})
			a := attempt(url)
			a.Timeout = 300 * time.Millisecond
			out := newClient(t, "webhook=127.0.0.1").Send(t.Context(), a)
			wantOutcome(t, out, ports.Retryable, ports.CauseTimeout)
			if out.Took < a.Timeout || out.Took > 5*time.Second {
				t.Errorf("took %s, want about %s", out.Took, a.Timeout)
			}
			<-cut
		})
	}
}

func TestASilentHandshakeEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	url := tcp(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }) // hears the greeting and says nothing
	a := attempt(strings.Replace(url, "http://", "https://", 1))
	a.Timeout = 200 * time.Millisecond
	c := newClient(t, "webhook=127.0.0.1")
	wantOutcome(t, c.Send(t.Context(), a), ports.Retryable, ports.CauseTimeout)
}

func TestNobodyListening(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	url := "http://" + l.addr.String()
	l.Close()
	c := newClient(t, "webhook=127.0.0.1")
	wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Retryable, ports.CauseUnreachable)
}

// secure is a receiver with TLS whose certificate is for example.com and 127.0.0.1.
func secure(t testing.TB, configure func(*tls.Config)) (url string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.TLS.ServerName)
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if configure != nil {
		configure(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.URL, roots
}

func TestTLS(t *testing.T) {
	t.Parallel()
	at := func(t *testing.T, url string, roots *x509.CertPool, host string) ports.Outcome {
		n := &names{answers: map[string][]string{"example.com": {"127.0.0.1"}, "other.example": {"127.0.0.1"}}}
		c := outbound.NewScripted(outbound.Config{Allow: allow(t, "webhook=127.0.0.1"), RootCAs: roots}, n.lookup, nil)
		defer c.Close()
		a := attempt(strings.Replace(url, "127.0.0.1", host, 1))
		a.KeepAnswer = true
		return c.Send(t.Context(), a)
	}
	t.Run("trusted, over HTTP/1.1 although HTTP/2 is offered", func(t *testing.T) {
		t.Parallel()
		url, roots := secure(t, nil)
		out := at(t, url, roots, "example.com")
		wantOutcome(t, out, ports.Delivered, "")
		if string(out.Answer) != "HTTP/1.1 example.com" {
			t.Errorf("got %q", out.Answer)
		}
		wantOutcome(t, at(t, url, roots, "127.0.0.1"), ports.Delivered, "")
	})
	t.Run("unknown authority", func(t *testing.T) {
		t.Parallel()
		url, _ := secure(t, nil)
		wantOutcome(t, at(t, url, nil, "example.com"), ports.Retryable, ports.CauseTLS)
	})
	t.Run("another name", func(t *testing.T) {
		t.Parallel()
		url, roots := secure(t, nil)
		wantOutcome(t, at(t, url, roots, "other.example"), ports.Retryable, ports.CauseTLS)
	})
	t.Run("TLS 1.1 is too old", func(t *testing.T) {
		t.Parallel()
		url, roots := secure(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 })
		wantOutcome(t, at(t, url, roots, "example.com"), ports.Retryable, ports.CauseTLS)
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		t.Parallel()
		url, roots := secure(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
		wantOutcome(t, at(t, url, roots, "example.com"), ports.Delivered, "")
	})
	t.Run("not TLS", func(t *testing.T) {
		t.Parallel()
		url := receiver(t, func(http.ResponseWriter, *http.Request) {})
		wantOutcome(t, at(t, strings.Replace(url, "http://", "https://", 1), nil, "example.com"), ports.Retryable, ports.CauseTLS)
	})
}

func TestACancelledCallSaysNothingAboutItsEndpoint(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := receiver(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); hang(r) })
	c := newClient(t, "webhook=127.0.0.1")
	out := c.Send(ctx, attempt(url))
	wantOutcome(t, out, ports.Interrupted, ports.CauseInterrupted)
	if out.Spent() {
		t.Error("an attempt was spent")
	}
	if h := c.Health(ports.OutboundWebhook, endpoint); h != (ports.Health{Circuit: "closed"}) {
		t.Errorf("got %+v, want untouched health", h)
	}
}

func TestACallersOwnDeadlineIsATimeout(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(_ http.ResponseWriter, r *http.Request) { hang(r) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantOutcome(t, newClient(t, "webhook=127.0.0.1").Send(ctx, attempt(url)), ports.Retryable, ports.CauseTimeout)
}

func TestCloseEndsCallsAndWaitsForThem(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	url := receiver(t, func(_ http.ResponseWriter, r *http.Request) { close(begun); hang(r) })
	c := newClient(t, "webhook=127.0.0.1")
	ended := make(chan ports.Outcome, 1)
	go func() { ended <- c.Send(context.Background(), attempt(url)) }()
	<-begun
	c.Close()
	if n := c.Stats().Webhook.InFlight; n != 0 {
		t.Errorf("%d calls in flight after Close", n)
	}
	wantOutcome(t, <-ended, ports.Interrupted, ports.CauseInterrupted)
	wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Interrupted, ports.CauseInterrupted)
}

func TestADeadKeptConnectionCostsNoAttempt(t *testing.T) {
	t.Parallel()
	hurry := make(chan struct{}, 1)
	url := tcp(t, func(conn net.Conn) { // answers once, and hangs up on the next request without reading it
		r := bufio.NewReader(conn)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		_, _ = r.ReadByte()
		hurry <- struct{}{}
	})
	c := newClient(t, "webhook=127.0.0.1")
	wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Delivered, "")
	wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Delivered, "")
	<-hurry // the second call began on the first one's connection
}
