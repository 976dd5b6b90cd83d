package application

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// What sockets lag behind with, one by one: found by comparing their marks with what was sent, and pushed again.

// unacked is the oldest run of messages that one socket in a room was sent and has not acknowledged.
type unacked struct {
	from     int64 // the first
	to       int64 // the last as it was pushed again; 0 = not yet
	late     int64 // the last that should have been acknowledged by now
	attempts int   // how often it was pushed
	due      int64 // when something is to be done about it
	look     int64 // when to see whether it was acknowledged, at the latest
	at       time.Time
	asked    bool // a replay of a dead letter: pushed once more, whatever the socket was sent before
	spent    bool // given up: left alone until it is acknowledged
}

// isDue reports whether the run is to be looked at.
func (u *unacked) isDue(f *Fanout) bool {
	return u != nil && !u.spent && min(u.due, u.look) <= f.moment()
}

// findDue compares marks with what was sent, and returns copies of the runs that are due now.
func (r *liveRoom) findDue(f *Fanout, marks map[*Peer]domain.Mark) map[*Peer]unacked {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := map[*Peer]unacked{}
	for i := range r.seats {
		s := &r.seats[i]
		mark, ok := marks[s.peer]
		if !ok {
			continue
		}
		u := r.findUnacked(f, s, mark.DeliveredSeq)
		if u == nil || u.spent {
			continue
		}
		u.look = f.moment() + int64(f.cfg.Retry.Interval)
		if u.due <= f.moment() {
			due[s.peer] = *u
		}
	}
	return due
}

// findUnacked is the run of a seat, a new one when the mark has come into the old one or there was none; nil when everything
// that should be is acknowledged. The caller holds r.mu.
func (r *liveRoom) findUnacked(f *Fanout, s *seat, mark int64) *unacked {
	u := r.unacked[s.peer]
	first := max(mark+1, s.first)
	switch {
	case u != nil && u.asked && mark < u.to && !(s.peer.auto && u.attempts > 0):
		u.from = max(u.from, mark+1)
		return u
	case u != nil && !u.asked && first <= u.from:
		return u
	}
	late := r.overdue
	if u != nil && !u.asked { // of what the room has come to the socket may have been sent the end a moment ago
		late = u.late
	}
	wasSent := u != nil && !u.asked && first <= u.to
	delete(r.unacked, s.peer)
	if first > late || s.peer.auto {
		return nil
	}
	u = &unacked{from: first, late: late, attempts: 1, due: f.moment(), at: f.clock.Now()}
	if wasSent { // a part was acknowledged: the rest has its time
		u.due += int64(f.cfg.Retry.Interval)
	}
	r.setUnacked(s.peer, u)
	return u
}

// setUnacked remembers a run. The caller holds r.mu.
func (r *liveRoom) setUnacked(p *Peer, u *unacked) {
	if r.unacked == nil {
		r.unacked = map[*Peer]*unacked{}
	}
	r.unacked[p] = u
}

// stretch is what runs are made of, as it was in the store at one moment.
type stretch struct {
	messages []domain.Message
	frames   []ports.Frame
	rev      int64 // the room's position then
	marks    map[*Peer]domain.Mark
}

// readStretch reads the messages of runs and the marks of their devices in one snapshot.
func (f *Fanout) readStretch(ctx context.Context, r *liveRoom, from int64, runs map[*Peer]unacked) (st stretch, err error) {
	peers := slices.Collect(maps.Keys(runs))
	for _, p := range peers {
		f.delivery.flushDevice(ctx, p.caller, p.device)
	}
	devices := devicesOf(peers)
	var found []ports.DeviceMark
	err = f.store.View(ctx, r.tenant, func(v ports.Reader) error {
		room, _, err := v.Access(r.id, "")
		if err != nil {
			return err
		}
		st.rev = room.LastRev
		if found, err = v.Marks(r.id, devices); err != nil {
			return err
		}
		st.messages, err = v.MessagesAfter(r.id, from-1, redeliverStep)
		return err
	})
	if err != nil {
		return st, err
	}
	st.marks = marksOf(peers, found)
	st.frames = make([]ports.Frame, len(st.messages))
	for i, m := range st.messages {
		st.frames[i] = f.enc.Again(m)
	}
	return st, nil
}

// next is the last message of the run as it is to be pushed: it takes in what has become late since the last time, so that
// what came soon after the first is not left out of all attempts. A replay has what its dead letter had.
func (u unacked) next() int64 {
	if u.asked {
		return u.to
	}
	return u.late
}

// given is the last message of the run as it is given up: of what was pushed the last time, or, where nothing is pushed
// again, of what is late.
func (u unacked) given() int64 {
	if u.to > 0 {
		return u.to
	}
	return u.late
}

// through is how many of the stretch's messages there are up to a last one.
func (st stretch) through(last int64) (n int) {
	for n < len(st.messages) && st.messages[n].Seq <= last {
		n++
	}
	return n
}

// pushAgain pushes runs to their sockets, but for those that are being caught up or have left the room meanwhile. When there
// was more than messages in the room since they were read, or a socket has been sent more of the store than this node has
// heard of, they may not be what these sockets are to see, or see any more: then they are read again.
func (r *liveRoom) pushAgain(f *Fanout, runs map[*Peer]unacked, st stretch) {
	if len(runs) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed > st.rev {
		return
	}
	for i := range r.seats {
		s := &r.seats[i]
		was, ok := runs[s.peer]
		now := r.unacked[s.peer]
		if !ok || now == nil || now.from != was.from || now.attempts != was.attempts || now.asked != was.asked ||
			s.state == behind || s.state == waiting && s.pos > st.rev || s.until > 0 {
			continue
		}
		n := st.through(was.next())
		if n == 0 {
			delete(r.unacked, s.peer)
			continue
		}
		now.push(f, s.peer, st.frames[:n], st.messages[n-1].Seq)
	}
}

// push pushes a run once more. What a full queue does not take comes with the next attempt; nothing at all is none.
func (u *unacked) push(f *Fanout, p *Peer, frames []ports.Frame, last int64) {
	for i, frame := range frames {
		if p.sink.Push(frame) {
			f.counters.redelivered.Add(1)
			continue
		}
		if i == 0 {
			u.due = f.moment() + int64(f.grain)
			return
		}
		break
	}
	u.due = f.moment() + int64(f.cfg.Retry.Interval)<<min(u.attempts, 20)
	u.attempts++
	u.to, u.at = last, f.clock.Now()
}

// sendAgain has a run pushed once more to a user's sockets in the room: a dead letter is replayed.
func (r *liveRoom) sendAgain(f *Fanout, sig signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.seats {
		if s := &r.seats[i]; s.peer.caller.User == sig.User && s.until == 0 {
			r.setUnacked(s.peer, &unacked{from: sig.Seq, to: sig.through(), due: f.moment(), asked: true})
		}
	}
}
