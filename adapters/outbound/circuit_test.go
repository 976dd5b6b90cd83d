package outbound_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

const hook = "http://hooks.example/x"

// wantDeferred checks that nothing was sent, and when to come back.
func wantDeferred(t *testing.T, out ports.Outcome, cause ports.Cause, after time.Duration) {
	t.Helper()
	wantOutcome(t, out, ports.Deferred, cause)
	if out.RetryAfter != after || out.Spent() {
		t.Errorf("got retry after %s, spent %t; want %s, false", out.RetryAfter, out.Spent(), after)
	}
}

func TestTheCircuitOpensForAWhileAndIsTriedByOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls, status atomic.Int64
		status.Store(500)
		c, stop := virtualClient(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(int(status.Load()))
		})
		defer stop()
		begun := time.Now()
		for range outbound.CircuitTrips {
			if h := c.Health(ports.OutboundWebhook, endpoint); h.Circuit != "closed" {
				t.Fatalf("got %+v, want a closed circuit", h)
			}
			wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Retryable, "http 500")
		}
		opened := time.Now()
		want := ports.Health{Circuit: "open", Failures: outbound.CircuitTrips, LastFailure: begun, LastCause: "http 500", RetryAt: opened.Add(outbound.CircuitOpenFor)}
		if h := c.Health(ports.OutboundWebhook, endpoint); h != want {
			t.Errorf("got %+v, want %+v", h, want)
		}
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseCircuit, outbound.CircuitOpenFor+time.Millisecond)
		time.Sleep(outbound.CircuitOpenFor - time.Second)
		out := c.Send(t.Context(), attempt(hook))
		wantDeferred(t, out, ports.CauseCircuit, time.Second+time.Millisecond)
		if s := c.Stats().Webhook; calls.Load() != outbound.CircuitTrips || s.OpenCircuits != 1 || s.CircuitsTripped != 1 {
			t.Errorf("%d calls, %+v", calls.Load(), s)
		}

		time.Sleep(out.RetryAfter) // what an open circuit says is when it opens: the next call is made, and fails
		if h := c.Health(ports.OutboundWebhook, endpoint); h.Circuit != "half-open" || !h.RetryAt.IsZero() {
			t.Errorf("got %+v, want half-open", h)
		}
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Retryable, "http 500")
		out = c.Send(t.Context(), attempt(hook))
		wantDeferred(t, out, ports.CauseCircuit, outbound.CircuitOpenFor+time.Millisecond)

		time.Sleep(out.RetryAfter)
		status.Store(204)
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "")
		if h := c.Health(ports.OutboundWebhook, endpoint); h.Circuit != "closed" || h.Failures != 0 || h.LastSuccess != time.Now() {
			t.Errorf("got %+v, want a closed circuit", h)
		}
		if s := c.Stats().Webhook; calls.Load() != outbound.CircuitTrips+2 || s.OpenCircuits != 0 || s.CircuitsTripped != 2 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestWhileOneCallTriesACircuitOthersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		c, stop := virtualClient(t, func(w http.ResponseWriter, _ *http.Request) {
			if slow.Load() {
				time.Sleep(3 * time.Second)
				return
			}
			w.WriteHeader(http.StatusBadGateway)
		})
		defer stop()
		for range outbound.CircuitTrips {
			c.Send(t.Context(), attempt(hook))
		}
		time.Sleep(outbound.CircuitOpenFor + time.Millisecond)
		slow.Store(true)
		var probe sync.WaitGroup
		probe.Go(func() { wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "") })
		synctest.Wait()
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseCircuit, 5*time.Second)
		probe.Wait()
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "")
	})
}

func TestAnInterruptedCallLeavesTheCircuitAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		c, stop := virtualClient(t, func(w http.ResponseWriter, r *http.Request) {
			if hangs.Load() {
				hang(r)
			}
			w.WriteHeader(http.StatusBadGateway)
		})
		defer stop()
		interrupted := func() {
			hangs.Store(true)
			defer hangs.Store(false)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			wantOutcome(t, c.Send(ctx, attempt(hook)), ports.Interrupted, ports.CauseInterrupted)
		}
		for range 2 * outbound.CircuitTrips {
			interrupted()
		}
		for range outbound.CircuitTrips {
			wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Retryable, "http 502")
		}
		time.Sleep(outbound.CircuitOpenFor + time.Millisecond)
		interrupted() // the call that tried the circuit: another may
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Retryable, "http 502")
	})
}

func TestARefusedAddressOpensTheCircuitLikeADeadOne(t *testing.T) {
	t.Parallel()
	c := scripted(t, &names{answers: map[string][]string{"inside.example.com": {"10.0.0.1"}}})
	for range outbound.CircuitTrips {
		wantOutcome(t, c.Send(t.Context(), attempt("https://inside.example.com/")), ports.Retryable, ports.CauseUnreachable)
	}
	wantOutcome(t, c.Send(t.Context(), attempt("https://inside.example.com/")), ports.Deferred, ports.CauseCircuit)
}

func TestAnEndpointThatAsksForRestGetsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		answer := http.Header{}
		status := http.StatusTooManyRequests
		c, stop := virtualClient(t, func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			if v := answer.Get("Retry-After"); v != "" {
				w.Header().Set("Retry-After", v)
			}
			w.WriteHeader(status)
		})
		defer stop()
		answer.Set("Retry-After", "120")
		out := c.Send(t.Context(), attempt(hook))
		wantOutcome(t, out, ports.Retryable, "http 429")
		if out.RetryAfter != 120*time.Second || !out.Spent() {
			t.Errorf("got %+v, want retry after 120 s", out)
		}
		time.Sleep(20 * time.Second)
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseRest, 100*time.Second)
		if h := c.Health(ports.OutboundWebhook, endpoint); h.RetryAt != time.Now().Add(100*time.Second) || h.Circuit != "closed" {
			t.Errorf("got %+v", h)
		}
		other := attempt(hook)
		other.Endpoint = "tenant_b/webhook"
		wantOutcome(t, c.Send(t.Context(), other), ports.Retryable, "http 429")
		time.Sleep(100 * time.Second)

		status = http.StatusServiceUnavailable
		answer.Set("Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		if out := c.Send(t.Context(), attempt(hook)); out.RetryAfter != 90*time.Second {
			t.Errorf("got %+v, want retry after 90 s", out)
		}
		time.Sleep(90 * time.Second)

		answer.Set("Retry-After", "86400") // the event waits a day, the others an hour
		if out := c.Send(t.Context(), attempt(hook)); out.RetryAfter != outbound.MaxRetryAfter {
			t.Errorf("got %+v, want retry after %s", out, outbound.MaxRetryAfter)
		}
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseRest, outbound.MaxRest)
		time.Sleep(outbound.MaxRest)
		answer.Del("Retry-After")
		status = http.StatusOK
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "")
		if calls.Load() != 5 {
			t.Errorf("got %d calls, want 5", calls.Load())
		}
	})
}

func TestRetryAfterIsReadAsTheStandardWritesIt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 120 ": 2 * time.Minute, "86400": outbound.MaxRetryAfter, "86401": outbound.MaxRetryAfter,
		"99999999999999999999999": outbound.MaxRetryAfter, "-1": 0, "1.5": 0, "soon": 0, "1e9": 0, "+5": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Friday, 02-Jan-26 03:05:05 GMT": time.Minute, "Fri Jan  2 03:05:05 2026": time.Minute,
		"Thu, 01 Jan 2026 00:00:00 GMT": 0, "Fri, 02 Jan 2099 00:00:00 GMT": outbound.MaxRetryAfter, "2026-01-02T03:05:05Z": 0,
	} {
		if got := outbound.RetryAfter(value, now); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

func TestGoneDisablesAndIsNoFailureOfTheEndpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
		defer stop()
		for range 2 * outbound.CircuitTrips {
			wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Gone, "http 410")
		}
	})
}

func TestPlacesAtAnEndpointAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		c, stop := virtualClient(t, func(http.ResponseWriter, *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(2 * time.Second)
		})
		defer stop()
		var calls sync.WaitGroup
		for range outbound.EndpointPlaces {
			calls.Go(func() { wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "") })
		}
		synctest.Wait()
		begun := time.Now()
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseBusy, time.Second)
		patient := attempt(hook)
		patient.Patience = time.Second
		wantDeferred(t, c.Send(t.Context(), patient), ports.CauseBusy, time.Second)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("waited %s, want its patience of 1s", took)
		}
		other := attempt(hook)
		other.Endpoint = "tenant_b/webhook"
		calls.Go(func() { wantOutcome(t, c.Send(t.Context(), other), ports.Delivered, "") })
		patient.Patience = time.Minute
		wantOutcome(t, c.Send(t.Context(), patient), ports.Delivered, "")
		calls.Wait()
		if most.Load() != outbound.EndpointPlaces+1 || c.Stats().Webhook.InFlight != 0 {
			t.Errorf("%d calls at once, want %d; %+v", most.Load(), outbound.EndpointPlaces+1, c.Stats())
		}
	})
}

func TestAPatientCallCanBeCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Second) })
		defer stop()
		var calls sync.WaitGroup
		defer calls.Wait()
		for range outbound.EndpointPlaces {
			calls.Go(func() { c.Send(t.Context(), attempt(hook)) })
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		patient := attempt(hook)
		patient.Patience = time.Hour
		wantOutcome(t, c.Send(ctx, patient), ports.Interrupted, ports.CauseInterrupted)
	})
}

func TestAllPlacesAreBoundedAndKindsAreApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(http.ResponseWriter, *http.Request) { time.Sleep(5 * time.Second) })
		defer stop()
		var calls sync.WaitGroup
		for i := range outbound.Places {
			a := attempt(hook)
			a.Endpoint = "tenant_" + strconv.Itoa(i)
			calls.Go(func() { wantOutcome(t, c.Send(t.Context(), a), ports.Delivered, "") })
		}
		synctest.Wait()
		if s := c.Stats(); s.Webhook.InFlight != outbound.Places || s.Connections != outbound.Places {
			t.Errorf("got %+v", s)
		}
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseBusy, time.Second)
		s, err := c.Open(t.Context(), ports.StreamCall{Endpoint: "bot_1", URL: "http://llm.example/v1"})
		if err != nil {
			t.Fatalf("webhooks keep a model's call waiting: %v", err)
		}
		s.Body.Close()
		calls.Wait()
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "") // the place it took before it was refused is free
	})
}

func TestEveryStageHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stages := map[string]struct {
			lookup  outbound.Lookup
			connect outbound.Connect
			url     string
			took    time.Duration
		}{
			"lookup": {func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }, nil, "https://hooks.example/", outbound.DialTimeout},
			"connection": {nil, func(ctx context.Context, _ *net.Dialer, _ netip.AddrPort) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
				"https://hooks.example/", outbound.DialTimeout},
			"handshake": {nil, mute, "https://hooks.example/", outbound.TLSTimeout},
			"answer":    {nil, mute, "http://hooks.example/", outbound.DefaultTimeout},
		}
		for name, s := range stages {
			if s.lookup == nil {
				s.lookup = (&names{answers: map[string][]string{"hooks.example": {"8.8.8.8"}}}).lookup
			}
			c := outbound.NewScripted(outbound.Config{Allow: allow(t, "webhook=hooks.example")}, s.lookup, s.connect)
			a := attempt(s.url)
			a.Timeout = 0
			out := c.Send(t.Context(), a)
			if out.Result != ports.Retryable || out.Cause != ports.CauseTimeout || out.Took != s.took {
				t.Errorf("%s: got %+v, want a timeout after %s", name, out, s.took)
			}
			a.Timeout, a.Endpoint = time.Second, "another"
			if out := c.Send(t.Context(), a); out.Cause != ports.CauseTimeout || out.Took != time.Second {
				t.Errorf("%s: got %+v, want a timeout after 1s", name, out)
			}
			a.Timeout, a.Endpoint = time.Hour, "a third"
			if out := c.Send(t.Context(), a); out.Took > time.Minute {
				t.Errorf("%s: got %+v, want a timeout within a minute", name, out)
			}
			synctest.Wait()
			if n := c.Stats().Connections; n != 0 {
				t.Errorf("%s: %d connections outlive their calls", name, n)
			}
			c.Close()
		}
	})
}

// mute connects to somebody who takes everything and says nothing.
func mute(context.Context, *net.Dialer, netip.AddrPort) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		for buf := make([]byte, 1024); ; {
			if _, err := far.Read(buf); err != nil {
				return
			}
		}
	}()
	return near, nil
}

// TestADialEndsWithItsCall: http.Transport would go on dialling for whoever comes next.
func TestADialEndsWithItsCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		n := &names{answers: map[string][]string{"hooks.example": {"8.8.8.8"}}}
		c := outbound.NewScripted(outbound.Config{}, n.lookup, func(ctx context.Context, _ *net.Dialer, _ netip.AddrPort) (net.Conn, error) {
			dials.Add(1)
			defer dials.Add(-1)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		defer c.Close()
		a := attempt("https://hooks.example/")
		a.Timeout = time.Second
		c.Send(t.Context(), a)
		synctest.Wait()
		if dials.Load() != 0 {
			t.Error("the dial goes on")
		}
	})
}

func TestWhatIsKeptOfEndpointsIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, stop := virtualClient(t, func(http.ResponseWriter, *http.Request) {})
		defer stop()
		for i := range outbound.MaxEndpoints + 100 {
			a := attempt(hook)
			a.Endpoint, a.ID = "tenant_"+strconv.Itoa(i), "msg"
			if out := c.Send(t.Context(), a); out.Result != ports.Delivered {
				t.Fatalf("%d: got %+v", i, out)
			}
			if i == 2*outbound.MaxWarm {
				synctest.Wait()
				if n := c.Stats().Connections; n != outbound.MaxWarm {
					t.Errorf("%d idle connections, want %d", n, outbound.MaxWarm)
				}
			}
		}
		synctest.Wait()
		kept, warm := c.Counts()
		if kept != outbound.MaxEndpoints || warm != outbound.MaxWarm || c.Stats().Connections != outbound.MaxWarm {
			t.Errorf("%d endpoints, %d warm, %+v", kept, warm, c.Stats())
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := c.Stats().Connections; n != 0 {
			t.Errorf("%d connections idle for 5s", n)
		}
	})
}

func TestAnEndpointInUseIsNotDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, stop := virtualClient(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("webhook-id") == "slow" {
				<-release
			}
		})
		defer stop()
		slow := attempt(hook)
		slow.ID, slow.Timeout = "slow", time.Minute
		var calls sync.WaitGroup
		for range outbound.EndpointPlaces {
			calls.Go(func() { wantOutcome(t, c.Send(t.Context(), slow), ports.Delivered, "") })
		}
		synctest.Wait()
		for i := range outbound.MaxEndpoints {
			a := attempt(hook)
			a.Endpoint = fmt.Sprint("other_", i)
			c.Send(t.Context(), a)
		}
		wantDeferred(t, c.Send(t.Context(), attempt(hook)), ports.CauseBusy, time.Second)
		close(release)
		calls.Wait()
	})
}

func TestForgettingAnEndpointClosesItsCircuitAndConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var status atomic.Int64
		status.Store(500)
		c, stop := virtualClient(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) })
		defer stop()
		for range outbound.CircuitTrips {
			c.Send(t.Context(), attempt(hook))
		}
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Deferred, ports.CauseCircuit)
		c.Forget(ports.OutboundLLM, endpoint) // another kind's
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Deferred, ports.CauseCircuit)
		c.Forget(ports.OutboundWebhook, endpoint)
		if h := c.Health(ports.OutboundWebhook, endpoint); h != (ports.Health{Circuit: "closed"}) {
			t.Errorf("got %+v", h)
		}
		status.Store(200)
		wantOutcome(t, c.Send(t.Context(), attempt(hook)), ports.Delivered, "")
		synctest.Wait()
		if n := c.Stats().Connections; n != 1 {
			t.Errorf("got %d connections, want the one kept", n)
		}
		c.Forget(ports.OutboundWebhook, endpoint)
		synctest.Wait()
		if n := c.Stats().Connections; n != 0 {
			t.Errorf("got %d connections, want none", n)
		}
	})
}
