package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// heardStream is an answer as one socket was sent it: it saw its start.
type heardStream struct {
	id, room, bot, replyTo string
	parts                  []heardPart
	over                   string // the type of the frame that ended it; empty = none has come
	code, content          string // of that
}

// heardPart is how long the text was that had come by a moment, in bytes.
type heardPart struct {
	at   time.Time
	text string
}

// text is all of it that has come.
func (h *heardStream) text() string {
	if len(h.parts) == 0 {
		return ""
	}
	return h.parts[len(h.parts)-1].text
}

// ear is a socket that follows the answers in all rooms of its user, and finds what no order of events may look like.
type ear struct {
	*harness.Conn

	mu       sync.Mutex
	streams  map[string]*heardStream
	messages map[string]int // by id: how often it was told as an ordinary message
	faults   []string
}

func newEar(u *harness.User, query ...string) (*ear, error) {
	e := &ear{streams: map[string]*heardStream{}, messages: map[string]int{}}
	values := map[string][]string{}
	for i := 0; i+1 < len(query); i += 2 {
		values[query[i]] = []string{query[i+1]}
	}
	conn, err := u.DialWith(harness.DialOptions{
		Query: values, OnFrame: e.hear, Keep: func(f harness.Frame) bool { return f.Type == "sync.complete" },
	})
	e.Conn = conn
	return e, err
}

func (e *ear) hear(f harness.Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.streams[f.MessageID]
	switch f.Type {
	case "message.stream.start":
		if h != nil || e.messages[f.MessageID] > 0 {
			e.fault("a start once more: %s", f.Raw)
		}
		e.streams[f.MessageID] = &heardStream{
			id: f.MessageID, room: f.RoomID, bot: f.SenderID, replyTo: f.ReplyTo, parts: []heardPart{{f.At, f.Content}},
		}
	case "message.stream.delta":
		var part struct {
			Delta  string `json:"delta"`
			Offset int    `json:"offset"`
		}
		if err := json.Unmarshal(f.Raw, &part); err != nil || h == nil || h.over != "" || part.Offset != len(h.text()) { // the model says ASCII
			e.fault("a delta out of turn: %s", f.Raw)
			return
		}
		h.parts = append(h.parts, heardPart{f.At, h.text() + part.Delta})
	case "message.stream.end", "message.stream.error":
		if h == nil || h.over != "" {
			e.fault("an end of nothing: %s", f.Raw)
			return
		}
		h.over, h.code, h.content = f.Type, f.Code, f.Content
	case "message":
		if h != nil || e.messages[f.MessageID] > 0 && !f.Redelivered {
			e.fault("a message that was shown, or told before: %s", f.Raw)
		}
		e.messages[f.MessageID]++
	}
}

// fault is called with mu held.
func (e *ear) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Sprintf(format, args...))
}

// heard are the answers that are known, and whether a message was told.
func (e *ear) heard() []*heardStream {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*heardStream
	for _, h := range e.streams {
		known := *h
		all = append(all, &known)
	}
	return all
}

// chorus is a tenant with rooms in each of which a bot speaks.
type chorus struct {
	*harness.Tenant
	model *scripted.Server
	rooms []string
	bots  []string
	asked map[string]string // the latest question of each room
}

// chorusKey is what its models are called with.
const chorusKey = "model-key-canary-51c2"

// botRooms are rooms of alice's and bob's, each with a bot of its own.
func botRooms(t *testing.T, s *harness.Server, model *scripted.Server, rooms int, script string) *chorus {
	t.Helper()
	config := map[string]any{"rate_limit": 0, "bot_limits": map[string]any{"replies_per_minute": 600}}
	c := &chorus{Tenant: harness.Must(s.NewTenantWith("chorus", config))(t), model: model, asked: map[string]string{}}
	for range rooms {
		var made struct {
			ID string `json:"bot_id"`
		}
		body := map[string]any{"name": "Ada", "llm_base_url": model.URL, "model": script, "llm_api_key": chorusKey}
		harness.Must(c.Backend().Call(http.MethodPost, "/bots", body, http.StatusCreated, &made))(t)
		c.bots = append(c.bots, made.ID)
		c.rooms = append(c.rooms, harness.Must(c.User("alice").CreateRoom("group", "bob", made.ID))(t).RoomID)
	}
	return c
}

// ask asks a question in every room.
func (c *chorus) ask(t *testing.T) {
	t.Helper()
	alice := c.User("alice")
	for _, room := range c.rooms {
		c.asked[room] = harness.Must(alice.Send(room, harness.Body("Sing")))(t).MessageID
	}
}
