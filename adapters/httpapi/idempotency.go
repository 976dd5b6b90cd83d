package httpapi

import (
	"strings"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// idempotency is the request's Idempotency-Key bound to method, path and body; nil when it has none. Both spellings
// of a path, bare and /v1, are one path.
func (x *exchange) idempotency(body []byte) (*domain.Idempotency, error) {
	key, given, err := api.IdempotencyKey(x.r)
	if err != nil || !given {
		return nil, err
	}
	path := strings.TrimPrefix(x.r.URL.EscapedPath(), x.pathPrefix())
	return domain.NewIdempotency(x.caller.User, key, x.r.Method, path, body)
}

// refuseIdempotency is for calls that make a credential: their answer is shown once and cannot be given again.
func (x *exchange) refuseIdempotency() error {
	if len(x.r.Header.Values(api.HeaderIdempotency)) > 0 {
		return domain.Invalid(api.HeaderIdempotency, "a call that makes a credential takes no Idempotency-Key: its answer is shown once")
	}
	return nil
}

func (x *exchange) markReplayed(replayed bool) { api.MarkReplayed(x, replayed) }
