package blackbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	spec "github.com/chatapi/chatapi/test/frames"
	"github.com/chatapi/chatapi/test/harness"
)

// chat is a chat as its API shows it.
type chat struct {
	ID            string  `json:"id"`
	UserID        string  `json:"user_id"`
	TenantID      string  `json:"tenant_id"`
	Title         string  `json:"title"`
	CreatedAt     string  `json:"created_at"`
	UpdatedAt     string  `json:"updated_at"`
	LastMessageAt *string `json:"last_message_at"`
	MessageCount  *int    `json:"message_count"`
	Status        string  `json:"status"`
	Config        struct {
		Metadata map[string]any `json:"metadata"`
	} `json:"config"`
}

// room is the chat's room, natively.
func (c chat) room() string { return "room_" + c.ID }

// chatMessage is a message of a chat.
type chatMessage struct {
	ID        string         `json:"id"`
	Content   string         `json:"content"`
	Role      string         `json:"sender_role"`
	CreatedAt string         `json:"created_at"`
	Metadata  map[string]any `json:"metadata"`
}

// chatEvent is an event of /ws/chat.
type chatEvent struct {
	Kind      string         `json:"event_type"`
	UserID    string         `json:"user_id"`
	ChatID    string         `json:"chat_id"`
	TenantID  string         `json:"tenant_id"`
	MessageID string         `json:"message_id"`
	Content   string         `json:"content"`
	Token     string         `json:"token"`
	Code      string         `json:"error_code"`
	Message   string         `json:"error_message"`
	Metadata  map[string]any `json:"metadata"`
	Details   struct {
		Fix       string `json:"fix"`
		MessageID string `json:"message_id"`
		Content   string `json:"content"`
	} `json:"details"`
}

const chatsPath = "/api/v1/chats"

// newChat makes a chat of a user's.
func newChat(t *testing.T, tenant *harness.Tenant, user string) (made chat) {
	t.Helper()
	harness.Must(tenant.Backend().Call(http.MethodPost, chatsPath+"/", map[string]any{"user_id": user}, http.StatusCreated, &made))(t)
	return made
}

// chatConn is a socket on a chat.
type chatConn struct {
	*harness.Conn
	t *testing.T
}

// dialChat opens a socket on a chat as a user, and waits until it stands.
func dialChat(t *testing.T, tenant *harness.Tenant, user, chatID string) chatConn {
	t.Helper()
	c := openChat(t, tenant, "api_key", tenant.Key, "user_id", user, "chat_id", chatID)
	c.await("connection_established")
	return c
}

// openChat opens a socket with these parameters.
func openChat(t *testing.T, tenant *harness.Tenant, query ...string) chatConn {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(query); i += 2 {
		values.Add(query[i], query[i+1])
	}
	c := harness.Must(harness.Dial(tenant.Server().Base, harness.DialOptions{Path: "/ws/chat", Query: values}))(t)
	t.Cleanup(c.Drop)
	return chatConn{c, t}
}

// say sends a message.
func (c chatConn) say(content string) {
	c.t.Helper()
	frame := map[string]any{"content": content, "metadata": map[string]any{"page": "/pricing"}}
	raw := harness.Must(json.Marshal(frame))(c.t)
	harness.Check(c.t, spec.CheckChat(raw))
	harness.Check(c.t, c.Write(frame))
}

func eventOf(t *testing.T, f harness.Frame) (e chatEvent) {
	t.Helper()
	harness.Check(t, json.Unmarshal(f.Raw, &e))
	return e
}

// events are those that have come so far.
func (c chatConn) events() (all []chatEvent) {
	c.t.Helper()
	for _, f := range c.Frames() {
		all = append(all, eventOf(c.t, f))
	}
	return all
}

// await waits for the first event of a kind.
func (c chatConn) await(kind string) chatEvent { c.t.Helper(); return c.awaitNth(kind, 1) }

// awaitNth waits for the n-th event of a kind.
func (c chatConn) awaitNth(kind string, n int) chatEvent {
	c.t.Helper()
	seen := 0
	f := harness.Must(c.Await(fmt.Sprintf("%s (%d)", kind, n), func(f harness.Frame) bool {
		var e chatEvent
		if json.Unmarshal(f.Raw, &e) == nil && e.Kind == kind {
			seen++
		}
		return seen >= n
	}))(c.t)
	return eventOf(c.t, f)
}

// wantEnd waits for an error and the close that follows it.
func (c chatConn) wantEnd(code string, closeCode int) chatEvent {
	c.t.Helper()
	e := c.await("error")
	if e.Code != code || e.Message == "" || e.Details.Fix == "" {
		c.t.Errorf("got %+v, want %s with a fix", e, code)
	}
	if got := harness.Must(c.CloseCode(8 * time.Second))(c.t); got != closeCode {
		c.t.Errorf("after %s close %d, want %d", code, got, closeCode)
	}
	return e
}

// chatHistory reads the messages of a chat.
func chatHistory(t *testing.T, tenant *harness.Tenant, id string) []chatMessage {
	t.Helper()
	var page struct{ Messages []chatMessage }
	harness.Must(tenant.Backend().Call(http.MethodGet, chatsPath+"/"+id+"/messages?limit=100", nil, http.StatusOK, &page))(t)
	return page.Messages
}

func getChat(t *testing.T, tenant *harness.Tenant, id string) (c chat) {
	t.Helper()
	harness.Must(tenant.Backend().Call(http.MethodGet, chatsPath+"/"+id, nil, http.StatusOK, &c))(t)
	return c
}

// TestAChatIsAnsweredTokenByToken is the quick start: make a chat, connect, send, and read it all again.
func TestAChatIsAnsweredTokenByToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "echo?interval=20ms", nil)
	made := newChat(t, h.Tenant, "user123")
	if made.UserID != "user123" || made.TenantID != h.ID || made.Title != "New chat" || made.LastMessageAt != nil || made.MessageCount != nil || made.Config.Metadata == nil {
		t.Errorf("made %+v", made)
	}
	c := dialChat(t, h.Tenant, "user123", made.ID)
	text := harness.Body("Hello, I need help with my account and with last month's invoice, please")
	c.say(text)
	ended := c.await("message_stream_ended")
	events := c.events()
	want := []string{"connection_established", "user_created", "message_received", "message_stream_started", "message_stream_token"}
	for i, kind := range want {
		if events[i].Kind != kind {
			t.Fatalf("event %d is %+v, want %s", i, events[i], kind)
		}
	}
	if e := events[0]; e.UserID != "user123" || e.ChatID != made.ID || e.TenantID != h.ID {
		t.Errorf("established: %+v", e)
	}
	if e := events[2]; e.Content != text || e.UserID != "user123" || e.ChatID != made.ID {
		t.Errorf("received: %+v", e)
	}
	var said strings.Builder
	tokens := 0
	for _, e := range events {
		if e.Kind == "message_stream_token" {
			said.WriteString(e.Token)
			tokens++
		}
	}
	if said.String() != text || ended.Content != text || tokens < 2 || ended.Metadata != nil || ended.UserID != "user123" {
		t.Errorf("%d tokens make %q, the end is %+v", tokens, said.String(), ended)
	}
	history := chatHistory(t, h.Tenant, made.ID)
	if len(history) != 2 || history[0].Role != "user" || history[1].Role != "assistant" || history[0].ID != events[2].MessageID || history[1].ID != ended.MessageID {
		t.Fatalf("history %+v", history)
	}
	if history[0].Metadata["page"] != "/pricing" || history[1].Metadata["model"] != "echo?interval=20ms" || history[1].Metadata["tokens_used"] == nil {
		t.Errorf("metadata %v and %v", history[0].Metadata, history[1].Metadata)
	}
	got := getChat(t, h.Tenant, made.ID)
	if *got.MessageCount != 2 || got.Status != "active" || got.LastMessageAt == nil || *got.LastMessageAt != history[1].CreatedAt || got.UpdatedAt != history[1].CreatedAt {
		t.Errorf("the chat is %+v", got)
	}
	if title := got.Title; len([]rune(title)) > 60 || !strings.HasPrefix(text, title) || title == "" || strings.HasSuffix(title, " ") {
		t.Errorf("the title of %q is %q", text, title)
	}
}

// agreed is a message as every view must have it.
type agreed struct{ id, content, side string }

// TestOneConversationIsTheSameOnBothSockets: what is said by the user and by a bot, over the chat and natively, and by a person
// who takes over, is the same, in the same order, on /ws, on both sockets of the chat and over both REST interfaces.
func TestOneConversationIsTheSameOnBothSockets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "echo", nil)
	made := newChat(t, h.Tenant, "alice")
	native := connect(t, h.User("alice"))
	one, two := dialChat(t, h.Tenant, "alice", made.ID), dialChat(t, h.Tenant, "alice", made.ID)
	one.say(harness.Body("over the chat"))
	one.awaitNth("message_stream_ended", 1)
	two.awaitNth("message_stream_ended", 1)
	_, _, err := native.Send(made.room(), harness.Body("natively"), "c1")
	harness.Check(t, err)
	one.awaitNth("message_stream_ended", 2)
	harness.Must(h.Backend().Call(http.MethodPut, "/rooms/"+made.room()+"/handoff", map[string]any{"mode": "human", "assignee": "carol"}, http.StatusOK, nil))(t)
	two.say(harness.Body("is anybody there"))
	two.awaitNth("message_received", 3)
	person := harness.Must(h.User("carol").Send(made.room(), harness.Body("carol here")))(t)
	harness.Must(h.Backend().Call(http.MethodPut, "/rooms/"+made.room()+"/handoff", map[string]any{"mode": "bot"}, http.StatusOK, nil))(t)
	one.say(harness.Body("thanks"))

	want := []agreed{}
	for _, m := range harness.Must(awaitHistory(h.User("alice"), made.room(), 8))(t) {
		side := "assistant"
		if m.SenderID == "alice" {
			side = "user"
		}
		want = append(want, agreed{m.MessageID, m.Content, side})
	}
	for name, c := range map[string]chatConn{"one": one, "two": two} {
		c.awaitNth("message_stream_ended", 4)
		got := []agreed{}
		for _, e := range c.events() {
			switch e.Kind {
			case "message_received":
				got = append(got, agreed{e.MessageID, e.Content, "user"})
			case "message_stream_ended":
				got = append(got, agreed{e.MessageID, e.Content, "assistant"})
				if human := e.Metadata["human"] == true; human != (e.MessageID == person.MessageID) {
					t.Errorf("%s: %+v", name, e)
				}
			case "error":
				t.Errorf("%s: %+v", name, e)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("socket %s: got %v, want %v", name, got, want)
		}
	}
	got := []agreed{}
	for _, m := range chatHistory(t, h.Tenant, made.ID) {
		got = append(got, agreed{m.ID, m.Content, m.Role})
		if human := m.Metadata["human"] == true; human != (m.ID == person.MessageID) {
			t.Errorf("history: %+v", m)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("over REST: got %v, want %v", got, want)
	}
	over := []agreed{}
	harness.Must(native.Await("all of it", func(f harness.Frame) bool {
		if f.RoomID == made.room() && (f.Type == "message" || f.Type == "message.stream.end") {
			over = append(over, agreed{f.MessageID, f.Content, map[bool]string{true: "user", false: "assistant"}[f.SenderID == "alice"]})
		}
		return len(over) == len(want)
	}))(t)
	if !slices.Equal(over, want) {
		t.Errorf("on /ws: got %v, want %v", over, want)
	}
}

// awaitHistory reads a room until it has so many messages.
func awaitHistory(u *harness.User, room string, n int) (found []harness.Message, err error) {
	err = harness.Until(20*time.Second, "the history", func() bool {
		found, err = u.History(room, 0, 100)
		return err == nil && len(found) >= n
	})
	return found, err
}

// TestFailuresOfTheAgentAreEvents: each way to fail has its code, and what was said until then is kept.
func TestFailuresOfTheAgentAreEvents(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for script, want := range map[string]struct {
		code, kept string
	}{
		"empty": {"AI_ERROR", ""}, "500": {"AI_ERROR", ""}, "429?retry_after=60": {"RATE_LIMITED", ""}, "cut?after=2": {"AI_ERROR", "w1 w2 "},
		"stall": {"TIMEOUT", "w1 w2 w3 "},
	} {
		t.Run(strings.Trim(script, "?"), func(t *testing.T) {
			t.Parallel()
			h := h.another(t, nil)
			h.newBot(t, script, nil)
			made := newChat(t, h.Tenant, "alice")
			c := dialChat(t, h.Tenant, "alice", made.ID)
			c.say(harness.Body("hello"))
			told := harness.Must(c.AwaitFor(time.Minute, "the error", func(f harness.Frame) bool { return eventOf(t, f).Kind == "error" }))(t)
			e := eventOf(t, told) // a model may be silent for 30 s
			if e.Code != want.code || e.Details.Fix == "" || e.Details.Content != want.kept || (e.Details.MessageID != "") != (want.kept != "") {
				t.Errorf("got %+v, want %+v", e, want)
			}
			history := chatHistory(t, h.Tenant, made.ID)
			if len(history) != 1+min(1, len(want.kept)) || want.kept != "" && (history[1].ID != e.Details.MessageID || history[1].Content != want.kept) {
				t.Errorf("history %+v", history)
			}
			if c.await("message_stream_started"); len(c.events()) < 4 {
				t.Errorf("events %+v", c.events())
			}
			c.say(harness.Body("and again")) // the socket stays
			c.awaitNth("message_received", 2)
		})
	}
}

func TestAnAnswerThatBeginsAnewIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "500|answer?tokens=2", nil)
	c := dialChat(t, h.Tenant, "alice", newChat(t, h.Tenant, "alice").ID)
	c.say(harness.Body("hello"))
	c.awaitNth("message_stream_started", 2)
	if e := c.await("message_stream_ended"); e.Content != "w1 w2 " && e.Content != "w1 w2" {
		t.Errorf("got %+v", e)
	}
}

// TestWithoutABotAMessageIsKept, and answered by the first that comes.
func TestWithoutABotAMessageIsKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	if got := getChat(t, h.Tenant, made.ID); got.Status != "closed" {
		t.Errorf("a chat with nobody to answer is %s", got.Status)
	}
	c := dialChat(t, h.Tenant, "alice", made.ID)
	c.say(harness.Body("hello"))
	e := c.await("error")
	kinds := []string{}
	for _, e := range c.events() {
		kinds = append(kinds, e.Kind)
	}
	if e.Code != "AI_ERROR" || !slices.Equal(kinds, []string{"connection_established", "user_created", "message_received", "error"}) {
		t.Errorf("got %+v after %v", e, kinds)
	}
	if history := chatHistory(t, h.Tenant, made.ID); len(history) != 1 {
		t.Errorf("history %+v", history)
	}
	h.newBot(t, "answer", nil)
	c.say(harness.Body("and now"))
	c.await("message_stream_ended")
	if got := getChat(t, h.Tenant, made.ID); got.Status != "active" || *got.MessageCount != 3 {
		t.Errorf("then it is %+v", got)
	}
}

// TestPeopleAnswerWhereThereIsNoBot: nobody is told that there is no agent while a person is there, and the person is not
// told so either.
func TestPeopleAnswerWhereThereIsNoBot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	member := map[string]any{"user_id": "carol"}
	harness.Must(h.Backend().Call(http.MethodPost, "/rooms/"+made.room()+"/members", member, http.StatusNoContent, nil))(t)
	alice, carol := dialChat(t, h.Tenant, "alice", made.ID), dialChat(t, h.Tenant, "carol", made.ID)
	alice.say(harness.Body("hello"))
	carol.await("message_received")
	carol.say(harness.Body("hello to you"))
	alice.await("message_stream_ended")
	alice.say(harness.Body("thanks"))
	for _, c := range []chatConn{alice, carol} {
		c.awaitNth("message_received", 2)
		for _, e := range c.events() {
			if e.Kind == "error" {
				t.Errorf("told %+v", e)
			}
		}
	}
	if got := getChat(t, h.Tenant, made.ID); got.Status != "active" {
		t.Errorf("a chat with a person to answer is %s", got.Status)
	}
}

// TestABotThatIsDeletedLeavesItsChats, which are closed then, and keep what was said.
func TestABotThatIsDeletedLeavesItsChats(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	bot := h.newBot(t, "answer", nil)
	made := newChat(t, h.Tenant, "alice")
	c := dialChat(t, h.Tenant, "alice", made.ID)
	c.say(harness.Body("hello"))
	c.await("message_stream_ended")
	harness.Must(h.Backend().Call(http.MethodDelete, "/bots/"+bot, nil, http.StatusNoContent, nil))(t)
	if got := getChat(t, h.Tenant, made.ID); got.Status != "closed" || *got.MessageCount != 2 {
		t.Errorf("the chat is %+v", got)
	}
	c.say(harness.Body("are you there"))
	if e := c.await("error"); e.Code != "AI_ERROR" {
		t.Errorf("got %+v", e)
	}
}

// TestTheConfiguredBotAnswers: with several bots it is the one that the config names, and with none named nobody.
func TestTheConfiguredBotAnswers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "answer?text=first", nil)
	second := h.newBot(t, "answer?text=second", nil)
	c := dialChat(t, h.Tenant, "alice", newChat(t, h.Tenant, "alice").ID)
	c.say(harness.Body("who is there"))
	if e := c.await("error"); e.Code != "AI_ERROR" {
		t.Errorf("with two bots and none named: %+v", e)
	}
	harness.Must(h.Server().Operator().Call(http.MethodPatch, "/admin/tenants/"+h.ID, map[string]any{"config": map[string]any{"chat_bot_id": second}}, http.StatusOK, nil))(t)
	answered, asked := "", 1
	soon(t, "the named one answers at whichever node", func() bool {
		c.say(harness.Body("and now"))
		asked++
		harness.Eventually(t, 20*time.Second, "an answer or an error", func() bool {
			ends := slices.DeleteFunc(c.events(), func(e chatEvent) bool { return e.Kind != "error" && e.Kind != "message_stream_ended" })
			answered = ends[len(ends)-1].Content
			return len(ends) == asked
		})
		return answered != ""
	})
	if answered != "second" {
		t.Errorf("answered %q", answered)
	}
}
