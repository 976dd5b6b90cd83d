package postgres

import (
	"slices"
	"sync"

	"github.com/chatapi/chatapi/domain"
)

// dispatcher tells of committed events, in the order in which tickets were taken. A ticket is taken while what the
// transaction has changed is still locked, right before its COMMIT, and resolved after it.
type dispatcher struct {
	wake    chan struct{} // holds a token while there may be something to tell
	stopped chan struct{}

	mu      sync.Mutex
	tickets []*ticket // in order; the first may be resolved already
	fn      func([]domain.Event)
	closed  bool
}

// ticket is a place in the order. What is resolved without events is passed over.
type ticket struct {
	events   []domain.Event
	resolved bool
	told     chan struct{} // closed when the events were told
}

// wait waits until the events were told; of a nil ticket there are none.
func (t *ticket) wait() {
	if t != nil {
		<-t.told
	}
}

func newDispatcher() *dispatcher {
	d := &dispatcher{wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	go d.run()
	return d
}

// take is called right before a COMMIT is sent.
func (d *dispatcher) take() *ticket {
	t := &ticket{told: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tickets = append(d.tickets, t)
	return t
}

// resolve is called once for every ticket; without events when the transaction was not committed, or that is unknown.
func (d *dispatcher) resolve(t *ticket, events []domain.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t.events, t.resolved = events, true
	if d.tickets[0].resolved {
		d.signal()
	}
}

func (d *dispatcher) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *dispatcher) listen(fn func([]domain.Event)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fn = fn
}

// close is called when there are no tickets any more.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.signal()
	d.mu.Unlock()
	<-d.stopped
}

// run tells of what is due, all in one call.
func (d *dispatcher) run() {
	defer close(d.stopped)
	for {
		due, fn, closed := d.due()
		if len(due) == 0 {
			if closed {
				return
			}
			<-d.wake
			continue
		}
		tell(due, fn)
		for _, t := range due {
			close(t.told)
		}
	}
}

func tell(due []*ticket, fn func([]domain.Event)) {
	events := due[0].events
	for _, t := range due[1:] {
		events = append(events[:len(events):len(events)], t.events...)
	}
	if fn != nil && len(events) > 0 {
		fn(events)
	}
}

// due takes the tickets up to the first that is not resolved.
func (d *dispatcher) due() (due []*ticket, fn func([]domain.Event), closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for n < len(d.tickets) && d.tickets[n].resolved {
		n++
	}
	due = append(due, d.tickets[:n]...)
	d.tickets = slices.Delete(d.tickets, 0, n)
	return due, d.fn, d.closed
}
