package harness

import (
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Proxy is a TCP proxy in front of one address that fails as networks do. What it does to connections holds for those that
// are open and for those to come.
type Proxy struct {
	target   string
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change of what follows
	cut     bool
	silent  bool
	delay   time.Duration
	filter  Filter
	closed  bool
	conns   map[net.Conn]struct{}
}

// Filter decides which of a server's answers a client gets: it reads from the server and writes to the client until the
// server has ended. It must hand over whole what it hands over.
type Filter func(client io.Writer, server io.Reader) error

// NewProxy listens on a free port and passes everything on to target, an address.
func NewProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: listener, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.done.Go(p.accept)
	return p, nil
}

// proxied puts a proxy before the host of a URL and returns the URL that leads through it.
func proxied(address string) (*Proxy, string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", err
	}
	p, err := NewProxy(u.Host)
	if err != nil {
		return nil, "", err
	}
	u.Host = p.Address()
	return p, u.String(), nil
}

// Address is where clients reach the target.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Cut resets every connection, and every new one at once: nobody is there.
func (p *Proxy) Cut() {
	p.change(func() { p.cut = true })
	p.reset()
}

// Silence accepts connections and keeps those that are open, and passes nothing on in either direction until Restore: a
// network that swallows every packet. What was sent meanwhile arrives then.
func (p *Proxy) Silence() { p.change(func() { p.silent = true }) }

// Delay holds everything back, in each direction, for as long.
func (p *Proxy) Delay(d time.Duration) { p.change(func() { p.delay = d }) }

// Filter has new connections' answers go through f, and resets those that are open; nil is none.
func (p *Proxy) Filter(f Filter) {
	p.change(func() { p.filter = f })
	p.reset()
}

// Restore ends Cut, Silence and Delay.
func (p *Proxy) Restore() {
	p.change(func() { p.cut, p.silent, p.delay = false, false, 0 })
}

func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// reset ends all connections without a goodbye.
func (p *Proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		abort(c)
	}
}

func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	p.change(func() { p.closed, p.cut, p.silent = true, true, false })
	err := p.listener.Close()
	p.reset()
	p.done.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.done.Go(func() { p.serve(client) })
	}
}

// serve joins a client to the target until one of them ends.
func (p *Proxy) serve(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer p.drop(client)
	p.await()
	server, err := net.DialTimeout("tcp", p.target, requestTimeout)
	if err != nil {
		abort(client)
		return
	}
	if !p.keep(server) {
		return
	}
	defer p.drop(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, nil) })
	both.Go(func() { p.pass(client, server, p.presentFilter()) })
	both.Wait()
}

// keep remembers a connection; while cut off it is reset instead.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		abort(c)
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) presentFilter() Filter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.filter
}

// pass copies one direction until its source ends, then ends the other side likewise.
func (p *Proxy) pass(to, from net.Conn, filter Filter) {
	if filter == nil {
		filter = copyAll
	}
	err := filter(slow{to, p}, from)
	p.await()
	if err != nil && !errors.Is(err, io.EOF) {
		abort(to)
		abort(from)
		return
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

func copyAll(to io.Writer, from io.Reader) error {
	_, err := io.Copy(to, from)
	return err
}

// slow is a writer on which the proxy's faults act.
type slow struct {
	to io.Writer
	p  *Proxy
}

// Write implements io.Writer.
func (s slow) Write(b []byte) (int, error) {
	s.p.await()
	return s.to.Write(b)
}

// await waits for as long as the proxy is silent, then for the delay.
func (p *Proxy) await() {
	var late <-chan time.Time
	for {
		p.mu.Lock()
		silent, delay, changed := p.silent, p.delay, p.changed
		p.mu.Unlock()
		if late == nil && delay > 0 {
			late = time.After(delay)
		}
		switch {
		case silent:
			<-changed
		case late != nil:
			select {
			case <-late:
				return
			case <-changed:
			}
		default:
			return
		}
		if delay == 0 {
			late = nil
		}
	}
}

// WithoutMessages is a filter for Redis: subscribers get every answer but no message of any channel.
func WithoutMessages(client io.Writer, server io.Reader) error {
	return eachReply(server, func(reply []byte, kind string) error {
		if slices.Contains([]string{"message", "pmessage", "smessage"}, kind) {
			return nil
		}
		_, err := client.Write(reply)
		return err
	})
}
