package rest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

type proberFunc func(context.Context) error

func (p proberFunc) Probe(ctx context.Context) error { return p(ctx) }

func withProber(p proberFunc) option { return func(d *httpapi.Deps) { d.Prober = p } }

func TestHealthIsDegradedAndGoodForUseWithoutRedis(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.without.Store(&[]string{"redis"})
	got := f.anonymous().get("/health").want(http.StatusOK).object()
	if missing, ok := got["missing"].([]any); got["status"] != "degraded" || got["db_writable"] != true || !ok || len(missing) != 1 || missing[0] != "redis" {
		t.Errorf("without Redis: %v", got)
	}
	f.anonymous().get("/health/ready").want(http.StatusOK)
	f.without.Store(nil)
	if got := f.anonymous().get("/health").want(http.StatusOK).object(); got["status"] != "ok" || got["missing"] != nil {
		t.Errorf("with Redis again: %v", got)
	}
}

func TestHealthOfAFreshInstall(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.anonymous().get("/health").want(http.StatusOK).object()
	if _, err := time.ParseDuration(got["uptime"].(string)); err != nil {
		t.Errorf("uptime: %v", err)
	}
	delete(got, "uptime")
	if diff := cmp.Diff(map[string]any{"status": "ok", "service": "chatapi", "version": "1.2.3", "db_writable": true}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.anonymous().get("/v1/health/live").want(http.StatusOK)
	f.anonymous().get("/health/ready").want(http.StatusOK)
	f.draining.Store(true)
	f.anonymous().get("/health/ready").want(http.StatusServiceUnavailable)
	f.anonymous().get("/health/live").want(http.StatusOK)
}

func TestHealthIs503WhileTheStoreCannotBeWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withProber(func(context.Context) error { return errors.New("disk full") }))
	got := f.anonymous().with("X-Response-Envelope", "true").get("/health").want(http.StatusServiceUnavailable)
	if body := got.object(); body["status"] != "error" || body["db_writable"] != false || strings.Contains(string(got.body), "disk") {
		t.Errorf("body %s", got.body)
	}
	if !strings.Contains(f.log.String(), "disk full") {
		t.Error("the cause is not in the log")
	}
}

func TestManyHealthChecksShareOneProbe(t *testing.T) {
	t.Parallel()
	var probes atomic.Int32
	begun, release := make(chan struct{}), make(chan struct{})
	f := newFixture(t, withProber(func(context.Context) error {
		if probes.Add(1) == 1 {
			close(begun)
			<-release
		}
		return nil
	}))
	answers := make(chan int, 20)
	for range cap(answers) {
		go func() { answers <- f.anonymous().get("/health").status }()
	}
	<-begun
	close(release)
	for range cap(answers) {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("status %d, want 200", status)
		}
	}
	if n := probes.Load(); n > 2 {
		t.Errorf("%d probes, want 1 a second", n)
	}
}

func TestAPanicIsA500LoggedOnceWithItsRequestID(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(d *httpapi.Deps) { d.Draining = func() bool { panic("at the disco") } })
	got := f.anonymous().get("/health/ready").wantError(http.StatusInternalServerError, domain.CodeInternal, "")
	for _, private := range []string{"disco", "goroutine", ".go"} {
		if strings.Contains(string(got.body), private) {
			t.Errorf("the client sees %q: %s", private, got.body)
		}
	}
	log := f.log.String()
	if strings.Count(log, "at the disco") != 1 || !strings.Contains(log, got.header.Get("X-Request-Id")) {
		t.Errorf("log: %s", log)
	}
	f.anonymous().get("/health").want(http.StatusOK)
}

// failingStore answers everything with one error.
type failingStore struct{ err error }

func (s failingStore) View(context.Context, domain.TenantID, func(ports.Reader) error) error {
	return s.err
}
func (s failingStore) Update(context.Context, domain.TenantID, func(ports.Tx) error) error {
	return s.err
}

func withFailingRooms(err error) option {
	return func(d *httpapi.Deps) {
		d.Rooms = application.NewRooms(failingStore{err}, system.IDs{}, system.Clock{}, nil)
	}
}

func TestInternalErrorsAreLoggedOnceAndNotTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withFailingRooms(errors.New("disk I/O error in /var/lib/chat.db")))
	got := f.user("alice").get("/rooms").wantError(http.StatusInternalServerError, domain.CodeInternal, "")
	if strings.Contains(string(got.body), "disk") {
		t.Errorf("the client sees the cause: %s", got.body)
	}
	log := f.log.String()
	if strings.Count(log, "disk I/O error") != 1 || !strings.Contains(log, got.header.Get("X-Request-Id")) {
		t.Errorf("log: %s", log)
	}
}

func TestWhatCannotBeDoneNowIs503WithRetryAfter(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		domain.ErrBusy, domain.ErrUnavailable, domain.ErrClosing, context.Canceled, context.DeadlineExceeded,
		fmt.Errorf("list rooms: %w", domain.ErrUnavailable),
	} {
		f := newFixture(t, withFailingRooms(err))
		got := f.user("alice").get("/rooms").wantError(http.StatusServiceUnavailable, domain.CodeUnavailable, "")
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("%v: Retry-After %q, want 1", err, got.header.Get("Retry-After"))
		}
	}
}

func TestRequestIDsAreOursAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	seen := map[string]bool{}
	for range 5 {
		id := f.user("alice").with("X-Request-Id", "req_mine").get("/rooms").header.Get("X-Request-Id")
		seen[id] = true
	}
	if len(seen) != 5 || seen["req_mine"] {
		t.Errorf("ids %v, want five of ours", seen)
	}
}

func TestTheEnvelopeHoldsTheBareBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	c := f.user("alice").with("X-Response-Envelope", "true")
	bare := f.user("alice").get("/rooms/" + room).want(http.StatusOK)
	if got, want := string(c.get("/rooms/"+room).want(http.StatusOK).body), `{"success":true,"data":`+string(bare.body)+`,"error":null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, path := range []string{"/rooms", "/rooms/" + room + "/members", "/rooms/" + room + "/messages", "/health"} {
		c.get(path).want(http.StatusOK)
	}
	c.post("/acks", `{"room_id":"`+room+`","seq":0}`).want(http.StatusOK)
	if got := c.post("/rooms/"+room+"/members", `{"user_id":"bob"}`).want(http.StatusNoContent); len(got.body) != 0 {
		t.Errorf("a 204 has the body %s", got.body)
	}
	c.get("/rooms/nope").wantError(http.StatusNotFound, domain.CodeNotFound, "")
}

func TestBodiesOverTheLimitAre413(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pad := func(n int) string { return `{"type":"group"` + strings.Repeat(" ", n-len(`{"type":"group"}`)) + `}` }
	f.user("alice").post("/rooms", pad(64<<10)).want(http.StatusCreated)
	f.user("alice").post("/rooms", pad(64<<10+1)).wantError(http.StatusRequestEntityTooLarge, domain.CodeTooLarge, "")
	r, err := http.NewRequest(http.MethodPost, f.url+"/rooms", io.MultiReader(strings.NewReader(pad(64<<10+1)))) // chunked
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-API-Key", f.key)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("chunked: %d, want 413", got.StatusCode)
	}
}

func TestBodiesOfOtherMediaAre415(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, headers := range [][]string{
		{"Content-Type", "text/plain"}, {"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Type", "application/json; charset=utf-16"},
	} {
		f.user("alice").with(headers...).post("/rooms", `{"type":"group"}`).wantError(http.StatusUnsupportedMediaType, domain.CodeUnsupportedMedia, "Content-Type")
	}
	f.user("alice").with("Content-Encoding", "gzip").post("/rooms", "x").wantError(http.StatusUnsupportedMediaType, domain.CodeUnsupportedMedia, "Content-Encoding")
	f.user("alice").with("Content-Type", "application/json; charset=utf-8").post("/rooms", `{"type":"group"}`).want(http.StatusCreated)
}

func TestACancelledRequestIsUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	handler := httpapi.New(f.deps)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/rooms", strings.NewReader(`{"type":"group"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-API-Key", f.key)
	r.Header.Set("X-User-Id", "alice")
	f.user("alice").get("/rooms").want(http.StatusOK) // the key is remembered: the store alone sees the context
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q; want 503 and 1", w.Code, w.Header().Get("Retry-After"))
	}
}

func TestSocketsAreMountedWithTheUnwrappedWriter(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(d *httpapi.Deps) {
		d.WebSocket = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 418 Hijacked\r\nContent-Length: 0\r\n\r\n")
		})
	})
	for _, path := range []string{"/ws?token=x", "/v1/ws"} {
		got, err := http.Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != http.StatusTeapot {
			t.Errorf("%s: %d, want the socket's own answer", path, got.StatusCode)
		}
	}
}

func TestHeadersOverTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// The server may close while this is still being written; what it answers is all that counts.
	_, _ = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("a", 24<<10)+"\r\n\r\n")
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d, want 431", got.StatusCode)
	}
}

func TestOddRequestTargetsGetTheNativeBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for target, want := range map[string]int{
		"OPTIONS *":                      http.StatusNotFound,
		"GET http://evil.example/health": http.StatusOK,
		"CONNECT evil.example:443":       http.StatusNotFound,
		"GET /rooms/../health":           http.StatusNotFound,
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, target+" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		defer got.Body.Close()
		if got.StatusCode != want || got.Header.Get("X-Request-Id") == "" || got.Header.Get("Location") != "" {
			t.Errorf("%s: %d %v, want %d with a request id", target, got.StatusCode, got.Header, want)
		}
	}
}
