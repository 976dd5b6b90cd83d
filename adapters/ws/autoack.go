package ws

import (
	"slices"
	"sync"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// autoAck acknowledges in the place of a client that does not: it knows which of the queued frames are events, and hands
// out those that the kernel has taken to the last byte. What is dropped, cut or lost with the connection it forgets: that
// is delivered again. It is empty memory while no event waits, and guarded by its Session, as the queue is.
type autoAck struct {
	gone int        // frames of the queue that are through, since the session began
	list *eventList // nil while no event waits
}

// eventList holds events in the order of the queue.
type eventList struct{ events []queuedEvent }

// queuedEvent is the frame of an event without its bytes.
type queuedEvent struct {
	at int // how many frames go before it, since the session began
	ports.Frame
}

var eventLists = sync.Pool{New: func() any { return &eventList{events: make([]queuedEvent, 0, 16)} }}

// counts reports whether a frame is one that a client would acknowledge: a step of a room's log, or a notification.
func counts(f *ports.Frame) bool { return f.Rev > 0 || f.Kind == domain.EventNotification }

// add notes a frame that goes behind so many that wait.
func (a *autoAck) add(waiting int, f *ports.Frame) {
	if !counts(f) {
		return
	}
	if a.list == nil {
		a.list = eventLists.Get().(*eventList)
	}
	e := queuedEvent{at: a.gone + waiting, Frame: *f}
	e.Bytes = nil
	a.list.events = append(a.list.events, e)
}

// through takes off what was written with the next so many frames; nil when no event was. The list is the caller's, to
// be given back.
func (a *autoAck) through(frames int) *eventList {
	a.gone += frames
	if a.list == nil {
		return nil
	}
	events := a.list.events
	n := 0
	for n < len(events) && events[n].at < a.gone {
		n++
	}
	if n == 0 {
		return nil
	}
	done := a.list
	a.list = nil
	if n < len(events) {
		a.list = eventLists.Get().(*eventList)
		a.list.events = append(a.list.events, events[n:]...)
		done.cut(n)
	}
	return done
}

// keepBegun forgets all events but that of a frame which is partly written.
func (a *autoAck) keepBegun(begun bool) {
	if a.list == nil {
		return
	}
	if begun && a.list.events[0].at == a.gone {
		a.list.cut(1)
		return
	}
	a.drop()
}

// drop forgets everything.
func (a *autoAck) drop() {
	if a.list != nil {
		a.list.giveBack()
		a.list = nil
	}
}

// merge leaves one event of each room, at the highest seq and the highest rev of all of them, and every notification.
func (l *eventList) merge() {
	n := 0
	for i := range l.events {
		e := &l.events[i]
		before := slices.IndexFunc(l.events[:n], func(b queuedEvent) bool { return e.Rev > 0 && b.Rev > 0 && b.Room == e.Room })
		if before < 0 {
			l.events[n] = *e
			n++
			continue
		}
		b := &l.events[before]
		b.Seq, b.Rev = max(b.Seq, e.Seq), max(b.Rev, e.Rev)
	}
	l.cut(n)
}

// cut leaves the first n.
func (l *eventList) cut(n int) {
	clear(l.events[n:])
	l.events = l.events[:n]
}

func (l *eventList) giveBack() {
	l.cut(0)
	eventLists.Put(l)
}

// acknowledge tells the peer what was written with so many frames. The caller holds mu, which is let go for that, and is
// the one who writes: nobody else writes meanwhile, and a reader that waits for the last write waits for this too.
func (s *Session) acknowledge(frames int) {
	done := s.auto.through(frames)
	if done == nil {
		return
	}
	s.mu.Unlock()
	done.merge()
	for i := range done.events {
		s.peer.Wrote(done.events[i].Frame)
	}
	done.giveBack()
	s.mu.Lock()
}
