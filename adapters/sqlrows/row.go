package sqlrows

import "time"

// Row is one row of a result as a store's driver has it, valid until the next. An accessor of a NULL column returns the zero
// value. It is a type parameter of what reads it: to take it as an interface would be an allocation for each row.
type Row interface {
	Int(i int) int64 // a boolean is 0 or 1
	Float(i int) float64
	Text(i int) string
	Blob(i int) []byte  // the driver's: to be copied when it is kept
	Bytes(i int) []byte // one's own
	Null(i int) bool
}

// Time is the zero time for NULL.
func Time[R Row](r R, i int) time.Time {
	if r.Null(i) {
		return time.Time{}
	}
	return FromMillis(r.Int(i))
}

// Pointer is nil for NULL.
func Pointer[R Row](r R, i int) *string {
	if r.Null(i) {
		return nil
	}
	s := r.Text(i)
	return &s
}
