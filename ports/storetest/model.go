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
	gone    []*modelRoom // those removed
	marks   map[markOf]domain.Mark
	devices map[deviceOf]*modelDevice
	userRev map[domain.UserID]int64
	users   map[domain.UserID]domain.User
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
	purged   bool                    // of a removed room: its memberships have ended
}

type modelEvent struct {
	kind domain.EventKind
	at   time.Time
	seq  int64         // of a message, or of one that changed
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
		users: map[domain.UserID]domain.User{},
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
	r.Members = int64(len(members))
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
	m.meet(user)
	m.userRev[user]++
	r.changed[user] = m.userRev[user]
}

// meet notes that a user exists.
func (m *model) meet(user domain.UserID) {
	if _, known := m.users[user]; !known {
		m.users[user] = domain.User{ID: user}
	}
}

func (r *modelRoom) step(e modelEvent) {
	r.LastRev++
	r.log = append(r.log, e)
}

func (m *model) add(r *modelRoom, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error) {
	before := r.members[user]
	if before.IsActive() {
		return *before, nil
	}
	r.members[user] = &domain.Member{
		User: user, Role: role, State: domain.Active, JoinedAt: at, JoinedSeq: r.LastSeq, JoinedRev: r.LastRev,
	}
	if before != nil {
		r.members[user].ReadSeq = before.ReadSeq
	}
	r.Members++
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
	r.Members--
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

// update, handOff, removeRoom, change and read are the other writers.
func (m *model) update(r *modelRoom, name *string, metadata []byte, at time.Time) (domain.Room, error) {
	r.Name, r.Metadata = name, metadata
	r.step(modelEvent{kind: domain.EventRoomUpdated, at: at})
	return r.Room, nil
}

func (m *model) handOff(r *modelRoom, h domain.Handoff, at time.Time) (domain.Room, error) {
	if r.Handoff = h; h.Assignee != "" {
		m.meet(h.Assignee)
	}
	r.step(modelEvent{kind: domain.EventHandoff, at: at})
	return r.Room, nil
}

func (m *model) removeRoom(r *modelRoom, at time.Time) {
	r.step(modelEvent{kind: domain.EventRoomRemoved, at: at})
	m.rooms = slices.DeleteFunc(m.rooms, func(other *modelRoom) bool { return other == r })
	m.gone = append(m.gone, r)
}

// purge ends the memberships of removed rooms.
func (m *model) purge() {
	for _, r := range m.gone {
		if r.purged {
			continue
		}
		for _, user := range r.joined {
			now := r.members[user]
			now.State, now.LeftSeq, now.LeftRev = domain.Left, r.LastSeq, r.LastRev
			m.touch(r, user)
		}
		r.purged = true
	}
}

// edit and erase are the use cases: what is there already, or was deleted, takes no rev.
func (m *model) edit(r *modelRoom, seq int64, e domain.Edit, at time.Time) (domain.Message, error) {
	edited, changed, err := e.Apply(r.messages[seq-1], at)
	if err != nil || !changed {
		return edited, err
	}
	return r.change(domain.EventMessageEdited, edited, at), nil
}

func (m *model) erase(r *modelRoom, seq int64, at time.Time) (domain.Message, error) {
	if now := r.messages[seq-1]; now.IsDeleted() {
		return now, nil
	}
	return r.change(domain.EventMessageDeleted, r.messages[seq-1].Tombstone(at), at), nil
}

func (r *modelRoom) change(kind domain.EventKind, msg domain.Message, at time.Time) domain.Message {
	r.step(modelEvent{kind: kind, at: at, seq: msg.Seq})
	msg.Rev = r.LastRev
	r.messages[msg.Seq-1] = msg
	if msg.ClientID != "" {
		r.sent[sentAs{msg.Sender, msg.ClientID}].Message = msg
	}
	return msg
}

func (m *model) read(r *modelRoom, user domain.UserID, seq int64) (int64, error) {
	now := r.members[user]
	if now == nil {
		return 0, domain.ErrMemberNotFound
	}
	now.ReadSeq = max(now.ReadSeq, seq)
	return now.ReadSeq, nil
}

// unread counts one by one.
func (r *modelRoom) unread(user domain.UserID) (n int64) {
	for _, msg := range r.messages {
		now := r.members[user]
		if msg.Seq > max(now.ReadSeq, now.JoinedSeq) && msg.Sender != user && !msg.IsDeleted() {
			n++
		}
	}
	return n
}

func (m *model) put(u domain.User) {
	u.LastSeen = m.users[u.ID].LastSeen
	m.users[u.ID] = u
}

func (m *model) saw(user domain.UserID, at time.Time) {
	if u, known := m.users[user]; known && u.LastSeen.Before(at) {
		u.LastSeen = at
		m.users[user] = u
	}
}

// mates are those who share a room with a user, and the user.
func (m *model) mates(user domain.UserID) (mates []domain.User) {
	for id, u := range m.users {
		shared := id == user
		for _, r := range m.rooms {
			shared = shared || r.members[id].IsActive() && r.members[user].IsActive()
		}
		if shared {
			mates = append(mates, u)
		}
	}
	return byID(mates)
}

func (m *model) smallRooms(user domain.UserID, atMost int) (rooms []domain.RoomID) {
	for _, r := range m.rooms {
		if r.members[user].IsActive() && len(r.joined) <= atMost {
			rooms = append(rooms, r.ID)
		}
	}
	return sorted(rooms)
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
	m.meet(d.user)
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
			list[i].Member, list[i].Members = r.members[e.user], r.Members
		case e.kind == domain.EventRoomCreated:
			list[i].State, list[i].Members = &r.Room, r.Members
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
		if user != "" {
			s.Unread = r.unread(user)
		}
		list = append(list, s)
	}
	return list
}

func (m *model) places(d deviceOf) ports.Places {
	var p ports.Places
	for _, r := range m.byActivity(d.user) {
		p.Rooms = append(p.Rooms, ports.Place{
			Room: r.ID, LastSeq: r.LastSeq, LastRev: r.LastRev, Members: r.Members, Member: *r.members[d.user], Mark: m.place(r, d),
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
	for _, r := range m.gone {
		member := r.members[user]
		waits := member.IsActive() && !r.purged // told until it counts
		if waits || member != nil && member.State == domain.Left && r.changed[user] > since {
			removal := ports.Removal{Room: r.ID, LeftRev: r.LastRev}
			if !waits {
				removal.LeftRev = member.LeftRev
			}
			list = append(list, removal)
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
