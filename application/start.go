package application

import (
	"context"
	"errors"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

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

// Start seats the peer in all its user's rooms and begins the replay of what its device missed: room by room, then
// room.removed for rooms lost, then notifications, then sync.complete. resume is nil when the client did not ask. After a validation error,
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
	from.addStale(p.f, stands)
	stretches, left := domain.PlanReplay(stands)
	p.beginSync(places, stands, from.revs, left)
	if err := p.takeSeats(ctx, places, stands, stretches); err != nil {
		return err
	}
	p.f.presence.seated(ports.TenantUser{Tenant: p.caller.Tenant.ID, User: p.caller.User}, smallRooms(places))
	for _, frame := range append(from.notices, p.removals(places, from.revs)...) {
		p.addTask(task{frame: frame})
	}
	p.addTask(task{inbox: true})
	p.addTask(task{finish: true})
	p.kick()
	return nil
}

func smallRooms(places ports.Places) (small []domain.RoomID) {
	for _, at := range places.Rooms {
		if at.Members <= domain.MaxHintMembers && len(small) < ports.MaxSmallRooms {
			small = append(small, at.Room)
		}
	}
	return small
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

// places reads where the device stands. What it has acknowledged a moment ago is written first, unless that is on its way
// already: then the client may be sent again what it has. A device that was never
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

// addStale moves those stands to the end that have missed too many changes of their room, and has the client told to
// fetch them anew.
func (from *resumePoint) addStale(f *Fanout, stands []domain.Stand) {
	var stale []domain.RoomID
	for i := range stands {
		if stands[i].IsStale() {
			stale = append(stale, stands[i].Room)
			stands[i] = stands[i].AtEnd()
		}
	}
	if len(stale) > 0 {
		from.notices = append(from.notices, f.enc.ResyncRequired(f.epoch, stale))
	}
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
func (p *Peer) takeSeats(ctx context.Context, places ports.Places, stands []domain.Stand, stretches []domain.Stretch) error {
	minSeq := make(map[domain.RoomID]int64, len(stretches))
	for _, s := range stretches {
		minSeq[s.Room] = s.MinSeq
	}
	var added []*liveRoom
	for i, s := range stands {
		at := place{
			room: s.Room, last: s.LastRev, lastSeq: s.LastSeq, members: places.Rooms[i].Members, pos: s.FromRev,
			minSeq: minSeq[s.Room], first: max(minSeq[s.Room], s.FromSeq+1), initial: true,
		}
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
