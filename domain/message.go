package domain

import (
	"bytes"
	"time"
)

// SenderType says what wrote a message.
type SenderType string

// The kinds of senders.
const (
	SenderUser   SenderType = "user"
	SenderBot    SenderType = "bot"
	SenderSystem SenderType = "system"
)

// The limits of a message, from the contract.
const (
	DefaultMaxMessage = 16384 // bytes of content
	MaxMessageCeiling = 49152 // bytes a tenant can raise max_message_size to: a body is at most 64 KiB
	MaxObject         = 16384 // bytes of meta, metadata or payload
	MaxObjectDepth    = 32
	MaxClientID       = 64 // bytes
)

// Message is a message of a room. Seq numbers messages, from 1 without a gap. FirstRev is the room's position when it
// was stored, Rev the position of its latest change. A deleted message is a tombstone: its Seq stays, its texts are gone.
type Message struct {
	ID         MessageID
	Room       RoomID
	Sender     UserID
	SenderType SenderType
	Seq        int64
	FirstRev   int64
	Rev        int64
	Content    string
	Meta       []byte // a JSON object, or nil
	ClientID   string
	ReplyTo    MessageID
	CreatedAt  time.Time
	EditedAt   time.Time // zero = never
	DeletedAt  time.Time // zero = not deleted
}

// Draft is a message as a client wants to send it.
type Draft struct {
	Content  string
	Meta     []byte
	ClientID string
	ReplyTo  string // a message id of the room, or empty
}

// Check validates what a client may write; max is the tenant's max_message_size in bytes.
func (d Draft) Check(maxBytes int) error {
	switch {
	case d.Content == "":
		return Invalid("content", "content is required")
	case len(d.Content) > maxBytes:
		return Invalid("content", "content has at most %d bytes", maxBytes)
	case len(d.ClientID) > MaxClientID || !IsVisibleASCII(d.ClientID):
		return Invalid("client_id", "a client_id has at most %d visible ASCII characters", MaxClientID)
	}
	return CheckObject("meta", d.Meta)
}

// IsDeleted reports whether the message is a tombstone.
func (m Message) IsDeleted() bool { return !m.DeletedAt.IsZero() }

// Edit is what a sender makes of a message: the content replaces, Meta only when SetMeta says so (nil then clears it).
type Edit struct {
	Content string
	Meta    []byte
	SetMeta bool
}

// Check validates what a client may write; max is the tenant's max_message_size in bytes.
func (e Edit) Check(maxBytes int) error {
	return Draft{Content: e.Content, Meta: e.Meta}.Check(maxBytes)
}

// Apply is the message after the edit; changed is false when it says that already, so that a repeated edit takes no rev.
func (e Edit) Apply(m Message, now time.Time) (edited Message, changed bool, err error) {
	if m.IsDeleted() {
		return m, false, ErrMessageDeleted
	}
	meta := m.Meta
	if e.SetMeta {
		meta = e.Meta
	}
	if e.Content == m.Content && bytes.Equal(meta, m.Meta) {
		return m, false, nil
	}
	m.Content, m.Meta, m.EditedAt = e.Content, meta, now
	return m, true, nil
}

// Tombstone is what a deletion leaves of the message: its place, its sender and its times.
func (m Message) Tombstone(now time.Time) Message {
	m.Content, m.Meta, m.DeletedAt = "", nil, now
	return m
}

// CheckObject accepts nil, or a well-formed JSON object within the limits of size and nesting. Well-formedness is the
// inbound adapter's to establish; the limits are decided here.
func CheckObject(field string, raw []byte) error {
	if raw == nil {
		return nil
	}
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return Invalid(field, "%s must be a JSON object", field)
	}
	if len(raw) > MaxObject {
		return Invalid(field, "%s has at most %d bytes", field, MaxObject)
	}
	if depth(raw) > MaxObjectDepth {
		return Invalid(field, "%s is nested at most %d deep", field, MaxObjectDepth)
	}
	return nil
}

// depth is the deepest nesting of well-formed JSON.
func depth(raw []byte) int {
	deepest, now, inString := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}
