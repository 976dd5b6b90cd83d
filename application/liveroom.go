package application

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// shard is a part of the rooms that this node watches; each shard has a channel of the bus.
type shard struct {
	mu    sync.Mutex
	rooms map[domain.RoomID]*liveRoom
}

func (s *shard) find(id domain.RoomID) *liveRoom {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[id]
}

// findOrAdd returns the live room, one that has served everything up to last when it is new.
func (s *shard) findOrAdd(id domain.RoomID, tenant domain.TenantID, last, members int64) (r *liveRoom, added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r = s.rooms[id]; r != nil {
		return r, false
	}
	r = &liveRoom{id: id, tenant: tenant, last: last, from: last, members: members}
	s.rooms[id] = r
	return r, true
}

func (s *shard) each(do func(*liveRoom)) {
	s.mu.Lock()
	rooms := make([]*liveRoom, 0, len(s.rooms))
	for _, r := range s.rooms {
		rooms = append(rooms, r)
	}
	s.mu.Unlock()
	for _, r := range rooms {
		do(r)
	}
}

func (s *shard) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rooms)
}

// liveRoom is a room with sockets on this node, or one that had some a moment ago.
type liveRoom struct {
	id     domain.RoomID
	tenant domain.TenantID

	mu        sync.Mutex
	members   int64           // how many are in the room, on all nodes
	told      map[*Peer]int64 // sockets that were told of a removal of their user, and its rev
	ended     int64           // the room was removed at this rev; 0 = it stands
	last      int64           // everything up to this rev has been given to the seats that are live
	seats     []seat
	tail      tail
	lastSeq   int64                            // the latest message, as far as this node knows
	changed   int64                            // the rev of the latest event that was no message: an edit, a deletion, a member
	reached   []reached                        // what was given out lately, oldest first
	overdue   int64                            // messages up to it should have been acknowledged
	unacked   map[*Peer]*unacked               // what was not, of sockets that lag behind
	streams   map[domain.MessageID]*liveStream // answers on their way
	over      []domain.MessageID               // answers that have ended lately
	from      int64                            // what lies above it was seen here
	handed    int64                            // the latest handoff of that
	missed    int64                            // the highest rev that was seen and could not be delivered in turn
	repairing bool
	swept     int64     // the store's rev at the last sweep, or where it says that the room was removed
	removed   bool      // it says so
	emptied   time.Time // when the last seat left; zero while there are seats
	gone      bool      // taken out of its shard: find it anew
}

// seat is one socket in a room.
type seat struct {
	peer   *Peer
	state  seatState
	from   int64 // where the seat was taken: everything above it was pushed, or will be
	pos    int64 // everything up to this rev was pushed to the socket; not kept while live
	until  int64 // the user was removed at this rev: nothing above it is theirs; 0 = a member
	goal   int64 // where the log ended in the store when the seat was taken, of which the node may not have heard yet
	minSeq int64 // messages below it are left out while catching up
	known  int64 // the user was a member at this rev, the store says
	first  int64 // no message below it was sent to this socket; 0 = all that its device has not acknowledged
	since  int64 // when it last became live after being caught up; see Fanout.moment
	shown  []shown
	turn   int // counts rewinds, so that a step begun before one does not move the seat after it
	stay   int // counts memberships, so that a step begun in one does not end the next
}

type seatState uint8

const (
	live    seatState = iota // gets every event as it comes
	waiting                  // has seen more of the store than the room has delivered: live from pos+1 on
	behind                   // is being caught up, or waits for that; its peer has a task for it
)

// toldSweep is how many sockets a room remembers before it looks which are still open.
const toldSweep = 64

// place is where a peer is to be seated.
type place struct {
	room    domain.RoomID
	last    int64 // the room's position, as far as the caller knows
	members int64 // how many are in the room, likewise
	pos     int64 // everything above it is still to be sent
	minSeq  int64 // but of the messages none below this
	first   int64 // the lowest message that is still to be sent, or higher; 0 = not known
	lastSeq int64 // the room's, likewise
	initial bool  // part of the replay after a connect
	keep    bool  // a seat taken already stays where it is
}

// deliver takes the next event of the log. A gap is never jumped: the log is read instead. It reports false when the
// room was taken out of its shard: find it anew.
func (r *liveRoom) deliver(f *Fanout, sig signal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.gone:
		return false
	case sig.Rev <= r.last:
		if sig.admits() {
			r.admitLate(f.newcomers(sig), sig.Rev)
		}
		return true
	case sig.Rev > r.last+1:
		r.missed = max(r.missed, sig.Rev)
		f.startRepair(r)
		return true
	}
	if sig.admits() {
		r.admit(f.newcomers(sig), sig.Rev)
	}
	r.last = sig.Rev
	if sig.Kind == domain.EventMessage {
		r.lastSeq = max(r.lastSeq, sig.Seq)
		if len(r.seats) > 0 {
			r.noteReached(f)
		}
	} else {
		r.changed = sig.Rev
	}
	if n := sig.members(); n > 0 {
		r.members = n
	}
	if sig.Kind == domain.EventMessageDeleted || sig.Kind == domain.EventMessageEdited || sig.Kind == domain.EventRoomRemoved {
		f.tailBytes.Add(int64(r.tail.reset()))
	}
	if sig.later { // nobody may be caught up by it who does not belong to what came later
		f.tailBytes.Add(int64(r.tail.reset()))
	} else {
		f.tailBytes.Add(int64(r.tail.add(sig)))
	}
	r.follow(sig)
	for i := range r.seats {
		r.seats[i].offer(f, r, sig)
	}
	r.showHeld(f)
	switch sig.Kind {
	case domain.EventMemberRemoved:
		r.dismiss(f, sig)
	case domain.EventRoomRemoved:
		r.end(f, sig.Rev)
	}
	r.endWaits(f)
	return true
}

// endWaits makes the seats live that have waited for the room to come where they stand. dismiss comes before: it must know that
// they have seen the step. The caller holds r.mu.
func (r *liveRoom) endWaits(f *Fanout) {
	for i := range r.seats {
		if s := &r.seats[i]; s.state == waiting && s.pos == r.last {
			s.goLive(f, r)
		}
	}
}

// end takes the seats of a room that was removed: those that stood at its end have got the removal as the last step of
// its log. The others get it when catching up comes to it, or their own removal when that was before. The caller holds
// r.mu.
func (r *liveRoom) end(f *Fanout, rev int64) {
	r.ended = rev
	stay := r.seats[:0]
	for _, s := range r.seats {
		if s.state == live {
			s.peer.forget(r)
			continue
		}
		if s.until == 0 {
			s.until = rev
		}
		if s.state == waiting { // has seen more of the store than the node has heard
			s.state = behind
			s.peer.addTask(task{room: r})
			s.peer.kick()
		}
		stay = append(stay, s)
	}
	clear(r.seats[len(stay):])
	r.seats = stay
	r.noteEmptied(f.clock.Now())
}

// admit seats the sockets of new members just before the event that made them members, which is the next in turn. Who
// still has a seat, because a removal has not reached the socket yet, keeps it. The caller holds r.mu.
func (r *liveRoom) admit(peers []*Peer, rev int64) {
	for _, p := range peers {
		if s := r.seatOf(p); s != nil {
			if s.until > 0 && s.until < rev {
				s.until = 0
				s.stay++
			}
			continue
		}
		if p.remember(r) {
			r.seats = append(r.seats, seat{peer: p, state: waiting, from: rev - 1, pos: rev - 1})
			r.emptied = time.Time{}
		}
	}
}

// admitLate seats the sockets of new members by an event that this node has passed already: another member's socket made
// it watch the room, as it stood in the store, before it heard of the event. The caller holds r.mu.
func (r *liveRoom) admitLate(peers []*Peer, rev int64) {
	for _, p := range peers {
		if r.ended > 0 || r.told[p] >= rev || r.seatOf(p) != nil || !p.remember(r) {
			continue
		}
		r.emptied = time.Time{}
		s := seat{peer: p, from: rev - 1, pos: rev - 1}
		s.rewind(r, place{room: r.id, pos: rev - 1})
		r.seats = append(r.seats, s)
		p.kick()
	}
}

// offer pushes the next frame to a live seat; one whose queue is full falls behind and is caught up later.
func (s *seat) offer(f *Fanout, r *liveRoom, sig signal) {
	waited := s.state == waiting
	if s.state == behind || waited && sig.Rev <= s.pos {
		return
	}
	s.state = live
	frame, ended := s.frameFor(sig)
	if !s.push(f, r, frame, sig.Rev-1) {
		return
	}
	if ended {
		s.hide(sig.end.Stream)
	}
	if waited {
		s.goLive(f, r)
	}
}

// goLive makes a seat live that stands where the room does, and shows it the streams that are under way. The caller holds
// r.mu.
func (s *seat) goLive(f *Fanout, r *liveRoom) {
	s.state = live
	if drains := s.peer.drains.Load(); !s.showAll(f, r) {
		s.fallBehind(r, r.last, drains)
	}
}

// push hands a frame to the seat's socket; before the one that says that the room is gone for it, the ends of what it was
// shown. When its queue is full the seat is behind, at pos.
func (s *seat) push(f *Fanout, r *liveRoom, frame ports.Frame, pos int64) bool {
	drains := s.peer.drains.Load()
	if (frame.Kind != domain.EventRoomRemoved || s.cutShown(f, r)) && s.take(f, frame) {
		return true
	}
	s.fallBehind(r, pos, drains)
	return false
}

// take hands a frame to the seat's socket; false when that takes nothing now.
func (s *seat) take(f *Fanout, frame ports.Frame) bool {
	if s.peer.sink.Push(frame) {
		f.counters.pushed.Add(1)
		return true
	}
	f.counters.overflows.Add(1)
	return false
}

// fallBehind has a seat whose socket has refused a frame be caught up from pos on. drains was read before.
func (s *seat) fallBehind(r *liveRoom, pos, drains int64) {
	s.state, s.pos, s.minSeq = behind, pos, 0
	s.peer.fallBehind(task{room: r}, drains)
}

// dismiss ends the seats of a removed user: at once where everything up to the removal has been pushed, else when
// catching up has come that far. A seat that stands above the removal has seen it, and the return after it, in the
// store. The caller holds r.mu.
func (r *liveRoom) dismiss(f *Fanout, sig signal) {
	removed := f.removed(r, sig.Rev)
	stay := r.seats[:0]
	for _, s := range r.seats {
		seenMore := s.state != live && max(s.pos, s.known) >= sig.Rev
		if slices.Contains(sig.users, s.peer.caller.User) && !seenMore {
			s.until = sig.Rev
			if s.state != behind && s.push(f, r, removed, sig.Rev) {
				s.peer.forget(r)
				r.noteTold(s.peer, sig.Rev)
				continue
			}
		}
		stay = append(stay, s)
	}
	clear(r.seats[len(stay):])
	r.seats = stay
	r.noteEmptied(f.clock.Now())
}

// sit gives a peer a seat, or sets the one it has back to where a replay begins. It reports false when the room was
// taken out of its shard: find it anew.
func (r *liveRoom) sit(p *Peer, at place) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return false
	}
	r.lastSeq = max(r.lastSeq, at.lastSeq)
	if s := r.seatOf(p); s != nil {
		// The event that made the user a member may have seated a connecting socket already, where it begins anyway.
		if !at.keep && (at.pos < r.last || s.state != live && at.pos < s.pos) && !(at.initial && at.pos >= s.from) {
			s.rewind(r, at)
		}
		return true
	}
	if !p.remember(r) {
		return true
	}
	r.emptied = time.Time{}
	s := seat{peer: p, from: at.pos, pos: at.pos, first: at.first, until: r.ended}
	switch {
	case at.pos < max(r.last, at.last) || r.ended > 0 || len(r.streams) > 0: // answers under way are shown once it is live
		s.rewind(r, at)
	case at.pos > r.last:
		s.state = waiting
	default:
		s.goLive(p.f, r)
	}
	r.seats = append(r.seats, s)
	return true
}

// rewind sets a seat back to be caught up from a position on. The caller holds r.mu.
func (s *seat) rewind(r *liveRoom, at place) {
	s.first, s.goal = min(s.first, at.first), max(s.goal, at.last)
	if s.state != behind {
		s.state = behind
		s.peer.addTask(task{room: r, initial: at.initial})
	} else if at.pos >= s.pos {
		if at.minSeq < s.minSeq {
			s.minSeq = at.minSeq
			s.turn++
		}
		return
	}
	s.from, s.pos, s.minSeq = min(s.from, at.pos), at.pos, at.minSeq
	s.turn++
}

// noteEmptied remembers when the last seat was left. The caller holds r.mu.
func (r *liveRoom) noteEmptied(now time.Time) {
	if len(r.seats) == 0 {
		r.seats, r.emptied = nil, now
	}
}

// seatOf returns the seat of a peer, or nil. The caller holds r.mu.
func (r *liveRoom) seatOf(p *Peer) *seat {
	i := slices.IndexFunc(r.seats, func(s seat) bool { return s.peer == p })
	if i < 0 {
		return nil
	}
	return &r.seats[i]
}

// vacate takes a peer's seat away.
func (r *liveRoom) vacate(p *Peer, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seats = slices.DeleteFunc(r.seats, func(s seat) bool { return s.peer == p })
	delete(r.unacked, p)
	r.noteEmptied(now)
}

// release ends the seat of a removed user once room.removed was pushed, unless the user is a member again.
func (r *liveRoom) release(p *Peer, stay int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seatOf(p)
	if s == nil || s.stay != stay || s.until == 0 {
		return
	}
	p.forget(r)
	r.noteTold(p, s.until)
	r.seats = slices.DeleteFunc(r.seats, func(s seat) bool { return s.peer == p })
	r.noteEmptied(now)
}

// noteTold remembers that a socket knows of its user's removal; sockets that have closed are forgotten on the way. The
// caller holds r.mu.
func (r *liveRoom) noteTold(p *Peer, rev int64) {
	if r.told == nil {
		r.told = map[*Peer]int64{}
	}
	if len(r.told) >= toldSweep {
		maps.DeleteFunc(r.told, func(p *Peer, _ int64) bool { return p.isClosed() })
	}
	r.told[p] = max(r.told[p], rev)
}
