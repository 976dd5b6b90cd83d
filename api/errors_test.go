package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func TestAClientIsToldOfTheCoresErrorsAlone(t *testing.T) {
	t.Parallel()
	fault := &domain.Error{Code: domain.CodeInternal, Reason: "sealed", Message: "A stored secret cannot be read"}
	for _, c := range []struct {
		err  error
		want *domain.Error
		ours bool
	}{
		{domain.ErrNotMember, domain.ErrNotMember, false},
		{fmt.Errorf("send: %w", domain.ErrBusy), domain.ErrBusy, false},
		{fault, fault, true},
		{context.Canceled, api.ErrTimeout, false},
		{fmt.Errorf("find key: %w", context.DeadlineExceeded), api.ErrTimeout, false},
		{errors.New("SELECT"), api.ErrInternal, true},
		{&domain.Error{Code: "NEW", Message: "a code without a status"}, api.ErrInternal, true},
	} {
		if got, ours := api.ClientError(c.err); got != c.want || ours != c.ours {
			t.Errorf("%v is %v, ours %v; want %v, %v", c.err, got, ours, c.want, c.ours)
		}
	}
}

func TestABucketsWordIsToldAndObeyed(t *testing.T) {
	t.Parallel()
	full := time.Now().Add(time.Hour)
	for _, c := range []struct {
		says domain.Allowance
		want error
		wait []string
	}{
		{domain.Allowance{OK: true, Limit: 10, Remaining: 9, Reset: full}, nil, nil},
		{domain.Allowance{Limit: 10, Remaining: 9, Reset: full, RetryAfter: 1200 * time.Millisecond}, domain.ErrRateLimited, []string{"2"}},
	} {
		header := http.Header{}
		if got := api.Obey(header, c.says); got != c.want {
			t.Errorf("%+v is %v, want %v", c.says, got, c.want)
		}
		if header.Get(api.HeaderRateLimit) != "10" || header.Get(api.HeaderRateRemaining) != "9" || header.Get(api.HeaderRateReset) == "" {
			t.Errorf("%+v is told as %v", c.says, header)
		}
		if diff := cmp.Diff(c.wait, header.Values("Retry-After")); diff != "" {
			t.Error(diff)
		}
	}
}
