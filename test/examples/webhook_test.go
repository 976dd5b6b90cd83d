package examples

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/test/harness"
)

const (
	secret   = "whsec_c2VjcmV0IG9mIHRoZSBzdXBwb3J0IGJvdA=="
	question = `{"type":"bot.context","room_id":"room_1","room_metadata":{"customer":"Bob","order":"5","status":"is being packed"},` +
		`"message":{"content":"Where is it?"}}`
	plea = `{"type":"bot.context","room_id":"room_1","room_metadata":null,"message":{"content":"Give me a HUMAN, please"}}`
)

// call is one call of a webhook, and what it is to answer.
type call struct {
	name   string
	body   string
	secret string
	age    time.Duration
	extra  string // signatures beside the right one
	status int
	answer string
	puts   int // handoffs
}

var calls = []call{
	{name: "a question", body: question, status: http.StatusOK,
		answer: `{"system_prompt":"You answer customers of Acme, in two sentences at most. You talk to Bob, whose order 5 is being packed. What you do not know you do not make up."}`},
	{name: "a call for a person", body: plea, status: http.StatusOK, answer: `{"skip":true}`, puts: 1},
	{name: "another event", body: `{"type":"message.offline"}`, status: http.StatusNoContent},
	{name: "a secret being rotated", body: plea, extra: "v1,AAAA ", status: http.StatusOK, answer: `{"skip":true}`, puts: 1},
	{name: "another secret", body: plea, secret: "whsec_YW5vdGhlciBzZWNyZXQ=", status: http.StatusUnauthorized},
	{name: "a call of yesterday", body: plea, age: 24 * time.Hour, status: http.StatusUnauthorized},
	{name: "a call of tomorrow", body: plea, age: -24 * time.Hour, status: http.StatusUnauthorized},
	{name: "no signature", body: plea, secret: "none", status: http.StatusUnauthorized},
}

func TestTheWebhookAnswersWhatIsSignedAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, language := range webhooks {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			api := &handoffs{}
			at := startWebhook(t, language, api.serve(t))
			for _, c := range calls {
				before := len(api.all())
				status, answer := c.make(t, at)
				if status != c.status || answer != c.answer {
					t.Errorf("%s: answered %d %s, want %d %s", c.name, status, answer, c.status, c.answer)
				}
				if puts := len(api.all()) - before; puts != c.puts {
					t.Errorf("%s: %d handoffs, want %d", c.name, puts, c.puts)
				}
			}
			want := `PUT /rooms/room_1/handoff of key: {"assignee":"carol","mode":"human"}`
			if diff := cmp.Diff([]string{want, want}, api.all()); diff != "" {
				t.Errorf("handoffs (-want +got):\n%s", diff)
			}
			api.refuse()
			if status, _ := calls[1].make(t, at); status != http.StatusInternalServerError {
				t.Errorf("a handoff that failed is answered %d, want 500", status)
			}
		})
	}
}

// make calls a webhook. An empty answer is none.
func (c call) make(t *testing.T, at string) (status int, answer string) {
	t.Helper()
	r := harness.Must(http.NewRequestWithContext(t.Context(), http.MethodPost, at, bytes.NewReader([]byte(c.body))))(t)
	if c.secret != "none" {
		c.sign(t, r.Header)
	}
	got := harness.Must(http.DefaultClient.Do(r))(t)
	defer got.Body.Close()
	body := bytes.TrimSpace(harness.Must(io.ReadAll(got.Body))(t))
	return got.StatusCode, string(body)
}

func (c call) sign(t *testing.T, into http.Header) {
	t.Helper()
	by := c.secret
	if by == "" {
		by = secret
	}
	signer := harness.Must(standardwebhooks.NewWebhook(by))(t)
	when := time.Now().Add(-c.age)
	signature := harness.Must(signer.Sign("ctx_1", when, []byte(c.body)))(t)
	into.Set("webhook-id", "ctx_1")
	into.Set("webhook-timestamp", strconv.FormatInt(when.Unix(), 10))
	into.Set("webhook-signature", c.extra+signature)
}

// startWebhook starts a webhook and returns its address.
func startWebhook(t *testing.T, language, api string) string {
	t.Helper()
	folder := filepath.Join(harness.Must(harness.ModuleRoot())(t), "examples", "support-bot", "webhook")
	command := []string{"node", filepath.Join(folder, "main.mjs")}
	if language == "go" {
		command = []string{filepath.Join(t.TempDir(), "webhook")}
		build := exec.CommandContext(t.Context(), "go", "build", "-o", command[0], ".")
		build.Dir = folder
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PORT=0", "WEBHOOK_SECRET="+secret, "CHATAPI_URL="+api, "CHATAPI_KEY=key", "ASSIGNEE=carol")
	stdout := harness.Must(cmd.StdoutPipe())(t)
	harness.Check(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // killed: its error says no more
	})
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("the webhook did not start")
	}
	return lines.Text()
}

// handoffs stands in for ChatAPI.
type handoffs struct {
	mu      sync.Mutex
	made    []string
	refuses bool
}

func (h *handoffs) serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// ServeHTTP implements http.Handler.
func (h *handoffs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuses {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var body map[string]string
	_ = json.NewDecoder(r.Body).Decode(&body)
	sorted, _ := json.Marshal(body)
	h.made = append(h.made, fmt.Sprintf("%s %s of %s: %s", r.Method, r.URL.Path, r.Header.Get("X-API-Key"), sorted))
	_, _ = io.WriteString(w, "{}")
}

func (h *handoffs) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.made...)
}

func (h *handoffs) refuse() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuses = true
}
