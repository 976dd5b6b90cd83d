package application

import (
	"context"
	"errors"
	"sync"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// task is one thing a peer has to be sent besides live events: the rest of a room, of the user's notifications, a single
// frame, or the end of the replay after a connect. It stays at the head of the peer's tasks until it is done.
type task struct {
	room    *liveRoom
	initial bool // part of the replay after a connect
	frame   ports.Frame
	inbox   bool
	finish  bool
}

// catchupStep is how many events one read of the log takes.
const catchupStep = 100

// catchupQueue holds what the catch-up workers have to do: peers and rooms, each at most once.
type catchupQueue struct {
	mu     sync.Mutex
	change *sync.Cond
	jobs   []job
	closed bool
}

type job interface {
	run(ctx context.Context)
}

func newCatchupQueue() *catchupQueue {
	q := &catchupQueue{}
	q.change = sync.NewCond(&q.mu)
	return q
}

func (q *catchupQueue) put(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.jobs = append(q.jobs, j)
		q.change.Signal()
	}
}

func (q *catchupQueue) take() (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.jobs) == 0 && !q.closed {
		q.change.Wait()
	}
	if q.closed {
		return nil, false
	}
	j := q.jobs[0]
	q.jobs[0] = nil
	q.jobs = q.jobs[1:]
	return j, true
}

func (q *catchupQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.jobs = true, nil
	q.change.Broadcast()
}

func (f *Fanout) catchUpLoop(ctx context.Context) {
	for {
		j, ok := f.catchups.take()
		if !ok {
			return
		}
		j.run(ctx)
	}
}

// addTask adds to what the peer has to be sent.
func (p *Peer) addTask(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.tasks = append(p.tasks, &t)
	}
}

// fallBehind adds the task of a push that was refused. drains was read before the push: when the queue has emptied
// since, nobody will call Drained again, so the work starts now.
func (p *Peer) fallBehind(t task, drains int64) {
	p.addTask(t)
	if p.drains.Load() != drains {
		p.kick()
	}
}

// kick hands the peer to a worker unless one has it or there is nothing to do.
func (p *Peer) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued || p.closed || len(p.tasks) == 0 {
		return
	}
	p.queued = true
	p.f.catchups.put(p)
}

// run does the peer's tasks until the socket's queue is full or nothing is left.
func (p *Peer) run(ctx context.Context) {
	for {
		drains := p.drains.Load()
		t, ok := p.head()
		if !ok {
			return
		}
		done, err := p.do(ctx, t)
		if err != nil {
			p.abandon(ctx, err)
			return
		}
		if done {
			p.pop(t)
			continue
		}
		if p.pause(drains) {
			return
		}
	}
}

// head returns the first task, or lets go of the peer when there is none.
func (p *Peer) head() (*task, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.tasks) == 0 {
		p.queued = false
		return nil, false
	}
	return p.tasks[0], true
}

// pop drops a task that is done, unless leaving all rooms has dropped it already.
func (p *Peer) pop(t *task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tasks) > 0 && p.tasks[0] == t {
		p.tasks[0] = nil
		p.tasks = p.tasks[1:]
	}
	if len(p.tasks) == 0 {
		p.tasks = nil
	}
}

// pause lets go of a peer whose socket is full; Drained brings it back. When the socket has drained since, it is not
// let go.
func (p *Peer) pause(drains int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drains.Load() != drains {
		return false
	}
	p.queued = false
	return true
}

// abandon ends a socket that cannot be caught up: its client comes back and resumes.
func (p *Peer) abandon(ctx context.Context, err error) {
	const internalError, tryLater, goingAway, revoked = 1011, 1013, 1001, 4401
	switch {
	case ctx.Err() != nil || errors.Is(err, domain.ErrClosing):
		p.sink.Close(goingAway, "server is shutting down")
	case errors.Is(err, domain.ErrTenantNotFound):
		p.sink.Close(revoked, "credential revoked")
	case errors.Is(err, domain.ErrBusy), errors.Is(err, domain.ErrUnavailable): // the store tells of its own trouble
		p.sink.Close(tryLater, "the log cannot be read at the moment")
	default:
		p.f.log.Error("socket could not be caught up", "error", err)
		p.sink.Close(internalError, "the log could not be read")
	}
}

// do does a task as far as the socket takes it.
func (p *Peer) do(ctx context.Context, t *task) (done bool, err error) {
	switch {
	case t.room != nil:
		return p.catchUp(ctx, t)
	case t.inbox:
		return p.readInbox(ctx)
	case t.finish:
		return p.finishSync(), nil
	}
	return p.sink.Push(t.frame), nil
}
