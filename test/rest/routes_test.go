package rest_test

import (
	"net/http"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

func TestPathsWithoutARouteAreNotFoundAndNeverRedirected(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{
		"/", "/nope", "/rooms/", "/rooms/x/", "//rooms", "/rooms//members", "/./rooms", "/rooms/../rooms", "/v2/rooms", "/v1", "/v1/",
		"/v1/v1/rooms", "/V1/rooms", "/Rooms", "/admin", "/metrics", "/debug/pprof/", "/ws", "/health/", "/favicon.ico",
	} {
		f.user("alice").get(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
}

func TestMethodsAPathDoesNotHaveAreNamedInAllow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range [][3]string{
		{http.MethodPut, "/rooms", "GET, HEAD, POST"},
		{http.MethodDelete, "/v1/rooms", "GET, HEAD, POST"},
		{http.MethodTrace, "/acks", "POST"},
		{http.MethodGet, "/acks", "POST"},
		{http.MethodOptions, "/acks", "POST"},
		{http.MethodPost, "/health", "GET, HEAD"},
		{"BREW", "/admin/tenants/x", "DELETE, GET, HEAD, PATCH"},
	} {
		got := f.anonymous().with("X-HTTP-Method-Override", "GET").send(c[0], c[1], "").
			wantError(http.StatusMethodNotAllowed, domain.CodeMethodNotAllowed, "")
		if allow := got.header.Get("Allow"); allow != c[2] {
			t.Errorf("%s %s: Allow %q, want %q", c[0], c[1], allow, c[2])
		}
	}
	if got := f.anonymous().send(http.MethodHead, "/acks", ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD /acks: %d, want 405", got.status)
	}
	if got := f.anonymous().send(http.MethodHead, "/health", ""); got.status != http.StatusOK || len(got.body) != 0 {
		t.Errorf("HEAD /health: %d %q, want 200 without a body", got.status, got.body)
	}
}
