package storetest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

// recorder listens to a CommitLog and keeps what it is told. It notes on its own what no CommitLog may ever do: two
// calls at once, an event that is not the next of its room, an event with the wrong target.
type recorder struct {
	inside atomic.Int32
	answer sync.Map // domain.MessageID → true once the sender has been answered

	mu     sync.Mutex
	events map[domain.RoomID][]domain.Event
	order  []domain.Event
	faults []string
}

func newRecorder() *recorder { return &recorder{events: map[domain.RoomID][]domain.Event{}} }

func (r *recorder) record(events []domain.Event) {
	overlap := r.inside.Add(1) != 1
	defer r.inside.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if overlap {
		r.faults = append(r.faults, "OnCommit's function is called by two goroutines at once")
	}
	for _, e := range events {
		r.add(e)
	}
}

func (r *recorder) add(e domain.Event) {
	if e.Kind == domain.EventNotification {
		r.addNotice(e)
		return
	}
	if next := int64(len(r.events[e.Room])) + 1; e.Rev != next {
		r.fault("event %s of %s has rev %d, want %d", e.Kind, e.Room, e.Rev, next)
	}
	if !oneTarget(e) {
		r.fault("event has not exactly the target of its kind: %s", show(e))
	}
	if e.Kind == domain.EventMessage {
		if _, early := r.answer.Load(e.Message.ID); early {
			r.fault("the sender of %s was answered before its event was told", e.Message.ID)
		}
	}
	r.events[e.Room] = append(r.events[e.Room], e)
	r.order = append(r.order, e)
}

// addNotice keeps an event that is no step of a log.
func (r *recorder) addNotice(e domain.Event) {
	if e.Notice == nil || len(e.Users) == 0 || e.Tenant == "" || !e.Room.IsZero() || e.Rev != 0 {
		r.fault("the event of a notification has no notice, users or tenant, or a place in a log: %s", show(e))
	}
	r.order = append(r.order, e)
}

// notices returns the events of a tenant's notifications so far.
func (r *recorder) notices(tenant domain.TenantID) (told []domain.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.order {
		if e.Kind == domain.EventNotification && e.Tenant == tenant {
			told = append(told, e)
		}
	}
	return told
}

func (r *recorder) fault(format string, args ...any) {
	const most = 10
	if len(r.faults) < most {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

// oneTarget reports whether an event carries what its kind says, and nothing else.
func oneTarget(e domain.Event) bool {
	if e.Notice != nil {
		return false
	}
	message, member, state := e.Message != nil, e.Member != nil, e.State != nil
	switch e.Kind {
	case domain.EventMessage, domain.EventMessageEdited, domain.EventMessageDeleted:
		return message && !member && !state
	case domain.EventMemberAdded, domain.EventMemberRemoved, domain.EventMemberUpdated:
		return member && !message && !state
	case domain.EventRoomCreated, domain.EventRoomUpdated, domain.EventRoomRemoved, domain.EventHandoff:
		return state && !message && !member
	}
	return false
}

// answered notes that the sender of a message has its answer.
func (r *recorder) answered(id domain.MessageID) { r.answer.Store(id, true) }

// of returns the events of a room so far.
func (r *recorder) of(room domain.RoomID) []domain.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[room])
}

// total is the number of events so far.
func (r *recorder) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.order)
}

// told reports whether the event at a room's position has been told.
func (r *recorder) told(room domain.RoomID, rev int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.events[room])) >= rev
}

// check fails the case for what was noted.
func (r *recorder) check(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		t.Errorf("CommitLog: %s", f)
	}
}
