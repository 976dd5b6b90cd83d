package outbound

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Config is what a Client needs. The zero value calls the public network only.
type Config struct {
	Allow     Allow
	UserAgent string         // default "ChatAPI"
	RootCAs   *x509.CertPool // whom TLS trusts; nil = the system's
	Resolver  *net.Resolver  // nil = the system's
	Log       *slog.Logger   // the operator's: names, addresses and causes of failed calls, no path, query, header or body. nil = none
}

// Client makes all outbound calls of a process. It satisfies ports.Endpoints, ports.WebhookSender and
// ports.StreamOpener. Safe for concurrent use.
type Client struct {
	userAgent string
	log       *slog.Logger
	lanes     map[ports.OutboundKind]*lane
	endpoints *endpoints
	open      atomic.Int64 // connections

	mu      sync.Mutex // guards stopped, and calls from growing once it is set
	stopped bool
	calls   sync.WaitGroup
	closing context.Context // done when Close is called; this one context lives as long as the client
	close   context.CancelFunc
}

var (
	_ ports.Endpoints     = (*Client)(nil)
	_ ports.WebhookSender = (*Client)(nil)
	_ ports.StreamOpener  = (*Client)(nil)
)

// lane is one kind of calls.
type lane struct {
	guard  guard
	dialer *dialer
	places chan struct{} // a call has put one in while it is under way
	each   int           // places at one endpoint
	tally  tally
}

// New returns a client. Close it.
func New(cfg Config) *Client {
	resolver := cmp.Or(cfg.Resolver, net.DefaultResolver)
	return newClient(cfg,
		func(ctx context.Context, host string) ([]netip.Addr, error) {
			return resolver.LookupNetIP(ctx, "ip", host)
		},
		func(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", to.String())
		})
}

func newClient(cfg Config, lookup func(context.Context, string) ([]netip.Addr, error),
	connect func(context.Context, *net.Dialer, netip.AddrPort) (net.Conn, error),
) *Client {
	c := &Client{userAgent: cmp.Or(cfg.UserAgent, "ChatAPI"), log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
		lanes: map[ports.OutboundKind]*lane{}}
	c.closing, c.close = context.WithCancel(context.Background())
	add := func(kind ports.OutboundKind, places, each int) {
		l := &lane{guard: guard{cfg.Allow.rules[kind]}, places: make(chan struct{}, places), each: each}
		l.dialer = &dialer{guard: l.guard, roots: cfg.RootCAs, lookup: lookup, connect: connect, open: &c.open, refused: &l.tally.refusedAddresses}
		c.lanes[kind] = l
	}
	add(ports.OutboundWebhook, webhookPlaces, webhookEndpointPlaces)
	add(ports.OutboundLLM, llmPlaces, llmEndpointPlaces)
	c.endpoints = newEndpoints(c.newEndpoint)
	return c
}

func (c *Client) newEndpoint(k key) *endpoint {
	l := c.lanes[k.kind]
	return newEndpoint(k, newTransport(l.dialer), l.each, func() { l.tally.tripped.Add(1) })
}

// newTransport returns the connections of one endpoint. It is used without an http.Client around it, which is where
// redirects and cookies would come from.
func newTransport(d *dialer) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil, // not http.ProxyFromEnvironment: a proxy would connect where the guard cannot look
		DialContext:            d.dialPlain,
		DialTLSContext:         d.dialSecure,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConns:           idlePerWarm,
		MaxIdleConnsPerHost:    idlePerWarm,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// CheckURL implements ports.Endpoints.
func (c *Client) CheckURL(kind ports.OutboundKind, field, url string) error {
	if _, err := c.target(kind, url); err != nil {
		return domain.Invalid(field, "%s", err.Error())
	}
	return nil
}

// target reads a URL and judges it as an endpoint. Its errors are the tenant's to read.
func (c *Client) target(kind ports.OutboundKind, url string) (target, error) {
	t, err := parseTarget(url)
	if err == nil {
		err = c.lanes[kind].guard.admit(t)
	}
	return t, err
}

// CheckSecret implements ports.Endpoints.
func (c *Client) CheckSecret(field, secret string) error {
	if err := CheckSecret(ports.NewSecret(secret)); err != nil {
		return domain.Invalid(field, "%s", err.Error())
	}
	return nil
}

// Health implements ports.Endpoints.
func (c *Client) Health(kind ports.OutboundKind, endpoint string) ports.Health {
	if e := c.endpoints.find(key{kind, endpoint}); e != nil {
		return e.report()
	}
	return ports.Health{Circuit: "closed"}
}

// Forget implements ports.Endpoints.
func (c *Client) Forget(kind ports.OutboundKind, endpoint string) {
	c.endpoints.forget(key{kind, endpoint})
}

// Close ends all calls, waits for them, and closes all connections. Calls after it are Interrupted.
func (c *Client) Close() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.close()
	c.calls.Wait()
	c.endpoints.closeIdle()
}

// begin counts a call in, unless the client is closing.
func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.calls.Add(1)
	}
	return !c.stopped
}

// visit is a call's hold of its endpoint: a place there, a place in its lane, and the client kept from closing.
type visit struct {
	*endpoint
	leave func() // once
}

// enter takes a place at an endpoint, or says why there is none. Nothing has been sent then.
func (c *Client) enter(ctx context.Context, k key, patience time.Duration) (visit, verdict) {
	if !c.begin() {
		return visit{}, interrupted()
	}
	l, e := c.lanes[k.kind], c.endpoints.take(k)
	leave := func() {
		c.endpoints.give(e)
		c.calls.Done()
	}
	v, ok := e.ready()
	if ok {
		v, ok = c.await(ctx, patience, e.places, l.places)
	}
	if !ok {
		leave()
		return visit{}, v
	}
	l.tally.inFlight.Add(1)
	return visit{e, sync.OnceFunc(func() {
		l.tally.inFlight.Add(-1)
		<-l.places
		<-e.places
		leave()
	})}, verdict{}
}

// await puts a token into each of the places, or into none.
func (c *Client) await(ctx context.Context, patience time.Duration, places ...chan struct{}) (verdict, bool) {
	timer := time.NewTimer(max(patience, 0))
	defer timer.Stop()
	for i, place := range places {
		if v, ok := c.awaitOne(ctx, timer.C, patience > 0, place); !ok {
			for _, taken := range places[:i] {
				<-taken
			}
			return v, false
		}
	}
	return verdict{}, true
}

func (c *Client) awaitOne(ctx context.Context, enough <-chan time.Time, patient bool, place chan struct{}) (verdict, bool) {
	select {
	case place <- struct{}{}:
		return verdict{}, true
	default:
	}
	if !patient {
		return deferred(ports.CauseBusy, busyDelay), false
	}
	select {
	case place <- struct{}{}:
		return verdict{}, true
	case <-enough:
		return deferred(ports.CauseBusy, busyDelay), false
	case <-ctx.Done():
	case <-c.closing.Done():
	}
	return interrupted(), false
}

func interrupted() verdict {
	return verdict{Outcome: ports.Outcome{Result: ports.Interrupted, Cause: ports.CauseInterrupted}}
}

// failed is the verdict on a call that got no answer, or not all of it. A call that its own caller ended says nothing
// about the endpoint.
func (c *Client) failed(ctx context.Context, err error) verdict {
	if c.closing.Err() != nil || ctx.Err() != nil && !isTimeout(context.Cause(ctx)) || errors.Is(err, context.Canceled) {
		return interrupted()
	}
	return verdict{ports.Outcome{Result: ports.Retryable, Cause: causeOf(err)}, detailOf(err)}
}

// settle tells the operator of a call that has failed.
func (c *Client) settle(ctx context.Context, k key, v verdict) ports.Outcome {
	switch v.Result {
	case ports.Retryable, ports.Gone, ports.Refused, ports.Permanent:
		c.log.LogAttrs(ctx, slog.LevelInfo, "outbound call failed", slog.String("kind", string(k.kind)),
			slog.String("endpoint", k.name), slog.String("cause", string(v.Cause)), slog.String("detail", shorten(v.detail)),
			slog.Duration("took", v.Took))
	}
	return v.Outcome
}

func shorten(s string) string {
	if len(s) <= maxDetailBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetailBytes], "") + "…"
}
