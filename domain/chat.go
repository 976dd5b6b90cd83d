package domain

import (
	"strings"
	"time"
	"unicode"
)

// RoomChat is a conversation between one user, its owner, and a bot, or the people who have taken over. It is made by the
// chats API alone; natively it is a room like any other, and lists leave it out unless it is asked for.
const RoomChat RoomType = "chat"

// NewChatTitle is the title of a chat that nobody has named and in which nothing was said.
const NewChatTitle = "New chat"

// maxAutoTitle is how much of the first message becomes the title of a chat that nobody has named, in characters.
const maxAutoTitle = 60

// ChatStatus says whether there is anybody to answer.
type ChatStatus string

// The states of a chat.
const (
	ChatActive ChatStatus = "active" // a bot is in it, or people besides its owner
	ChatClosed ChatStatus = "closed" // nobody is but its owner
)

// The errors of chats. A chat that does not exist, one of another tenant and one that is not the caller's are one.
var (
	ErrChatNotFound   = &Error{Code: CodeNotFound, Reason: "not_found", Message: "Chat not found"}
	ErrNoChats        = &Error{Code: CodeNotFound, Reason: "not_found", Message: "User not found, or without chats"}
	ErrChatInUse      = &Error{Code: CodeConflict, Reason: "chat_in_use", Message: "The chat has open sockets: close them first"}
	ErrChatOwner      = &Error{Code: CodeConflict, Reason: "chat_owner", Message: "The user of a chat stays in it: remove the chat instead"}
	ErrTooManyWatched = &Error{Code: CodeRateLimited, Reason: "too_many_chat_sockets", Message: "The tenant has as many chat sockets open as it may have"}
)

// ChatDraft is what a client asks for when it makes a chat.
type ChatDraft struct {
	User     string
	Title    *string // none and an empty one: the first message gives it
	Metadata []byte
}

// NewChat is the rule of making one: the room, with its owner as the only admin. A user makes their own only; the backend, and
// who acts with its key, anybody's.
func NewChat(a Actor, d ChatDraft, id RoomID, now time.Time) (Room, Member, error) {
	owner, err := CheckUserID("user_id", d.User)
	if err != nil {
		return Room{}, Member{}, err
	}
	if a.Kind == ActorUser && a.User != owner {
		return Room{}, Member{}, ErrForbidden
	}
	if d.Title != nil && *d.Title == "" {
		d.Title = nil
	}
	if CheckRoomName(d.Title) != nil {
		return Room{}, Member{}, Invalid("title", "a chat's title has at most %d characters", MaxRoomName)
	}
	if err := CheckObject("metadata", d.Metadata); err != nil {
		return Room{}, Member{}, err
	}
	room := Room{
		ID: id, Type: RoomChat, UniqueKey: ChatKeys(owner) + UUID(id).String(), Name: d.Title, Metadata: d.Metadata,
		FirstSeq: 1, CreatedAt: now,
	}
	return room, Member{User: owner, Role: RoleAdmin, State: Active, JoinedAt: now}, nil
}

const chatKey = "chat:"

// ChatKeys is what the unique keys of a user's chats begin with. What follows is the chat's UUID, whose order is that of
// making: so the keys of a user's chats, in order, are the list of them, and a chat's key tells its owner for as long as
// it exists.
func ChatKeys(owner UserID) string { return chatKey + dmEscape.Replace(string(owner)) + ":" }

var dmUnescape = strings.NewReplacer("%25", "%", "%3A", ":")

// ChatOwner is the user of a chat; empty for other rooms.
func (r Room) ChatOwner() UserID {
	inner, ok := strings.CutPrefix(r.UniqueKey, chatKey)
	at := strings.IndexByte(inner, ':')
	if r.Type != RoomChat || !ok || at < 0 {
		return ""
	}
	return UserID(dmUnescape.Replace(inner[:at]))
}

// ParseChatID reads the id of a chat, its room's UUID, in letters of either case, as platforms have them that know UUIDs;
// anything else names no chat.
func ParseChatID(s string) (RoomID, bool) {
	id, ok := ParseUUID(strings.ToLower(s))
	return RoomID(id), ok
}

// ChatID is what the chats API calls the room.
func (r Room) ChatID() string { return UUID(r.ID).String() }

// Chat is a room as the chats API shows it.
type Chat struct {
	Room
	Owner         UserID
	Title         string
	Status        ChatStatus
	Messages      int64     // tombstones included: they keep their places
	LastMessageAt time.Time // zero = none
	UpdatedAt     time.Time // of the latest step of its log
}

// ChatOf is a room as a chat. first and last are its messages, nil when there are none; changed is the time of the latest
// step of its log.
func ChatOf(room Room, first, last *Message, changed time.Time) Chat {
	c := Chat{
		Room: room, Owner: room.ChatOwner(), Title: NewChatTitle, Status: ChatActive, Messages: room.LastSeq - room.FirstSeq + 1,
		UpdatedAt: changed,
	}
	if last != nil {
		c.LastMessageAt = last.CreatedAt
	}
	if room.Members <= 1 {
		c.Status = ChatClosed
	}
	switch {
	case room.Name != nil:
		c.Title = *room.Name
	case first != nil && !first.IsDeleted():
		c.Title = AutoTitle(first.Content)
	}
	return c
}

// AutoTitle is the title that a first message gives: its first 60 characters on one line, cut between words where there are
// any.
func AutoTitle(content string) string {
	words := strings.FieldsFunc(content, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	text := []rune(strings.Join(words, " "))
	if len(text) == 0 {
		return NewChatTitle
	}
	if len(text) <= maxAutoTitle {
		return string(text)
	}
	end := maxAutoTitle
	for at := maxAutoTitle; at > 0; at-- {
		if text[at] == ' ' {
			end = at
			break
		}
	}
	return string(text[:end])
}

// ChatRole is who speaks to a chat's owner, as the two roles of the chats API tell it.
type ChatRole string

// The roles.
const (
	ChatUser      ChatRole = "user"
	ChatAssistant ChatRole = "assistant"
)

// ChatRoleOf says which role a sender has in a chat of owner's, and whether it is a person's who has taken over.
func ChatRoleOf(owner, sender UserID) (role ChatRole, human bool) {
	switch {
	case sender == owner:
		return ChatUser, false
	case sender.IsReserved():
		return ChatAssistant, false
	}
	return ChatAssistant, true
}

// ChatPage selects messages of a chat: so many behind the first ones, or with Newest before the last ones, latest first.
type ChatPage struct {
	Offset, Limit int
	Newest        bool
}

// ChatLimits are the tenant's own limits of the chats API; what is nil is the default's.
type ChatLimits struct {
	RequestsPerMinute *int `json:"requests_per_minute,omitempty"` // 0 = unlimited
	MessagesPerSecond *int `json:"messages_per_second,omitempty"` // of one socket
	Sockets           *int `json:"sockets,omitempty"`             // open at a time
}

// The limits of tenants whose config says nothing, and those of what it may say.
const (
	defaultChatRequests = 100
	defaultChatMessages = 10
	defaultChatSockets  = 50
	maxChatMessages     = 50
	MaxChatSockets      = 1000
)

// ChatRate is how many calls the tenant's chats take.
func (c TenantConfig) ChatRate() Rate {
	n := defaultChatRequests
	if c.ChatLimits != nil && c.ChatLimits.RequestsPerMinute != nil {
		n = *c.ChatLimits.RequestsPerMinute
	}
	return Rate{PerSecond: n, Burst: n, Per: time.Minute}
}

// ChatMessages is how many messages one chat socket takes a second.
func (c TenantConfig) ChatMessages() int {
	if c.ChatLimits != nil && c.ChatLimits.MessagesPerSecond != nil {
		return *c.ChatLimits.MessagesPerSecond
	}
	return defaultChatMessages
}

// ChatSockets is how many chat sockets the tenant has at a time, on all nodes together.
func (c TenantConfig) ChatSockets() int {
	if c.ChatLimits != nil && c.ChatLimits.Sockets != nil {
		return *c.ChatLimits.Sockets
	}
	return defaultChatSockets
}

func (l *ChatLimits) isOutside() bool {
	return l != nil && (outside(l.RequestsPerMinute, 0, 1_000_000) || outside(l.MessagesPerSecond, 1, maxChatMessages) ||
		outside(l.Sockets, 1, MaxChatSockets))
}

// ChatLimitsNow are the limits that apply, the defaults included.
func (c TenantConfig) ChatLimitsNow() ChatLimits {
	requests, messages, sockets := c.ChatRate().PerSecond, c.ChatMessages(), c.ChatSockets()
	return ChatLimits{RequestsPerMinute: &requests, MessagesPerSecond: &messages, Sockets: &sockets}
}
