package domain

import (
	"crypto/sha256"
	"time"
)

// Idempotency is a client's Idempotency-Key with what it was used for, as hashes only. It is kept for 24 hours per
// tenant and user; the backend without a user counts as one user of its own.
type Idempotency struct {
	User    UserID
	Key     [32]byte // SHA-256 of the header's value
	Request [32]byte // SHA-256 of method, path and body
}

// IdempotencyRecord is a kept key: the request it was used for, and the status and resource that answered it.
type IdempotencyRecord struct {
	Request  [32]byte
	Status   int
	Resource string
}

// The limits of Idempotency-Key.
const (
	MaxIdempotencyKey = 128 // visible ASCII characters
	IdempotencyMemory = 24 * time.Hour
)

// NewIdempotency hashes a key and the request it came with; an empty key is none.
func NewIdempotency(user UserID, key, method, path string, body []byte) (*Idempotency, error) {
	if key == "" {
		return nil, nil
	}
	if len(key) > MaxIdempotencyKey || !IsVisibleASCII(key) {
		return nil, Invalid("Idempotency-Key", "an Idempotency-Key has at most %d visible ASCII characters", MaxIdempotencyKey)
	}
	h := sha256.New()
	for _, part := range []string{method, "\n", path, "\n"} {
		h.Write([]byte(part))
	}
	h.Write(body)
	return &Idempotency{User: user, Key: sha256.Sum256([]byte(key)), Request: [32]byte(h.Sum(nil))}, nil
}
