package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func TestAnAllowanceIsToldInWholeSecondsThatAreEnough(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 500_000_000)
	for name, c := range map[string]struct {
		said domain.Allowance
		want http.Header
	}{
		"allowed": {
			domain.Allowance{OK: true, Limit: 100, Remaining: 99, Reset: now.Add(10 * time.Millisecond)},
			http.Header{"X-Ratelimit-Limit": {"100"}, "X-Ratelimit-Remaining": {"99"}, "X-Ratelimit-Reset": {"1001"}},
		},
		"refused": {
			domain.Allowance{Limit: 2, Reset: now.Add(1500 * time.Millisecond), RetryAfter: time.Millisecond},
			http.Header{"X-Ratelimit-Limit": {"2"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1002"}},
		},
		"unlimited": {
			domain.Allowance{OK: true},
			http.Header{"X-Ratelimit-Limit": {"0"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1001"}},
		},
	} {
		got := http.Header{}
		api.SetRateLimit(got, c.said, now)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRetryAfterIsNeverTooShort(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{
		0: "1", time.Millisecond: "1", time.Second: "1", time.Second + 1: "2", 2001 * time.Millisecond: "3",
	} {
		got := http.Header{}
		api.SetRetryAfter(got, wait)
		if got.Get("Retry-After") != want {
			t.Errorf("%v: %q, want %s", wait, got.Get("Retry-After"), want)
		}
	}
}
