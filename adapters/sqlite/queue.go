package sqlite

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
)

// The limits of what waits for the writer.
const (
	maxBatch  = 512           // jobs of one commit: more would only make each wait longer
	maxQueued = 4096          // jobs waiting, of all tenants
	maxTenant = maxQueued / 2 // jobs waiting, of one tenant
)

// job is one unit of work for the writer. The caller waits on done, which the writer closes after the commit; the
// outcome fields are the writer's until then.
type job struct {
	ctx    context.Context
	tenant domain.TenantID
	run    func(*tx) error
	state  atomic.Int32
	done   chan struct{}

	err      error
	panicked any  // what the closure panicked with
	exited   bool // the closure called runtime.Goexit
}

// The states of a job. Whoever moves it out of queued owns what happens next.
const (
	jobQueued int32 = iota
	jobStarted
	jobRemoved
)

// start claims a job for the writer; false when its caller has taken it back.
func (j *job) start() bool { return j.state.CompareAndSwap(jobQueued, jobStarted) }

// remove takes a job back before it has started; it will not run.
func (j *job) remove() bool { return j.state.CompareAndSwap(jobQueued, jobRemoved) }

// queue holds jobs in order of arrival. The writer takes many at once, so a slice under a mutex beats a channel.
type queue struct {
	wake chan struct{} // holds a token while there may be something to take

	mu      sync.Mutex
	jobs    []*job
	tenants map[domain.TenantID]int
	closed  bool
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), tenants: map[domain.TenantID]int{}}
}

// push adds a job, or says at once that it will not: domain.ErrBusy when the queue or the tenant's share of it is
// full, domain.ErrClosing after close.
func (q *queue) push(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return domain.ErrClosing
	case len(q.jobs) >= maxQueued, q.tenants[j.tenant] >= maxTenant:
		return domain.ErrBusy
	}
	q.jobs = append(q.jobs, j)
	q.tenants[j.tenant]++
	if len(q.jobs) == 1 {
		q.signal()
	}
	return nil
}

// take moves up to maxBatch jobs into the empty batch. ended: there are none and there will be none.
func (q *queue) take(batch []*job) (taken []*job, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.jobs), maxBatch)
	batch = append(batch, q.jobs[:n]...)
	q.jobs = slices.Delete(q.jobs, 0, n)
	for _, j := range batch {
		q.uncount(j)
	}
	return batch, n == 0 && q.closed
}

// drop forgets a removed job, so that it holds no place.
func (q *queue) drop(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.jobs, j); i >= 0 {
		q.jobs = slices.Delete(q.jobs, i, i+1)
		q.uncount(j)
	}
}

func (q *queue) uncount(j *job) {
	if q.tenants[j.tenant]--; q.tenants[j.tenant] == 0 {
		delete(q.tenants, j.tenant)
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.jobs)
}

// close refuses further jobs; what is queued stays to be taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// submit runs fn in the writer and returns its outcome once that is durable. A context that ends before the job has
// started takes it back; afterwards the context is ignored. A panic or Goexit of fn is raised again here.
func (s *Store) submit(ctx context.Context, tenant domain.TenantID, fn func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{ctx: ctx, tenant: tenant, run: fn, done: make(chan struct{})}
	if err := s.queue.push(j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.outcome()
	case <-s.lost:
		return errLost
	case <-ctx.Done():
	}
	if j.remove() {
		s.queue.drop(j)
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.outcome()
	case <-s.lost:
		return errLost
	}
}

func (j *job) outcome() error {
	if j.panicked != nil {
		panic(j.panicked)
	}
	if j.exited {
		runtime.Goexit()
	}
	return j.err
}
