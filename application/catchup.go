package application

import (
	"context"
	"errors"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// step is the next piece of catching up a seat.
type step struct {
	log     []signal
	removed bool  // the log ends with room.removed, and the seat with it
	last    int64 // the room's position in the store, when that was read
	through int64 // where the seat stands when the log is pushed
	pos     int64 // where it stood before
	until   int64 // of the seat
	minSeq  int64
	turn    int
	stay    int
}

// catchUp sends what lies between the seat's position and the room's, from the tail in memory or from the store. Once both
// are equal it makes the seat live; one that has read ahead of the room waits for it.
func (p *Peer) catchUp(ctx context.Context, t *task) (done bool, err error) {
	for {
		st, state := p.next(t.room)
		if state == settled {
			p.settle(t, st.pos)
			return true, nil
		}
		if state == refused {
			return false, nil
		}
		if state == unread {
			if err := p.read(ctx, t.room, &st); err != nil {
				return false, err
			}
		}
		if !p.pushAll(t, st) {
			return false, nil
		}
	}
}

type progress int

const (
	settled progress = iota // nothing left to send
	inTail                  // the step's frames are known
	unread                  // the store has them
	refused                 // the socket takes nothing now
)

// next looks what the seat needs: under the room's lock it is either settled, or told what to send.
func (p *Peer) next(r *liveRoom) (step, progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seatOf(p)
	if s == nil || s.state != behind {
		return step{pos: r.last}, settled
	}
	st := step{pos: s.pos, through: r.last, until: s.until, minSeq: s.minSeq, turn: s.turn, stay: s.stay}
	switch {
	case s.until > 0 && s.pos >= s.until:
		st.log, st.through, st.removed = []signal{{Frame: p.f.removed(r, s.until)}}, s.pos, true
		return st, inTail
	case s.until == 0 && s.pos < s.goal && s.pos >= r.last: // what was stored before the connect belongs to its replay
		return st, unread
	case s.until == 0 && s.pos == r.last && !s.showAll(p.f, r):
		return st, refused
	case s.until == 0 && s.pos >= r.last:
		if s.state = live; s.pos > r.last {
			s.state = waiting
		}
		s.since = p.f.moment()
		r.noteReached(p.f)
		return st, settled
	}
	log, ok := r.tail.after(s.pos)
	if !ok || s.until > r.last {
		return st, unread
	}
	s.endBy(log)
	if st.log = log; s.until > 0 {
		st.log, st.through = upTo(log, s.until), s.until
		st.removed = r.ended > 0 && len(st.log) > 0 // its last step is the removal itself
	}
	return st, inTail
}

// endBy looks for the removal of the seat's user in a stretch of the log that ends at the room's position: the seat may
// have been taken just after the removal, by a client that was a member a moment before. The caller holds the room's mu.
func (s *seat) endBy(log []signal) {
	for _, step := range log {
		if !slices.Contains(step.users, s.peer.caller.User) {
			continue
		}
		switch step.Kind {
		case domain.EventMemberRemoved:
			s.until = step.Rev
		case domain.EventMemberAdded:
			s.until = 0
		}
	}
}

func upTo(log []signal, rev int64) []signal {
	for i, step := range log {
		if step.Rev > rev {
			return log[:i]
		}
	}
	return log
}

func (f *Fanout) removed(r *liveRoom, rev int64) ports.Frame {
	e := domain.Event{Tenant: r.tenant, Room: r.id, Rev: rev, Kind: domain.EventRoomRemoved}
	return newSignal(f.enc, e).Frame
}

var errLogBehind = errors.New("the store is behind what was delivered")

// read takes a step of the log from the store, with the membership in the same snapshot: of a room the user has left,
// nothing above the removal.
func (p *Peer) read(ctx context.Context, r *liveRoom, st *step) error {
	p.f.counters.catchUps.Add(1)
	var events []domain.Event
	var until int64
	err := p.f.store.View(ctx, r.tenant, func(v ports.Reader) error {
		room, member, err := v.Access(r.id, p.caller.User)
		if errors.Is(err, domain.ErrRoomNotFound) || err == nil && member == nil {
			if until = st.until; until == 0 {
				at, err := r.removedAt(v)
				if err != nil {
					return err
				}
				until = max(st.pos, at, 1)
			}
			st.through = until
			return nil
		}
		if err != nil {
			return err
		}
		st.through, st.last = room.LastRev, room.LastRev
		if !member.IsActive() {
			st.through, until = member.LeftRev, member.LeftRev
		}
		events, err = v.Events(ports.EventQuery{Room: r.id, After: st.pos, Through: st.through, MinSeq: st.minSeq, Latest: true, Limit: catchupStep})
		return err
	})
	if err != nil {
		return err
	}
	if until == 0 && st.through <= st.pos {
		return errLogBehind
	}
	for _, e := range events {
		if until == 0 || st.last == until || isOf(e, until) {
			st.log = append(st.log, newSignal(p.f.enc, e))
		}
	}
	if len(events) == catchupStep {
		st.through = events[len(events)-1].Rev
	}
	p.learn(r, st, until)
	return nil
}

// isOf reports whether what the store tells of a step was so when the user was removed: a step is told with its target's
// current state, and of what came after the removal nothing is theirs to see. Of who went nothing is told but who.
func isOf(e domain.Event, until int64) bool {
	return e.Kind == domain.EventMemberRemoved || e.Message != nil && e.Message.Rev <= until
}

// removedAt is where a room was removed that is not found any more: as the node has heard, or as the store knows.
func (r *liveRoom) removedAt(v ports.Reader) (int64, error) {
	if at := r.endedAt(); at > 0 {
		return at, nil
	}
	return v.RemovedAt(r.id)
}

// endedAt is where the room was removed; 0 as far as this node knows nothing of it.
func (r *liveRoom) endedAt() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended
}

// learn notes what a read of the store taught: the end of a membership, or steps the room's tail can keep for others.
func (p *Peer) learn(r *liveRoom, st *step, until int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.seatOf(p); s != nil && s.stay == st.stay && (until > 0 || st.last >= s.until) {
		if s.until = until; until == 0 { // a member in the store, above an earlier removal, has come back since
			s.known = max(s.known, st.last)
		}
	}
	n := len(st.log)
	if n > 0 && !r.gone && st.last == r.last && st.log[n-1].Rev == r.last && st.log[0].Rev == r.last-int64(n)+1 {
		p.f.tailBytes.Add(int64(r.tail.fill(st.log)))
	}
}

// pushAll pushes a step and moves the seat along; false when the socket is full.
func (p *Peer) pushAll(t *task, st step) bool {
	for _, sig := range st.log {
		if sig.Seq > 0 && sig.Seq < st.minSeq {
			continue
		}
		if sig.Kind == domain.EventRoomRemoved && !t.room.cutShown(p) {
			p.moveTo(t.room, sig.Rev-1, st.turn)
			return false
		}
		frame, ended := t.room.frameFor(p, sig)
		if !p.sink.Push(frame) {
			p.f.counters.overflows.Add(1)
			p.moveTo(t.room, sig.Rev-1, st.turn)
			return false
		}
		if ended {
			t.room.hide(p, sig.end.Stream)
		}
		p.f.counters.pushed.Add(1)
		p.count(t, sig.Frame)
	}
	if st.removed {
		t.room.release(p, st.stay, p.f.clock.Now())
	}
	p.moveTo(t.room, st.through, st.turn)
	return true
}

func (p *Peer) moveTo(r *liveRoom, pos int64, turn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.seatOf(p); s != nil && s.turn == turn {
		s.pos = max(s.pos, pos)
	}
}

// count adds a frame to the report of the replay after a connect.
func (p *Peer) count(t *task, frame ports.Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.initial && p.sync != nil && frame.Kind == domain.EventMessage {
		p.sync.report.Messages++
	}
}

// settle notes where a room of the replay ended.
func (p *Peer) settle(t *task, pos int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.initial && p.sync != nil {
		p.sync.report.Rooms++
		p.sync.positions = append(p.sync.positions, domain.Position{Room: t.room.id, Rev: pos})
	}
}

// finishSync ends the replay after a connect.
func (p *Peer) finishSync() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sync == nil {
		return true
	}
	p.sync.report.Cursor = writeCursor(p.f.epoch, p.sync.positions)
	p.sync.report.Confirm = p.sync.userRev > 0
	if !p.sink.Push(p.f.enc.SyncComplete(p.sync.report)) {
		return false
	}
	p.userRev, p.sync = p.sync.userRev, nil
	return true
}
