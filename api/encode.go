package api

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/domain"
)

const hexDigits = "0123456789abcdef"

// plain marks the ASCII characters that stand for themselves in a JSON string.
var plain = func() (table [utf8.RuneSelf]bool) {
	for c := range table {
		table[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return table
}()

// AppendString appends s as a JSON string. Only what RFC 8259 §7 demands is escaped; invalid UTF-8, which no valid
// value has, becomes U+FFFD.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if !plain[c] {
				dst = appendEscape(append(dst, s[start:i]...), c)
				start = i + 1
			}
			i++
			continue
		}
		size := runeSize(s, i)
		if size == 0 {
			dst = append(append(dst, s[start:i]...), "\uFFFD"...)
			size, start = 1, i+1
		}
		i += size
	}
	return append(append(dst, s[start:]...), '"')
}

// runeSize is the length of the multi-byte character at i, 0 when it is invalid.
func runeSize[T ~string | ~[]byte](s T, i int) int {
	r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
	if r == utf8.RuneError && size == 1 {
		return 0
	}
	return size
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// AppendTime appends a time as a JSON string: RFC 3339, UTC, milliseconds, Z. Years are 0000–9999.
func AppendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, '"')
	dst = append(append2(append2(dst, year/100), year%100), '-')
	dst = append(append2(dst, int(month)), '-')
	dst = append(append2(dst, day), 'T')
	dst = append(append2(dst, hour), ':')
	dst = append(append2(dst, minute), ':')
	dst = append(append2(dst, second), '.')
	millis := t.Nanosecond() / int(time.Millisecond)
	dst = append2(append(dst, '0'+byte(millis/100)), millis%100)
	return append(dst, 'Z', '"')
}

func append2(dst []byte, n int) []byte { return append(dst, '0'+byte(n/10), '0'+byte(n%10)) }

// AppendRoomID appends a room's id as a JSON string.
func AppendRoomID(dst []byte, id domain.RoomID) []byte {
	return appendID(dst, `"room_`, domain.UUID(id))
}

// AppendMessageID appends a message's id as a JSON string.
func AppendMessageID(dst []byte, id domain.MessageID) []byte {
	return appendID(dst, `"msg_`, domain.UUID(id))
}

// AppendNotificationID appends a notification's id as a JSON string.
func AppendNotificationID(dst []byte, id domain.NotificationID) []byte {
	return appendID(dst, `"notif_`, domain.UUID(id))
}

// AppendBotID appends a bot's id as a JSON string.
func AppendBotID(dst []byte, id domain.BotID) []byte {
	return appendID(dst, `"bot_`, domain.UUID(id))
}

func appendID(dst []byte, prefix string, id domain.UUID) []byte {
	return append(id.Append(append(dst, prefix...)), '"')
}

// appendObject appends a kept JSON object as it is; nil is null.
func appendObject(dst, raw []byte) []byte {
	if raw == nil {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

// appendText appends an optional string; nil is null.
func appendText(dst []byte, s *string) []byte {
	if s == nil {
		return append(dst, "null"...)
	}
	return AppendString(dst, *s)
}

// appendMoment appends a time that may never have been; zero is null.
func appendMoment(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, "null"...)
	}
	return AppendTime(dst, t)
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
