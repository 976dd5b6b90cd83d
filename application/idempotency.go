package application

import (
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// The outcomes that an Idempotency-Key is kept with: HTTP statuses, so that an operator reading the table sees what
// the client saw.
const (
	statusCreated   = 201
	statusAccepted  = 202
	statusNoContent = 204
)

// replayed finds what an Idempotency-Key was used for: nil when it is new, domain.ErrIdempotency when for another
// request.
func replayed(r ports.IdempotencyReader, key *domain.Idempotency, now time.Time) (*domain.IdempotencyRecord, error) {
	if key == nil {
		return nil, nil
	}
	before, err := r.Idempotency(key.User, key.Key, now)
	if err != nil || before == nil {
		return nil, err
	}
	if before.Request != key.Request {
		return nil, domain.ErrIdempotency
	}
	return before, nil
}

func keep(w ports.IdempotencyWriter, key *domain.Idempotency, status int, resource string, now time.Time) error {
	if key == nil {
		return nil
	}
	return w.KeepIdempotency(*key, status, resource, now)
}
