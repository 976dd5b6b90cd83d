package blackbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// house is a server with a model that says what it is told to, and a tenant.
type house struct {
	*harness.Tenant
	model *scripted.Server
}

// newHouse starts both. The model and webhooks on this machine may be called.
func newHouse(t *testing.T) *house {
	t.Helper()
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "llm=127.0.0.1,webhook=127.0.0.1"}})
	return &house{Tenant: tenant, model: model}
}

// another is the same house with another tenant.
func (h *house) another(t *testing.T, config map[string]any) *house {
	t.Helper()
	all := map[string]any{"rate_limit": 0}
	for name, value := range config {
		all[name] = value
	}
	return &house{Tenant: harness.Must(h.Server().NewTenantWith("another", all))(t), model: h.model}
}

// bot is a bot as the API shows it, as far as tests look at it.
type bot struct {
	ID     string `json:"bot_id"`
	HasKey bool   `json:"has_key"`
}

// modelKey is the key that bots call the model with.
const modelKey = "model-key-canary-7f3a"

// newBot makes a bot whose model plays a script; more are fields beside, or instead of, the usual ones.
func (h *house) newBot(t *testing.T, script string, more map[string]any) string {
	t.Helper()
	body := map[string]any{
		"name": "Ada", "llm_base_url": h.model.URL, "model": script, "llm_api_key": modelKey, "system_prompt": harness.Body("You are Ada."),
	}
	for name, value := range more {
		body[name] = value
	}
	var made bot
	harness.Must(h.Backend().Call(http.MethodPost, "/bots", body, http.StatusCreated, &made))(t)
	return made.ID
}

// roomWith makes a group of alice's with a bot that plays a script, and others.
func (h *house) roomWith(t *testing.T, script string, more map[string]any, others ...string) (room, botID string) {
	t.Helper()
	botID = h.newBot(t, script, more)
	return harness.Must(h.User("alice").CreateRoom("group", append(others, botID)...))(t).RoomID, botID
}

// streamFrame is what frames of streams have beside what all have.
type streamFrame struct {
	Attempt int    `json:"attempt"`
	Offset  *int   `json:"offset"`
	Delta   string `json:"delta"`
}

// answer is what a client knows of one answer: the reducer of docs/bots.md, and what it must never see.
type answer struct {
	start   harness.Frame // the first
	text    string
	attempt int
	deltas  int
	over    *harness.Frame // its end or error
}

// answers reduces what a socket was sent in a room to the answers that it was shown, in order, and fails on what no order of events
// may look like.
func answers(t *testing.T, c *harness.Conn, room string) (all []*answer) {
	t.Helper()
	known := map[string]*answer{}
	for _, f := range chosen(c, func(f harness.Frame) bool { return f.RoomID == room }) {
		a := known[f.MessageID]
		switch f.Type {
		case "message.stream.start":
			if a == nil {
				a = &answer{start: f}
				known[f.MessageID], all = a, append(all, a)
			}
			a.restart(t, f)
		case "message.stream.delta":
			if a == nil {
				t.Errorf("a delta before its start: %s", f.Raw)
				continue
			}
			a.grow(t, f)
		case "message.stream.end", "message.stream.error":
			if a == nil || a.over != nil {
				t.Errorf("an end of nothing: %s", f.Raw)
				continue
			}
			a.over = &f
		case "message":
			if a != nil {
				t.Errorf("a message that the socket was shown as an answer: %s", f.Raw)
			}
		}
	}
	return all
}

func (a *answer) restart(t *testing.T, f harness.Frame) {
	t.Helper()
	part := streamOf(t, f)
	if a.over != nil || part.Attempt < a.attempt || a.start.SenderID != f.SenderID || a.start.ReplyTo != f.ReplyTo {
		t.Errorf("after %s came %s", a.start.Raw, f.Raw)
	}
	a.attempt, a.text = part.Attempt, f.Content
}

func (a *answer) grow(t *testing.T, f harness.Frame) {
	t.Helper()
	part := streamOf(t, f)
	if a.over != nil || part.Offset == nil || *part.Offset != utf8.RuneCountInString(a.text) || part.Delta == "" {
		t.Errorf("after %d code points came %s", utf8.RuneCountInString(a.text), f.Raw)
	}
	a.text += part.Delta
	a.deltas++
}

func streamOf(t *testing.T, f harness.Frame) (part streamFrame) {
	t.Helper()
	harness.Check(t, json.Unmarshal(f.Raw, &part))
	return part
}

// isOver selects the frames that end an answer.
func isOver(f harness.Frame) bool {
	return f.Type == "message.stream.end" || f.Type == "message.stream.error"
}

// awaitOver waits until the answer to a message has ended on a socket, and returns it.
func awaitOver(t *testing.T, c *harness.Conn, room, message string) *answer {
	t.Helper()
	return awaitOverFor(t, c, room, message, 30*time.Second)
}

func awaitOverFor(t *testing.T, c *harness.Conn, room, message string, limit time.Duration) *answer {
	t.Helper()
	begun := map[string]bool{}
	harness.Must(c.AwaitFor(limit, "the end of the answer to "+message, func(f harness.Frame) bool {
		if f.Type == "message.stream.start" && f.ReplyTo == message {
			begun[f.MessageID] = true
		}
		return isOver(f) && begun[f.MessageID]
	}))(t)
	for _, a := range answers(t, c, room) {
		if a.start.ReplyTo == message {
			return a
		}
	}
	t.Fatalf("there is no answer to %s", message)
	return nil
}

// awaitPart waits until so many parts of an answer have come to a socket, and returns its id.
func awaitPart(t *testing.T, c *harness.Conn, room string, parts int) string {
	t.Helper()
	n := 0
	f := harness.Must(c.Await("parts of an answer", func(f harness.Frame) bool {
		if f.Type == "message.stream.delta" && f.RoomID == room {
			n++
		}
		return n >= parts && f.Type == "message.stream.delta"
	}))(t)
	return f.MessageID
}

// ask sends a message, and returns its id.
func ask(t *testing.T, u *harness.User, room, text string) string {
	t.Helper()
	return harness.Must(u.Send(room, harness.Body("%s", text)))(t).MessageID
}

// finish is what a bot's message tells of how it was made.
type finish struct {
	Model  string `json:"model"`
	Reason string `json:"finish_reason"`
	Error  string `json:"error"`
	Usage  *struct {
		Input  int64 `json:"input_tokens"`
		Output int64 `json:"output_tokens"`
	} `json:"usage"`
}

func finishOf(t *testing.T, m harness.Message) (f finish) {
	t.Helper()
	harness.Check(t, json.Unmarshal(m.Meta, &f))
	return f
}

// wantEnd fails unless an answer ended well, and is the message that REST has.
func wantEnd(t *testing.T, u *harness.User, a *answer, content, reason string) finish {
	t.Helper()
	if a.over.Type != "message.stream.end" || a.over.Content != content || a.text != content {
		t.Fatalf("the end is %s after %q, want %q", a.over.Raw, a.text, content)
	}
	var stored harness.Message
	path := "/rooms/" + a.over.RoomID + "/messages/" + a.over.MessageID
	res := harness.Must(u.Call(http.MethodGet, path, nil, http.StatusOK, &stored))(t)
	sameJSON(t, "the end, and the message that is stored", a.over.Raw, append(append([]byte(`{"type":"message.stream.end",`), res.Body[1:len(res.Body)-1]...), '}'))
	if stored.SenderType != "bot" || stored.SenderID != a.start.SenderID || stored.ReplyTo != a.start.ReplyTo {
		t.Errorf("stored is %s, begun was %s", res.Body, a.start.Raw)
	}
	f := finishOf(t, stored)
	if f.Reason != reason || f.Error != "" {
		t.Errorf("meta %s, want finish_reason %s", stored.Meta, reason)
	}
	return f
}

// wantError fails unless an answer ended with an error, and its text is stored, or nothing is.
func wantError(t *testing.T, u *harness.User, a *answer, code, content string, stored bool) {
	t.Helper()
	if a.over.Type != "message.stream.error" || a.over.Code != code || a.over.Content != content {
		t.Fatalf("the end is %s, want %s with %q", a.over.Raw, code, content)
	}
	if (a.over.Seq > 0) != stored || (a.over.Rev > 0) != stored {
		t.Errorf("the end is %s, stored %v", a.over.Raw, stored)
	}
	path := "/rooms/" + a.over.RoomID + "/messages/" + a.over.MessageID
	if !stored {
		harness.Must(u.Call(http.MethodGet, path, nil, http.StatusNotFound, nil))(t)
		return
	}
	var m harness.Message
	harness.Must(u.Call(http.MethodGet, path, nil, http.StatusOK, &m))(t)
	if f := finishOf(t, m); m.Content != content || m.Seq != a.over.Seq || m.Rev != a.over.Rev || f.Reason != "error" || f.Error != code {
		t.Errorf("stored is %+v with meta %s, want %s with %q", m, m.Meta, code, content)
	}
}

// wantModelIdle fails unless the model is left in peace soon: nothing of an answer that is over goes on.
func (h *house) wantModelIdle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	harness.Check(t, h.model.WaitIdle(ctx))
}

// askedFor are the questions that the model was asked with a script.
func (h *house) askedFor(script string) (asked []scripted.Request) {
	for _, r := range h.model.Asked() {
		if r.Model == script {
			asked = append(asked, r)
		}
	}
	return asked
}

func TestEverybodySeesABotAnswerAsItSpeaks(t *testing.T) {
	t.Parallel()
	const tokens = 40
	h := newHouse(t)
	for _, provider := range []string{"openai", "anthropic"} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			h := h.another(t, nil)
			script := fmt.Sprintf("held?tokens=%d&after=%d&interval=30ms", tokens, tokens/2)
			if provider == "anthropic" { // counted on its own
				script = "held?interval=30ms" + fmt.Sprintf("&tokens=%d&after=%d", tokens, tokens/2)
			}
			room, botID := h.roomWith(t, script, map[string]any{"provider": provider, "temperature": 0.5, "max_output_tokens": 99}, "bob", "carol", "dora")
			alice := h.User("alice")
			asking, watching := connect(t, alice), connect(t, h.User("bob"))
			message := ask(t, alice, room, "Hello")
			awaitPart(t, asking, room, 1)
			late := connect(t, h.User("carol"))
			h.model.GoOn(script)
			text := scripted.Words(tokens)
			for name, c := range map[string]*harness.Conn{"alice": asking, "bob": watching, "carol, who came midway": late} {
				a := awaitOver(t, c, room, message)
				f := wantEnd(t, alice, a, text, "stop")
				if f.Model != script || f.Usage == nil || f.Usage.Input != scripted.InputTokens || f.Usage.Output != tokens {
					t.Errorf("%s: meta %+v", name, f)
				}
				if a.start.SenderID != botID || a.attempt != 1 || a.deltas < 2 {
					t.Errorf("%s: %d deltas after %s", name, a.deltas, a.start.Raw)
				}
				if midway := a.start.Content != ""; midway != (c == late) || len(a.start.Content) >= len(text) {
					t.Errorf("%s was sent the start %s", name, a.start.Raw)
				}
			}
			after := connect(t, h.User("dora"))
			if shown := answers(t, after, room); len(shown) != 0 || len(after.Messages(room)) != 2 {
				t.Errorf("who comes later was shown %d answers and %d messages, want two messages", len(shown), len(after.Messages(room)))
			}
			wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 2)
			asked := h.askedFor(script)
			if len(asked) != 1 {
				t.Fatalf("the model was asked %d times", len(asked))
			}
			if q := asked[0]; q.Dialect != provider || q.Key() != modelKey || q.System != harness.Body("You are Ada.") || len(q.Turns) != 1 ||
				q.Last() != harness.Body("Hello") || q.MaxTokens != 99 || q.Temperature == nil || *q.Temperature != 0.5 {
				t.Errorf("the model was asked %+v", q)
			}
		})
	}
}

// TestAModelIsShownTheConversation: what the bot has said as its own, everything else as the user's, and no more than it is to see.
func TestAModelIsShownTheConversation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const script = "echo?interval=0s"
	room, _ := h.roomWith(t, script, map[string]any{"context_messages": 4}, "bob")
	alice, bob := h.User("alice"), h.User("bob")
	c := connect(t, alice)
	for i, u := range []*harness.User{alice, bob, alice} {
		message := ask(t, u, room, fmt.Sprint("question ", i))
		wantEnd(t, alice, awaitOver(t, c, room, message), harness.Body("question %d", i), "stop")
	}
	asked := h.askedFor(script)
	if len(asked) != 3 {
		t.Fatalf("the model was asked %d times, want 3", len(asked))
	}
	want := []scripted.Turn{ // of the last four messages the first is the bot's: a conversation begins with a user
		{Role: "user", Text: harness.Body("question 1")}, {Role: "assistant", Text: harness.Body("question 1")}, {Role: "user", Text: harness.Body("question 2")},
	}
	if got := asked[2].Turns; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the third time the model was shown %v, want %v", got, want)
	}
}

// TestWhatComesMeanwhileIsAnsweredByOneFurtherRun: a bot speaks once at a time in a room.
func TestWhatComesMeanwhileIsAnsweredByOneFurtherRun(t *testing.T) {
	t.Parallel()
	const script = "answer?tokens=30&interval=150ms"
	h := newHouse(t)
	room, _ := h.roomWith(t, script, nil, "bob")
	alice := h.User("alice")
	c := connect(t, alice)
	first := ask(t, alice, room, "first")
	awaitPart(t, c, room, 2)
	var last string
	for i := range 4 {
		last = ask(t, h.User("bob"), room, fmt.Sprint("meanwhile ", i))
	}
	wantEnd(t, alice, awaitOver(t, c, room, first), scripted.Words(30), "stop")
	wantEnd(t, alice, awaitOver(t, c, room, last), scripted.Words(30), "stop")
	<-time.After(time.Second) // nothing more
	if all := answers(t, c, room); len(all) != 2 {
		t.Errorf("%d answers, want 2", len(all))
	}
	asked := h.askedFor(script)
	if len(asked) != 2 {
		t.Fatalf("the model was asked %d times, want twice", len(asked))
	}
	if again := asked[1]; len(again.Turns) != 6 || !slices.Contains(again.Turns, scripted.Turn{Role: "assistant", Text: scripted.Words(30)}) ||
		again.Turns[5].Text != harness.Body("meanwhile 3") {
		t.Errorf("the second time the model was shown %v, want all messages, its own answer among them, and the newest at the end", again.Turns)
	}
}

func TestBotsNeverAnswerBots(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	room, ada := h.roomWith(t, "answer?tokens=3", nil)
	bea := h.newBot(t, "answer?tokens=5", nil)
	alice := h.User("alice")
	harness.Check(t, alice.AddMembers(room, bea))
	c := connect(t, alice)
	message := ask(t, alice, room, "Hello, both")
	harness.Eventually(t, 30*time.Second, "two answers", func() bool { return len(chosen(c, isOver)) >= 2 })
	<-time.After(1500 * time.Millisecond) // nothing more
	senders := map[string]bool{}
	for _, a := range answers(t, c, room) {
		senders[a.start.SenderID] = true
		if a.start.ReplyTo != message {
			t.Errorf("an answer to %s", a.start.Raw)
		}
	}
	history := harness.Must(alice.History(room, 0, 100))(t)
	if wantDense(t, history, 1, 3); !senders[ada] || !senders[bea] || len(h.model.Asked()) != 2 {
		t.Errorf("answers of %v, the model was asked %d times", senders, len(h.model.Asked()))
	}
}

// TestABotAnswersInARoomOfEveryKind: in a direct message too, and to what comes over a socket.
func TestABotAnswersInARoomOfEveryKind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.newBot(t, "echo", nil)
	alice := h.User("alice")
	c := connect(t, alice)
	for _, kind := range []string{"dm", "group", "channel"} {
		room := harness.Must(alice.CreateRoom(kind, "alice", id))(t).RoomID
		sent, _, err := c.Send(room, harness.Body("in a %s", kind), "")
		harness.Check(t, err)
		wantEnd(t, alice, awaitOver(t, c, room, sent.MessageID), harness.Body("in a %s", kind), "stop")
	}
}

func stopPath(room, message string) string {
	return "/rooms/" + room + "/messages/" + message + "/stop"
}

func TestAnAnswerIsStoppedWithinASecond(t *testing.T) {
	t.Parallel()
	const late = 10 * time.Second // beside all other tests
	h := newHouse(t)
	for name, by := range map[string]func(h *house) *harness.Client{
		"by who asked": func(h *house) *harness.Client { return h.User("alice").Client },
		"by a member":  func(h *house) *harness.Client { return h.User("bob").Client },
		"by a token": func(h *house) *harness.Client {
			return harness.Must(harness.Must(h.NewSigner())(t).User("bob"))(t).Client
		},
		"by the backend": func(h *house) *harness.Client { return h.Backend() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := h.another(t, nil)
			room, _ := h.roomWith(t, "endless?interval=20ms", nil, "bob")
			alice, client := h.User("alice"), by(h)
			c := connect(t, alice)
			message := ask(t, alice, room, "Hello")
			id := awaitPart(t, c, room, 5)
			harness.Must(h.User("eve").Call(http.MethodPost, stopPath(room, id), nil, http.StatusForbidden, nil))(t)
			harness.Must(client.Call(http.MethodPost, stopPath(room, id), nil, http.StatusNoContent, nil))(t)
			stopped := time.Now()
			a := awaitOver(t, c, room, message)
			if took := a.over.At.Sub(stopped); took > time.Second+late {
				t.Errorf("it took %s", took)
			}
			wantEnd(t, alice, a, a.over.Content, "stopped")
			if a.over.Content == "" {
				t.Error("what was said is gone")
			}
			harness.Must(client.Call(http.MethodPost, stopPath(room, id), nil, http.StatusNoContent, nil))(t) // it has ended
		})
	}
}

// TestAStopBeforeTheFirstWordLeavesNothing: there is no message of nothing.
func TestAStopBeforeTheFirstWordLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	room, _ := h.roomWith(t, "silent", nil)
	alice := h.User("alice")
	c := connect(t, alice)
	message := ask(t, alice, room, "Hello")
	begun := harness.Must(c.AwaitType("message.stream.start"))(t)
	harness.Must(alice.Call(http.MethodPost, stopPath(room, begun.MessageID), nil, http.StatusNoContent, nil))(t)
	wantError(t, alice, awaitOver(t, c, room, message), "EMPTY", "", false)
	h.wantModelIdle(t)
	harness.Must(alice.Call(http.MethodPost, stopPath(room, begun.MessageID), nil, http.StatusNotFound, nil))(t)
}
