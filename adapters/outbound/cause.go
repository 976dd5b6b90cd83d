package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// causeOf is the tenant's word for an error. An address out of reach, a name that does not exist and a host that does
// not answer share one: else a tenant could ask the server for a map of its network.
func causeOf(err error) ports.Cause {
	var secure *tlsFailure
	switch {
	case errors.Is(err, errTooLarge):
		return ports.CauseTooLarge
	case isTimeout(err):
		return ports.CauseTimeout
	case errors.As(err, &secure):
		return ports.CauseTLS
	case isUnreachable(err):
		return ports.CauseUnreachable
	}
	return ports.CauseResponse
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func isUnreachable(err error) bool {
	var (
		refused *refusal
		name    *net.DNSError
		socket  *net.OpError
		system  syscall.Errno
	)
	return errors.As(err, &refused) || errors.As(err, &name) || errors.As(err, &socket) || errors.As(err, &system) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// detailOf is the operator's word for an error. Those of connections name hosts and addresses; all others are left out,
// since they repeat what the other side sent.
func detailOf(err error) string {
	var secure *tlsFailure
	if isUnreachable(err) || errors.As(err, &secure) {
		return err.Error()
	}
	return string(causeOf(err))
}

// retryAfter reads the header of that name (RFC 9110, section 10.2.3): seconds or a date. 0 = none, or not readable.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	seconds, err := strconv.ParseUint(text, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
