package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func TestAnErrorHasTheFixedHeadersAndWhatItsStatusAsksFor(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	api.SetFixedHeaders(w.Header(), "req_1")
	api.WriteError(w, http.StatusUnauthorized, domain.ErrUnauthenticated, "req_1")
	const body = `{"success":false,"data":null,"error":{"code":"AUTHENTICATION_ERROR",` +
		`"message":"Invalid or missing credentials","request_id":"req_1"}}`
	if w.Code != http.StatusUnauthorized || w.Body.String() != body {
		t.Errorf("%d %s, want 401 %s", w.Code, w.Body, body)
	}
	if diff := cmp.Diff(http.Header{
		"X-Request-Id": {"req_1"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"},
		"Referrer-Policy": {"no-referrer"}, "Vary": {"Origin"}, "Content-Type": {"application/json"},
		"Content-Length": {"133"}, "Www-Authenticate": {`Bearer realm="chatapi"`},
	}, w.Header()); diff != "" {
		t.Error(diff)
	}
}

func TestAnUnavailableServerSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{"": "1", "4": "4"} {
		w := httptest.NewRecorder()
		w.Header().Set("Retry-After", set)
		api.WriteError(w, http.StatusServiceUnavailable, domain.ErrBusy, "req_1")
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("Retry-After %q, want %q", got, want)
		}
		if got := w.Header().Get("WWW-Authenticate"); got != "" {
			t.Errorf("WWW-Authenticate %q, want none", got)
		}
	}
}
