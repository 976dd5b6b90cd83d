package observe_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/observe"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var _ ports.Appender = (*observe.Appender)(nil)

// scrape returns the samples whose names begin with prefix, without comments.
func scrape(t *testing.T, r *observe.Registry, prefix string) []string {
	t.Helper()
	status, body := get(t, observe.Admin(r, slog.New(slog.DiscardHandler)), "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: status %d: %s", status, body)
	}
	var samples []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, prefix) {
			samples = append(samples, strings.TrimSpace(line))
		}
	}
	return samples
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestStatsAreReadOnceAScrapeAndExposed(t *testing.T) {
	t.Parallel()
	type snapshot struct{ sent, open int64 }
	r, reads := observe.NewRegistry("1.2.3"), 0
	observe.Stats(r, func() snapshot { reads++; return snapshot{sent: 7, open: 3} },
		observe.Metric[snapshot]{Name: "x_sent_total", Help: "Sent.", Kind: observe.Counter,
			Value: func(s snapshot) float64 { return float64(s.sent) }},
		observe.Metric[snapshot]{Name: "x_open", Help: "Open.", Kind: observe.Gauge,
			Value: func(s snapshot) float64 { return float64(s.open) }},
	)
	want := []string{"chatapi_x_open 3", "chatapi_x_sent_total 7"}
	if diff := cmp.Diff(want, scrape(t, r, "chatapi_x_")); diff != "" || reads != 1 {
		t.Errorf("%d reads, %s", reads, diff)
	}
	if diff := cmp.Diff([]string{`chatapi_build_info{version="1.2.3"} 1`}, scrape(t, r, "chatapi_build_info")); diff != "" {
		t.Error(diff)
	}
	if len(scrape(t, r, "go_goroutines")) != 1 {
		t.Error("the metrics of the Go runtime are missing")
	}
}

// scripted answers every Append with the next of its outcomes.
type scripted []struct {
	done ports.Appended
	err  error
}

func (s *scripted) Append(context.Context, domain.TenantID, domain.Intent, func(domain.Snapshot) (domain.Change,
	error)) (ports.Appended, error) {
	next := (*s)[0]
	*s = (*s)[1:]
	return next.done, next.err
}

func TestAppendsAreCountedByOutcomeAndPassedOn(t *testing.T) {
	t.Parallel()
	fault := errors.New("a fault")
	script := scripted{
		{done: ports.Appended{Message: domain.Message{Seq: 1}}}, {done: ports.Appended{Message: domain.Message{Seq: 1},
			Duplicate: true}},
		{err: domain.ErrNotMember}, {err: domain.Invalid("content", "too long")}, {err: domain.ErrBusy},
		{err: domain.ErrUnavailable}, {err: domain.ErrClosing},
		{err: context.Canceled}, {err: context.DeadlineExceeded}, {err: fault},
	}
	want, r := append(scripted{}, script...), observe.NewRegistry("test")
	a := observe.NewAppender(&script, r)
	for i, w := range want {
		done, err := a.Append(t.Context(), "t", domain.Intent{}, nil)
		if !errors.Is(err, w.err) || !cmp.Equal(done, w.done) {
			t.Errorf("append %d: got %+v, %v, want %+v, %v", i, done, err, w.done, w.err)
		}
	}
	got := append(scrape(t, r, "chatapi_appends_total"), scrape(t, r, "chatapi_append_seconds_count")...)
	if diff := cmp.Diff([]string{
		`chatapi_appends_total{outcome="busy"} 1`, `chatapi_appends_total{outcome="cancelled"} 2`,
		`chatapi_appends_total{outcome="duplicate"} 1`,
		`chatapi_appends_total{outcome="failed"} 1`, `chatapi_appends_total{outcome="refused"} 2`,
		`chatapi_appends_total{outcome="stored"} 1`,
		`chatapi_appends_total{outcome="unavailable"} 2`, `chatapi_append_seconds_count 1`,
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRequestsAreCountedWithoutTheirPath(t *testing.T) {
	t.Parallel()
	r := observe.NewRegistry("test")
	h := observe.Requests(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "x")
	}), r)
	for _, c := range []struct{ method, path string }{{"GET", "/rooms/room_1"}, {"GET", "/missing"}, {"POST", "/rooms"},
		{"BREW", "/pot"}} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(c.method, c.path, nil))
	}
	if diff := cmp.Diff([]string{
		`chatapi_http_requests_total{method="GET",status="200"} 1`, `chatapi_http_requests_total{method="GET",status="404"} 1`,
		`chatapi_http_requests_total{method="POST",status="200"} 1`, `chatapi_http_requests_total{method="other",status="200"} 1`,
	}, scrape(t, r, "chatapi_http_requests_total")); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAnUpgradeHeaderComesWithIsMeasuredUnlessTheConnectionIsTakenOver(t *testing.T) {
	t.Parallel()
	r := observe.NewRegistry("test")
	server := httptest.NewServer(observe.Requests(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/ws" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = conn.Close()
	}), r))
	for path, want := range map[string]int{"/rooms": http.StatusUnauthorized, "/ws": http.StatusSwitchingProtocols} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, res.StatusCode, want)
		}
	}
	server.Close() // waits for the handlers, whose deferred measuring comes after the answer
	got := append(scrape(t, r, "chatapi_http_requests_total"), scrape(t, r, "chatapi_http_request_seconds_count")...)
	if diff := cmp.Diff([]string{
		`chatapi_http_requests_total{method="GET",status="401"} 1`, `chatapi_http_request_seconds_count{method="GET"} 1`,
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoMetricHasALabelThatNamesATenantRoomOrUser(t *testing.T) {
	t.Parallel()
	r := observe.NewRegistry("test")
	observe.NewAppender(&scripted{}, r)
	observe.Requests(http.NotFoundHandler(), r).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet,
		"/rooms/room_1?token=x", nil))
	label := regexp.MustCompile(`[{,](\w*(tenant|room|user|key|path|token)\w*)=`)
	for _, sample := range scrape(t, r, "chatapi_") {
		if found := label.FindString(sample); found != "" {
			t.Errorf("%s has the label %s", sample, found)
		}
	}
}

func TestAdminServesProfilesButNotTheCommandLine(t *testing.T) {
	t.Parallel()
	admin := observe.Admin(observe.NewRegistry("test"), slog.New(slog.DiscardHandler))
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 404, "/": 404,
		"/health": 404, "/rooms": 404,
	} {
		if status, body := get(t, admin, path); status != want {
			t.Errorf("%s: got %d, want %d: %.100s", path, status, want, body)
		}
	}
}
