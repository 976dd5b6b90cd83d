package domain

// UUID is the 16 bytes of a version 7 UUID (RFC 9562). Identifiers are opaque to clients: a prefix and the canonical
// lower-case text. They sort by time but carry no order that anything rests on.
type UUID [16]byte

// RoomID names a room: room_ and a UUID. It is unique across tenants.
type RoomID UUID

// MessageID names a message: msg_ and a UUID. It is unique across rooms.
type MessageID UUID

// TenantID names a tenant: tenant_ and a UUID, or DefaultTenant.
type TenantID string

// DefaultTenant is the tenant of tokens without kid; it exists from the first start with JWT_SECRET set.
const DefaultTenant TenantID = "tenant_default"

// The prefixes of identifiers that clients see.
const (
	prefixRoom    = "room_"
	prefixMessage = "msg_"
)

func (id RoomID) String() string    { return prefixRoom + UUID(id).String() }
func (id MessageID) String() string { return prefixMessage + UUID(id).String() }

// IsZero reports whether the id is unset.
func (id RoomID) IsZero() bool { return id == RoomID{} }

// IsZero reports whether the id is unset.
func (id MessageID) IsZero() bool { return id == MessageID{} }

// ParseRoomID reads room_ and a canonical UUID; anything else names no room.
func ParseRoomID(s string) (RoomID, bool) {
	u, ok := parsePrefixed(prefixRoom, s)
	return RoomID(u), ok
}

// ParseMessageID reads msg_ and a canonical UUID; anything else names no message.
func ParseMessageID(s string) (MessageID, bool) {
	u, ok := parsePrefixed(prefixMessage, s)
	return MessageID(u), ok
}

func parsePrefixed(prefix, s string) (UUID, bool) {
	if len(s) != len(prefix)+uuidLen || s[:len(prefix)] != prefix {
		return UUID{}, false
	}
	return ParseUUID(s[len(prefix):])
}

const uuidLen = 36

// String is the canonical lower-case text, 8-4-4-4-12.
func (u UUID) String() string { return string(u.Append(make([]byte, 0, uuidLen))) }

// Append appends the canonical text to dst.
func (u UUID) Append(dst []byte) []byte {
	var text [uuidLen]byte
	at := 0
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text[at] = '-'
			at++
		}
		text[at], text[at+1] = hexDigits[b>>4], hexDigits[b&15]
		at += 2
	}
	return append(dst, text[:]...)
}

const hexDigits = "0123456789abcdef"

// ParseUUID reads the canonical lower-case text only, so that one id has one spelling.
func ParseUUID(s string) (UUID, bool) {
	var u UUID
	if len(s) != uuidLen || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, false
	}
	at := 0
	for i := range u {
		if s[at] == '-' {
			at++
		}
		hi, lo := hexDigit(s[at]), hexDigit(s[at+1])
		if hi|lo > 15 {
			return UUID{}, false
		}
		u[i] = hi<<4 | lo
		at += 2
	}
	return u, true
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
