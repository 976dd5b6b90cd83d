package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer opens the connections of one kind of call. It satisfies the dial hooks of http.Transport.
type dialer struct {
	guard   guard
	roots   *x509.CertPool
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, d *net.Dialer, to netip.AddrPort) (net.Conn, error)
	open    *atomic.Int64 // connections
	refused *atomic.Int64 // connections the guard kept from being opened
}

// callKey finds the call a dial is for. http.Transport detaches a dial from its request's end, to keep the connection
// for a later one; here a dial ends with its call, so that there are never more than places.
type callKey struct{}

// withCall returns ctx with itself inside.
func withCall(ctx context.Context) context.Context { return context.WithValue(ctx, callKey{}, ctx) }

// endWithCall ends a dial's context when its call ends.
func endWithCall(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	call, ok := ctx.Value(callKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(call, cancel)
	return ctx, func() { stop(); cancel() }
}

// dialPlain is http.Transport.DialContext.
func (d *dialer) dialPlain(ctx context.Context, _, hostport string) (net.Conn, error) {
	return d.dial(ctx, hostport, false)
}

// dialSecure is http.Transport.DialTLSContext.
func (d *dialer) dialSecure(ctx context.Context, _, hostport string) (net.Conn, error) {
	conn, err := d.dial(ctx, hostport, true)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(hostport)
	ctx, cancel := endWithCall(ctx, tlsTimeout)
	defer cancel()
	secure := tls.Client(conn, &tls.Config{
		ServerName: host, RootCAs: d.roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &tlsFailure{err}
	}
	return secure, nil
}

// tlsFailure marks what went wrong between connection and request.
type tlsFailure struct{ err error }

func (f *tlsFailure) Error() string { return "tls: " + f.err.Error() }
func (f *tlsFailure) Unwrap() error { return f.err }

// dial looks the host up once, judges every address, and connects to one of exactly these. One address out of reach
// refuses them all: a name that leads both into the network and out of it is not asked which way it will go today.
func (d *dialer) dial(ctx context.Context, hostport string, secure bool) (net.Conn, error) {
	ctx, cancel := endWithCall(ctx, dialTimeout)
	defer cancel()
	host, digits, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := parsePort(digits)
	if err != nil {
		return nil, err
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	w := way{host, port, secure}
	for _, addr := range addrs {
		if r := d.guard.permit(w, addr); r != nil {
			d.refused.Add(1)
			return nil, r
		}
	}
	return d.race(ctx, w, alternate(addrs))
}

func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	addrs, err := d.lookup(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return addrs, err
}

// alternate puts IPv6 and IPv4 addresses in turns, beginning with the kind the resolver prefers, and keeps the first few.
func alternate(addrs []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is4() == addrs[0].Unmap().Is4() {
			first = append(first, addr)
		} else {
			second = append(second, addr)
		}
	}
	var turns []netip.Addr
	for len(turns) < maxAddresses && len(first) > 0 {
		turns = append(turns, first[0])
		if first, second = second, first[1:]; len(first) == 0 {
			first, second = second, nil
		}
	}
	return turns
}

// race tries the addresses one after another, the next as soon as the one before has failed or has had its head start.
// The first connection wins; it returns after all attempts have ended.
func (d *dialer) race(ctx context.Context, w way, addrs []netip.Addr) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	next := time.NewTimer(0)
	defer next.Stop()
	var won result
	for started, ended := 0, 0; ended < len(addrs); {
		select {
		case <-next.C:
			if won.conn == nil && started < len(addrs) {
				addr := addrs[started]
				started++
				go func() {
					conn, err := d.connectTo(ctx, w, addr)
					results <- result{conn, err}
				}()
				next.Reset(headStart)
			}
		case r := <-results:
			ended++
			switch {
			case r.err == nil && won.conn == nil:
				won = r
				cancel()
				ended += len(addrs) - started // those that were not started never will be
			case r.err == nil:
				r.conn.Close()
			case won.err == nil:
				won.err = r.err
			}
			if won.conn == nil {
				next.Reset(0)
			}
		}
	}
	if won.conn != nil {
		return won.conn, nil
	}
	return nil, won.err
}

// connectTo opens one socket. Control runs when the socket is made and its peer's address is final; an error of it ends
// the dial before anything is sent.
func (d *dialer) connectTo(ctx context.Context, w way, addr netip.Addr) (net.Conn, error) {
	dial := &net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return d.control(w, address)
	}}
	conn, err := d.connect(ctx, dial, netip.AddrPortFrom(addr, w.port))
	if err != nil {
		return nil, err
	}
	d.open.Add(1)
	return &countedConn{Conn: conn, open: d.open}, nil
}

// control judges a peer's address as the socket has it. That it refuses what dial has allowed is not possible as the code
// stands; it is the wall that remains when the code changes.
func (d *dialer) control(w way, address string) error {
	peer, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("judge %q: %w", address, err)
	}
	w.port = peer.Port()
	if r := d.guard.permit(w, peer.Addr()); r != nil {
		d.refused.Add(1)
		return r
	}
	return nil
}

// countedConn counts itself out when it is closed.
type countedConn struct {
	net.Conn
	open   *atomic.Int64
	closed sync.Once
}

func (c *countedConn) Close() error {
	c.closed.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
