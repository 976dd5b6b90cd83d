package outbound

import (
	"container/list"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/chatapi/chatapi/ports"
)

// key names an endpoint: what is allowed to one kind of call must not be reached over connections of another.
type key struct {
	kind ports.OutboundKind
	name string
}

// endpoint is what is kept of one place that calls go to.
type endpoint struct {
	key       key
	transport *http.Transport // its connections; nobody else's call ever uses one
	breaker   *gobreaker.CircuitBreaker[verdict]
	places    chan struct{} // a call has put one in while it is under way

	users  int           // calls that hold it; guarded by endpoints.mu, as are the next two
	recent *list.Element // in endpoints.recent
	warm   *list.Element // in endpoints.warm, while there

	mu     sync.Mutex // guards what follows
	health ports.Health
	opened time.Time // when the circuit opened last
}

// verdict is an outcome with what only the operator may read.
type verdict struct {
	ports.Outcome
	detail string
}

// What the breaker is told of a call that did not succeed.
var (
	errFailed    = errors.New("failed")
	errNoVerdict = errors.New("says nothing about the endpoint")
)

func newEndpoint(k key, transport *http.Transport, places int, tripped func()) *endpoint {
	e := &endpoint{key: k, transport: transport, places: make(chan struct{}, places)}
	e.breaker = gobreaker.NewCircuitBreaker[verdict](gobreaker.Settings{
		Timeout:     circuitOpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= circuitTrips },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNoVerdict) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				tripped()
				e.mu.Lock()
				defer e.mu.Unlock()
				e.opened = time.Now()
			}
		},
	})
	return e
}

// attempt makes a call, unless the circuit is open, and remembers how it went.
func (e *endpoint) attempt(call func() verdict) verdict {
	v, err := e.breaker.Execute(func() (verdict, error) {
		v := call()
		return v, opinion(v.Outcome)
	})
	switch {
	case errors.Is(err, gobreaker.ErrOpenState):
		return deferred(ports.CauseCircuit, e.opensIn())
	case errors.Is(err, gobreaker.ErrTooManyRequests):
		return deferred(ports.CauseCircuit, probeDelay)
	}
	e.remember(v.Outcome)
	return v
}

// opinion is what a call says about its endpoint. A model's answer that is the caller's own fault, such as a wrong key,
// is Delivered here: it says that the endpoint works.
func opinion(out ports.Outcome) error {
	switch out.Result {
	case ports.Delivered, ports.Gone:
		return nil
	case ports.Interrupted:
		return errNoVerdict
	}
	return errFailed
}

func deferred(cause ports.Cause, d time.Duration) verdict {
	return verdict{Outcome: ports.Outcome{Result: ports.Deferred, Cause: cause, RetryAfter: max(d, leastDelay)}}
}

// opensIn returns how long until the circuit lets a call through. The breaker wants its time to be over, not just reached.
func (e *endpoint) opensIn() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Until(e.opened.Add(circuitOpenFor)) + time.Millisecond
}

// ready reports whether a call may be made at all, before it takes a place.
func (e *endpoint) ready() (verdict, bool) {
	if e.breaker.State() == gobreaker.StateOpen {
		return deferred(ports.CauseCircuit, e.opensIn()), false
	}
	if wait := e.resting(); wait > 0 {
		return deferred(ports.CauseRest, wait), false
	}
	return verdict{}, true
}

func (e *endpoint) isOpen() bool { return e.breaker.State() != gobreaker.StateClosed }

// resting returns how much longer the endpoint asked to be left alone.
func (e *endpoint) resting() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Until(e.health.RetryAt)
}

func (e *endpoint) remember(out ports.Outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	switch out.Result {
	case ports.Interrupted:
		return
	case ports.Delivered:
		e.health.Failures, e.health.LastSuccess = 0, now
	default:
		e.health.Failures++
		e.health.LastFailure, e.health.LastCause = now, out.Cause
	}
	if out.RetryAfter > 0 {
		e.health.RetryAt = later(e.health.RetryAt, now.Add(min(out.RetryAfter, maxRest)))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// report is the endpoint's health as it is now.
func (e *endpoint) report() ports.Health {
	state := e.breaker.State() // takes the breaker's lock, under which e.mu is taken: never the other way round
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.health
	h.Circuit = state.String()
	if state == gobreaker.StateOpen {
		h.RetryAt = later(h.RetryAt, e.opened.Add(circuitOpenFor))
	}
	if !h.RetryAt.After(time.Now()) {
		h.RetryAt = time.Time{}
	}
	return h
}
