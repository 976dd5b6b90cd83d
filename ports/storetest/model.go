package storetest

import (
	"cmp"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// model is one tenant's store as plainly as it can be said: what the random walk compares a backend with.
type model struct {
	rooms   []*modelRoom // in order of creation
	marks   map[markOf]domain.Mark
	devices map[deviceOf]*modelDevice
	userRev map[domain.UserID]int64
}

type modelRoom struct {
	domain.Room
	active   time.Time
	members  map[domain.UserID]*domain.Member
	joined   []domain.UserID // the active ones, in order of joining
	messages []domain.Message
	sent     map[sentAs]*domain.Sent
	log      []modelEvent
	changed  map[domain.UserID]int64 // the user's counter at the latest change of the membership
}

type modelEvent struct {
	kind domain.EventKind
	at   time.Time
	seq  int64         // of a message
	user domain.UserID // of a membership
}

type modelDevice struct {
	seen    time.Time
	userRev int64
}

type sentAs struct {
	user     domain.UserID
	clientID string
}

type deviceOf struct {
	user   domain.UserID
	device domain.DeviceID
}

type markOf struct {
	room domain.RoomID
	deviceOf
}

func newModel() *model {
	return &model{
		marks: map[markOf]domain.Mark{}, devices: map[deviceOf]*modelDevice{}, userRev: map[domain.UserID]int64{},
	}
}

func (m *model) room(id domain.RoomID) *modelRoom {
	for _, r := range m.rooms {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (m *model) roomByKey(key string) *modelRoom {
	for _, r := range m.rooms {
		if key != "" && r.UniqueKey == key {
			return r
		}
	}
	return nil
}

// create, add, remove and setRole are the room and member writers.
func (m *model) create(room domain.Room, members []domain.Member) (domain.Room, error) {
	if m.roomByKey(room.UniqueKey) != nil {
		return domain.Room{}, domain.ErrDMExists
	}
	r := &modelRoom{
		Room: room, active: room.CreatedAt, members: map[domain.UserID]*domain.Member{},
		sent: map[sentAs]*domain.Sent{}, changed: map[domain.UserID]int64{},
	}
	for _, member := range members {
		r.members[member.User] = &member
		r.joined = append(r.joined, member.User)
		m.touch(r, member.User)
	}
	r.step(modelEvent{kind: domain.EventRoomCreated, at: room.CreatedAt})
	m.rooms = append(m.rooms, r)
	return r.Room, nil
}

func (m *model) touch(r *modelRoom, user domain.UserID) {
	m.userRev[user]++
	r.changed[user] = m.userRev[user]
}

func (r *modelRoom) step(e modelEvent) {
	r.LastRev++
	r.log = append(r.log, e)
}

func (m *model) add(r *modelRoom, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error) {
	if now := r.members[user]; now.IsActive() {
		return *now, nil
	}
	r.members[user] = &domain.Member{
		User: user, Role: role, State: domain.Active, JoinedAt: at, JoinedSeq: r.LastSeq, JoinedRev: r.LastRev,
	}
	r.joined = append(r.joined, user)
	m.touch(r, user)
	r.step(modelEvent{kind: domain.EventMemberAdded, at: at, user: user})
	return *r.members[user], nil
}

func (m *model) remove(r *modelRoom, user domain.UserID, at time.Time) (domain.Member, error) {
	now := r.members[user]
	if !now.IsActive() {
		return domain.Member{}, domain.ErrMemberNotFound
	}
	r.step(modelEvent{kind: domain.EventMemberRemoved, at: at, user: user})
	now.State, now.LeftSeq, now.LeftRev = domain.Left, r.LastSeq, r.LastRev
	r.joined = slices.DeleteFunc(r.joined, func(u domain.UserID) bool { return u == user })
	m.touch(r, user)
	return *now, nil
}

func (m *model) setRole(r *modelRoom, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error) {
	now := r.members[user]
	if !now.IsActive() {
		return domain.Member{}, domain.ErrMemberNotFound
	}
	if now.Role == role {
		return *now, nil
	}
	now.Role = role
	m.touch(r, user)
	r.step(modelEvent{kind: domain.EventMemberUpdated, at: at, user: user})
	return *now, nil
}

// send is Append with the domain's rule.
func (m *model) send(r *modelRoom, s domain.Send) (ports.Appended, error) {
	snap := domain.Snapshot{Room: r.Room, Member: r.members[s.Sender], Duplicate: r.sent[sentAs{s.Sender, s.Draft.ClientID}]}
	snap.ReplyTo = slices.ContainsFunc(r.messages, func(msg domain.Message) bool { return msg.ID == s.ReplyTo })
	change, err := s.Decide(snap)
	if err != nil {
		return ports.Appended{}, err
	}
	if change.Duplicate != nil {
		return ports.Appended{Message: *change.Duplicate, Duplicate: true}, nil
	}
	return ports.Appended{Message: r.store(change)}, nil
}

func (r *modelRoom) store(change domain.Change) domain.Message {
	msg := change.Message
	r.LastSeq++
	r.step(modelEvent{kind: domain.EventMessage, at: msg.CreatedAt, seq: r.LastSeq})
	msg.Seq, msg.FirstRev, msg.Rev = r.LastSeq, r.LastRev, r.LastRev
	r.messages = append(r.messages, msg)
	r.active = msg.CreatedAt
	if msg.ClientID != "" {
		r.sent[sentAs{msg.Sender, msg.ClientID}] = &domain.Sent{Message: msg, Fingerprint: change.Fingerprint}
	}
	return msg
}

// place is where a device stands: at its own mark, else at the user's highest.
func (m *model) place(r *modelRoom, d deviceOf) domain.Mark {
	if own, ok := m.marks[markOf{r.ID, d}]; ok {
		return own
	}
	return m.highest(r, d.user)
}

// highest is the highest of a user's marks, that of joining when there is none.
func (m *model) highest(r *modelRoom, user domain.UserID) domain.Mark {
	highest, found := domain.Mark{}, false
	for of, mark := range m.marks {
		if of.room == r.ID && of.user == user {
			highest, found = highest.Raise(mark), true
		}
	}
	if !found {
		return domain.Mark{DeliveredSeq: r.members[user].JoinedSeq, DeliveredRev: r.members[user].JoinedRev}
	}
	return highest
}

// raise first notes a device never seen, and writes down where the user's other known devices stand, so that they stay there.
func (m *model) raise(r *modelRoom, d deviceOf, mark domain.Mark) (domain.Mark, error) {
	if r.members[d.user] == nil {
		return domain.Mark{}, domain.ErrMemberNotFound
	}
	if mark.DeliveredRev == 0 && mark.DeliveredSeq > 0 {
		mark.DeliveredRev = r.messages[mark.DeliveredSeq-1].FirstRev
	}
	if m.devices[d] == nil {
		m.see(d, false, Clock.Now())
	}
	stand := map[deviceOf]domain.Mark{d: m.place(r, d).Raise(mark)}
	for other := range m.devices {
		if other.user == d.user && other != d {
			stand[other] = m.place(r, other)
		}
	}
	for other, at := range stand {
		m.marks[markOf{r.ID, other}] = at
	}
	return stand[d], nil
}

// see notes a device; confirmed: it has learned of all removals, as one first seen has.
func (m *model) see(d deviceOf, confirmed bool, at time.Time) {
	if m.devices[d] == nil {
		m.devices[d], confirmed = &modelDevice{}, true
	}
	m.devices[d].seen = at
	if confirmed {
		m.devices[d].userRev = m.userRev[d.user]
	}
}

// The readers.

func (r *modelRoom) activeMembers() []domain.Member {
	list := make([]domain.Member, len(r.joined))
	for i, user := range r.joined {
		list[i] = *r.members[user]
	}
	return list
}

func (r *modelRoom) events(tenant domain.TenantID) []domain.Event {
	list := make([]domain.Event, len(r.log))
	for i, e := range r.log {
		list[i] = domain.Event{Tenant: tenant, Room: r.ID, Rev: int64(i) + 1, Kind: e.kind, At: e.at}
		switch {
		case e.seq > 0:
			list[i].Message = &r.messages[e.seq-1]
		case e.user != "":
			list[i].Member = r.members[e.user]
		default:
			list[i].State = &r.Room
		}
	}
	return list
}

// lastAck is what a device has acknowledged, or with nil the highest of the user's.
func (m *model) lastAck(r *modelRoom, user domain.UserID, device *domain.DeviceID) int64 {
	switch {
	case user == "":
		return 0
	case device != nil:
		return m.place(r, deviceOf{user, *device}).DeliveredSeq
	}
	return m.highest(r, user).DeliveredSeq
}

// byActivity are the rooms a user is in, or all with user empty, most active first.
func (m *model) byActivity(user domain.UserID) []*modelRoom {
	var list []*modelRoom
	for _, r := range m.rooms {
		if user == "" || r.members[user].IsActive() {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *modelRoom) int { return b.active.Compare(a.active) })
	return list
}

func (m *model) summaries(user domain.UserID, device *domain.DeviceID) []domain.RoomSummary {
	var list []domain.RoomSummary
	for _, r := range m.byActivity(user) {
		s := domain.RoomSummary{Room: r.Room, LastAck: m.lastAck(r, user, device)}
		if n := len(r.messages); n > 0 {
			s.LastMessage = &r.messages[n-1]
		}
		list = append(list, s)
	}
	return list
}

func (m *model) places(d deviceOf) ports.Places {
	var p ports.Places
	for _, r := range m.byActivity(d.user) {
		p.Rooms = append(p.Rooms, ports.Place{
			Room: r.ID, LastSeq: r.LastSeq, LastRev: r.LastRev, Member: *r.members[d.user], Mark: m.place(r, d),
		})
	}
	if seen := m.devices[d]; seen != nil {
		p.Known, p.SeenAt, p.Removed = true, seen.seen, m.removed(d.user, seen.userRev)
	}
	return p
}

func (m *model) removed(user domain.UserID, since int64) []ports.Removal {
	var list []ports.Removal
	for _, r := range m.rooms {
		if member := r.members[user]; member != nil && member.State == domain.Left && r.changed[user] > since {
			list = append(list, ports.Removal{Room: r.ID, LeftRev: member.LeftRev})
		}
	}
	return sortedRemovals(list)
}

// sortedRemovals orders removals where their order is not promised.
func sortedRemovals(list []ports.Removal) []ports.Removal {
	slices.SortFunc(list, func(a, b ports.Removal) int {
		return cmp.Or(slices.Compare(a.Room[:], b.Room[:]), cmp.Compare(a.LeftRev, b.LeftRev))
	})
	return list
}
