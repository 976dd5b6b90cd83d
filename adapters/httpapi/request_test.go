package httpapi

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

func exchangeFor(target string) *exchange {
	w := httptest.NewRecorder()
	return &exchange{ResponseWriter: w, r: httptest.NewRequest(http.MethodGet, target, nil)}
}

func TestPathsThatTheMuxWouldRedirectAreNotClean(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/": true, "/rooms": true, "/rooms/a/members/%2e%2E": true, "/rooms/a/members/a%2Fb": true, "/rooms/a/members/...": true,
		"/docs/": true, "/v1/docs/": true, "/docs/a/": false, "/x/docs/": false,
		"": false, "*": false, "rooms": false, "//rooms": false, "/rooms/": false, "/rooms//members": false,
		"/./rooms": false, "/rooms/..": false, "/rooms/../acks": false,
	} {
		if got := isClean(path); got != want {
			t.Errorf("isClean(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestIntegersOfTheQueryArePlainAndGivenOnce(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]int64{"": 50, "n=1": 1, "n=100": 100, "other=x": 50} {
		q := exchangeFor("/x?" + query).query()
		if got := q.integer("n", 1, 100, 50); got != want || q.err != nil {
			t.Errorf("%q: %d, %v; want %d", query, got, q.err, want)
		}
	}
	for _, query := range []string{
		"n=", "n", "n=0", "n=101", "n=-1", "n=%2B1", "n=+1", "n=01", "n=1.0", "n=1e1", "n=abc", "n=9e18", "n=1&n=1", "n=1&n=100",
		"n=9223372036854775808", "n=1%00", "n=0x10", "n=%zz", "n=1;m=2",
	} {
		q := exchangeFor("/x?" + query).query()
		q.integer("n", 1, 100, 50)
		e, ok := q.err.(*domain.Error)
		if !ok || e.Code != domain.CodeValidation {
			t.Errorf("%q: %v, want a VALIDATION_ERROR", query, q.err)
		}
	}
}

func TestTheLinkToTheNextPageRepeatsOnlyKnownParameters(t *testing.T) {
	t.Parallel()
	x := exchangeFor("/v1/rooms?limit=2&type=dm&token=secret&offset=4")
	q := x.query()
	q.limit()
	q.offset()
	q.text("type")
	x.linkNext(q, "offset", 6)
	const want = `</v1/rooms?limit=2&offset=6&type=dm>; rel="next"`
	if got := x.Header().Get("Link"); got != want {
		t.Errorf("Link: %s, want %s", got, want)
	}
}
