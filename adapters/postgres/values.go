package postgres

import (
	"bytes"
	"time"
)

// The store keeps times as Unix milliseconds, NULL for the zero time.
func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func millis(t time.Time) int64 { return t.UnixMilli() }

// timeOrNull is for columns that may be NULL.
func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

func (r row) time(i int) time.Time {
	if r.null(i) {
		return time.Time{}
	}
	return fromMillis(r.int(i))
}

// pointer is nil for NULL.
func (r row) pointer(i int) *string {
	if r.null(i) {
		return nil
	}
	s := r.text(i)
	return &s
}

// bytes is a copy of blob, to be kept.
func (r row) bytes(i int) []byte { return bytes.Clone(r[i]) }

// textOrNull keeps an empty string as NULL, which the unique indexes leave out.
func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// pointerOrNull keeps a string that may be empty or absent.
func pointerOrNull(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

// blobOrNull keeps no bytes as NULL.
func blobOrNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}
