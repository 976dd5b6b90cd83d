package cluster

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// hook is a tenant's backend, which takes some time over each call, and remembers them all.
type hook struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string][]call // by message
}

// call is one that was acknowledged.
type call struct {
	event        string // its webhook-id
	began, ended time.Time
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{calls: map[string][]call{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const work = time.Second // each node makes a few calls at a time: some are under way whenever it is stopped
	c := call{event: r.Header.Get("webhook-id"), began: time.Now()}
	var e struct {
		Message harness.Message `json:"message"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &e) != nil || e.Message.MessageID == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	<-time.After(work)
	c.ended = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls[e.Message.MessageID] = append(h.calls[e.Message.MessageID], c)
}

func (h *hook) of(message string) []call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[message]
}

// TestANodeThatStoodStillCommitsNothingTwice: bots speak and webhooks are called there when it is stopped, and it goes on when
// others have long done its work.
func TestANodeThatStoodStillCommitsNothingTwice(t *testing.T) {
	t.Parallel()
	const rooms, words, pace, every = 4, 6000, 40 * time.Millisecond, 100 * time.Millisecond // of answers that outlast the pause
	span := harness.Lasting(35*time.Second, 140*time.Second)                                 // beyond the lease of a run, and beyond that of a call
	c := newChoir(t, rooms, words, pace)
	receiver := newHook(t)
	hooked := harness.Must(c.server.NewTenantWith("hooked", map[string]any{
		"rate_limit": 0, "webhook_url": receiver.URL, "webhook_secret": harness.Body("a secret of the tenant's own"),
	}))(t)
	carol := hooked.User("carol")
	room := harness.Must(carol.CreateRoom("group", "dave"))(t).RoomID
	conns := c.listen(t)
	answers := c.speak(t, conns)

	var sent []string
	send := func(at []*harness.Node, d time.Duration) {
		for began := time.Now(); time.Since(began) < d; {
			for _, n := range at {
				sent = append(sent, harness.Must(carol.At(n).Send(room, harness.Body("%d", len(sent))))(t).MessageID)
				<-time.After(every)
			}
		}
	}
	harness.Eventually(t, 60*time.Second, "calls of the webhook", func() bool { // each is due some seconds after its message
		send(c.server.Nodes, time.Second)
		return len(receiver.of(sent[0])) > 0
	})
	paused, runs := c.busiest(t)
	send(c.server.Nodes, 2*time.Second)
	stopped := time.Now()
	harness.Check(t, paused.Pause())
	var others []*harness.Node
	for _, n := range c.server.Nodes {
		if n != paused {
			others = append(others, n)
		}
	}
	send(others, 2*time.Second)
	during(span - time.Since(stopped))
	harness.Check(t, paused.Resume())
	send(c.server.Nodes, time.Second)

	c.wantCutOnce(t, conns, answers, paused, runs, stopped)
	const callLease = 2 * time.Minute // at its end a call is made again whose outcome the node could not keep
	harness.Eventually(t, time.Until(stopped.Add(callLease+time.Minute)), "no call is owed", func() bool {
		return harness.Must(others[0].Metric("chatapi_outbox_webhook_jobs"))(t) == 0
	})
	wantCalledOnce(t, receiver, sent, stopped)
	var letters struct {
		Messages []json.RawMessage `json:"failed_messages"`
	}
	harness.Must(hooked.Backend().Call(http.MethodGet, "/admin/dead-letters", nil, http.StatusOK, &letters))(t)
	if len(letters.Messages) > 0 {
		t.Errorf("%d dead letters, such as %s", len(letters.Messages), letters.Messages[0])
	}
}

// wantCutOnce fails unless the answers of a node that stood still were ended by others, all others go on until they are
// stopped here, and every socket was told one end of each: that at the node itself too, unless it was closed.
func (c *choir) wantCutOnce(t *testing.T, conns map[*harness.Node]*harness.Conn, answers map[string]string, paused *harness.Node, runs int, stopped time.Time) {
	t.Helper()
	cut := map[string]bool{}
	for n, conn := range conns {
		if n == paused {
			continue
		}
		harness.Eventually(t, time.Until(stopped.Add(takenOver)), "the answers of the node that stands still are ended", func() bool {
			for _, f := range conn.Frames() {
				if f.Type == "message.stream.error" {
					cut[f.MessageID] = true
				}
			}
			return len(cut) >= runs
		})
	}
	for id, room := range answers {
		if !cut[id] {
			path := "/rooms/" + room + "/messages/" + id + "/stop"
			harness.Must(c.alice.Call(http.MethodPost, path, nil, http.StatusNoContent, nil))(t)
		}
	}
	lost := time.Duration(0)
	for n, conn := range conns {
		for id := range answers {
			_, err := conn.AwaitFor(20*time.Second, "the end of "+id, func(f harness.Frame) bool { return f.MessageID == id && isOver(f) })
			select {
			case <-conn.Finished():
				if n == paused {
					continue
				}
			default:
			}
			harness.Check(t, err)
		}
		told := 0
		for id, h := range hear(t, conn) {
			if h.over == nil {
				continue // of a socket that was closed
			}
			lost = max(lost, c.wantStored(t, n, answers[id], id, h, stopped))
			if told++; (h.over.Type == "message.stream.error") != cut[id] {
				t.Errorf("at %s ended %s", n.Base, h.over.Raw)
			}
		}
		t.Logf("%s was told %d ends; the node that stood still: %t", n.Base, told, n == paused)
	}
	t.Logf("what is lost was told %s before the pause at most", lost.Round(time.Millisecond))
	if len(cut) != runs {
		t.Errorf("%d answers were cut, and the node that stood still ran %d", len(cut), runs)
	}
	c.wantOneAnswerEach(t, c.server.Nodes[0])
}

// wantCalledOnce fails unless each message was told under one id, and once: but for those whose acknowledgement the node that
// stood still may not have stored.
func wantCalledOnce(t *testing.T, h *hook, sent []string, stopped time.Time) {
	t.Helper()
	const settled = time.Second // after an acknowledgement
	again, underway := 0, 0
	for i, id := range sent {
		calls := h.of(id)
		for _, c := range calls {
			if c.began.Before(stopped) && c.ended.After(stopped) {
				underway++
			}
		}
		if len(calls) == 0 {
			t.Errorf("message %d: no call", i+1)
			continue
		}
		for _, later := range calls[1:] {
			again++
			first := calls[0]
			if later.event != first.event || first.began.After(stopped) || first.ended.Before(stopped.Add(-settled)) {
				t.Errorf("message %d was acknowledged %s after the stop as %s, and told again as %s", i+1, first.ended.Sub(stopped), first.event, later.event)
			}
		}
	}
	if t.Logf("of %d messages %d were told again; %d calls were under way when the node was stopped", len(sent), again, underway); underway == 0 {
		t.Error("no call was under way when the node was stopped: nothing was tested")
	}
}

// isOver reports whether an answer ends with a frame.
func isOver(f harness.Frame) bool {
	return f.Type == "message.stream.end" || f.Type == "message.stream.error"
}
