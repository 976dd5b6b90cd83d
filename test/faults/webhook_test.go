package faults

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/test/harness"
)

// hook is a tenant's backend: it checks each call's signatures and remembers what it was told.
type hook struct {
	*httptest.Server
	t      *testing.T
	verify *webhooks.Webhook

	mu      sync.Mutex
	told    map[string]map[string]int // message → webhook-id → calls
	broken  bool
	unknown []string
}

func newHook(t *testing.T, secret string) *hook {
	t.Helper()
	verify, err := webhooks.NewWebhookRaw([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{t: t, verify: verify, told: map[string]map[string]int{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the server was killed in the middle
	}
	<-time.After(rand.N(20 * time.Millisecond)) // so that calls are under way when the server is killed
	var e struct {
		Type         string          `json:"type"`
		RecipientIDs []string        `json:"recipient_ids"`
		Message      harness.Message `json:"message"`
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.verify.Verify(body, r.Header); err != nil || json.Unmarshal(body, &e) != nil || e.Type != "message.offline" {
		h.unknown = append(h.unknown, string(body))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if h.broken {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	calls := h.told[e.Message.MessageID]
	if calls == nil {
		calls = map[string]int{}
		h.told[e.Message.MessageID] = calls
	}
	calls[r.Header.Get("webhook-id")]++
}

func (h *hook) heard(message string) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told[message]
}

// TestEveryOfflineEventSurvivesTwentyKills: between the commit and the call, and in the middle of one; the ids stay.
func TestEveryOfflineEventSurvivesTwentyKills(t *testing.T) {
	t.Parallel()
	const pause = 7 * time.Second // what the server lets pass after a start, for those who come back
	const kills, secret = 20, harness.BodyMark + " a secret of the tenant's own"
	receiver := newHook(t, secret)
	s := harness.Start(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "webhook=127.0.0.1", "RETRY_INTERVAL": "1s"}})
	tenant := harness.Must(s.NewTenantWith("hook", map[string]any{"webhook_url": receiver.URL, "webhook_secret": secret}))(t)
	ann := tenant.User("ann")
	room := harness.Must(ann.CreateRoom("group", "bob", "cat"))(t).RoomID

	var sent []string
	for kill := range kills {
		span := 300*time.Millisecond + rand.N(700*time.Millisecond)
		if kill%5 == 4 {
			span += pause // by then it makes calls
		}
		until := time.Now().Add(span)
		for i := 0; time.Now().Before(until); i++ {
			m, err := ann.Send(room, harness.Body("%d.%d", kill, i))
			harness.Check(t, err)
			sent = append(sent, m.MessageID)
			<-time.After(rand.N(40 * time.Millisecond))
		}
		harness.Check(t, s.Kill())
		harness.Check(t, s.Start())
	}
	twice := 0
	for i, id := range sent {
		harness.Eventually(t, 60*time.Second, "the event of message "+strconv.Itoa(i+1), func() bool { return len(receiver.heard(id)) > 0 })
		for event, calls := range receiver.heard(id) {
			if want := "evt_" + id[len("msg_"):] + ".0"; event != want {
				t.Errorf("told of %s under %s, want %s", id, event, want)
			}
			twice += calls - 1
		}
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	if len(receiver.unknown) > 0 {
		t.Errorf("%d calls were not signed or not understood: %s", len(receiver.unknown), receiver.unknown[0])
	}
	t.Logf("%d events arrived, %d of them once more", len(sent), twice)
}
