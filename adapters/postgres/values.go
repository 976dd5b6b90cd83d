package postgres

import (
	"bytes"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
)

func (r row) time(i int) time.Time {
	if r.null(i) {
		return time.Time{}
	}
	return sqlrows.FromMillis(r.int(i))
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
