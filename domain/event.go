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
	EventHandoff        EventKind = "room.handoff"
)

// EventNotification is no step of a room's log: it has neither Room nor Rev.
const EventNotification EventKind = "notification"

// Event is one step of a room's log. Exactly one of Message, Member and State is set, by its kind: messages, members,
// and the room itself. A replayed event carries its target's current state, so that replaying it converges.
// A notification is told as an Event too, with Notice and Users set: those who have become its recipients.
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
	Notice  *Notice
	Members int64 // of changes of members and of room.created: how many members the room has since
}

// The kinds of hints. They are told to those who are there and kept by nobody.
const (
	HintTyping      EventKind = "typing"
	HintAcked       EventKind = "ack.received"
	HintRead        EventKind = "read.received"
	HintPresence    EventKind = "presence.update"
	TypingStarted             = "start"
	TypingStopped             = "stop"
	PresenceOnline            = "online"
	PresenceOffline           = "offline"
)

// The terms of hints. To everybody in a larger room they would cost members² frames.
const (
	MaxHintMembers = 100             // of a room, for its members to be told; in larger ones a receipt goes to its user's own devices
	HintEvery      = time.Second     // of one kind, room and user
	TypingLasts    = 6 * time.Second // without a further start
	PresenceGrace  = 5 * time.Second // from a user's last socket to being offline
)

// Hint is something of a user that others may want to know now: best effort, without a place in any log.
type Hint struct {
	Tenant TenantID
	Room   RoomID // zero for presence
	Kind   EventKind
	User   UserID
	Seq    int64     // of receipts
	State  string    // of typing start or stop, of presence online or offline
	At     time.Time // of presence
}

// Mark is how far a device has followed a room, as a message number and as a position; each only rises. The read mark
// is the user's, whatever the device: see Member.ReadSeq.
type Mark struct {
	DeliveredSeq int64
	DeliveredRev int64
}

// Raise is the higher of both marks, number by number.
func (m Mark) Raise(other Mark) Mark {
	return Mark{
		DeliveredSeq: max(m.DeliveredSeq, other.DeliveredSeq),
		DeliveredRev: max(m.DeliveredRev, other.DeliveredRev),
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
