package domain

import (
	"strings"
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
