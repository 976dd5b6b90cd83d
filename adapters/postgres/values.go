package postgres

import (
	"bytes"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
)

func (r row) Time(i int) time.Time {
	if r.Null(i) {
		return time.Time{}
	}
	return sqlrows.FromMillis(r.Int(i))
}

// pointer is nil for NULL.
func (r row) Pointer(i int) *string {
	if r.Null(i) {
		return nil
	}
	s := r.Text(i)
	return &s
}

// bytes is a copy of blob, to be kept.
func (r row) Bytes(i int) []byte { return bytes.Clone(r[i]) }
