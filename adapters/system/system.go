// Package system is the clock and the source of identifiers of the machine the server runs on.
package system

import (
	"crypto/rand"
	"time"

	"github.com/google/uuid"

	"github.com/chatapi/chatapi/domain"
)

// Clock is the machine's clock. It satisfies ports.Clock.
type Clock struct{}

// Now is the time of day in UTC, cut to whole milliseconds, which is what clients and the store see.
func (Clock) Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// IDs makes identifiers and secrets from the system's cryptographic random source. It satisfies ports.IDs.
type IDs struct{}

// NewUUID returns a version 7 UUID (RFC 9562 §5.7). Those of one process rise strictly.
func (IDs) NewUUID() domain.UUID {
	// crypto/rand never fails since Go 1.24, so that Must cannot panic.
	return domain.UUID(uuid.Must(uuid.NewV7()))
}

// Secret returns n random bytes.
func (IDs) Secret(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: the runtime ends the process instead
	return b
}
