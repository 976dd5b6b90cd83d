package blackbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// wantChatError fails unless a call is refused with a status and the body of this API, and returns what it says.
func wantChatError(t *testing.T, c *harness.Client, method, path string, status int) (message string) {
	t.Helper()
	return wantChatErrorTo(t, c, method, path, nil, status)
}

func wantChatErrorTo(t *testing.T, c *harness.Client, method, path string, body any, status int) (message string) {
	t.Helper()
	if message = isChatError(t, harness.Must(c.Do(t.Context(), method, path, body))(t), status); t.Failed() {
		t.Logf("of %s %s", method, path)
	}
	return message
}

// isChatError checks an answer against the only shape that errors of this interface have.
func isChatError(t *testing.T, res *harness.Response, status int) (message string) {
	t.Helper()
	var refused map[string]any
	if err := json.Unmarshal(res.Body, &refused); err != nil {
		t.Fatalf("%d %.200s: %v", res.Status, res.Body, err)
	}
	message, _ = refused["message"].(string)
	if res.Status != status || refused["error"] != float64(status) || message == "" || len(refused) != 2 {
		t.Errorf("%d %s, want %d", res.Status, res.Body, status)
	}
	return message
}

// TestChatsOverREST: every path, with and without a slash at its end, and every status that is documented.
func TestChatsOverREST(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	other := h.another(t, nil)
	backend := h.Backend()
	var made, foreign chat
	body := map[string]any{"user_id": "al/ice", "title": "My invoice", "metadata": map[string]any{"plan": "pro"}}
	res := harness.Must(backend.Call(http.MethodPost, chatsPath, body, http.StatusCreated, &made))(t)
	if made.UserID != "al/ice" || made.Title != "My invoice" || made.Config.Metadata["plan"] != "pro" || res.Header.Get("Location") != chatsPath+"/"+made.ID {
		t.Errorf("made %s at %s", res.Body, res.Header.Get("Location"))
	}
	foreign = newChat(t, other.Tenant, "al/ice")
	for _, slash := range []string{"", "/"} {
		for _, path := range []string{"/" + made.ID, "/" + made.ID + "/messages", "/user/al%2Fice"} {
			harness.Must(backend.Call(http.MethodGet, chatsPath+path+slash, nil, http.StatusOK, nil))(t)
		}
	}
	for name, c := range map[string]struct {
		method, path string
		body         any
		status       int
	}{
		"no body":               {http.MethodPost, "", "", 400},
		"no user":               {http.MethodPost, "/", `{}`, 400},
		"a bot":                 {http.MethodPost, "/", `{"user_id":"bot_1"}`, 400},
		"a title too long":      {http.MethodPost, "/", `{"user_id":"a","title":"` + strings.Repeat("x", 257) + `"}`, 400},
		"metadata no object":    {http.MethodPost, "/", `{"user_id":"a","metadata":[]}`, 400},
		"half a body":           {http.MethodPost, "/", `{"user_id":"a"`, 400},
		"a large body":          {http.MethodPost, "/", `{"user_id":"` + strings.Repeat("x", 70_000) + `"}`, 413},
		"limit 0":               {http.MethodGet, "/" + made.ID + "/messages?limit=0", nil, 400},
		"limit 101":             {http.MethodGet, "/" + made.ID + "/messages?limit=101", nil, 400},
		"limit 101 of chats":    {http.MethodGet, "/user/al%2Fice?limit=101", nil, 400},
		"a negative offset":     {http.MethodGet, "/" + made.ID + "/messages?offset=-1", nil, 400},
		"no number":             {http.MethodGet, "/" + made.ID + "/messages?offset=x", nil, 400},
		"an order":              {http.MethodGet, "/" + made.ID + "/messages?order=up", nil, 400},
		"two orders":            {http.MethodGet, "/user/al%2Fice?order=asc&order=desc", nil, 400},
		"an unknown chat":       {http.MethodGet, "/01900000-0000-7000-8000-000000000000", nil, 404},
		"no chat id":            {http.MethodGet, "/x", nil, 404},
		"its room's id":         {http.MethodGet, "/" + made.room(), nil, 404},
		"a foreign chat":        {http.MethodGet, "/" + foreign.ID, nil, 404},
		"its messages":          {http.MethodGet, "/" + foreign.ID + "/messages", nil, 404},
		"its deletion":          {http.MethodDelete, "/" + foreign.ID, nil, 404},
		"an unknown user":       {http.MethodGet, "/user/nobody", nil, 404},
		"a user that is none":   {http.MethodGet, "/user/bot_1", nil, 404},
		"an unknown path":       {http.MethodGet, "/" + made.ID + "/members", nil, 404},
		"a path with dots":      {http.MethodGet, "/" + made.ID + "/../x", nil, 404},
		"a path of no user":     {http.MethodGet, "/user/", nil, 404},
		"another method":        {http.MethodPut, "/" + made.ID, nil, 405},
		"another of all":        {http.MethodGet, "", nil, 405},
		"another of the list":   {http.MethodPost, "/user/al%2Fice", `{}`, 405},
		"another of messages":   {http.MethodPost, "/" + made.ID + "/messages/", `{"content":"x"}`, 405},
		"another, with a slash": {http.MethodPatch, "/" + made.ID + "/", `{}`, 405},
	} {
		t.Run(name, func(t *testing.T) {
			wantChatErrorTo(t, backend, c.method, chatsPath+c.path, c.body, c.status)
		})
	}
	if got := wantChatErrorTo(t, backend.With("Content-Type", "text/plain"), http.MethodPost, chatsPath, `{}`, 415); got == "" {
		t.Error("nothing is said of the content type")
	}
	for name, c := range map[string]*harness.Client{
		"nobody": h.Server().Anonymous(), "a wrong key": h.Server().Anonymous().With("X-API-Key", "sk_"+strings.Repeat("x", 43)),
		"a wrong token": h.Server().Anonymous().With("Authorization", "Bearer x"), "the operator": h.Server().Operator(),
	} {
		t.Run(name, func(t *testing.T) {
			wantChatError(t, c, http.MethodGet, chatsPath+"/"+made.ID, 401)
		})
	}
	for _, c := range []struct{ method, below string }{{http.MethodGet, ""}, {http.MethodGet, "/messages"}, {http.MethodDelete, ""}} {
		unknown := harness.Must(backend.Do(t.Context(), c.method, chatsPath+"/01900000-0000-7000-8000-000000000000"+c.below, nil))(t)
		theirs := harness.Must(backend.Do(t.Context(), c.method, chatsPath+"/"+foreign.ID+c.below, nil))(t)
		if unknown.Status != theirs.Status || string(unknown.Body) != string(theirs.Body) {
			t.Errorf("%s %s: of a foreign chat %s, of an unknown one %s", c.method, c.below, theirs.Body, unknown.Body)
		}
	}
	getChat(t, other.Tenant, foreign.ID) // it is still there
	harness.Must(backend.Call(http.MethodGet, "/v1"+chatsPath+"/"+made.ID, nil, http.StatusOK, nil))(t)
}

// TestUsersSeeTheirOwnChats: with a token, or named beside the key, a caller has a user's rights and no more.
func TestUsersSeeTheirOwnChats(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	signer := harness.Must(h.NewSigner())(t)
	alice := h.Server().Anonymous().With("Authorization", "Bearer "+harness.Must(signer.Token("alice", time.Hour))(t))
	var own chat
	harness.Must(alice.Call(http.MethodPost, chatsPath, map[string]any{"user_id": "alice"}, http.StatusCreated, &own))(t)
	wantChatErrorTo(t, alice, http.MethodPost, chatsPath, map[string]any{"user_id": "bob"}, http.StatusForbidden)
	theirs := newChat(t, h.Tenant, "bob")
	for _, c := range []*harness.Client{alice, h.User("alice").Client} {
		harness.Must(c.Call(http.MethodGet, chatsPath+"/"+own.ID, nil, http.StatusOK, nil))(t)
		harness.Must(c.Call(http.MethodGet, chatsPath+"/user/alice", nil, http.StatusOK, nil))(t)
		for _, path := range []string{"/" + theirs.ID, "/" + theirs.ID + "/messages", "/user/bob"} {
			wantChatError(t, c, http.MethodGet, chatsPath+path, http.StatusNotFound)
		}
		wantChatError(t, c, http.MethodDelete, chatsPath+"/"+theirs.ID, http.StatusNotFound)
	}
	harness.Check(t, h.Backend().AddMembers(theirs.room(), "alice"))
	wantChatError(t, alice, http.MethodDelete, chatsPath+"/"+theirs.ID, http.StatusForbidden)
	harness.Must(alice.Call(http.MethodDelete, chatsPath+"/"+own.ID, nil, http.StatusOK, nil))(t)
}

type chatPage struct {
	Chats    []chat        `json:"chats"`
	Messages []chatMessage `json:"messages"`
	Total    int           `json:"total"`
	Offset   int           `json:"offset"`
	Limit    int           `json:"limit"`
	HasMore  bool          `json:"has_more"`
}

func readPage(t *testing.T, c *harness.Client, path string) (p chatPage) {
	t.Helper()
	harness.Must(c.Call(http.MethodGet, chatsPath+path, nil, http.StatusOK, &p))(t)
	return p
}

// TestPagesOfChatsTellTheirTotals: in either order, and fitting together.
func TestPagesOfChatsTellTheirTotals(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var ids []string
	for range 5 {
		ids = append(ids, newChat(t, h.Tenant, "alice").ID)
	}
	newChat(t, h.Tenant, "alic")
	harness.Must(h.User("alice").CreateRoom("group"))(t)
	check := func(query string, want []string, hasMore bool, offset, limit int) {
		t.Helper()
		p := readPage(t, h.Backend(), "/user/alice"+query)
		var got []string
		for _, c := range p.Chats {
			if got = append(got, c.ID); c.MessageCount == nil || c.Status != "" || c.Title != "New chat" {
				t.Errorf("%s lists %+v", query, c)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || p.Total != 5 || p.HasMore != hasMore || p.Offset != offset || p.Limit != limit {
			t.Errorf("%s: got %v (%+v), want %v", query, got, p, want)
		}
	}
	check("", []string{ids[4], ids[3], ids[2], ids[1], ids[0]}, false, 0, 50)
	check("?order=asc", ids, false, 0, 50)
	check("?limit=2", []string{ids[4], ids[3]}, true, 0, 2)
	check("?limit=2&offset=3", []string{ids[1], ids[0]}, false, 3, 2)
	check("?limit=2&offset=2&order=asc", ids[2:4], true, 2, 2)
	check("?offset=5", nil, false, 5, 50)

	room := "room_" + ids[0]
	if p := readPage(t, h.Backend(), "/"+ids[0]+"/messages"); p.Total != 0 || p.Messages == nil || len(p.Messages) != 0 || p.HasMore {
		t.Errorf("an empty chat has %+v", p)
	}
	alice, wanted := h.User("alice"), []string{}
	for i := range 7 {
		wanted = append(wanted, harness.Must(alice.Send(room, harness.Body("%d", i)))(t).MessageID)
	}
	harness.Check(t, alice.Delete(room, wanted[2]))
	edited := harness.Must(alice.Edit(room, wanted[3], harness.Body("edited")))(t)
	for _, order := range []string{"asc", "desc"} {
		var got []string
		for offset := 0; ; offset += 3 {
			p := readPage(t, h.Backend(), fmt.Sprintf("/%s/messages?limit=3&offset=%d&order=%s", ids[0], offset, order))
			for _, m := range p.Messages {
				if got = append(got, m.ID); (m.Metadata["deleted"] == true) != (m.ID == wanted[2]) || m.ID == wanted[3] && m.Content != edited.Content {
					t.Errorf("%+v", m)
				}
			}
			if p.Total != 7 || p.HasMore != (offset < 6) {
				t.Errorf("%s from %d: %+v", order, offset, p)
			}
			if !p.HasMore {
				break
			}
		}
		want := append([]string(nil), wanted...)
		if order == "desc" {
			for i := range want {
				want[i] = wanted[len(wanted)-1-i]
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", order, got, want)
		}
	}
	if p := readPage(t, h.Backend(), "/"+ids[0]+"/messages?offset=9007199254740991"); p.Total != 7 || len(p.Messages) != 0 || p.HasMore {
		t.Errorf("far behind the end: %+v", p)
	}
	if c := getChat(t, h.Tenant, ids[0]); *c.MessageCount != 7 || c.UpdatedAt < *c.LastMessageAt || c.UpdatedAt != edited.EditedAt {
		t.Errorf("the chat is %+v, edited at %s", c, edited.EditedAt)
	}
}

// TestChatsAreRoomsNatively: listed only when asked for, made nowhere else, and open to those who take over.
func TestChatsAreRoomsNatively(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	group := harness.Must(h.User("alice").CreateRoom("group"))(t).RoomID
	for _, c := range []*harness.Client{h.User("alice").Client, h.Backend()} {
		if rooms := harness.Must(c.Rooms(""))(t); len(rooms) != 1 || rooms[0].RoomID != group {
			t.Errorf("listed are %+v", rooms)
		}
		rooms := harness.Must(c.Rooms("&type=chat"))(t)
		if len(rooms) != 1 || rooms[0].RoomID != made.room() || rooms[0].Type != "chat" || rooms[0].UniqueKey != nil {
			t.Errorf("of type chat are %+v", rooms)
		}
	}
	res := harness.Must(h.Backend().Do(t.Context(), http.MethodPost, "/rooms", map[string]any{"type": "chat", "members": []string{"alice"}}))(t)
	if problem := harness.Must(res.Problem())(t); res.Status != http.StatusBadRequest || problem.Error.Field != "type" {
		t.Errorf("a chat can be made natively: %d %s", res.Status, res.Body)
	}
	name := harness.Must(h.Backend().PatchRoom(made.room(), map[string]any{"name": "Renamed"}))(t)
	if c := getChat(t, h.Tenant, made.ID); c.Title != "Renamed" || name.Type != "chat" {
		t.Errorf("renamed it is %+v", c)
	}
}

// TestAChatIsMadeOncePerIdempotencyKey, with a slash at the end of the path or without.
func TestAChatIsMadeOncePerIdempotencyKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.Backend().With("Idempotency-Key", "k1")
	var first, again chat
	harness.Must(c.Call(http.MethodPost, chatsPath, map[string]any{"user_id": "alice"}, http.StatusCreated, &first))(t)
	res := harness.Must(c.Call(http.MethodPost, chatsPath+"/", map[string]any{"user_id": "alice"}, http.StatusCreated, &again))(t)
	if again.ID != first.ID || res.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("made %s, then %s", first.ID, again.ID)
	}
	wantChatErrorTo(t, c, http.MethodPost, chatsPath, map[string]any{"user_id": "bob"}, http.StatusConflict)
}

// TestLimitsOfChatsAreTheirOwn: a hundred calls a minute, told in headers, which natively nobody notices, nor the other way.
func TestLimitsOfChatsAreTheirOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tenant := h.another(t, map[string]any{"rate_limit": 3}).Tenant
	made := newChat(t, tenant, "alice")
	path := chatsPath + "/" + made.ID
	const most, perSecond = 100, 100.0 / 60
	began, answered := time.Now(), 1 // one call has made the chat
	for refused := false; !refused; {
		res := harness.Must(tenant.Backend().Do(t.Context(), http.MethodGet, path, nil))(t)
		refused = res.Status == http.StatusTooManyRequests
		if limit, left := res.Header.Get("X-RateLimit-Limit"), res.Header.Get("X-RateLimit-Remaining"); limit != "100" || left == "" {
			t.Fatalf("after %d calls: %d %v", answered, res.Status, res.Header)
		}
		switch {
		case refused:
			if isChatError(t, res, http.StatusTooManyRequests); res.Header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
		default:
			answered++
		}
		if often := most + 2 + perSecond*time.Since(began).Seconds(); float64(answered) > often {
			t.Fatalf("%d calls were answered within %v", answered, time.Since(began))
		}
	}
	if answered < most*9/10 { // several nodes hold up to a tenth of it ahead of need
		t.Errorf("%d calls were answered, then one was refused", answered)
	}
	res := harness.Must(tenant.Backend().Call(http.MethodGet, "/rooms/"+made.room(), nil, http.StatusOK, nil))(t)
	if res.Header.Get("X-RateLimit-Limit") != "3" || res.Header.Get("X-RateLimit-Remaining") != "2" {
		t.Errorf("natively: %v", res.Header)
	}
	harness.Must(h.Backend().Call(http.MethodGet, chatsPath+"/"+newChat(t, h.Tenant, "alice").ID, nil, http.StatusOK, nil))(t)
	dialChat(t, tenant, "alice", made.ID) // sockets are no calls
	native := connect(t, tenant.User("alice"))
	for range 10 {
		harness.Check(t, native.Write(map[string]any{"type": "send_message", "room_id": made.room(), "content": harness.Body("not now")}))
	}
	harness.Must(native.Await("a native refusal", func(f harness.Frame) bool { return f.Code == "RATE_LIMIT_EXCEEDED" }))(t)
	c := dialChat(t, tenant, "alice", made.ID)
	c.say(harness.Body("natively nothing is left"))
	c.await("message_received")
}

// TestPagesMayCallChats: CORS is that of all calls.
func TestPagesMayCallChats(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tenant := h.another(t, map[string]any{"allowed_origins": []string{"https://shop.example"}}).Tenant
	page := tenant.Backend().With("Origin", "https://shop.example")
	res := harness.Must(page.Call(http.MethodPost, chatsPath, map[string]any{"user_id": "alice"}, http.StatusCreated, nil))(t)
	if got := res.Header.Get("Access-Control-Allow-Origin"); got != "https://shop.example" {
		t.Errorf("allowed is %q", got)
	}
	res = harness.Must(page.Do(t.Context(), http.MethodGet, chatsPath+"/x", nil))(t)
	if got := res.Header.Get("Access-Control-Allow-Origin"); res.Status != http.StatusNotFound || got != "https://shop.example" {
		t.Errorf("of an error %d: allowed is %q", res.Status, got)
	}
	res = harness.Must(page.With("Access-Control-Request-Method", "POST").Do(t.Context(), http.MethodOptions, chatsPath+"/", nil))(t)
	if res.Status != http.StatusNoContent || res.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("a preflight is %d with %v", res.Status, res.Header)
	}
}
