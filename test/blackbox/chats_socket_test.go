package blackbox

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/test/harness"
)

// TestWhatIsWrongWithAChatSocketIsAnEvent: the upgrade is accepted, an error tells what is wrong and how to mend it, and the
// socket is closed with 1008. A chat of another tenant, of another user, and one that does not exist are one.
func TestWhatIsWrongWithAChatSocketIsAnEvent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other := h.another(t, nil)
	made, theirs := newChat(t, h.Tenant, "alice"), newChat(t, other.Tenant, "alice")
	group := harness.Must(h.User("alice").CreateRoom("group"))(t).RoomID
	none := strings.Replace(made.ID, made.ID[len(made.ID)-4:], "0000", 1)
	unknown := ""
	for _, c := range []struct {
		name    string
		query   []string
		code    string
		message string
	}{
		{"nothing", nil, "AUTH_ERROR", "Missing api_key parameter"},
		{"no key", []string{"user_id", "alice", "chat_id", made.ID}, "AUTH_ERROR", "Missing api_key parameter"},
		{"no user", []string{"api_key", h.Key, "chat_id", made.ID}, "AUTH_ERROR", "Missing user_id parameter"},
		{"an empty user", []string{"api_key", h.Key, "user_id", "", "chat_id", made.ID}, "AUTH_ERROR", "Missing user_id parameter"},
		{"a bot as user", []string{"api_key", h.Key, "user_id", "bot_1", "chat_id", made.ID}, "AUTH_ERROR", "Invalid user_id parameter"},
		{"no chat", []string{"api_key", h.Key, "user_id", "alice"}, "AUTH_ERROR", "Missing chat_id parameter"},
		{"two chats", []string{"api_key", h.Key, "user_id", "alice", "chat_id", made.ID, "chat_id", none}, "AUTH_ERROR", "Invalid chat_id parameter"},
		{"a wrong key", []string{"api_key", strings.Repeat("x", 46), "user_id", "alice", "chat_id", made.ID}, "AUTH_ERROR", "Invalid API key"},
		{"a wrong token", []string{"token", "a.b.c", "chat_id", made.ID}, "AUTH_ERROR", "Invalid API key"},
		{"an unknown chat", []string{"api_key", h.Key, "user_id", "alice", "chat_id", none}, "CHAT_NOT_FOUND", "Chat not found"},
		{"no id at all", []string{"api_key", h.Key, "user_id", "alice", "chat_id", "x"}, "CHAT_NOT_FOUND", "Chat not found"},
		{"the room's id", []string{"api_key", h.Key, "user_id", "alice", "chat_id", made.room()}, "CHAT_NOT_FOUND", "Chat not found"},
		{"a group", []string{"api_key", h.Key, "user_id", "alice", "chat_id", strings.TrimPrefix(group, "room_")}, "CHAT_NOT_FOUND", "Chat not found"},
		{"another tenant's chat", []string{"api_key", h.Key, "user_id", "alice", "chat_id", theirs.ID}, "CHAT_NOT_FOUND", "Chat not found"},
		{"another user's chat", []string{"api_key", h.Key, "user_id", "bob", "chat_id", made.ID}, "CHAT_NOT_FOUND", "Chat not found"},
	} {
		e := openChat(t, h.Tenant, c.query...).wantEnd(c.code, 1008)
		if e.Message != c.message {
			t.Errorf("%s: got %+v, want %s", c.name, e, c.message)
		}
		if e.Code == "CHAT_NOT_FOUND" {
			if unknown == "" {
				unknown = fmt.Sprint(e)
			}
			if fmt.Sprint(e) != unknown {
				t.Errorf("%s: got %+v, want as of others %s", c.name, e, unknown)
			}
		}
	}
}

// TestCredentialsOfChatSocketsMayBeHeadersOrTokens: what the query can have the headers can, and an end user's token stands
// for key and user.
func TestCredentialsOfChatSocketsMayBeHeadersOrTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	header := http.Header{}
	header.Set("X-API-Key", h.Key)
	header.Set("X-User-ID", "alice")
	header.Set("X-Chat-ID", made.ID)
	c := chatConn{harness.Must(harness.Dial(h.Server().Base, harness.DialOptions{Path: "/ws/chat", Header: header}))(t), t}
	t.Cleanup(c.Drop)
	c.await("connection_established")
	signer := harness.Must(h.NewSigner())(t)
	openChat(t, h.Tenant, "token", harness.Must(signer.Token("alice", time.Hour))(t), "chat_id", made.ID).await("connection_established")
	ticket := harness.Must(h.Server().Ticket(h.User("alice").Client))(t)
	openChat(t, h.Tenant, "token", ticket, "chat_id", made.ID).await("connection_established")
	openChat(t, h.Tenant, "token", harness.Must(signer.Token("bob", time.Hour))(t), "chat_id", made.ID).wantEnd("CHAT_NOT_FOUND", 1008)
	if n := len(c.events()); n != 2 { // user_created came once, on the first socket
		t.Errorf("the first socket has %d events: %+v", n, c.events())
	}
	for _, later := range []chatConn{openChat(t, h.Tenant, "api_key", h.Key, "user_id", "alice", "chat_id", made.ID)} {
		later.await("connection_established")
		later.say(harness.Body("hello"))
		later.await("message_received")
		if e := later.events()[1]; e.Kind != "message_received" {
			t.Errorf("on a later socket comes %+v", e)
		}
	}
}

// TestAUserWhoIsKnownIsNotCreated: one who was named natively, or was seen there.
func TestAUserWhoIsKnownIsNotCreated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	harness.Must(h.User("alice").Call(http.MethodPut, "/users/alice", map[string]any{"name": "Alice"}, http.StatusOK, nil))(t)
	c := dialChat(t, h.Tenant, "alice", newChat(t, h.Tenant, "alice").ID)
	c.say(harness.Body("hello"))
	c.await("message_received")
	if e := c.events()[1]; e.Kind != "message_received" {
		t.Errorf("got %+v", e)
	}
}

func TestFramesThatAreNoMessagesAreErrorsAndTheSocketStays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tenant := h.another(t, map[string]any{"chat_limits": map[string]any{"messages_per_second": 50}}).Tenant
	c := dialChat(t, tenant, "alice", newChat(t, tenant, "alice").ID)
	for i, frame := range []string{
		``, `hello`, `[]`, `{}`, `{"content":""}`, `{"content":5}`, `{"content":"x","metadata":[]}`, `{"content":"x","content":"y"}`,
		`{"content":"` + strings.Repeat("x", 16385) + `"}`, "{\"content\":\"\xff\"}", `{"content":"\u0000"}`, `{"content":"x"} x`,
	} {
		harness.Check(t, c.WriteRaw(websocket.TextMessage, []byte(frame)))
		if e := c.awaitNth("error", i+1); e.Code != "INVALID_MESSAGE" || e.Details.Fix == "" {
			t.Errorf("%.40q: %+v", frame, e)
		}
	}
	harness.Check(t, c.WriteRaw(websocket.BinaryMessage, []byte(`{"content":"x"}`)))
	if e := c.awaitNth("error", 13); e.Code != "INVALID_MESSAGE" {
		t.Errorf("a binary frame: %+v", e)
	}
	harness.Check(t, c.Write(map[string]any{"type": "ping"}))
	harness.Check(t, c.Write(map[string]any{"type": "message", "content": harness.Body("a field more")}))
	if e := c.await("message_received"); e.Content != harness.Body("a field more") {
		t.Errorf("got %+v", e)
	}
	harness.Check(t, c.WriteRaw(websocket.TextMessage, bytes.Repeat([]byte("x"), 65537)))
	e := c.awaitNth("error", 15) // the fourteenth tells that there is no bot
	if code := harness.Must(c.CloseCode(8 * time.Second))(t); e.Code != "INVALID_MESSAGE" || code != 1009 {
		t.Errorf("a frame too long: %+v, close %d", e, code)
	}
}

// TestASocketMaySendTenMessagesASecond, and stays when it sends more. What is no message counts too, and is quick to send.
func TestASocketMaySendTenMessagesASecond(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	slow := h.another(t, map[string]any{"chat_limits": map[string]any{"messages_per_second": 1}}).Tenant
	for _, of := range []struct {
		tenant *harness.Tenant
		frame  any
		told   string // of a frame within the limit
		burst  int
	}{
		{h.Tenant, map[string]any{}, "INVALID_MESSAGE", 10},
		{slow, map[string]any{"content": harness.Body("quick")}, "message_received", 1},
	} {
		const sent = 30
		c := dialChat(t, of.tenant, "alice", newChat(t, of.tenant, "alice").ID)
		for range sent {
			harness.Check(t, c.Write(of.frame))
		}
		e := harness.Must(c.Await("a refusal", func(f harness.Frame) bool { return eventOf(t, f).Code == "RATE_LIMITED" }))(t)
		if want := fmt.Sprintf("Send at most %d messages a second", of.burst); !strings.Contains(eventOf(t, e).Details.Fix, want) {
			t.Errorf("got %s, want %q", e.Raw, want)
		}
		harness.Eventually(t, 20*time.Second, "all answered", func() bool {
			told, refused := 0, 0
			for _, e := range c.events() {
				switch {
				case e.Code == "RATE_LIMITED":
					refused++
				case e.Code == of.told || e.Kind == of.told:
					told++
				}
			}
			return told >= of.burst && told+refused == sent
		})
		<-time.After(1100 * time.Millisecond) // the limit is there again
		c.say(harness.Body("afterwards"))
		harness.Must(c.Await("the message afterwards", func(f harness.Frame) bool { return eventOf(t, f).Content == harness.Body("afterwards") }))(t)
	}
}

// TestSocketsOfATenantAreLimited, apart from the native ones.
func TestSocketsOfATenantAreLimited(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tenant := h.another(t, map[string]any{"chat_limits": map[string]any{"sockets": 7}}).Tenant
	made := newChat(t, tenant, "alice")
	var conns []chatConn
	for range 7 { // more than a user has natively
		conns = append(conns, dialChat(t, tenant, "alice", made.ID))
	}
	openChat(t, tenant, "api_key", tenant.Key, "user_id", "alice", "chat_id", made.ID).wantEnd("RATE_LIMITED", 1008)
	for range 5 {
		connect(t, tenant.User("alice"))
	}
	dialChat(t, h.Tenant, "alice", newChat(t, h.Tenant, "alice").ID) // another tenant's
	conns[3].Close()
	harness.Eventually(t, 5*time.Second, "a place", func() bool {
		c := openChat(t, tenant, "api_key", tenant.Key, "user_id", "alice", "chat_id", made.ID)
		defer c.Drop()
		f := harness.Must(c.Await("an answer", func(harness.Frame) bool { return true }))(t)
		return eventOf(t, f).Kind == "connection_established"
	})
}

// TestAChatIsDeletedOnceItsSocketsAreClosed, and leaves nothing but the tombstone that native devices learn from.
func TestAChatIsDeletedOnceItsSocketsAreClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "echo", nil)
	secret := harness.Body("canary-of-the-question")
	made := newChat(t, h.Tenant, "a-user-of-one-chat")
	c, two := dialChat(t, h.Tenant, "a-user-of-one-chat", made.ID), dialChat(t, h.Tenant, "a-user-of-one-chat", made.ID)
	c.say(secret)
	c.await("message_stream_ended")
	if !storeHas(t, h.Server(), "canary-of-the") {
		t.Fatal("what was said is not found in the store while it is there")
	}
	path := chatsPath + "/" + made.ID
	wantChatError(t, h.Backend(), http.MethodDelete, path, http.StatusConflict)
	c.Close()
	wantChatError(t, h.Backend(), http.MethodDelete, path, http.StatusConflict)
	two.Close()
	native := connect(t, h.User("a-user-of-one-chat"))
	var deleted struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		At      string `json:"deleted_at"`
	}
	harness.Eventually(t, 5*time.Second, "the deletion", func() bool {
		res := harness.Must(h.Backend().Do(t.Context(), http.MethodDelete, path, nil))(t)
		return res.Status == http.StatusOK && res.Decode(&deleted) == nil
	})
	if !deleted.Success || deleted.Message != "Chat deleted successfully" || deleted.At == "" {
		t.Errorf("got %+v", deleted)
	}
	for _, gone := range []string{path, path + "/messages", chatsPath + "/user/a-user-of-one-chat"} {
		wantChatError(t, h.Backend(), http.MethodGet, gone, http.StatusNotFound)
	}
	wantChatError(t, h.Backend(), http.MethodDelete, path, http.StatusNotFound)
	openChat(t, h.Tenant, "api_key", h.Key, "user_id", "a-user-of-one-chat", "chat_id", made.ID).wantEnd("CHAT_NOT_FOUND", 1008)
	harness.Must(native.Await("room.removed", func(f harness.Frame) bool { return f.Type == "room.removed" && f.RoomID == made.room() }))(t)
	harness.Eventually(t, 20*time.Second, "a file without what was said", func() bool { return !storeHas(t, h.Server(), "canary-of-the") })
	code, err := h.Server().Terminate(15 * time.Second)
	if err != nil || code != 0 || storeHas(t, h.Server(), "canary-of-the") {
		t.Errorf("after the end: exit %d, %v, and the file has it: %v", code, err, storeHas(t, h.Server(), "canary-of-the"))
	}
}

// storeHas reports whether a text stands anywhere in the store: in its files on SQLite, in any row of any table on Postgres.
func storeHas(t *testing.T, s *harness.Server, text string) bool {
	t.Helper()
	if harness.DefaultTopology() != harness.OnSQLite {
		err := s.DoSQL(fmt.Sprintf(rowsHave, text, hex.EncodeToString([]byte(text))))
		if err != nil && !strings.Contains(err.Error(), "it stands in") {
			t.Fatal(err)
		}
		return err != nil
	}
	for _, path := range harness.Must(filepath.Glob(filepath.Join(s.Dir, "*.db*")))(t) {
		if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, []byte(text)) {
			return true
		}
	}
	return false
}

// rowsHave fails where a row has a text, as itself or in hexadecimal digits, as rows show bytes.
const rowsHave = `DO $$
DECLARE
	name text;
	found boolean;
BEGIN
	FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM %%I r WHERE r::text LIKE ''%%%%%[1]s%%%%'' OR r::text LIKE ''%%%%%[2]s%%%%'')', name) INTO found;
		IF found THEN
			RAISE EXCEPTION 'it stands in %%', name;
		END IF;
	END LOOP;
END $$`

// TestAChatThatEndsNativelyEndsItsSockets: its room is deleted, or its agent is taken out of it.
func TestAChatThatEndsNativelyEndsItsSockets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	harness.Check(t, h.Backend().AddMembers(made.room(), "carol"))
	alice, carol := dialChat(t, h.Tenant, "alice", made.ID), dialChat(t, h.Tenant, "carol", made.ID)
	harness.Check(t, h.Backend().RemoveMember(made.room(), "carol"))
	carol.wantEnd("CHAT_NOT_FOUND", 1008)
	res := harness.Must(h.Backend().Do(t.Context(), http.MethodDelete, "/rooms/"+made.room()+"/members/alice", nil))(t)
	if res.Status != http.StatusConflict {
		t.Errorf("the owner may be taken out: %d", res.Status)
	}
	harness.Check(t, h.Backend().RemoveRoom(made.room()))
	alice.wantEnd("CHAT_NOT_FOUND", 1008)
}

// TestChatSocketsEndWithTheirCredential: revoked, or expired.
func TestChatSocketsEndWithTheirCredential(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	signer := harness.Must(h.NewSigner())(t)
	token := harness.Must(signer.Token("alice", 4*time.Second))(t)
	short := openChat(t, h.Tenant, "token", token, "chat_id", made.ID)
	short.await("connection_established")
	var key struct {
		ID  string `json:"key_id"`
		Key string `json:"api_key"`
	}
	operator, path := h.Server().Operator(), "/admin/tenants/"+h.ID+"/keys"
	harness.Must(operator.Call(http.MethodPost, path, nil, http.StatusCreated, &key))(t)
	c := openChat(t, h.Tenant, "api_key", key.Key, "user_id", "alice", "chat_id", made.ID)
	c.await("connection_established")
	harness.Must(operator.Call(http.MethodDelete, path+"/"+key.ID, nil, http.StatusNoContent, nil))(t)
	began := time.Now()
	c.wantEnd("AUTH_ERROR", 1008)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a revoked key's socket lived on for %s", took)
	}
	short.wantEnd("AUTH_ERROR", 1008)
}

// TestPagesOfOtherOriginsOpenNoChatSockets, unless they are listed.
func TestPagesOfOtherOriginsOpenNoChatSockets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tenant := h.another(t, map[string]any{"allowed_origins": []string{"https://shop.example"}}).Tenant
	made := newChat(t, tenant, "alice")
	dial := func(origin string) chatConn {
		header := http.Header{"Origin": {origin}, "X-Api-Key": {tenant.Key}, "X-User-Id": {"alice"}, "X-Chat-Id": {made.ID}}
		c := harness.Must(harness.Dial(tenant.Server().Base, harness.DialOptions{Path: "/ws/chat", Header: header}))(t)
		t.Cleanup(c.Drop)
		return chatConn{c, t}
	}
	dial("https://evil.example").wantEnd("AUTH_ERROR", 1008)
	dial("https://shop.example").await("connection_established")
	dial(tenant.Server().Base).await("connection_established")
}

// TestSIGTERMClosesChatSockets with 1001, after an answer that is on its way, and exits with 0.
func TestSIGTERMClosesChatSockets(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "answer?tokens=20&interval=50ms", nil)
	c := dialChat(t, h.Tenant, "alice", newChat(t, h.Tenant, "alice").ID)
	c.say(harness.Body("one more thing"))
	c.await("message_stream_token")
	code, err := h.Server().Terminate(15 * time.Second)
	c.await("message_stream_ended")
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if code := harness.Must(c.CloseCode(time.Second))(t); code != 1001 {
		t.Errorf("close code %d, want 1001", code)
	}
}

// TestAnIdleChatSocketLives, and one that is silent ends: only the first answers pings.
func TestAnIdleChatSocketLives(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	idle := dialChat(t, h.Tenant, "alice", made.ID)
	header := http.Header{"X-Api-Key": {h.Key}, "X-User-Id": {"alice"}, "X-Chat-Id": {made.ID}}
	dead := harness.Must(harness.Dial(h.Server().Base, harness.DialOptions{Path: "/ws/chat", Header: header, Silent: true}))(t)
	t.Cleanup(dead.Drop)
	began := time.Now()
	select {
	case <-dead.Finished():
	case <-time.After(70 * time.Second):
		t.Error("a silent socket is open after 70 s")
	}
	if took := time.Since(began); took < 55*time.Second {
		t.Errorf("a silent socket was ended after %s", took)
	}
	select {
	case <-idle.Finished():
		t.Fatal("an idle socket that answers pings was closed")
	case <-time.After(time.Until(began.Add(70 * time.Second))):
	}
	idle.say(harness.Body("still here"))
	idle.await("message_received")
}

// TestASlowChatSocketMissesNothing: one that does not read delays nobody, and is caught up from the store.
func TestASlowChatSocketMissesNothing(t *testing.T) {
	t.Parallel()
	const messages = 700 // of 12 KB: more than its queue and its kernel hold
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	header := http.Header{"X-Api-Key": {h.Key}, "X-User-Id": {"alice"}, "X-Chat-Id": {made.ID}}
	slow := harness.Must(harness.Dial(h.Server().Base, harness.DialOptions{Path: "/ws/chat", Header: header, Stalled: true, ReadBuffer: trickle}))(t)
	t.Cleanup(slow.Drop)
	quick := dialChat(t, h.Tenant, "alice", made.ID)
	alice, content := h.User("alice"), harness.Body("%s", strings.Repeat("x", 12_000))
	began := time.Now()
	for range messages {
		harness.Must(alice.Send(made.room(), content))(t)
		if time.Since(began) > 8*time.Second { // a write that stands still for 10 s ends the socket
			break
		}
	}
	want := chatIDs(t, alice, made.room())
	last := want[len(want)-1]
	quick.awaitMessage(last)
	slow.Read()
	c := chatConn{slow, t}
	c.awaitMessage(last)
	for name, c := range map[string]chatConn{"quick": quick, "slow": c} {
		var got []string
		for _, e := range c.events() {
			if e.Kind == "message_received" {
				got = append(got, e.MessageID)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the %s socket has %d messages, want %d in order", name, len(got), len(want))
		}
	}
}

func (c chatConn) awaitMessage(id string) {
	c.t.Helper()
	harness.Must(c.Await("message "+id, func(f harness.Frame) bool { return f.MessageID == id }))(c.t)
}

// chatIDs are the ids of a room's messages in order.
func chatIDs(t *testing.T, u *harness.User, room string) (ids []string) {
	t.Helper()
	for _, m := range harness.Must(u.History(room, 0, 100))(t) {
		ids = append(ids, m.MessageID)
	}
	return ids
}

// TestRefusedChatSocketsKeepNobodyOut: sockets that are opened without a credential and never say goodbye take no place from
// those of others, who are still told what is wrong.
func TestRefusedChatSocketsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	for range 300 {
		c := harness.Must(harness.Dial(h.Server().Base, harness.DialOptions{Path: "/ws/chat", Stalled: true}))(t)
		t.Cleanup(c.Drop)
	}
	dialChat(t, h.Tenant, "alice", made.ID)
	openChat(t, h.Tenant, "api_key", h.Key, "user_id", "bob", "chat_id", made.ID).wantEnd("CHAT_NOT_FOUND", 1008)
}

// TestWhoHasClosedTheirSocketMayDelete: once the server has answered the goodbye, the chat is not in use any more.
func TestWhoHasClosedTheirSocketMayDelete(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for range 30 {
		made := newChat(t, h.Tenant, "alice")
		c := dialChat(t, h.Tenant, "alice", made.ID)
		harness.Check(t, c.WriteRaw(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")))
		if got := harness.Must(c.CloseCode(8 * time.Second))(t); got != websocket.CloseNormalClosure {
			t.Fatalf("close %d", got)
		}
		harness.Must(h.Backend().Call(http.MethodDelete, chatsPath+"/"+made.ID, nil, http.StatusOK, nil))(t)
	}
}
