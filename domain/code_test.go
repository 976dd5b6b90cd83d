package domain_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

func TestOnlyErrorsOfTheCoreHaveACode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want domain.Code
	}{
		{domain.ErrNotMember, domain.CodeAuthorization},
		{fmt.Errorf("send: %w", domain.ErrBusy), domain.CodeUnavailable},
		{errors.New("disk gone"), ""},
		{nil, ""},
	} {
		if got := domain.CodeOf(c.err); got != c.want {
			t.Errorf("%v has %q, want %q", c.err, got, c.want)
		}
	}
}
