package domain

import "time"

// EventKind is the type of an event as clients see it.
type EventKind string

// The durable events of a room: each has a Rev.
const (
	EventMessage        EventKind = "message"
	EventMessageEdited  EventKind = "message.edited"
	EventMessageDeleted EventKind = "message.deleted"
	EventRoomCreated    EventKind = "room.created"
	EventRoomUpdated    EventKind = "room.updated"
	EventRoomRemoved    EventKind = "room.removed"
	EventMemberAdded    EventKind = "member.added"
	EventMemberRemoved  EventKind = "member.removed"
	EventMemberUpdated  EventKind = "member.updated"
)

// Event is one step of a room's log. Exactly one of Message, Member and State is set, by its kind: messages, members,
// and the room itself. A replayed event carries its target's current state, so that replaying it converges.
type Event struct {
	Tenant  TenantID
	Room    RoomID
	Rev     int64
	Kind    EventKind
	At      time.Time
	Message *Message
	Member  *Member
	State   *Room
	Users   []UserID // of room.created as it happens: the first members; not told again in a replay
}

// Mark is how far a device has followed a room; each number only rises. Delivered is acknowledged delivery, as a
// message number and as a position; Read is the user's read mark.
type Mark struct {
	DeliveredSeq int64
	DeliveredRev int64
	ReadSeq      int64
}

// Raise is the higher of both marks, number by number.
func (m Mark) Raise(other Mark) Mark {
	return Mark{
		DeliveredSeq: max(m.DeliveredSeq, other.DeliveredSeq),
		DeliveredRev: max(m.DeliveredRev, other.DeliveredRev),
		ReadSeq:      max(m.ReadSeq, other.ReadSeq),
	}
}

// CheckAck refuses an acknowledgement above what the room has; anything else is accepted and can only raise.
func CheckAck(room Room, seq, rev int64) error {
	if seq < 0 || seq > room.LastSeq {
		return Invalid("seq", "seq must be between 0 and the room's last_seq")
	}
	if rev < 0 || rev > room.LastRev {
		return Invalid("rev", "rev must be between 0 and the room's last_rev")
	}
	return nil
}

// The limits of a replay on connect: the newest messages of a room, and of all rooms together.
const (
	MaxReplayPerRoom = 500
	MaxReplay        = 5000
	MaxResumeRooms   = 500
)

// Gap is a run of messages that a replay left out; REST has them.
type Gap struct {
	Room    RoomID
	FromSeq int64
	ToSeq   int64
}

// Epoch names one continuous life of the store's logs: random, made at its first start and by a restore. A client
// that comes back with another epoch is told to fetch anew.
type Epoch string
