package blackbox

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// names reports whether an error's field names want, a part of it, or the same field inside a frame's data.
func names(field, want string) bool {
	field = strings.TrimPrefix(field, "data.")
	return want == "" || field == want || strings.HasPrefix(field, want+".")
}

// wantProblem fails unless an answer is a complete error body with this code, and this field unless that is empty.
func wantProblem(t *testing.T, res *harness.Response, code, field string) {
	t.Helper()
	e := harness.Must(res.Problem())(t)
	switch {
	case e.Success == nil || *e.Success || string(e.Data) != "null":
		t.Errorf("an error body wants success:false and data:null, got %s", res.Body)
	case e.Error.Code != code:
		t.Errorf("error code: got %s, want %s", res.Body, code)
	case !names(e.Error.Field, field):
		t.Errorf("error field: got %s, want %s", res.Body, field)
	case e.Error.Message == "" || e.Error.RequestID == "":
		t.Errorf("an error has a message and a request_id, got %s", res.Body)
	case e.Error.RequestID != res.Header.Get("X-Request-Id"):
		t.Errorf("request_id %s differs from the header's %s", e.Error.RequestID, res.Header.Get("X-Request-Id"))
	}
	wantNoInternals(t, string(res.Body))
}

// wantNoInternals fails when an error text tells of the inside of the server.
func wantNoInternals(t *testing.T, text string) {
	t.Helper()
	for _, leak := range []string{"sqlite", "SQL", "SELECT ", "goroutine", ".go:", "/tmp/", "constraint", "postgres", "pgx", "redis"} {
		if strings.Contains(text, leak) {
			t.Errorf("an error shows the server's inside (%q): %s", leak, text)
		}
	}
}

// withoutRequestID is an error body as it compares with another's.
func withoutRequestID(t *testing.T, raw []byte) string {
	t.Helper()
	var doc map[string]any
	harness.Check(t, json.Unmarshal(raw, &doc))
	delete(doc, "request_id")
	if e, ok := doc["error"].(map[string]any); ok {
		delete(e, "request_id")
	}
	return string(harness.Must(json.Marshal(doc))(t))
}
