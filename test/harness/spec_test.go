package harness

import (
	"maps"
	"net/http"
	"strings"
	"testing"
)

// specified are the headers of an answer that is in order.
func specified(more ...string) http.Header {
	h := http.Header{}
	for _, pair := range append([]string{
		"X-Request-Id: req_1", "Cache-Control: no-store", "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer",
		"Vary: Origin", "Content-Type: application/json", "X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 0",
		"X-RateLimit-Reset: 1767323046",
	}, more...) {
		name, value, _ := strings.Cut(pair, ": ")
		h.Set(name, value)
	}
	maps.DeleteFunc(h, func(_ string, values []string) bool { return values[0] == "" })
	return h
}

const (
	aMember  = `{"user_id":"bob","role":"admin","joined_at":"2026-01-02T03:04:05.678Z"}`
	notFound = `{"success":false,"data":null,"error":{"code":"NOT_FOUND","message":"Not found","request_id":"req_1"}}`
)

type specCase struct {
	name, method, path, sent string
	status                   int
	header                   http.Header
	body                     string
}

func (c specCase) check(t *testing.T) error {
	t.Helper()
	r, err := http.NewRequest(c.method, "http://127.0.0.1"+c.path, strings.NewReader(c.sent))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(c.name, "envelope") {
		r.Header.Set("X-Response-Envelope", "true")
	}
	return CheckAnswer(r, c.status, c.header, []byte(c.body))
}

func TestAnswersAsSpecifiedPass(t *testing.T) {
	t.Parallel()
	for _, c := range []specCase{
		{"a list", "GET", "/v1/rooms/x/members?limit=1", "", 200, specified("Link: </a>; rel=\"next\""), "[" + aMember + "]"},
		{"an envelope", "GET", "/rooms/x/members", "", 200, specified(), `{"success":true,"data":[],"error":null}`},
		{"an error asked for in an envelope", "GET", "/rooms/x", "", 404, specified(), notFound},
		{"no content", "DELETE", "/rooms/x/members/a%2Fb", "", 204, specified("Content-Type: "), ""},
		{"a user without a name", "PUT", "/users/bob", `{"name":null,"unknown":1}`, 200, specified(),
			`{"user_id":"bob","name":null,"avatar_url":null,"metadata":{"any":{"thing":1}},"last_seen_at":null}`},
		{"no such path", "GET", "/nope", "", 404, specified(), notFound},
		{"a socket", "GET", "/v1/ws?token=x", "", 401, http.Header{}, "anything"},
		{"a page", "GET", "/docs/app.js", "", 200, http.Header{}, "anything"},
		{"HEAD", "HEAD", "/health", "", 200, specified(), ""},
	} {
		if err := c.check(t); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAnswersThatAreNotSpecifiedAreFound(t *testing.T) {
	t.Parallel()
	member := func(old, replaced string) string { return "[" + strings.Replace(aMember, old, replaced, 1) + "]" }
	for _, c := range []specCase{
		{"a field more", "GET", "/rooms/x/members", "", 200, specified(), member(`"role"`, `"nick":"b","role"`)},
		{"a field less", "GET", "/rooms/x/members", "", 200, specified(), member(`"role":"admin",`, "")},
		{"another type", "GET", "/rooms/x/members", "", 200, specified(), member(`"bob"`, `5`)},
		{"another value", "GET", "/rooms/x/members", "", 200, specified(), member(`admin`, `owner`)},
		{"another time", "GET", "/rooms/x/members", "", 200, specified(), member(`.678Z`, `Z`)},
		{"a month that is none", "GET", "/rooms/x/members", "", 200, specified(), member(`2026-01`, `2026-13`)},
		{"null for a list", "GET", "/rooms/x/members", "", 200, specified(), "null"},
		{"no JSON", "GET", "/rooms/x/members", "", 200, specified(), "["},
		{"a field more in an error", "GET", "/rooms/x", "", 404, specified(), strings.Replace(notFound, `"data"`, `"x":1,"data"`, 1)},
		{"a field more within an error", "GET", "/rooms/x", "", 404, specified(), strings.Replace(notFound, `"code"`, `"x":1,"code"`, 1)},
		{"a code that is none", "GET", "/rooms/x", "", 404, specified(), strings.Replace(notFound, `NOT_FOUND`, `GONE`, 1)},
		{"another status", "GET", "/rooms/x", "", 410, specified(), notFound},
		{"another status of no path", "GET", "/nope", "", 200, specified(), notFound},
		{"a method that is none", "GET", "/acks", "", 405, specified(), notFound},
		{"a body with 204", "DELETE", "/rooms/x/members/y", "", 204, specified(), "{}"},
		{"another media type", "GET", "/rooms/x/members", "", 200, specified("Content-Type: text/plain"), "[]"},
		{"no request id", "GET", "/rooms/x/members", "", 200, specified("X-Request-Id: "), "[]"},
		{"no rate limit", "GET", "/rooms/x/members", "", 200, specified("X-RateLimit-Reset: "), "[]"},
		{"a rate limit that is no number", "GET", "/rooms/x/members", "", 200, specified("X-RateLimit-Reset: soon"), "[]"},
		{"an undocumented header", "GET", "/rooms/x/members", "", 200, specified("Location: /x"), "[]"},
		{"429 without Retry-After", "GET", "/rooms/x", "", 429, specified(), strings.Replace(notFound, "NOT_FOUND", "RATE_LIMIT_EXCEEDED", 1)},
		{"kept by caches", "GET", "/rooms/x/members", "", 200, specified("Cache-Control: "), "[]"},
		{"no envelope", "GET", "/rooms/x/members", "", 200, specified(), "[]"},
		{"a request that is not as specified", "PATCH", "/rooms/x/members/y", `{"role":"owner"}`, 204, specified(), ""},
	} {
		if err := c.check(t); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

func BenchmarkCheckAnswer(b *testing.B) {
	r, err := http.NewRequest("GET", "http://127.0.0.1/rooms/x/members", nil)
	if err != nil {
		b.Fatal(err)
	}
	body := []byte("[" + strings.Repeat(aMember+",", 49) + aMember + "]")
	for b.Loop() {
		if err := CheckAnswer(r, 200, specified(), body); err != nil {
			b.Fatal(err)
		}
	}
}
