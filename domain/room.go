package domain

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// RoomType says who may be in a room and how they come in.
type RoomType string

// The room types a client can make.
const (
	RoomDM      RoomType = "dm"      // two fixed members
	RoomGroup   RoomType = "group"   // private: admins add and remove
	RoomChannel RoomType = "channel" // any user of the tenant may join
)

// The limits of a room, from the contract.
const (
	MaxRoomMembersAtOnce = 100 // members named in one call
	MaxRoomName          = 256 // characters
)

// Room is a room as its log stands: Seq numbers messages only, Rev is the room's position, +1 for every message and
// every change. FirstSeq is the oldest message retention has left.
type Room struct {
	ID        RoomID
	Type      RoomType
	UniqueKey string // of a direct message: dm:<a>:<b>, of a chat: see ChatKeys; else empty
	Name      *string
	Metadata  []byte // a JSON object, or nil
	FirstSeq  int64
	LastSeq   int64
	LastRev   int64
	Members   int64 // how many are in it now
	Handoff   Handoff
	CreatedAt time.Time
}

// RoomPatch is a change of a room: what is not set stays, what is set to nil is cleared.
type RoomPatch struct {
	Name        *string
	Metadata    []byte
	SetName     bool
	SetMetadata bool
}

// Apply is the room after the change; changed is false when it says that already.
func (p RoomPatch) Apply(r Room) (patched Room, changed bool, err error) {
	if p.SetName {
		if err := CheckRoomName(p.Name); err != nil {
			return r, false, err
		}
		changed = !SameText(p.Name, r.Name)
		r.Name = p.Name
	}
	if p.SetMetadata {
		if err := CheckObject("metadata", p.Metadata); err != nil {
			return r, false, err
		}
		changed = changed || !bytes.Equal(p.Metadata, r.Metadata)
		r.Metadata = p.Metadata
	}
	return r, changed, nil
}

// RoomDraft is what a client asks for when it makes a room.
type RoomDraft struct {
	Type     string
	Members  []string
	Name     *string
	Metadata []byte
}

// NewRoom is the rule of room creation: the room and its first members, in order. A DM has exactly two different
// members, one of them the creator when a user made it. In groups and channels the creator is an admin and always a
// member; when the backend creates, the first member named is the admin.
func NewRoom(a Actor, d RoomDraft, id RoomID, now time.Time) (Room, []Member, error) {
	users, err := checkUsers("members", d.Members, CheckMemberID)
	if err != nil {
		return Room{}, nil, err
	}
	if err := CheckRoomName(d.Name); err != nil {
		return Room{}, nil, err
	}
	if err := CheckObject("metadata", d.Metadata); err != nil {
		return Room{}, nil, err
	}
	room := Room{ID: id, Type: RoomType(d.Type), Name: d.Name, Metadata: d.Metadata, FirstSeq: 1, CreatedAt: now}
	switch room.Type {
	case RoomDM:
		room.UniqueKey, err = dmKey(a, users)
	case RoomGroup, RoomChannel:
		users, err = withCreator(a, users)
	default:
		err = Invalid("type", "Invalid room type. Must be one of: dm, group, channel")
	}
	if err != nil {
		return Room{}, nil, err
	}
	return room, firstMembers(room, users, now), nil
}

func firstMembers(room Room, users []UserID, now time.Time) []Member {
	members := make([]Member, len(users))
	for i, u := range users {
		members[i] = Member{User: u, Role: RoleMember, State: Active, JoinedAt: now}
	}
	if first := slices.IndexFunc(users, isPerson); room.Type != RoomDM && first >= 0 {
		members[first].Role = RoleAdmin
	}
	return members
}

// isPerson reports whether a member is a user. Bots are nobody's admins.
func isPerson(u UserID) bool { return !u.IsReserved() }

func dmKey(a Actor, users []UserID) (string, error) {
	if len(users) != 2 || !slices.ContainsFunc(users, isPerson) {
		return "", Invalid("members", "a direct message has exactly two different members, one of them a bot at most")
	}
	if a.Kind == ActorUser && !slices.Contains(users, a.User) {
		return "", ErrForbidden
	}
	return DMKey(users[0], users[1]), nil
}

func withCreator(a Actor, users []UserID) ([]UserID, error) {
	if a.User != "" {
		users = slices.DeleteFunc(users, func(u UserID) bool { return u == a.User })
		users = slices.Insert(users, 0, a.User)
	}
	if !slices.ContainsFunc(users, isPerson) {
		return nil, Invalid("members", "name at least one member: the first becomes the room's admin")
	}
	return users, nil
}

var dmEscape = strings.NewReplacer("%", "%25", ":", "%3A")

// DMKey is the unique key of the direct message between two users: dm:<a>:<b>, sorted, with % and : inside an id
// percent-encoded so that two pairs never share a key.
func DMKey(a, b UserID) string {
	if b < a {
		a, b = b, a
	}
	return "dm:" + dmEscape.Replace(string(a)) + ":" + dmEscape.Replace(string(b))
}

// CheckRoomName accepts no name, or up to 256 characters.
func CheckRoomName(name *string) error {
	if name != nil && len([]rune(*name)) > MaxRoomName {
		return Invalid("name", "a room's name has at most %d characters", MaxRoomName)
	}
	return nil
}

// CheckMemberID accepts a user's id or one that a bot can have: whether there is such a bot is not judged here.
func CheckMemberID(field, s string) (UserID, error) {
	if _, ok := ParseBotID(s); ok {
		return UserID(s), nil
	}
	return CheckUserID(field, s)
}

// ErrUnknownBot refuses a member that no bot is.
func ErrUnknownBot(field string) error { return Invalid(field, "there is no bot of this id") }

// checkUsers validates a list of ids and drops repetitions, keeping the first of each.
func checkUsers(field string, ids []string, check func(field, s string) (UserID, error)) ([]UserID, error) {
	if len(ids) > MaxRoomMembersAtOnce {
		return nil, Invalid(field, "at most %d members in one call", MaxRoomMembersAtOnce)
	}
	users := make([]UserID, 0, len(ids)+1)
	for _, id := range ids {
		u, err := check(field, id)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(users, u) {
			users = append(users, u)
		}
	}
	return users, nil
}

// RoomQuery selects rooms of a list.
type RoomQuery struct {
	User   UserID    // whose rooms; empty lists the whole tenant's
	Device *DeviceID // whose LastAck; nil asks for the user's highest
	Type   RoomType
	Open   bool // channels of the tenant that User may join and is not in; without a User, all channels
	Chats  bool // a user's chats too; else, and without a User, they are listed by their Type alone
	Offset int
	Limit  int
}

// RoomSummary is a room as a list shows it, latest activity first.
type RoomSummary struct {
	Room
	LastMessage *Message
	LastAck     int64 // of the device asked for, else the user's highest
	Unread      int64 // for RoomQuery.User; at most MaxUnread
}

// MaxUnread is how far unread messages are counted: those above the user's read mark and joining that others have sent
// and nobody has deleted.
const MaxUnread = 10_000

// CheckRoomType accepts no type, or the one that a list is to have: dm, group, channel, chat.
func CheckRoomType(s string) (RoomType, error) {
	switch t := RoomType(s); t {
	case "", RoomDM, RoomGroup, RoomChannel, RoomChat:
		return t, nil
	}
	return "", Invalid("type", "Invalid room type. Must be one of: dm, group, channel, chat")
}
