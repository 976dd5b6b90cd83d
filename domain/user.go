package domain

import (
	"bytes"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// UserID is the tenant's own name for a user, compared byte for byte. Users exist from first sight.
type UserID string

// MaxUserID is the longest user id, in characters.
const MaxUserID = 128

// reserved ids belong to bots and to the server itself.
const (
	botPrefix  = "bot_"
	systemUser = "system"
)

// SystemUser is the sender of the server's own messages.
const SystemUser UserID = systemUser

// IsReserved reports whether an id can never be a user's: bot_… and system.
func (u UserID) IsReserved() bool {
	return strings.HasPrefix(string(u), botPrefix) || u == systemUser
}

// CheckUserID accepts 1–128 printable Unicode characters that are not reserved, and names field in its error.
func CheckUserID(field, s string) (UserID, error) {
	if s == "" {
		return "", Invalid(field, "a user id is required")
	}
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > MaxUserID {
		return "", Invalid(field, "a user id has at most %d characters of valid UTF-8", MaxUserID)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return "", Invalid(field, "a user id has printable characters only")
		}
	}
	if UserID(s).IsReserved() {
		return "", Invalid(field, "ids that begin with bot_, and system, are reserved")
	}
	return UserID(s), nil
}

// DeviceID names one of a user's devices; empty is the device all nameless clients of a user share.
type DeviceID string

// The limits of devices: a user's least recently seen device gives way to a 21st, and each is forgotten 90 days
// after it was last seen.
const (
	MaxDeviceID       = 64
	MaxDevicesPerUser = 20
	DeviceMemory      = 90 * 24 // hours
)

// CheckDeviceID accepts up to 64 visible ASCII characters.
func CheckDeviceID(s string) (DeviceID, error) {
	if len(s) > MaxDeviceID || !IsVisibleASCII(s) {
		return "", Invalid("device_id", "a device id has at most %d visible ASCII characters", MaxDeviceID)
	}
	return DeviceID(s), nil
}

// IsVisibleASCII reports whether s has only characters from '!' to '~'; the empty string has.
func IsVisibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return true
}

// User is what a tenant says of one of its users. Users exist from first sight, with nothing said.
type User struct {
	ID        UserID
	Name      *string
	AvatarURL *string
	Metadata  []byte    // a JSON object, or nil
	LastSeen  time.Time // when the user's last socket closed; zero = never
}

// The limits of a profile.
const (
	MaxUserName  = 256  // characters
	MaxAvatarURL = 2048 // bytes
)

// UserPatch is a change of a profile: what is not set stays, what is set to nil is cleared.
type UserPatch struct {
	Name, AvatarURL                    *string
	Metadata                           []byte
	SetName, SetAvatarURL, SetMetadata bool
}

// Apply is the profile after the change.
func (p UserPatch) Apply(u User) (patched User, changed bool, err error) {
	before := u
	if p.SetName {
		u.Name = p.Name
	}
	if p.SetAvatarURL {
		u.AvatarURL = p.AvatarURL
	}
	if p.SetMetadata {
		u.Metadata = p.Metadata
	}
	switch {
	case u.Name != nil && utf8.RuneCountInString(*u.Name) > MaxUserName:
		return before, false, Invalid("name", "a user's name has at most %d characters", MaxUserName)
	case u.AvatarURL != nil && !isAvatar(*u.AvatarURL):
		return before, false, Invalid("avatar_url", "avatar_url is an http or https URL of at most %d bytes", MaxAvatarURL)
	}
	if err := CheckObject("metadata", u.Metadata); err != nil {
		return before, false, err
	}
	changed = !SameText(u.Name, before.Name) || !SameText(u.AvatarURL, before.AvatarURL) || !bytes.Equal(u.Metadata, before.Metadata)
	return u, changed, nil
}

func isAvatar(s string) bool { return len(s) <= MaxAvatarURL && isHTTPURL(s) }

// SameText reports whether both are absent, or both say the same.
func SameText(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// Status is whether a user has a socket anywhere, as those who share a room with them may know it.
type Status struct {
	User     UserID
	Online   bool
	LastSeen time.Time // now for those online; zero = never seen
}

// MaxPresenceUsers is how many users one question for presence names.
const MaxPresenceUsers = 100

// CheckPresenceQuery validates whom a question for presence names.
func CheckPresenceQuery(ids []string) ([]UserID, error) {
	switch {
	case len(ids) == 0:
		return nil, Invalid("user_ids", "user_ids is required: up to %d ids, separated by commas", MaxPresenceUsers)
	case len(ids) > MaxPresenceUsers:
		return nil, Invalid("user_ids", "user_ids has at most %d ids", MaxPresenceUsers)
	}
	return checkUsers("user_ids", ids, CheckUserID)
}
