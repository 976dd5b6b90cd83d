package harness

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Balancer is a TCP balancer in front of a server's nodes, as operators have one: connections go to the nodes in turn, no
// client keeps to a node, and a node that is down or not ready gets none. Its buffers are small, so that a client who
// does not read is felt by the node as without it.
type Balancer struct {
	listener net.Listener
	nodes    []*backend
	http     *http.Client
	stop     chan struct{}
	done     sync.WaitGroup

	mu    sync.Mutex
	next  int
	conns map[net.Conn]struct{}
}

// backend is a node as the balancer knows it.
type backend struct {
	node  *Node
	ready bool // guarded by the balancer's mu
}

const (
	lookEvery   = 100 * time.Millisecond // how often a balancer asks who is ready
	lookFor     = time.Second            // how long a node may take to say so
	passBuffers = 64 << 10
)

// NewBalancer listens on a free port in front of nodes that are up.
func NewBalancer(nodes []*Node) (*Balancer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &Balancer{
		listener: listener, stop: make(chan struct{}), conns: map[net.Conn]struct{}{},
		http: &http.Client{Timeout: lookFor, Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
	}
	for _, n := range nodes {
		b.nodes = append(b.nodes, &backend{node: n, ready: true})
	}
	b.done.Go(b.accept)
	for _, n := range b.nodes {
		b.done.Go(func() { b.watch(n) })
	}
	return b, nil
}

// Base is the address that clients are given.
func (b *Balancer) Base() string { return "http://" + b.listener.Addr().String() }

// Close ends the balancer and all connections through it.
func (b *Balancer) Close() error {
	err := b.listener.Close()
	close(b.stop)
	b.mu.Lock()
	for c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
	b.http.CloseIdleConnections()
	return err
}

// watch asks a node whether it is ready, again and again.
func (b *Balancer) watch(n *backend) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.look(n)
		case <-b.stop:
			return
		}
	}
}

// Look asks all nodes now, for those who cannot wait for the next time.
func (b *Balancer) Look() {
	var wg sync.WaitGroup
	for _, n := range b.nodes {
		wg.Go(func() { b.look(n) })
	}
	wg.Wait()
}

func (b *Balancer) look(n *backend) {
	ready := b.isReady(n.node.Base)
	b.mu.Lock()
	defer b.mu.Unlock()
	n.ready = ready
}

func (b *Balancer) isReady(base string) bool {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, base+"/health/ready", nil)
	if err != nil {
		return false
	}
	res, err := b.http.Do(r)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (b *Balancer) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return // closed
		}
		b.done.Go(func() { b.serve(client) })
	}
}

// serve joins a client to the next node that takes it; when none does it is turned away.
func (b *Balancer) serve(client net.Conn) {
	defer b.forget(client)
	b.remember(client)
	for range b.nodes {
		n := b.turn()
		if n == nil {
			return
		}
		node, err := net.DialTimeout("tcp", strings.TrimPrefix(n.node.Base, "http://"), lookFor)
		if err != nil {
			b.mu.Lock()
			n.ready = false // until it is asked again
			b.mu.Unlock()
			continue
		}
		b.remember(node)
		defer b.forget(node)
		b.join(client, node)
		return
	}
}

// turn is the node whose turn it is, nil when none is ready.
func (b *Balancer) turn() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.nodes {
		n := b.nodes[b.next%len(b.nodes)]
		b.next++
		if n.ready {
			return n
		}
	}
	return nil
}

func (b *Balancer) remember(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(passBuffers)
		_ = tcp.SetWriteBuffer(passBuffers)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns[c] = struct{}{}
}

func (b *Balancer) forget(c net.Conn) {
	_ = c.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// join copies both ways; the end of one direction is passed on, a broken one ends both.
func (b *Balancer) join(client, node net.Conn) {
	var both sync.WaitGroup
	both.Go(func() { passOn(node, client) })
	both.Go(func() { passOn(client, node) })
	both.Wait()
}

func passOn(to, from net.Conn) {
	if err := copyAll(to, from); err != nil {
		abort(to)
		abort(from)
		return
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
