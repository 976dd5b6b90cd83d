package application

import (
	"sync"

	"github.com/chatapi/chatapi/domain"
)

// commitQueue hands committed events from the store's writer to the dispatcher, in order. It is bounded: put blocks
// while more than bound events wait.
type commitQueue struct {
	mu     sync.Mutex
	change *sync.Cond
	events []domain.Event
	bound  int
	closed bool
}

func newCommitQueue(bound int) *commitQueue {
	q := &commitQueue{bound: bound}
	q.change = sync.NewCond(&q.mu)
	return q
}

// put adds events; after close they are dropped, the log still has them.
func (q *commitQueue) put(events []domain.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.events) >= q.bound && !q.closed {
		q.change.Wait()
	}
	if q.closed {
		return
	}
	q.events = append(q.events, events...)
	q.change.Broadcast()
}

// take waits for events and returns all that wait; nil after close.
func (q *commitQueue) take() []domain.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.events) == 0 && !q.closed {
		q.change.Wait()
	}
	events := q.events
	q.events = nil
	q.change.Broadcast()
	return events
}

func (q *commitQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.change.Broadcast()
}
