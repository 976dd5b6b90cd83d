package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// Store is the durable log of all rooms. The tenant is bound once per unit of work, so no query can forget it: an id
// of another tenant is answered exactly as an id that does not exist, domain.ErrRoomNotFound and its likes. An
// unknown or deleted tenant is domain.ErrTenantNotFound.
//
// Both closures touch only what they are given and plain values; they do no I/O, take no locks, and may run again.
//
// Errors: the closure's own error comes back as it is. domain.ErrBusy: the write queue is full, or no place at the store was
// free in time; domain.ErrUnavailable: the store cannot be written (a full or read-only disk, a lost connection), nothing was
// written; domain.ErrClosing: the store is closed. A context that ends before the work has started returns its error and the work has not run;
// once started, the context is ignored. A store behind a network may lose the answer to a commit: that is
// domain.ErrUnavailable too, and then all was written or nothing. Whoever repeats the work finds out by what makes it
// repeatable, a client_id or an Idempotency-Key; no store repeats a commit by itself.
type Store interface {
	// View runs fn on a fresh snapshot opened after the call, so a caller reads its own writes. Values read stay valid
	// after fn returns. Many views run side by side, beside one Update.
	View(ctx context.Context, tenant domain.TenantID, fn func(Reader) error) error
	// Update runs fn in a write transaction and returns once it is durable (fsync), or rolled back when fn returned
	// an error, panicked (raised again in the caller) or called runtime.Goexit. Reads within fn see its own writes.
	Update(ctx context.Context, tenant domain.TenantID, fn func(Tx) error) error
}

// Update runs fn in one write transaction of the tenant and returns its value.
func Update[T any](ctx context.Context, s Store, tenant domain.TenantID, fn func(Tx) (T, error)) (T, error) {
	var out T
	err := s.Update(ctx, tenant, func(tx Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	return out, err
}

// View runs fn on one snapshot of the tenant and returns its value.
func View[T any](ctx context.Context, s Store, tenant domain.TenantID, fn func(Reader) (T, error)) (T, error) {
	var out T
	err := s.View(ctx, tenant, func(r Reader) (err error) {
		out, err = fn(r)
		return err
	})
	return out, err
}

// Appender is the hot path of sending. Append loads the intent's snapshot with the room locked, calls decide, which
// is pure and may run again, and stores the message it returns with the room's next seq and rev, and the change's job, if
// it has one, with it. It returns after the
// commit that made the message durable. Many appends and updates share one commit; each fails alone, and every
// outcome, an error or a duplicate too, waits for that commit. The intent's Idempotency-Key is kept, for 24 h by the
// store's own clock, for the message that answers it, a duplicate too. A room that does not exist is domain.ErrRoomNotFound
// and decide is not called. Errors are those of Store.Update.
type Appender interface {
	Append(ctx context.Context, tenant domain.TenantID, in domain.Intent, decide func(domain.Snapshot) (domain.Change, error)) (Appended, error)
}

// Appended is a stored message. Duplicate: it was stored by an earlier send and nothing was written now.
type Appended struct {
	Message   domain.Message
	Duplicate bool
}

// CommitLog tells of committed events. OnCommit is called once, before the first write; fn then receives every
// event of every committed Append and Update of this process, in commit order and so in the order of rev within a room,
// after the commit and before its callers are answered. Where other processes commit too, or the answer to a commit was
// lost, what is told of a room has gaps: its log has them. fn is called by one goroutine at a time. It may block: that holds back
// the writer, which is how a slow dispatcher slows down ingest instead of growing a queue.
type CommitLog interface {
	OnCommit(fn func([]domain.Event))
}

// Reader reads one tenant's snapshot. Rooms that were deleted are not found.
type Reader interface {
	RoomReader
	MemberReader
	MessageReader
	LogReader
	UserReader
	RecipientReader
	DeadLetterReader
	JobReader
	NotificationReader
	SubscriptionReader
	MarkReader
	BotReader
	IdempotencyReader
}

// Tx is a Reader that can write.
type Tx interface {
	Reader
	RoomWriter
	MemberWriter
	MessageWriter
	MarkWriter
	UserWriter
	OutboxWriter
	NotificationWriter
	SubscriptionWriter
	BotWriter
	StreamWriter
	IdempotencyWriter
}

// RoomReader finds rooms.
type RoomReader interface {
	// Access returns a room and the user's membership of it: nil when the user never was a member, a Left one after a
	// removal. With user empty it returns the room alone.
	Access(room domain.RoomID, user domain.UserID) (domain.Room, *domain.Member, error)
	// RoomByKey returns the room with this unique key.
	RoomByKey(key string) (domain.Room, error)
	// Rooms lists rooms, latest activity first (the time of the latest message, else of creation; ties: newest room
	// first), at most q.Limit from q.Offset, each with
	// its last message (tombstones included), what q.Device, else any of the user's devices, has acknowledged, and
	// what q.User has not read.
	// With q.Open it lists channels only, without last messages: reading needs joining.
	// Chats are among them with q.Type domain.RoomChat, and with q.Chats among a user's; however many there are, they
	// slow down no list without them.
	Rooms(q domain.RoomQuery) ([]domain.RoomSummary, error)
	// RoomsByKey lists the rooms whose unique key begins with q.Prefix, in the order of the bytes of their keys, each with
	// its last message (tombstones included), and counts all of them. Its cost grows with those it counts and with no
	// other rooms.
	RoomsByKey(q KeyQuery) (rooms []domain.RoomSummary, total int, err error)
}

// KeyQuery selects rooms by what their unique keys begin with.
type KeyQuery struct {
	Prefix        string // ends in an ASCII character
	Backwards     bool   // from the highest key on
	Offset, Limit int
}

// Stretch is where the keys lie in the order of their bytes: from the one on and below the other. An empty prefix selects none.
func (q KeyQuery) Stretch() (from, to string, some bool) {
	last := len(q.Prefix) - 1
	if last < 0 {
		return "", "", false
	}
	return q.Prefix, q.Prefix[:last] + string(rune(q.Prefix[last]+1)), true
}

// RoomWriter makes, changes and removes rooms.
type RoomWriter interface {
	// UpdateRoom stores the room's name and metadata as its next step, event room.updated, and returns it with its
	// LastRev. The room must exist.
	UpdateRoom(room domain.Room, at time.Time) (domain.Room, error)
	// SetHandoff stores who answers in a room as its next step, event room.handoff, and returns it with its LastRev. The
	// room must exist.
	SetHandoff(room domain.RoomID, h domain.Handoff, at time.Time) (domain.Room, error)
	// RemoveRoom makes the room not exist any more, as its last step, event room.removed: it is found by nobody, its
	// unique key is free, its name and metadata are gone. It is a removal for every member, which Places tells from then
	// on; what else it held is purged in steps by Purger. The room must exist.
	RemoveRoom(room domain.RoomID, at time.Time) error
	// CreateRoom stores a room with its first members as rev 1 of its log, event room.created with the members' ids in
	// Users; their JoinedSeq and JoinedRev are 0. A unique key that exists is domain.ErrDMExists, whatever the timing; the transaction goes
	// on after that error. It returns the room with its LastRev.
	CreateRoom(room domain.Room, members []domain.Member) (domain.Room, error)
}

// MemberReader lists members.
type MemberReader interface {
	// Members returns the active members of a room by join time, then by order of joining.
	Members(room domain.RoomID, offset, limit int) ([]domain.Member, error)
	// Member returns one membership, active or left; domain.ErrMemberNotFound when there never was one.
	Member(room domain.RoomID, user domain.UserID) (domain.Member, error)
	// Succession returns the user who has been a room's member for longest but one (empty when there is nobody else; bots
	// are nobody), and whether anybody but that one is an admin. Its cost does not grow with the room.
	Succession(room domain.RoomID, but domain.UserID) (longest domain.UserID, admin bool, err error)
}

// MemberWriter changes memberships. Every method takes the room's next rev, stores the change in the room's log and
// raises the user's own counter; the room must exist. It returns the membership as it stands then.
type MemberWriter interface {
	// AddMember makes the user an active member, event member.added. JoinedSeq and JoinedRev are the room's position
	// before the change. Of an active member it changes nothing and takes no rev.
	AddMember(room domain.RoomID, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error)
	// RemoveMember makes an active member a left one, event member.removed; LeftRev is the change's own rev.
	// domain.ErrMemberNotFound when the user is no active member.
	RemoveMember(room domain.RoomID, user domain.UserID, at time.Time) (domain.Member, error)
	// SetRole changes an active member's role, event member.updated; the same role takes no rev.
	SetRole(room domain.RoomID, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error)
}

// MessageReader reads messages of a room that exists; tombstones are included.
type MessageReader interface {
	// Message returns one message; domain.ErrMessageNotFound when the room has none with this id.
	Message(room domain.RoomID, id domain.MessageID) (domain.Message, error)
	// MessagesAfter returns the first limit messages with seq > after, ascending.
	MessagesAfter(room domain.RoomID, after int64, limit int) ([]domain.Message, error)
	// MessagesBefore returns the last limit messages with seq < before, ascending.
	MessagesBefore(room domain.RoomID, before int64, limit int) ([]domain.Message, error)
}

// MessageWriter changes messages of a room that exists. Each change takes the room's next rev and stands in its log.
type MessageWriter interface {
	// EditMessage stores content, meta and EditedAt of a message that exists, event message.edited; the message comes
	// back with its Rev. What it said before is gone.
	EditMessage(m domain.Message) (domain.Message, error)
	// DeleteMessage makes a message that exists a tombstone with m's DeletedAt, event message.deleted: content and meta
	// are gone, the client_id stays taken. The message comes back with its Rev.
	DeleteMessage(m domain.Message) (domain.Message, error)
}

// LogReader reads the log of rooms, for live delivery and for those who come back.
type LogReader interface {
	// Places returns where a user's device stands in all the user's rooms, most active first, and at most MaxRemovals
	// of the rooms lost.
	Places(user domain.UserID, device domain.DeviceID) (Places, error)
	// Events returns the events of a room with q.After < rev <= q.Through in order of rev, at most q.Limit; messages
	// with seq < q.MinSeq are left out, and so are changes of messages that lie between the last one at or below q.After
	// and q.MinSeq: a change of a message told before is always told. A message's current state is told at its first
	// position, a changed target's at the change's own; Event.Rev is the position.
	// With q.Latest those changes are left out whose target tells nothing of them any more: of a message all but its latest
	// change, of a room's name and metadata all but the latest, member.added unless that is how an active member has come,
	// member.removed unless the member is out since, member.updated unless it is the latest of an active member's changes.
	// Who follows what is left ends where those end who follow all.
	Events(q EventQuery) ([]domain.Event, error)
	// SeqAt returns how many messages lie at or below a position: the seq of the last of them.
	SeqAt(room domain.RoomID, rev int64) (int64, error)
	// RemovedAt returns the last rev of a room that was removed, for as long as devices are remembered; 0 of any other.
	RemovedAt(room domain.RoomID) (int64, error)
	// Positions returns the last rev of each room given that exists; at most 500 rooms a call.
	Positions(rooms []domain.RoomID) (map[domain.RoomID]int64, error)
}

// EventQuery selects a stretch of a room's log.
type EventQuery struct {
	Room    domain.RoomID
	After   int64 // exclusive
	Through int64 // inclusive; 0 = to the end
	MinSeq  int64
	Latest  bool // of each target's changes only the latest: see LogReader
	Limit   int
}

// Place is where a device stands in one of its user's active rooms. Mark is the device's own; for a device first
// seen it is the user's highest, else the position of joining.
type Place struct {
	Room    domain.RoomID
	LastSeq int64
	LastRev int64
	Members int64 // how many are in the room
	Member  domain.Member
	Mark    domain.Mark
}

// MaxRemovals is how many lost rooms Places tells at once; the next Places tells on from what was confirmed.
const MaxRemovals = 5000

// Places is what a connecting device needs to know. Removed are the rooms lost since the user's counter stood where
// the device last confirmed it, oldest first, rooms that were removed among them (some told before they count); Known is false for a device first seen, which has lost nothing. UserRev
// is what the device knows once it knows Removed: the user's counter now, or that of the last removal told when there
// are more.
type Places struct {
	Known   bool
	SeenAt  time.Time
	UserRev int64
	Rooms   []Place
	Removed []Removal
}

// Removal is a room the user is no longer in, and the position after which nothing of it is the user's to see.
type Removal struct {
	Room    domain.RoomID
	LeftRev int64
}

// MarkWriter keeps what devices have confirmed.
type MarkWriter interface {
	// RaiseMark raises a device's mark in a room, number by number, and returns the mark as it stands then. A
	// DeliveredRev of 0 stands for the position of the message DeliveredSeq. Devices of the same user that were seen
	// before and have no mark of their own in the room keep the place they had. The room must exist and the user must
	// have a membership, active or left. A device that was not seen within a day is noted first, as by SeeDevice with
	// userRev 0 at the store's own time: no more devices have marks than SeeDevice keeps.
	RaiseMark(room domain.RoomID, user domain.UserID, device domain.DeviceID, mark domain.Mark) (domain.Mark, error)
	// RaiseRead raises the user's read mark in a room and returns it as it stands then. The room must exist and the user
	// must have a membership, active or left.
	RaiseRead(room domain.RoomID, user domain.UserID, seq int64) (int64, error)
	// SeeDevice notes that a device was seen, and that it has learned of the user's removals up to userRev, which only
	// rises; 0 leaves it, and is the user's counter now for a device first seen, which has lost nothing. A user's 21st
	// device displaces the one longest unseen, and those unseen for 90 days are forgotten, marks included.
	SeeDevice(user domain.UserID, device domain.DeviceID, userRev int64, at time.Time) error
}

// UserReader tells what is known of the tenant's users.
type UserReader interface {
	// User returns a user's profile; domain.ErrUserNotFound when there never was such a user.
	User(id domain.UserID) (domain.User, error)
	// RoomMates returns those of others that share a room with the user, the user included when named and known. With
	// user empty it returns those that exist. LastSeen is set. Its cost is bounded: when the user
	// and one of others are each in more than MaxMateLookups/len(others) rooms, only so many of them are looked at, and
	// one who shares none of those counts as sharing none.
	RoomMates(user domain.UserID, others []domain.UserID) ([]domain.User, error)
	// SmallRooms returns the user's rooms that have at most atMost members, at most MaxSmallRooms of them.
	SmallRooms(user domain.UserID, atMost int) ([]domain.RoomID, error)
}

// MaxSmallRooms is how many rooms SmallRooms names.
const MaxSmallRooms = 1000

// MaxMateLookups is how many memberships RoomMates looks at in all: of 100 users 200 each.
const MaxMateLookups = 20_000

// UserWriter keeps what is said of users, who exist from then on at the latest.
type UserWriter interface {
	// PutUser stores name, avatar URL and metadata.
	PutUser(u domain.User) error
	// SawUsers notes when users were last seen; unknown users are left out.
	SawUsers(users []domain.UserID, at time.Time) error
}

// IdempotencyReader finds what an Idempotency-Key was used for; nil when it is not kept.
type IdempotencyReader interface {
	Idempotency(user domain.UserID, key [32]byte, now time.Time) (*domain.IdempotencyRecord, error)
}

// IdempotencyWriter keeps an Idempotency-Key for 24 h; an older record under the same key is replaced.
type IdempotencyWriter interface {
	KeepIdempotency(key domain.Idempotency, status int, resource string, now time.Time) error
}
