package sqlite

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// readers is the pool of read-only connections. More of them than processors only lengthens the longest wait.
type readers struct {
	path   string
	unsafe bool
	free   chan *conn // nil stands for a connection that broke and is opened again when it is needed
	closed chan struct{}
}

func openReaders(path string, unsafe bool) (*readers, error) {
	n := max(2, runtime.GOMAXPROCS(0))
	p := &readers{path: path, unsafe: unsafe, free: make(chan *conn, n), closed: make(chan struct{})}
	for i := range n {
		c, err := openWith(path, readerPragmas(unsafe))
		if err != nil {
			for range i {
				(<-p.free).close()
			}
			return nil, err
		}
		p.free <- c
	}
	return p, nil
}

func (p *readers) get(ctx context.Context) (c *conn, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.closed:
		return nil, domain.ErrClosing
	default:
	}
	select {
	case c = <-p.free:
	case <-p.closed:
		return nil, domain.ErrClosing
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c == nil {
		if c, err = openWith(p.path, readerPragmas(p.unsafe)); err != nil {
			p.free <- nil
		}
	}
	return c, err
}

// put takes a connection back, without whatever transaction was left open on it.
func (p *readers) put(c *conn) {
	if c.trouble != nil && c.inTransaction() && c.run("ROLLBACK") != nil {
		c.close()
		c = nil
	} else {
		c.trouble = nil
	}
	p.free <- c
}

// close waits for the views under way.
func (p *readers) close() error {
	close(p.closed)
	var failed []error
	for range cap(p.free) {
		if c := <-p.free; c != nil {
			failed = append(failed, c.close())
		}
	}
	return errors.Join(failed...)
}

// read runs fn on a read connection, outside of any transaction: each statement is its own snapshot.
func (s *Store) read(ctx context.Context, fn func(*conn) error) error {
	c, err := s.readers.get(ctx)
	if err != nil {
		return s.translate(err)
	}
	defer s.readers.put(c)
	return s.translate(fn(c))
}

// View implements ports.Store.
func (s *Store) View(ctx context.Context, tenant domain.TenantID, fn func(ports.Reader) error) error {
	return s.read(ctx, func(c *conn) error {
		number, err := s.tenants.find(c, tenant)
		if err != nil {
			return err
		}
		if err := c.run("BEGIN"); err != nil {
			return err
		}
		v := &view{names: s.names, counts: s.counts}
		v.reader = reader{conn: c, source: v, tenant: number, tenantID: tenant}
		defer v.end()
		return fn(v)
	})
}

// end lets go of the snapshot, whatever way the closure ended: one that is held pins the write-ahead log.
func (v *view) end() {
	v.done = true
	if err := v.conn.run("ROLLBACK"); err != nil {
		v.conn.trouble = err
	}
}

// tenantNumbers remembers the numbers of live tenants for views. A tenant's deletion is taken out after its commit
// and before its caller is answered.
type tenantNumbers struct {
	mu        sync.RWMutex
	numbers   map[domain.TenantID]int64
	forgotten int // counts forget, so that a lookup that began before it does not bring the tenant back
}

func newTenantNumbers() *tenantNumbers {
	return &tenantNumbers{numbers: map[domain.TenantID]int64{}}
}

func (t *tenantNumbers) find(c *conn, id domain.TenantID) (int64, error) {
	t.mu.RLock()
	number, ok := t.numbers[id]
	before := t.forgotten
	t.mu.RUnlock()
	if ok {
		return number, nil
	}
	number, err := findTenant(c, id)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forgotten == before {
		if len(t.numbers) >= cachedTenants {
			clear(t.numbers)
		}
		t.numbers[id] = number
	}
	return number, nil
}

func (t *tenantNumbers) forget(id domain.TenantID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgotten++
	delete(t.numbers, id)
}
