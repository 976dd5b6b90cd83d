package harness

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// leaky is a server that gives away what it is told in one of the outputs.
type leaky struct {
	in     Output
	secret string
}

// ServeHTTP implements http.Handler, with as much of the API as the harness needs.
func (l leaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	give := func(in Output) string {
		if in == l.in {
			return l.secret
		}
		return "nothing"
	}
	switch r.URL.Path {
	case "/ws":
		up := websocket.Upgrader{}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		_ = ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"type":"error","code":"NOT_FOUND","message":%q}`, give("a frame")))
		_ = ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.ClosePolicyViolation, give("a close")))
	case "/metrics":
		fmt.Fprintf(w, "chatapi_x{label=%q} 1\n", give(InMetrics))
	case "/admin/tenants":
		fmt.Fprint(w, `[{"tenant_id":"tenant_1"}]`)
	case "/admin/dead-letters":
		fmt.Fprintf(w, `{"failed_messages":[{"error":%q}]}`, give(InDeadLetters))
	case "/rooms":
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"api_key":%q}`, l.secret)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":{"message":%q}}`, give(InErrors))
	}
}

// leakyServer is a Server that is not ours, as Start would have it.
func leakyServer(t *testing.T, l leaky) *Server {
	t.Helper()
	fake := httptest.NewServer(l)
	t.Cleanup(fake.Close)
	s := &Server{Base: fake.URL, MasterKey: "master-" + randomHex(24), Dir: t.TempDir(), http: fake.Client(), canary: NewCanary()}
	n := &Node{Base: fake.URL, Admin: fake.URL, Dir: s.Dir, http: s.http, canary: s.canary, logPath: filepath.Join(s.Dir, "server.log")}
	s.Nodes = []*Node{n}
	logged := "nothing"
	if l.in == InLog {
		logged = l.secret
	}
	Check(t, os.WriteFile(n.logPath, fmt.Appendf(nil, "{\"msg\":\"listening\"}\n{\"msg\":%q}\n", logged), 0o600))
	t.Cleanup(s.canary.Watch(s.Base))
	return s
}

// use makes some calls as a test would; none of them tells the canary anything.
func use(t *testing.T, s *Server, key string) {
	t.Helper()
	c := s.Anonymous().With("X-API-Key", key)
	for _, path := range []string{"/rooms", "/nothing"} {
		_, err := c.Do(t.Context(), http.MethodPost, path, map[string]any{"content": "an unmarked text"})
		Check(t, err)
	}
	conn := Must(Dial(s.Base, DialOptions{Header: http.Header{"X-Api-Key": {key}}}))(t)
	t.Cleanup(conn.Drop)
	Must(conn.CloseCode(requestTimeout))(t)
	_ = undocumented.take(s.Base) // its frames are not ours
	Check(t, errors.Join(s.Nodes[0].exposeMetrics(), s.exposeDeadLetters()))
}

func TestAPlantedLeakIsFoundInEveryOutput(t *testing.T) {
	t.Parallel()
	const key = "key-of-the-fake-tenant"
	secrets := map[string]string{
		"a known key": key, "a marked text": Body("hello"), "an unmarked text": "an unmarked text",
		"an unknown key": "sk_" + strings.Repeat("A9-", 14) + "z", "an unknown ticket": "wst_" + strings.Repeat("b", 24),
		"an unknown token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "an unknown webhook secret": "whsec_" + strings.Repeat("Zz09", 8),
	}
	for what, secret := range secrets {
		for _, in := range []Output{InLog, InMetrics, InErrors, InDeadLetters, "a frame", "a close"} {
			t.Run(what+" in "+string(in), func(t *testing.T) {
				t.Parallel()
				s := leakyServer(t, leaky{in, secret})
				use(t, s, key)
				hits, want := s.CanaryHits(), in
				if in == "a frame" || in == "a close" {
					want = InErrors
				}
				if len(hits) == 0 || !slices.ContainsFunc(hits, func(h string) bool { return strings.HasPrefix(h, string(want)+" holds") }) {
					t.Errorf("hits: %q, want one in %s", hits, want)
				}
				for _, h := range hits {
					if strings.Contains(h, secret) {
						t.Errorf("the find repeats the secret: %s", h)
					}
				}
			})
		}
	}
}

func TestAServerThatTellsNothingIsClean(t *testing.T) {
	t.Parallel()
	s := leakyServer(t, leaky{"nowhere", "key-of-the-fake-tenant"})
	use(t, s, "key-of-the-fake-tenant")
	if hits := s.CanaryHits(); len(hits) > 0 {
		t.Errorf("hits: %q", hits)
	}
}

func TestATextThatCannotBeRecognisedIsComplainedOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text     string
		declared string
		want     int
	}{{"hi", "", 1}, {"xxxxxxxxxx", "", 1}, {"hi", "hi", 0}, {Body("hi"), "", 0}, {"hi there", "", 0}, {"", "", 0}} {
		s := leakyServer(t, leaky{"nowhere", "nothing"})
		s.Unmarked(c.declared)
		_, err := s.Anonymous().Do(t.Context(), http.MethodPost, "/rooms", map[string]any{"content": c.text})
		Check(t, err)
		if hits := s.CanaryHits(); len(hits) != c.want {
			t.Errorf("%q, declared %q: %q, want %d", c.text, c.declared, hits, c.want)
		}
	}
}

func TestWhatIsTooMuchToKeepIsSearched(t *testing.T) {
	t.Parallel()
	c := NewCanary("a secret of the tests")
	c.Seen(InErrors, []byte("a secret of the tests"))
	filler := []byte(strings.Repeat("x", keptAtMost/4))
	for range 20 {
		c.Seen(InErrors, filler)
	}
	if kept := c.kept[InErrors].Len(); kept > keptAtMost {
		t.Errorf("%d bytes are kept, at most %d should be", kept, keptAtMost)
	}
	if hits := c.Hits(); len(hits) != 1 {
		t.Errorf("hits: %q, want one", hits)
	}
}
