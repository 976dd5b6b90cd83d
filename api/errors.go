package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// The errors of the interfaces themselves. A path without a route is answered as an id that does not exist.
var (
	ErrNoRoute = domain.ErrRoomNotFound
	ErrMethod  = &domain.Error{
		Code: domain.CodeMethodNotAllowed, Reason: "method",
		Message: "This path does not have this method: see the Allow header",
	}
	ErrInternal = &domain.Error{
		Code: domain.CodeInternal, Reason: "internal",
		Message: "Something went wrong on the server",
	}
	ErrTimeout = &domain.Error{
		Code: domain.CodeUnavailable, Reason: "timeout",
		Message: "The server did not get to this request in time: try again shortly",
	}
)

// ClientError is what a client may know of an error: the core's own as they are, ErrInternal of any other. ours says that
// the fault is the server's: whoever answers logs err then, once. The end of a context is nobody's fault: the work was
// taken back before it started (ports.Store), and when the client has gone the answer is written to nobody.
func ClientError(err error) (e *domain.Error, ours bool) {
	known, ok := errors.AsType[*domain.Error](err)
	switch {
	case ok && Statuses[known.Code] != 0:
		return known, known.Code == domain.CodeInternal
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout, false
	}
	return ErrInternal, true
}

// Obey tells in an answer's headers what a bucket has said, and is its refusal; nil when it allows the call.
func Obey(header http.Header, a domain.Allowance) error {
	SetRateLimit(header, a, time.Now())
	if a.OK {
		return nil
	}
	SetRetryAfter(header, a.RetryAfter)
	return domain.ErrRateLimited
}

// Challenge sets what the status of an error asks for: how to authenticate (RFC 9110 §15.5.2), and when to come back: in
// a second, unless another Retry-After is set.
func Challenge(header http.Header, status int) {
	switch status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="chatapi"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if header.Get(headerRetryAfter) == "" {
			SetRetryAfter(header, 0)
		}
	}
}
