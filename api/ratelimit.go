package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// The headers that tell a client where it stands.
const (
	HeaderRateLimit     = "X-RateLimit-Limit"
	HeaderRateRemaining = "X-RateLimit-Remaining"
	HeaderRateReset     = "X-RateLimit-Reset"
	headerRetryAfter    = "Retry-After"
)

// SetRateLimit tells in an answer's headers what a bucket has said: the calls a second, how many are left right now and
// the unix second at which the bucket is full again. A limit of 0 limits nothing, and what is left means nothing then.
func SetRateLimit(header http.Header, a domain.Allowance, now time.Time) {
	reset := a.Reset
	if a.Limit == 0 || reset.Before(now) {
		reset = now
	}
	header.Set(HeaderRateLimit, strconv.Itoa(a.Limit))
	header.Set(HeaderRateRemaining, strconv.Itoa(max(a.Remaining, 0)))
	header.Set(HeaderRateReset, strconv.FormatInt(ceilSecond(reset).Unix(), 10))
}

// SetRetryAfter tells when to come back, in whole seconds that are long enough; at least one.
func SetRetryAfter(header http.Header, wait time.Duration) {
	seconds := (wait + time.Second - 1) / time.Second
	header.Set(headerRetryAfter, strconv.FormatInt(max(int64(seconds), 1), 10))
}

// ceilSecond is the next whole second: at the one before, the bucket would not be full yet.
func ceilSecond(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}
