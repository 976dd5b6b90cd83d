package llm

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var (
	errMalformed = errors.New("this is no answer of a model")
	errTooLong   = errors.New("an event is longer than is read")
)

// fault is an error that a model tells of within its answer.
type fault struct{ status int } // as it might have been answered with; 0 = not known

func (*fault) Error() string { return "the model tells of an error" }

// refused is an answer that is an error: by its status, or by what it said where it might have had another (as).
func refused(status, as int, retryAfter time.Duration) *ports.ModelError {
	e := &ports.ModelError{Code: domain.StreamRefused, Status: status, Cause: ports.CauseResponse, RetryAfter: retryAfter}
	if as != 0 {
		e.Cause = ports.StatusCause(as)
	}
	if as == http.StatusTooManyRequests {
		e.Code = domain.StreamRateLimited
	}
	e.Retryable = as == http.StatusTooManyRequests || as >= 500
	return e
}

// unopened is a call that got no answer.
func unopened(ctx context.Context, err error) *ports.ModelError {
	if e := ended(ctx); e != nil {
		return e
	}
	out := outcomeOf(err)
	e := &ports.ModelError{Code: domain.StreamUnreachable, Cause: out.Cause, RetryAfter: out.RetryAfter,
		Retryable: out.Result == ports.Retryable || out.Result == ports.Deferred}
	switch {
	case out.Result == ports.Interrupted:
		e.Code = domain.StreamInterrupted
	case out.Cause == ports.CauseRest: // as it said itself a while ago
		e.Code = domain.StreamRateLimited
	case out.Cause == ports.CauseResponse:
		e.Code = domain.StreamRefused
	}
	return e
}

// broken is an answer that ended before its finish.
func broken(ctx context.Context, err error) *ports.ModelError {
	var known *ports.ModelError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errMalformed):
		return &ports.ModelError{Code: domain.StreamRefused, Status: http.StatusOK, Cause: ports.CauseResponse}
	case errors.Is(err, errTooLong):
		return &ports.ModelError{Code: domain.StreamRefused, Status: http.StatusOK, Cause: ports.CauseTooLarge}
	}
	if e := ended(ctx); e != nil {
		e.Status = http.StatusOK
		return e
	}
	out := outcomeOf(err)
	e := &ports.ModelError{Code: domain.StreamInterrupted, Status: http.StatusOK, Cause: out.Cause, Retryable: out.Result == ports.Retryable}
	switch out.Cause {
	case ports.CauseTimeout:
		e.Code, e.Retryable = domain.StreamTimeout, false
	case ports.CauseTooLarge, ports.CauseResponse:
		e.Code, e.Retryable = domain.StreamRefused, false
	}
	return e
}

// ended is a call that a deadline or its caller ended; nil when neither did.
func ended(ctx context.Context) *ports.ModelError {
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &ports.ModelError{Code: domain.StreamTimeout, Cause: ports.CauseTimeout}
	case ctx.Err() != nil:
		return &ports.ModelError{Code: domain.StreamInterrupted, Cause: ports.CauseInterrupted}
	}
	return nil
}

// outcomeOf is what an opener or a body said; what is not in their words is an answer that was cut.
func outcomeOf(err error) ports.Outcome {
	var call *ports.CallError
	if errors.As(err, &call) {
		return call.Outcome
	}
	return ports.Outcome{Result: ports.Retryable, Cause: ports.CauseUnreachable}
}
