package outbound

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// The limits, for tests that reach them.
const (
	DialTimeout       = dialTimeout
	TLSTimeout        = tlsTimeout
	DefaultTimeout    = defaultTimeout
	HeadStart         = headStart
	MaxHeaderBytes    = maxHeaderBytes
	MaxAnswerBytes    = maxAnswerBytes
	MaxErrorBytes     = maxErrorBytes
	EndpointPlaces    = webhookEndpointPlaces
	Places            = webhookPlaces
	LLMEndpointPlaces = llmEndpointPlaces
	MaxEndpoints      = maxEndpoints
	MaxWarm           = maxWarm
	CircuitTrips      = circuitTrips
	CircuitOpenFor    = circuitOpenFor
	MaxRetryAfter     = maxRetryAfter
	MaxRest           = maxRest
	MaxAddresses      = maxAddresses
)

// Connect opens the connection to a judged address; the dialer's control judges it once more.
type Connect = func(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error)

// Lookup resolves a name.
type Lookup = func(ctx context.Context, host string) ([]netip.Addr, error)

// RealConnect connects as New's clients do.
func RealConnect(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error) {
	return d.DialContext(ctx, "tcp", to.String())
}

// NewScripted is New with another resolver and, unless connect is nil, another network.
func NewScripted(cfg Config, lookup Lookup, connect Connect) *Client {
	if connect == nil {
		connect = RealConnect
	}
	return newClient(cfg, lookup, connect)
}

// Dial opens a connection as a webhook's transport does, past the check of the URL.
func (c *Client) Dial(ctx context.Context, hostport string, secure bool) (net.Conn, error) {
	d := c.lanes[ports.OutboundWebhook].dialer
	if secure {
		return d.dialSecure(ctx, "tcp", hostport)
	}
	return d.dialPlain(ctx, "tcp", hostport)
}

// ConnectFirst is Dial for https, without the handshake.
func (c *Client) ConnectFirst(ctx context.Context, hostport string) (net.Conn, error) {
	return c.lanes[ports.OutboundWebhook].dialer.dial(ctx, hostport, true)
}

// ConnectTo opens a socket past the check of the looked-up addresses too: only the check of its own peer is left.
func (c *Client) ConnectTo(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	return c.lanes[ports.OutboundWebhook].dialer.connectTo(ctx, way{host, to.Port(), true}, to.Addr())
}

// IsPublic judges an address as one that https to port 443 asks for.
func IsPublic(a Allow, addr netip.Addr) bool {
	return guard{a.rules[ports.OutboundWebhook]}.permit(way{"host.example", 443, true}, addr) == nil
}

// Special lists the table of blocks.
func Special() []netip.Prefix {
	var all []netip.Prefix
	for _, b := range special {
		all = append(all, b.prefix)
	}
	return all
}

// Metadata lists the metadata addresses.
func Metadata() []netip.Addr {
	var all []netip.Addr
	for addr := range metadata {
		all = append(all, addr)
	}
	return all
}

// Alternate is the order in which addresses are tried.
func Alternate(addrs []netip.Addr) []netip.Addr { return alternate(addrs) }

// RetryAfter reads the header.
func RetryAfter(value string, now time.Time) time.Duration {
	return retryAfter(http.Header{"Retry-After": {value}}, now)
}

// Counts returns how many endpoints are kept, and how many of them may keep idle connections.
func (c *Client) Counts() (kept, warm int) {
	c.endpoints.mu.Lock()
	defer c.endpoints.mu.Unlock()
	return len(c.endpoints.byKey), c.endpoints.warm.Len()
}
