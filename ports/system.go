package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// Clock tells the time of day, in UTC with whole milliseconds. It may jump; nothing that orders, leases or retries
// rests on it.
type Clock interface {
	Now() time.Time
}

// IDs makes identifiers and secrets that nobody can guess.
type IDs interface {
	// NewUUID returns a version 7 UUID, unique across nodes.
	NewUUID() domain.UUID
	// Secret returns n bytes from the system's cryptographic random source.
	Secret(n int) []byte
}

// Sealer encrypts secrets for the store. context binds a secret to its row and purpose: opening with another context
// fails.
type Sealer interface {
	Seal(plain []byte, context string) (domain.Sealed, error)
	Open(sealed domain.Sealed, context string) ([]byte, error)
}

// Proofs keeps the one sealed value that shows a sealing key to be the store's own.
type Proofs interface {
	// KeepProof stores fresh, durably, unless the store keeps a proof already, and returns the one it keeps.
	KeepProof(ctx context.Context, fresh domain.Sealed) (domain.Sealed, error)
}

// Tokens reads and makes JWTs, HS256 only. Every failure is domain.ErrUnauthenticated; the claims' rules are the
// domain's (CheckClaims).
type Tokens interface {
	// KeyID returns the kid of the header, unverified, or "" when there is none.
	KeyID(token string) (string, error)
	// Verify returns the claims of a token whose signature is right.
	Verify(token string, secret []byte) (domain.Claims, error)
	// Sign makes a token; kid is left out when empty.
	Sign(claims domain.Claims, kid string, secret []byte) (string, error)
}
