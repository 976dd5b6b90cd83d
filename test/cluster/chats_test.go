package cluster

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

const chatsPath = "/api/v1/chats"

// newChat makes a chat of alice's, and returns its id.
func newChat(t *testing.T, tenant *harness.Tenant) string {
	t.Helper()
	var made struct {
		ID string `json:"id"`
	}
	harness.Must(tenant.Backend().Call(http.MethodPost, chatsPath, map[string]any{"user_id": "alice"}, http.StatusCreated, &made))(t)
	return made.ID
}

// dialChat opens a socket of alice's on a chat at a node.
func dialChat(t *testing.T, tenant *harness.Tenant, n *harness.Node, chat string) *harness.Conn {
	t.Helper()
	query := url.Values{"api_key": {tenant.Key}, "user_id": {"alice"}, "chat_id": {chat}}
	c := harness.Must(harness.Dial(n.Base, harness.DialOptions{Path: "/ws/chat", Query: query}))(t)
	t.Cleanup(c.Drop)
	return c
}

// chatEvent is what is looked at of an event of /ws/chat.
type chatEvent struct {
	Kind    string `json:"event_type"`
	Code    string `json:"error_code"`
	Content string `json:"content"`
}

// awaitChat waits for the first event that match accepts.
func awaitChat(t *testing.T, c *harness.Conn, limit time.Duration, what string, match func(chatEvent) bool) {
	t.Helper()
	harness.Must(c.AwaitFor(limit, what, func(f harness.Frame) bool {
		var e chatEvent
		return json.Unmarshal(f.Raw, &e) == nil && match(e)
	}))(t)
}

func awaitEstablished(t *testing.T, c *harness.Conn) {
	t.Helper()
	awaitChat(t, c, 20*time.Second, "connection_established", func(e chatEvent) bool { return e.Kind == "connection_established" })
}

// wantChatError fails unless an answer has a status and the body of this API.
func wantChatError(t *testing.T, res *harness.Response, status int) {
	t.Helper()
	var refused struct {
		Error   int
		Message string
	}
	if err := res.Decode(&refused); err != nil || res.Status != status || refused.Error != status || refused.Message == "" {
		t.Errorf("%d %s, %v; want %d", res.Status, res.Body, err, status)
	}
}

// TestAChatThatIsOpenAtOneNodeIsDeletedAtNone.
func TestAChatThatIsOpenAtOneNodeIsDeletedAtNone(t *testing.T) {
	t.Parallel()
	tenant, nodes := nodesOf(t, harness.Options{})
	for i, open := range nodes {
		chat := newChat(t, tenant)
		c := dialChat(t, tenant, open, chat)
		awaitEstablished(t, c)
		for _, n := range nodes {
			wantChatError(t, harness.Must(tenant.Backend().At(n).Do(t.Context(), http.MethodDelete, chatsPath+"/"+chat, nil))(t), http.StatusConflict)
		}
		c.Close()
		other := tenant.Backend().At(nodes[(i+1)%len(nodes)])
		harness.Eventually(t, 20*time.Second, "the deletion", func() bool {
			return harness.Must(other.Do(t.Context(), http.MethodDelete, chatsPath+"/"+chat, nil))(t).Status == http.StatusOK
		})
	}
}

// TestChatsWithoutADatabaseSayThatTheyCannot: an open socket stays, one that is being opened is closed with 1011, and calls
// are answered with 503. All is well again when the database is back.
func TestChatsWithoutADatabaseSayThatTheyCannot(t *testing.T) {
	t.Parallel()
	const patience = 30 * time.Second // for a node to find that its database says nothing
	s, b := breakable(t)
	tenant := harness.Must(s.NewTenant("chats"))(t)
	chat := newChat(t, tenant)
	open := dialChat(t, tenant, s.Nodes[0], chat)
	awaitEstablished(t, open)

	harness.Check(t, b.Postgres.Stop())
	refused := func(e chatEvent) bool { return e.Kind == "error" && e.Code == "INTERNAL_ERROR" }
	harness.Check(t, open.Write(map[string]any{"content": harness.Body("without a database")}))
	awaitChat(t, open, patience, "an error on an open socket", refused)
	late := dialChat(t, tenant, s.Nodes[1], chat)
	awaitChat(t, late, patience, "an error on a socket that is being opened", refused)
	if code := harness.Must(late.CloseCode(10 * time.Second))(t); code != 1011 {
		t.Errorf("a socket that could not be opened is closed with %d, want 1011", code)
	}
	res := harness.Must(tenant.Backend().At(s.Nodes[2]).Do(t.Context(), http.MethodGet, chatsPath+"/"+chat, nil))(t)
	if wantChatError(t, res, http.StatusServiceUnavailable); res.Header.Get("Retry-After") == "" {
		t.Error("a call without a database: no Retry-After")
	}

	harness.Check(t, b.Postgres.Start())
	wantHealth(t, s.Nodes, "ok")
	again := harness.Body("with a database")
	harness.Check(t, open.Write(map[string]any{"content": again}))
	awaitChat(t, open, patience, "the message on the socket that stayed", func(e chatEvent) bool { return e.Kind == "message_received" && e.Content == again })
}
