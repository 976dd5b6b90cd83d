package faults

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// slowHook answers its first call when it is told to, and each later one at once.
type slowHook struct {
	release chan struct{}

	mu  sync.Mutex
	ids []string
}

// ServeHTTP implements http.Handler.
func (h *slowHook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.ids = append(h.ids, r.Header.Get("webhook-id"))
	first := len(h.ids) == 1
	h.mu.Unlock()
	if first {
		<-h.release
	}
}

func (h *slowHook) calls() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ids)
}

// TestAWorkerPausedBeyondItsLeaseCommitsNothingTwice: its call is under way when it is suspended, and the answer comes when
// the job is long another's, here its own second claim.
func TestAWorkerPausedBeyondItsLeaseCommitsNothingTwice(t *testing.T) {
	t.Parallel()
	hook := &slowHook{release: make(chan struct{})}
	receiver := httptest.NewServer(hook)
	t.Cleanup(receiver.Close)
	release := sync.OnceFunc(func() { close(hook.release) })
	t.Cleanup(release) // before the receiver is closed, which waits for its calls

	s := harness.Start(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "webhook=127.0.0.1"}})
	tenant := harness.Must(s.NewTenantWith("paused", map[string]any{"webhook_url": receiver.URL, "webhook_secret": harness.Body("secret")}))(t)
	room := harness.Must(tenant.User("ann").CreateRoom("group", "bob"))(t).RoomID
	sent := harness.Must(tenant.User("ann").Send(room, harness.Body("for bob")))(t)
	harness.Check(t, s.Kill()) // before the grace is over: nobody has been told

	w := startWorker(t, filepath.Join(s.Dir, "chatapi.db"))
	harness.Eventually(t, 30*time.Second, "the worker's call", func() bool { return len(hook.calls()) == 1 })
	w.pause(t)
	<-time.After(workerLease + time.Second)
	w.resume(t)
	harness.Eventually(t, 30*time.Second, "the call of who has the job now", func() bool { return len(hook.calls()) == 2 })
	release()
	report := w.end(t)
	if got := report.Stats; got.Lost != 1 || got.Attempts != 2 || got.Dead != 0 || report.Waiting != 0 {
		t.Errorf("the worker has %+v, and %d jobs are left; want 2 attempts, 1 lost outcome and no job", got, report.Waiting)
	}
	event := "evt_" + sent.MessageID[len("msg_"):] + ".0"
	if got, want := hook.calls(), []string{event, event}; !slices.Equal(got, want) {
		t.Errorf("webhook-ids: %q, want %q", got, want)
	}

	harness.Check(t, s.Start())
	var letters struct {
		Messages []struct{} `json:"failed_messages"`
	}
	harness.Must(tenant.Backend().Call(http.MethodGet, "/admin/dead-letters", nil, http.StatusOK, &letters))(t)
	if len(letters.Messages) != 0 {
		t.Errorf("%d dead letters, want none", len(letters.Messages))
	}
}
