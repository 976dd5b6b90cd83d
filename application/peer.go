package application

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Peer is a connected socket as the fan-out knows it: the rooms it sits in, and what it has still to be sent.
type Peer struct {
	f      *Fanout
	caller Caller
	device domain.DeviceID
	auto   bool // acknowledges what was written to it
	watch  bool // follows one room, and is nobody's presence; see Fanout.Watch
	sink   ports.Sink
	slot   *Slot // nil when this node counts alone

	drains  atomic.Int64           // counts Drained
	renewed atomic.Pointer[Caller] // with the credential that has taken the place of the caller's; nil = none

	mu      sync.Mutex
	rooms   map[domain.RoomID]*liveRoom // nil until Start
	tasks   []*task                     // what is to be caught up, in order
	queued  bool                        // a catch-up worker has it, or will
	closed  bool
	sync    *syncing // until sync.complete was pushed
	inbox   inbox
	userRev int64 // removals told with the replay; 0 once confirmed or when there is nothing to confirm
}

// Client is what a socket says of itself when it connects.
type Client struct {
	Device  domain.DeviceID
	AutoAck bool // it does not acknowledge: the socket calls Peer.Wrote for every event that it has written
}

// Connect registers a socket. A user's sockets beyond the limit are domain.ErrTooManySockets.
func (f *Fanout) Connect(ctx context.Context, caller Caller, client Client, sink ports.Sink) (*Peer, error) {
	if err := f.listen(); err != nil {
		return nil, err
	}
	slot, err := f.takeSlot(ctx, caller)
	if err != nil {
		return nil, err
	}
	p, err := f.admit(caller, client, sink, slot)
	if err != nil {
		slot.Release()
		return nil, err
	}
	return p, nil
}

// takeSlot counts the user's sockets on all nodes together.
func (f *Fanout) takeSlot(ctx context.Context, caller Caller) (*Slot, error) {
	if f.cfg.Slots == nil {
		return nil, nil
	}
	return f.cfg.Slots.Take(ctx, caller.Tenant.ID, "socket"+slotMark+string(caller.User), f.cfg.MaxPerUser)
}

// admit registers the socket among those of this node.
func (f *Fanout) admit(caller Caller, client Client, sink ports.Sink, slot *Slot) (*Peer, error) {
	p := &Peer{f: f, caller: caller, device: client.Device, auto: client.AutoAck, sink: sink, slot: slot}
	user := ports.TenantUser{Tenant: caller.Tenant.ID, User: caller.User}
	f.mu.Lock()
	defer f.mu.Unlock()
	peers := f.users[user]
	if len(peers) >= f.cfg.MaxPerUser {
		return nil, domain.ErrTooManySockets
	}
	if peers == nil {
		peers = map[*Peer]struct{}{}
		f.users[user] = peers
	}
	peers[p] = struct{}{}
	if len(peers) == 1 {
		f.presence.came(user)
	}
	f.usage.opened(caller.Tenant.ID)
	return p, nil
}

// Subscribed is the answer to a subscribe: the room as it stands, and what of the asked run is left out.
type Subscribed struct {
	LastSeq   int64
	LastRev   int64
	Truncated *domain.Gap
}

// Subscribe replays a room from a message number on: everything after it, of the messages at most the newest 500.
// Live events of the room wait until that is done. With afterSeq nil nothing is replayed.
func (p *Peer) Subscribe(ctx context.Context, room domain.RoomID, afterSeq *int64) (Subscribed, error) {
	var out Subscribed
	var stand domain.Stand
	var members int64
	err := p.f.store.View(ctx, p.caller.Tenant.ID, func(r ports.Reader) error {
		found, err := access(r, p.caller, room, domain.ActRead)
		if err != nil {
			return err
		}
		members = found.Members
		out = Subscribed{LastSeq: found.LastSeq, LastRev: found.LastRev}
		stand = domain.Stand{Room: room, FromRev: found.LastRev, FromSeq: found.LastSeq, LastSeq: found.LastSeq, LastRev: found.LastRev}
		if afterSeq == nil {
			return nil
		}
		if err := domain.CheckAck(found, *afterSeq, 0); err != nil {
			return domain.Invalid("after_seq", "after_seq must be between 0 and the room's last_seq")
		}
		stand.FromSeq = *afterSeq
		stand.FromRev, err = revOf(r, room, *afterSeq)
		return err
	})
	if err != nil {
		return out, err
	}
	at := place{
		room: room, last: out.LastRev, lastSeq: out.LastSeq, members: members, pos: stand.FromRev, first: stand.FromSeq + 1,
		keep: afterSeq == nil,
	}
	if stretches, left := domain.PlanReplay([]domain.Stand{stand}); len(stretches) > 0 {
		at.minSeq, at.first = stretches[0].MinSeq, max(at.first, stretches[0].MinSeq)
		if len(left) > 0 {
			out.Truncated = &left[0]
		}
	}
	return out, p.replay(ctx, at)
}

// revOf is the position of a message by its number; 0 for number 0.
func revOf(r ports.MessageReader, room domain.RoomID, seq int64) (int64, error) {
	if seq == 0 {
		return 0, nil
	}
	found, err := r.MessagesAfter(room, seq-1, 1)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[0].FirstRev, nil
}

// replay sets the peer's seat back, so that catching up sends the room again from there. A member whose seat is not
// taken yet, because the event that made them one is still on its way, takes it now.
func (p *Peer) replay(ctx context.Context, at place) error {
	defer p.kick()
	if added := p.f.seat(p, at); added != nil {
		if err := p.f.compare(ctx, p.caller.Tenant.ID, []*liveRoom{added}); err != nil {
			return err
		}
	}
	return nil
}

// Typing tells the others in a room that the user has begun or stopped typing, which domain.TypingStarted and
// TypingStopped say. In rooms of more than domain.MaxHintMembers nobody is told.
func (p *Peer) Typing(ctx context.Context, room domain.RoomID, state string) error {
	small, seated := p.seatedIn(room)
	if !seated {
		found, err := ports.View(ctx, p.f.store, p.caller.Tenant.ID, func(r ports.Reader) (domain.Room, error) {
			return access(r, p.caller, room, domain.ActSend)
		})
		if err != nil {
			return err
		}
		small = found.Members <= domain.MaxHintMembers
	}
	if small {
		p.f.hints.Tell(ctx, domain.Hint{
			Tenant: p.caller.Tenant.ID, Room: room, Kind: domain.HintTyping, User: p.caller.User, State: state,
		})
	}
	return nil
}

// seatedIn reports whether the peer sits in a room as a member, which needs no look into the store, and whether the room
// is small.
func (p *Peer) seatedIn(id domain.RoomID) (small, seated bool) {
	r := p.roomOf(id)
	if r == nil {
		return false, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isSmall() {
		return false, true
	}
	s := r.seatOf(p)
	return true, s != nil && s.until == 0
}

// roomOf is the room of that id if the peer sits in it, or nil.
func (p *Peer) roomOf(id domain.RoomID) *liveRoom {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rooms[id]
}

// Renew puts another credential of the same user in the place of the one the socket was opened with: revoking that one
// closes the socket from now on.
func (p *Peer) Renew(c Caller) { p.renewed.Store(&c) }

// current is the caller with the credential that the socket stands on.
func (p *Peer) current() Caller {
	if renewed := p.renewed.Load(); renewed != nil {
		return *renewed
	}
	return p.caller
}

// Drained tells that the socket's queue has emptied after it refused a frame: catching up goes on.
func (p *Peer) Drained() {
	p.drains.Add(1)
	p.kick()
}

// Wrote tells what was written to the socket of a client that does not acknowledge: an event or a notification.
func (p *Peer) Wrote(frame ports.Frame) { p.f.delivery.Wrote(p.caller, p.device, frame) }

// Confirmed tells that the client has answered the question for confirmation behind sync.complete: what it was sent up
// to there has arrived.
func (p *Peer) Confirmed() {
	p.mu.Lock()
	userRev := p.userRev
	p.userRev = 0
	p.mu.Unlock()
	if userRev > 0 {
		p.f.delivery.Learned(p.caller, p.device, userRev)
	}
}

// Close gives up all seats. The sink is not used afterwards, but by a push under way.
func (p *Peer) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.leaveRooms()
	p.slot.Release()
	user := ports.TenantUser{Tenant: p.caller.Tenant.ID, User: p.caller.User}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.watch {
		delete(p.f.watchers, p)
		return
	}
	if delete(p.f.users[user], p); len(p.f.users[user]) == 0 {
		delete(p.f.users, user)
		p.f.presence.went(user)
	}
}

// leaveRooms gives up all seats and what was still to be sent.
func (p *Peer) leaveRooms() {
	p.mu.Lock()
	rooms := p.rooms
	p.rooms, p.tasks, p.sync = nil, nil, nil
	p.mu.Unlock()
	now := p.f.clock.Now()
	for _, r := range rooms {
		r.vacate(p, now)
	}
}

// remember notes that the peer sits in r; false when the peer is closed or has not started. The caller holds r.mu.
func (p *Peer) remember(r *liveRoom) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.rooms == nil {
		return false
	}
	p.rooms[r.id] = r
	return true
}

func (p *Peer) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// forget drops a room the peer no longer sits in.
func (p *Peer) forget(r *liveRoom) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rooms, r.id)
}
