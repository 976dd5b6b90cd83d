package httpapi

import (
	"strings"

	"github.com/chatapi/chatapi/domain"
)

const headerIdempotency = "Idempotency-Key"

// idempotency is the request's Idempotency-Key bound to method, path and body; nil when it has none. Both spellings
// of a path, bare and /v1, are one path.
func (x *exchange) idempotency(body []byte) (*domain.Idempotency, error) {
	values := x.r.Header.Values(headerIdempotency)
	for _, v := range values {
		if v != values[0] {
			return nil, domain.Invalid(headerIdempotency, "two different Idempotency-Key headers")
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	if values[0] == "" {
		return nil, domain.Invalid(headerIdempotency, "an Idempotency-Key is not empty")
	}
	path := strings.TrimPrefix(x.r.URL.EscapedPath(), x.pathPrefix())
	return domain.NewIdempotency(x.caller.User, values[0], x.r.Method, path, body)
}

// refuseIdempotency is for calls that make a credential: their answer is shown once and cannot be given again.
func (x *exchange) refuseIdempotency() error {
	if len(x.r.Header.Values(headerIdempotency)) > 0 {
		return domain.Invalid(headerIdempotency, "a call that makes a credential takes no Idempotency-Key: its answer is shown once")
	}
	return nil
}

func (x *exchange) markReplayed(replayed bool) {
	if replayed {
		x.Header().Set("Idempotency-Replayed", "true")
	}
}
