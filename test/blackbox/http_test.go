package blackbox

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMethodsPathsAndMediaTypesOutsideTheContract(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	run(t, alice, room, []input{
		{"DELETE /rooms", "DELETE", "/rooms", nil, 405, "METHOD_NOT_ALLOWED", ""},
		{"PUT a list", "PUT", "/rooms/" + room + "/messages", `{"content":"x"}`, 405, "METHOD_NOT_ALLOWED", ""},
		{"TRACE", "TRACE", "/rooms", nil, 405, "METHOD_NOT_ALLOWED", ""},
		{"POST /health", "POST", "/health", `{}`, 405, "METHOD_NOT_ALLOWED", ""},
		{"an invented method", "BREW", "/rooms", nil, 405, "METHOD_NOT_ALLOWED", ""},
		{"an unknown path", "GET", "/nothing/here", nil, 404, "NOT_FOUND", ""},
		{"the root", "GET", "/", nil, 404, "NOT_FOUND", ""},
		{"metrics on the public port", "GET", "/metrics", nil, 404, "NOT_FOUND", ""},
		{"pprof on the public port", "GET", "/debug/pprof/", nil, 404, "NOT_FOUND", ""},
		{"vars on the public port", "GET", "/debug/vars", nil, 404, "NOT_FOUND", ""},
		{"an encoded climb", "GET", "/rooms/%2e%2e%2fadmin%2ftenants", nil, 404, "NOT_FOUND", ""},
		{"an id with a slash", "GET", "/rooms/" + room + "%2fmessages", nil, 404, "NOT_FOUND", ""},
	})
	res := harness.Must(alice.Do(t.Context(), "DELETE", "/rooms", nil))(t)
	if allow := res.Header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
		t.Errorf("Allow of /rooms: %q", allow)
	}

	path, body := "/rooms/"+room+"/messages", `{"content":"`+harness.Body("x")+`"}`
	for _, media := range []string{
		"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16",
	} {
		res := harness.Must(alice.With("Content-Type", media).Call("POST", path, body, 415, nil))(t)
		wantProblem(t, res, "UNSUPPORTED_MEDIA_TYPE", "")
	}
	harness.Must(alice.With("Content-Type", "application/json; charset=UTF-8").Call("POST", path, body, 201, nil))(t)
	var bomb bytes.Buffer
	packed := gzip.NewWriter(&bomb)
	harness.Must(io.CopyN(packed, zeros{}, 10<<20))(t)
	harness.Check(t, packed.Close())
	res = harness.Must(alice.With("Content-Encoding", "gzip").Call("POST", path, bomb.Bytes(), 415, nil))(t)
	wantProblem(t, res, "UNSUPPORTED_MEDIA_TYPE", "")

	before := harness.Must(alice.Room(room))(t).LastSeq
	harness.Must(alice.With("X-HTTP-Method-Override", "DELETE").Call("POST", path, body, 201, nil))(t)
	if after := harness.Must(alice.Room(room))(t).LastSeq; after != before+1 {
		t.Errorf("a method override did something: last_seq %d → %d", before, after)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestIdempotencyKeysFollowTheRules(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	for _, key := range []string{strings.Repeat("k", 129), "a b", "schlüssel"} {
		keyed := alice.With("Idempotency-Key", key)
		res := harness.Must(keyed.Call("POST", "/rooms/"+room+"/messages", `{"content":"x"}`, 400, nil))(t)
		wantProblem(t, res, "VALIDATION_ERROR", "Idempotency-Key")
	}
	wantLive(t, alice, room)
}

func TestCrossOriginAnswersOnlyTheListedOrigin(t *testing.T) {
	t.Parallel()
	const listed = "https://good.example"
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"ALLOWED_ORIGINS": listed}})
	alice := tenant.User("alice")
	for origin, want := range map[string]string{
		listed: listed, "null": "", "https://good.example.evil.test": "", "https://evilgood.example": "", "http://good.example": "",
		"https://good.example:444": "", "https://sub.good.example": "", "https://good.example.": "", "*": "",
	} {
		res := harness.Must(alice.With("Origin", origin).Do(t.Context(), "GET", "/rooms", nil))(t)
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("Origin %s: Access-Control-Allow-Origin %q, want %q", origin, got, want)
		}
		if !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("Origin %s: Vary is %v, want Origin in it", origin, res.Header.Values("Vary"))
		}
		if res.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("Origin %s: credentials mode is on", origin)
		}
	}
	preflight := tenant.Server().Anonymous().With("Origin", listed).With("Access-Control-Request-Method", "POST")
	res := harness.Must(preflight.With("Access-Control-Request-Headers", "x-api-key").Do(t.Context(), "OPTIONS", "/rooms", nil))(t)
	allowed := strings.ToLower(res.Header.Get("Access-Control-Allow-Headers"))
	keys := strings.Contains(allowed, "x-api-key") || strings.Contains(allowed, "master")
	if res.Status/100 != 2 || !strings.Contains(allowed, "authorization") || keys {
		t.Errorf("preflight: status %d, allowed headers %q", res.Status, allowed)
	}
}

// raw sends bytes as they are and returns the status of the answer, 0 when the server just closed.
func raw(t *testing.T, s *harness.Server, request string) int {
	t.Helper()
	conn := harness.Must(net.Dial("tcp", strings.TrimPrefix(s.Base, "http://")))(t)
	defer conn.Close()
	harness.Check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	go func() { _, _ = io.WriteString(conn, request) }() // the server may close before it has read everything
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestHostileRequestsAreCutAndTheServerLives(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "X-H%d: v\r\n", i)
	}
	auth := "X-API-Key: " + tenant.Key + "\r\nX-User-Id: alice\r\n"
	smuggled := "POST /rooms HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	absolute := "GET http://evil.test/rooms HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n" + auth + "\r\n"
	for _, c := range []struct {
		name, request string
		want          []int
	}{
		{"2 MB of headers", "GET /rooms HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("b", 2<<20) + "\r\n\r\n", []int{431, 0}},
		{"10,000 headers", "GET /rooms HTTP/1.1\r\nHost: x\r\n" + many.String() + "\r\n", []int{431, 0}},
		{"a URL of 100 KB", "GET /" + strings.Repeat("u", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{414, 431, 0}},
		{"no host", "GET /rooms HTTP/1.1\r\n" + auth + "\r\n", []int{400}},
		{"two lengths", "POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", []int{400}},
		{"length and chunks", smuggled, []int{400, 415, 0}},
		{"a negative length", "POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", []int{400}},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400, 0}},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 405, 404, 505, 0}},
		{"another host", "GET /rooms HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n" + auth + "\r\n", []int{200}},
		{"an absolute form", absolute, []int{200}},
		{"a header with a line break", "GET /rooms HTTP/1.1\r\nHost: x\r\nX-API-Key: a\r\n b\r\n\r\n", []int{400, 401}},
		{"CONNECT", "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", []int{400, 404, 405}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := raw(t, s, c.request)
			for _, want := range c.want {
				if got == want {
					return
				}
			}
			t.Errorf("status: got %d, want one of %v", got, c.want)
		})
	}
	wantLive(t, alice, room)
}

func TestSlowRequestsAreCut(t *testing.T) {
	t.Parallel()
	const connections = 100
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	address := strings.TrimPrefix(tenant.Server().Base, "http://")
	ended := make(chan error, connections)
	for i := range connections {
		conn := harness.Must(net.Dial("tcp", address))(t)
		t.Cleanup(func() { conn.Close() })
		start := "GET /rooms HTTP/1.1\r\nHost: x\r\nX-Sl"
		if i%2 == 1 {
			start = "POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: " + tenant.Key +
				"\r\nX-User-Id: alice\r\nContent-Length: 1000\r\n\r\n{"
		}
		harness.Must(io.WriteString(conn, start))(t)
		go func() {
			_ = conn.SetReadDeadline(time.Now().Add(40 * time.Second))
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
	}
	wantLive(t, alice, room)
	for range connections {
		if err := <-ended; err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("a request that stands still was not cut within 40 s")
		}
	}
	wantLive(t, alice, room)
}

func TestEveryAnswerCarriesItsRequestID(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	seen := map[string]bool{}
	for _, path := range []string{"/health", "/rooms", "/rooms/room_x", "/nothing", "/v2/rooms"} {
		for range 3 {
			id := harness.Must(tenant.User("alice").Do(t.Context(), "GET", path, nil))(t).Header.Get("X-Request-Id")
			if id == "" || seen[id] {
				t.Errorf("GET %s: request id %q, want one that no other answer had", path, id)
			}
			seen[id] = true
		}
	}
}
