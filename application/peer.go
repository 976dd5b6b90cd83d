package application

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Peer is a connected socket as the fan-out knows it: the rooms it sits in, and what it has still to be sent.
type Peer struct {
	f      *Fanout
	caller Caller
	device domain.DeviceID
	sink   ports.Sink

	drains atomic.Int64 // counts Drained

	mu      sync.Mutex
	rooms   map[domain.RoomID]*liveRoom // nil until Start
	tasks   []*task                     // what is to be caught up, in order
	queued  bool                        // a catch-up worker has it, or will
	closed  bool
	sync    *syncing // until sync.complete was pushed
	userRev int64    // removals told with the replay; 0 once confirmed or when there is nothing to confirm
}

// syncing is the replay after a connect, while it goes on.
type syncing struct {
	report    ports.SyncReport
	positions []domain.Position
	userRev   int64
}

// Resume is where a returning client says it stands; rooms it does not name go by the device's mark.
type Resume struct {
	Epoch  domain.Epoch
	Rooms  []domain.Position
	Cursor string
}

// deviceNoted is how stale a device's last-seen time may get before a connect writes it again.
const deviceNoted = 24 * time.Hour

// Connect registers a socket. A user's sockets beyond the limit are domain.ErrTooManySockets.
func (f *Fanout) Connect(caller Caller, device domain.DeviceID, sink ports.Sink) (*Peer, error) {
	if err := f.listen(); err != nil {
		return nil, err
	}
	p := &Peer{f: f, caller: caller, device: device, sink: sink}
	user := tenantUser{caller.Tenant.ID, caller.User}
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
	return p, nil
}

// Start seats the peer in all its user's rooms and begins the replay of what its device missed: room by room, then
// room.removed for rooms lost, then sync.complete. resume is nil when the client did not ask. After a validation error,
// of a cursor that is none, it may be called again; else it is called once.
func (p *Peer) Start(ctx context.Context, resume *Resume) (err error) {
	p.mu.Lock()
	p.rooms = map[domain.RoomID]*liveRoom{}
	p.mu.Unlock()
	defer func() {
		if err != nil {
			p.leaveRooms()
		}
	}()
	places, err := p.places(ctx)
	if err != nil {
		return err
	}
	from, err := p.resumePoint(resume, places)
	if err != nil {
		return err
	}
	stands, err := p.stands(ctx, places, from.revs)
	if err != nil {
		return err
	}
	stretches, left := domain.PlanReplay(stands)
	p.beginSync(places, stands, from.revs, left)
	if err := p.takeSeats(ctx, stands, stretches); err != nil {
		return err
	}
	for _, frame := range append(from.notices, p.removals(places, from.revs)...) {
		p.addTask(task{frame: frame})
	}
	p.addTask(task{finish: true})
	p.kick()
	return nil
}

// beginSync opens the report of the replay. Its cursor will name the rooms that are replayed, and those that the client
// has named and that end where it stands.
func (p *Peer) beginSync(places ports.Places, stands []domain.Stand, named map[domain.RoomID]int64, left []domain.Gap) {
	begun := &syncing{report: ports.SyncReport{Truncated: left}}
	if len(places.Removed) > 0 {
		begun.userRev = places.UserRev
	}
	for _, s := range stands {
		if _, ok := named[s.Room]; ok && s.FromRev >= s.LastRev {
			begun.positions = append(begun.positions, domain.Position{Room: s.Room, Rev: s.FromRev})
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sync = begun
}

// places reads where the device stands. What it has acknowledged a moment ago is written first. A device that was never
// seen is noted, so that what others of the user's devices confirm from now on does not move its place; where that
// cannot be written now, it is noted later.
func (p *Peer) places(ctx context.Context) (ports.Places, error) {
	tenant := p.caller.Tenant.ID
	p.f.delivery.flushDevice(ctx, p.caller, p.device)
	read := func(r ports.Reader) (ports.Places, error) { return r.Places(p.caller.User, p.device) }
	places, err := ports.View(ctx, p.f.store, tenant, read)
	if err != nil || places.Known {
		p.noteSeen(places)
		return places, err
	}
	err = p.f.store.Update(ctx, tenant, func(tx ports.Tx) error {
		return tx.SeeDevice(p.caller.User, p.device, places.UserRev, p.f.clock.Now())
	})
	if errors.Is(err, domain.ErrUnavailable) || errors.Is(err, domain.ErrBusy) {
		p.f.delivery.Learned(p.caller, p.device, places.UserRev)
		return places, nil
	}
	if err != nil {
		return places, err
	}
	return ports.View(ctx, p.f.store, tenant, read)
}

func (p *Peer) noteSeen(places ports.Places) {
	if now := p.f.clock.Now(); places.Known && now.Sub(places.SeenAt) > deviceNoted {
		p.f.delivery.Learned(p.caller, p.device, 0)
	}
}

// resumePoint is where a client says it stands, by room, and what it must be told about that first.
type resumePoint struct {
	revs    map[domain.RoomID]int64
	notices []ports.Frame
}

// resumePoint reads what the client says. A place in another log, or above a room's end, is not in this log: the client
// is told so, and goes on from the end.
func (p *Peer) resumePoint(resume *Resume, places ports.Places) (resumePoint, error) {
	if resume == nil {
		return resumePoint{}, nil
	}
	named, epoch := resume.Rooms, resume.Epoch
	if resume.Cursor != "" {
		var err error
		if epoch, named, err = readCursor(resume.Cursor); err != nil {
			return resumePoint{}, err
		}
	}
	from := resumePoint{revs: make(map[domain.RoomID]int64, len(named))}
	for _, at := range named {
		from.revs[at.Room] = at.Rev
	}
	var foreign []domain.RoomID
	for _, place := range places.Rooms {
		rev, ok := from.revs[place.Room]
		if ok && (epoch != p.f.epoch || rev > place.LastRev) {
			foreign = append(foreign, place.Room)
			from.revs[place.Room] = place.LastRev
		}
	}
	if len(foreign) > 0 || epoch != p.f.epoch {
		from.notices = []ports.Frame{p.f.enc.ResyncRequired(p.f.epoch, foreign)}
	}
	return from, nil
}

// stands joins the device's marks with what the client said.
func (p *Peer) stands(ctx context.Context, places ports.Places, named map[domain.RoomID]int64) ([]domain.Stand, error) {
	stands := make([]domain.Stand, len(places.Rooms))
	for i, at := range places.Rooms {
		stands[i] = domain.Stand{
			Room: at.Room, FromRev: at.Mark.DeliveredRev, FromSeq: at.Mark.DeliveredSeq,
			LastSeq: at.LastSeq, LastRev: at.LastRev,
		}
	}
	if len(named) == 0 {
		return stands, nil
	}
	err := p.f.store.View(ctx, p.caller.Tenant.ID, func(r ports.Reader) error {
		for i := range stands {
			rev, ok := named[stands[i].Room]
			if !ok {
				continue
			}
			seq, err := r.SeqAt(stands[i].Room, rev)
			if err != nil && !errors.Is(err, domain.ErrRoomNotFound) {
				return err
			}
			stands[i].FromRev, stands[i].FromSeq = rev, seq
		}
		return nil
	})
	return stands, err
}

// takeSeats seats the peer in its rooms. Rooms that this node did not watch before are compared with the store once
// more: an event may have passed between reading the places and sitting down.
func (p *Peer) takeSeats(ctx context.Context, stands []domain.Stand, stretches []domain.Stretch) error {
	minSeq := make(map[domain.RoomID]int64, len(stretches))
	for _, s := range stretches {
		minSeq[s.Room] = s.MinSeq
	}
	var added []*liveRoom
	for _, s := range stands {
		at := place{room: s.Room, last: s.LastRev, pos: s.FromRev, minSeq: minSeq[s.Room], initial: true}
		if r := p.f.seat(p, at); r != nil {
			added = append(added, r)
		}
	}
	return p.f.compare(ctx, p.caller.Tenant.ID, added)
}

// removals are the rooms the device must learn to have lost: those since its last confirmation, and those the client
// named that are not its user's.
func (p *Peer) removals(places ports.Places, named map[domain.RoomID]int64) []ports.Frame {
	lost := make(map[domain.RoomID]int64, len(named))
	for room := range named {
		lost[room] = 0
	}
	for _, at := range places.Rooms {
		delete(lost, at.Room)
	}
	for _, gone := range places.Removed {
		lost[gone.Room] = gone.LeftRev
	}
	frames := make([]ports.Frame, 0, len(lost))
	for room, rev := range lost {
		e := domain.Event{Tenant: p.caller.Tenant.ID, Room: room, Rev: rev, Kind: domain.EventRoomRemoved}
		frames = append(frames, p.f.enc.Event(e))
	}
	return frames
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
	err := p.f.store.View(ctx, p.caller.Tenant.ID, func(r ports.Reader) error {
		found, err := access(r, p.caller, room, domain.ActRead)
		if err != nil {
			return err
		}
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
	at := place{room: room, last: out.LastRev, pos: stand.FromRev, keep: afterSeq == nil}
	if stretches, left := domain.PlanReplay([]domain.Stand{stand}); len(stretches) > 0 {
		at.minSeq = stretches[0].MinSeq
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

// Drained tells that the socket's queue has emptied after it refused a frame: catching up goes on.
func (p *Peer) Drained() {
	p.drains.Add(1)
	p.kick()
}

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
	user := tenantUser{p.caller.Tenant.ID, p.caller.User}
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if delete(p.f.users[user], p); len(p.f.users[user]) == 0 {
		delete(p.f.users, user)
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

// forget drops a room the peer no longer sits in.
func (p *Peer) forget(r *liveRoom) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rooms, r.id)
}
