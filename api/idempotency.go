package api

import (
	"net/http"

	"github.com/chatapi/chatapi/domain"
)

// HeaderIdempotency makes a request one that can be repeated.
const HeaderIdempotency = "Idempotency-Key"

// IdempotencyKey is the request's Idempotency-Key, when it has one.
func IdempotencyKey(r *http.Request) (key string, given bool, err error) {
	values := r.Header.Values(HeaderIdempotency)
	for _, v := range values {
		if v != values[0] {
			return "", true, domain.Invalid(HeaderIdempotency, "two different Idempotency-Key headers")
		}
	}
	if len(values) == 0 {
		return "", false, nil
	}
	if values[0] == "" {
		return "", true, domain.Invalid(HeaderIdempotency, "an Idempotency-Key is not empty")
	}
	return values[0], true, nil
}

// MarkReplayed tells that an answer is that of an earlier request.
func MarkReplayed(w http.ResponseWriter, replayed bool) {
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
}
