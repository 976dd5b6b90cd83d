package outbound_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

const model = "http://llm.example/v1/chat/completions"

func streamCall() ports.StreamCall {
	return ports.StreamCall{Endpoint: "tenant_a/bot_1", URL: model, Body: []byte(`{"stream":true}`)}
}

// say writes what a reader gets at once.
func say(w http.ResponseWriter, text string) {
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
}

// wantCallError checks that err is the cause's.
func wantCallError(t *testing.T, err error, result ports.Result, cause ports.Cause) {
	t.Helper()
	var failed *ports.CallError
	if !errors.As(err, &failed) {
		t.Errorf("got %v, want a call's error", err)
		return
	}
	wantOutcome(t, failed.Outcome, result, cause)
	if failed.Error() != string(cause) {
		t.Errorf("got text %q, want %q", failed.Error(), cause)
	}
}

func TestAStreamIsReadAsItComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Header.Get("Authorization") != "Bearer sk-1" || r.ContentLength != int64(len(body)) || string(body) != `{"stream":true}` || r.Method != http.MethodPost {
				t.Errorf("got %v, %d bytes, %s", r.Header, r.ContentLength, body)
			}
			w.Header().Set("Content-Type", "text/event-stream")
			for _, token := range []string{"one", "two", "three"} {
				say(w, token)
				time.Sleep(29 * time.Second) // longer in all than any deadline of an attempt
			}
		})
		defer stop()
		call := streamCall()
		call.Header = map[string]string{"Authorization": "Bearer sk-1", "anthropic-version": "2023-06-01"}
		s, err := c.Open(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		if s.Status != 200 || s.ContentType != "text/event-stream" || c.Stats().LLM.InFlight != 1 {
			t.Errorf("got %+v, %+v", s, c.Stats().LLM)
		}
		begun, buf := time.Now(), make([]byte, 100)
		for i, want := range []string{"one", "two", "three"} {
			n, err := s.Body.Read(buf)
			if string(buf[:n]) != want || err != nil || time.Since(begun) != time.Duration(i)*29*time.Second {
				t.Errorf("got %q, %v after %s", buf[:n], err, time.Since(begun))
			}
		}
		time.Sleep(time.Hour) // the reader's own time
		if n, err := s.Body.Read(buf); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("got %d bytes, %v, want the end", n, err)
		}
		if err := s.Body.Close(); err != nil {
			t.Error(err)
		}
		if got := c.Stats().LLM; got.InFlight != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestASilentModelIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		left := make(chan struct{}, 1)
		c, stop := virtualClient(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if !mute.Load() {
				say(w, "one")
			}
			<-r.Context().Done()
			left <- struct{}{}
		})
		defer stop()
		for idle, want := range map[time.Duration]time.Duration{0: 30 * time.Second, 7 * time.Second: 7 * time.Second} {
			call := streamCall()
			call.IdleTimeout = idle
			s, err := c.Open(t.Context(), call)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			text, err := io.ReadAll(s.Body)
			wantCallError(t, err, ports.Retryable, ports.CauseTimeout)
			if string(text) != "one" || time.Since(begun) != want {
				t.Errorf("got %q after %s, want it after %s", text, time.Since(begun), want)
			}
			if _, again := s.Body.Read(make([]byte, 1)); !errors.Is(again, err) {
				t.Errorf("got %v, want the same error again", again)
			}
			s.Body.Close()
			<-left
		}
		mute.Store(true)
		for header, want := range map[time.Duration]time.Duration{0: time.Minute, 7 * time.Second: 7 * time.Second} {
			call := streamCall()
			call.HeaderTimeout = header
			begun := time.Now()
			_, err := c.Open(t.Context(), call)
			wantCallError(t, err, ports.Retryable, ports.CauseTimeout)
			if time.Since(begun) != want {
				t.Errorf("took %s, want %s", time.Since(begun), want)
			}
			<-left
		}
	})
}

func TestAStreamEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		left := make(chan struct{}, 1)
		c, stop := virtualClient(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			say(w, "one")
			<-r.Context().Done()
			left <- struct{}{}
		})
		open := func(ctx context.Context) *ports.Stream {
			s, err := c.Open(ctx, streamCall())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		ctx, cancel := context.WithCancel(t.Context())
		s := open(ctx)
		time.AfterFunc(time.Second, cancel)
		_, err := io.ReadAll(s.Body)
		wantCallError(t, err, ports.Interrupted, ports.CauseInterrupted)
		s.Body.Close()
		<-left

		s = open(t.Context()) // closed by another goroutine while it is read
		time.AfterFunc(time.Second, func() { s.Body.Close() })
		_, err = io.ReadAll(s.Body)
		wantCallError(t, err, ports.Interrupted, ports.CauseInterrupted)
		s.Body.Close() // once more does no harm
		<-left
		if n := c.Stats().LLM.InFlight; n != 0 {
			t.Errorf("%d calls in flight", n)
		}

		s = open(t.Context()) // and by the client's own end, which waits for it
		time.AfterFunc(time.Second, func() {
			_, err := io.ReadAll(s.Body)
			wantCallError(t, err, ports.Interrupted, ports.CauseInterrupted)
			s.Body.Close()
		})
		begun := time.Now()
		stop()
		if time.Since(begun) != time.Second {
			t.Errorf("closed after %s, want to wait for the stream", time.Since(begun))
		}
		<-left
	})
}

func TestAStreamHasItsLimitOfBytes(t *testing.T) {
	t.Parallel()
	var status, size atomic.Int64
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, strings.Repeat("x", int(size.Load())))
	})
	c := newClient(t, "llm=127.0.0.1")
	for _, r := range []struct {
		status, size int
		limit        int64
		read         int
		cut          bool
	}{
		{200, 1000, 1000, 1000, false}, {200, 1001, 1000, 1000, true}, {200, 100_000, 1000, 1000, true}, {200, 0, 1, 0, false}, {200, 1, 1, 1, false},
		{200, 1 << 20, 0, 1 << 20, false}, {200, 16<<20 + 1, 0, 16 << 20, true},
		{400, outbound.MaxErrorBytes, 0, outbound.MaxErrorBytes, false}, {400, outbound.MaxErrorBytes + 1, 0, outbound.MaxErrorBytes, true}, {400, 1000, 10, 10, true},
	} {
		status.Store(int64(r.status))
		size.Store(int64(r.size))
		call := streamCall()
		call.URL, call.MaxBytes = url, r.limit
		s, err := c.Open(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(s.Body)
		s.Body.Close()
		if len(text) != r.read || (err != nil) != r.cut || s.Status != r.status {
			t.Errorf("%+v: got status %d, %d bytes, %v", r, s.Status, len(text), err)
		}
		if r.cut {
			wantCallError(t, err, ports.Retryable, ports.CauseTooLarge)
		}
	}
}

func TestACutStreamSaysSo(t *testing.T) {
	t.Parallel()
	url := hostile(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", "", false)
	call := streamCall()
	call.URL = url
	s, err := newClient(t, "llm=127.0.0.1").Open(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Body.Close()
	text, err := io.ReadAll(s.Body)
	if string(text) != "one" {
		t.Errorf("got %q", text)
	}
	wantCallError(t, err, ports.Retryable, ports.CauseUnreachable)
}

func TestAModelsStatusIsHandedOn(t *testing.T) {
	t.Parallel()
	inside := listen(t, "127.0.0.1:0")
	var status atomic.Int64
	url := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.Header().Set("Location", "http://"+inside.addr.String())
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, "why")
	})
	c := newClient(t, "llm=127.0.0.1")
	for _, code := range []int{200, 302, 307, 400, 401, 404, 410, 429, 500, 503} {
		status.Store(int64(code))
		call := streamCall()
		call.URL = url
		s, err := c.Open(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(s.Body)
		s.Body.Close()
		if s.Status != code || s.RetryAfter != 30*time.Second || string(text) != "why" || err != nil {
			t.Errorf("%d: got %+v, %q, %v", code, s, text, err)
		}
		wantFailures := 0
		if code == 429 || code >= 500 {
			wantFailures = 1
		}
		if h := c.Health(ports.OutboundLLM, call.Endpoint); h.Failures != wantFailures {
			t.Errorf("%d: got %+v, want %d failures", code, h, wantFailures)
		}
		c.Forget(ports.OutboundLLM, call.Endpoint)
	}
	inside.mustBeQuiet(t)
}

func TestAStreamIsGuardedAndBounded(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	c := scripted(t, &names{answers: map[string][]string{"inside.example.com": {"127.0.0.1"}}}, "webhook=127.0.0.1")
	for url, want := range map[string]ports.Cause{
		"https://" + l.addr.String() + "/v1": ports.CausePolicy, "http://" + l.addr.String() + "/v1": ports.CausePolicy,
		"https://inside.example.com:" + l.port() + "/v1": ports.CauseUnreachable, "https://nowhere.example.com/v1": ports.CauseUnreachable, "": ports.CausePolicy,
	} {
		call := streamCall()
		call.URL = url
		_, err := c.Open(t.Context(), call)
		result := ports.Refused
		if want == ports.CauseUnreachable {
			result = ports.Retryable
		}
		wantCallError(t, err, result, want)
	}
	l.mustBeQuiet(t)
	for name, value := range map[string]string{"Authorization": "Bearer sk\r\nX: y", "X Y": "z", "": "z", "X\n": "z"} {
		call := streamCall()
		call.URL, call.Header = "https://api.example.com/v1", map[string]string{name: value}
		_, err := c.Open(t.Context(), call)
		wantCallError(t, err, ports.Permanent, ports.CauseRequest)
	}
}

func TestOpenStreamsHoldTheirPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			say(w, "one")
			<-r.Context().Done()
		})
		defer stop()
		var streams []*ports.Stream
		for range outbound.LLMEndpointPlaces {
			s, err := c.Open(t.Context(), streamCall())
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		_, err := c.Open(t.Context(), streamCall())
		wantCallError(t, err, ports.Deferred, ports.CauseBusy)
		streams[0].Body.Close()
		s, err := c.Open(t.Context(), streamCall())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range append(streams, s) {
			s.Body.Close()
		}
		if n := c.Stats().LLM.InFlight; n != 0 {
			t.Errorf("%d calls in flight", n)
		}
	})
}

func TestAFailingModelOpensItsCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		defer stop()
		for range outbound.CircuitTrips {
			s, err := c.Open(t.Context(), streamCall())
			if err != nil {
				t.Fatal(err)
			}
			s.Body.Close()
		}
		_, err := c.Open(t.Context(), streamCall())
		wantCallError(t, err, ports.Deferred, ports.CauseCircuit)
		if s := c.Stats().LLM; s.OpenCircuits != 1 || s.CircuitsTripped != 1 {
			t.Errorf("got %+v", s)
		}
	})
}
