package application

import (
	"sync"

	"github.com/chatapi/chatapi/domain"
)

// inFlight holds the Idempotency-Keys of requests under way on this node, so that a repetition is told so instead of
// racing its original. Across nodes the store's unique key decides.
type inFlight struct {
	mu   sync.Mutex
	keys map[inFlightKey]struct{}
}

type inFlightKey struct {
	tenant domain.TenantID
	user   domain.UserID
	key    [32]byte
}

func newInFlight() *inFlight { return &inFlight{keys: map[inFlightKey]struct{}{}} }

// enter claims a key until done is called; nil needs no claim.
func (f *inFlight) enter(tenant domain.TenantID, key *domain.Idempotency) (done func(), err error) {
	if key == nil {
		return func() {}, nil
	}
	k := inFlightKey{tenant, key.User, key.Key}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.keys[k]; taken {
		return nil, domain.ErrIdempotencyBusy
	}
	f.keys[k] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.keys, k)
	}, nil
}
