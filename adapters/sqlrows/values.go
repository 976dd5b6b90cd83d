package sqlrows

import (
	"time"

	"github.com/chatapi/chatapi/domain"
)

// A store keeps times as Unix milliseconds. What may be NULL is given to a statement as any: both drivers take nil for it.

// FromMillis is a time as it was stored.
func FromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// CeilMillis is the first millisecond that is not before a time.
func CeilMillis(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// TimeOrNull keeps the zero time as NULL.
func TimeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// AheadOrNull is TimeOrNull for a row whose times are ahead of the time of day by so many milliseconds.
func AheadOrNull(t time.Time, ahead int64) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli() + ahead
}

// TextOrNull keeps an empty string as NULL, which the unique indexes leave out.
func TextOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// PointerOrNull keeps a string that may be empty or absent.
func PointerOrNull(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

// FloatOrNull keeps a number that may be 0 or absent.
func FloatOrNull(f *float64) any {
	if f == nil {
		return nil
	}
	return *f
}

// BlobOrNull keeps no bytes as NULL.
func BlobOrNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// IDOrNull is for ids that a row may be without.
func IDOrNull[ID ~[16]byte](id ID) any {
	if id == (ID{}) {
		return nil
	}
	return id[:]
}

// BotOrNull is the bot that a member is, NULL for the members who are users.
func BotOrNull(user domain.UserID) any {
	id, ok := user.Bot()
	if !ok {
		return nil
	}
	return id[:]
}

// DeviceOrNull is NULL, which no mark's device equals, when none is asked for.
func DeviceOrNull(d *domain.DeviceID) any {
	if d == nil {
		return nil
	}
	return string(*d)
}

// BoolNumber is 1 for true and 0 for false.
func BoolNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
