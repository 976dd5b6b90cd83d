package blackbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// input is a request and the answer it must get; status 201 and 200 rows prove that the strictness has an end.
type input struct {
	name, method, path string
	body               any
	status             int
	code, field        string
}

// run makes every request of a table as client and then proves that the server lives.
func run(t *testing.T, client *harness.User, room string, table []input) {
	t.Helper()
	for _, in := range table {
		t.Run(in.name, func(t *testing.T) {
			res := harness.Must(client.Do(t.Context(), in.method, in.path, in.body))(t)
			if res.Status != in.status {
				t.Fatalf("%s %.100s: got %d %.300s, want %d", in.method, in.path, res.Status, res.Body, in.status)
			}
			if in.code != "" {
				wantProblem(t, res, in.code, in.field)
			}
		})
	}
	wantLive(t, client, room)
}

// nested is a JSON object of the given depth.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth-1) + `{}` + strings.Repeat(`}`, depth-1)
}

func quoted(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // a Go string always encodes
	}
	return string(raw)
}

// bodyShapes are bodies of a send that break JSON or its limits, whatever the transport.
var bodyShapes = []struct {
	name, body string
	field      string
}{
	{"null", `null`, ""},
	{"an array", `[]`, ""},
	{"a string", `"x"`, ""},
	{"truncated", `{"content":"x"`, ""},
	{"trailing data", `{"content":"x"}{}`, ""},
	{"trailing garbage", `{"content":"x"} x`, ""},
	{"a comment", `{"content":"x"/* c */}`, ""},
	{"NaN", `{"content":"x","n":NaN}`, ""},
	{"single quotes", `{'content':'x'}`, ""},
	{"a byte order mark", "\ufeff" + `{"content":"x"}`, ""},
	{"UTF-16", "\xff\xfe{\x00}\x00", ""},
	{"invalid UTF-8", "{\"content\":\"a\xffb\"}", ""},
	{"an overlong encoding", "{\"content\":\"a\xc0\xafb\"}", ""},
	{"a lone surrogate", `{"content":"\ud800"}`, ""},
	{"a reversed pair", `{"content":"\udc00\ud800"}`, ""},
	{"NUL escaped", `{"content":"a\u0000b"}`, ""},
	{"NUL raw", "{\"content\":\"a\x00b\"}", ""},
	{"a duplicate name", `{"content":"x","content":"y"}`, ""},
	{"a case variant", `{"content":"x","Content":"y"}`, ""},
	{"a nested duplicate", `{"content":"x","meta":{"a":1,"a":2}}`, ""},
	{"no content", `{}`, "content"},
	{"empty content", `{"content":""}`, "content"},
	{"content of a number", `{"content":5}`, "content"},
	{"content of a bool", `{"content":true}`, "content"},
	{"content of an array", `{"content":["x"]}`, "content"},
	{"content over 16 KiB", `{"content":"` + strings.Repeat("x", 16_385) + `"}`, "content"},
	{"meta of a list", `{"content":"x","meta":[1]}`, "meta"},
	{"meta of a number", `{"content":"x","meta":1}`, "meta"},
	{"meta over 16 KiB", `{"content":"x","meta":{"a":"` + strings.Repeat("m", 16_400) + `"}}`, "meta"},
	{"meta 33 deep", `{"content":"x","meta":` + nested(33) + `}`, "meta"},
	{"meta of a string that is no object", `{"content":"x","meta":"[1]"}`, "meta"},
	{"a client_id too long", `{"content":"x","client_id":"` + strings.Repeat("c", 65) + `"}`, "client_id"},
	{"a client_id of a number", `{"content":"x","client_id":5}`, "client_id"},
	{"reply_to nothing", `{"content":"x","reply_to":"msg_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"}`, "reply_to"},
	{"reply_to nonsense", `{"content":"x","reply_to":"../1"}`, "reply_to"},
}

func TestBadBodiesOfASendAreRefusedOverREST(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	path := "/rooms/" + room + "/messages"
	table := []input{
		{"an empty body", "POST", path, "", 400, "VALIDATION_ERROR", ""},
		{"over 64 KiB", "POST", path, `{"content":"x","pad":"` + strings.Repeat("p", 70_000) + `"}`, 413, "PAYLOAD_TOO_LARGE", ""},
		{"64 KiB of spaces", "POST", path, strings.Repeat(" ", 65_537) + `{"content":"x"}`, 413, "PAYLOAD_TOO_LARGE", ""},
	}
	for _, shape := range bodyShapes {
		table = append(table, input{shape.name, "POST", path, shape.body, 400, "VALIDATION_ERROR", shape.field})
	}
	run(t, alice, room, table)
	wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 1)
}

func TestAwkwardContentIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	socket := connect(t, tenant.User("bob"))
	for i, content := range []string{
		"'; DROP TABLE messages; -- $1 %s _%", "$$x$$ \\ \" / \t \r\n", "\x1b[31mred\x1b]0;title\a", "a\u2028b\u2029c", "\u202Eright to left",
		"👩‍👩‍👧‍👦 \U0001F3F4", "<script>alert(1)</script>&amp;", "\ufeff", "\ufffd", "{\"type\":\"message\"}", strings.Repeat("é", 8192),
		"\u007f\u0085\u0001",
	} {
		tenant.Server().Unmarked(content)
		meta := map[string]any{"__proto__": i, "constructor": content[:1]}
		sent, err := alice.SendAs(room, map[string]any{"content": content, "meta": meta})
		harness.Check(t, err)
		stored := harness.Must(alice.Page(room, sent.Seq-1, 1))(t)[0]
		live := harness.Must(socket.AwaitMessage(room, sent.Seq))(t)
		if sent.Content != content || stored.Content != content || live.Content != content {
			t.Errorf("%q came back as %q, %q and %q", content, sent.Content, stored.Content, live.Content)
		}
		sameJSON(t, "meta", stored.Meta, live.Meta)
	}
	for name, body := range map[string]string{
		"meta 32 deep":             `{"content":"some text","meta":` + nested(32) + `}`,
		"meta as a string":         `{"content":"some text","meta":"{\"a\":1}"}`,
		"meta null":                `{"content":"some text","meta":null}`,
		"a surrogate pair":         `{"content":"\ud83d\ude00"}`,
		"fields of the server":     `{"content":"some text","seq":99,"rev":1,"sender_id":"eve","message_id":"m","created_at":"x","room_id":"y"}`,
		"content of exactly 16KiB": `{"content":"` + strings.Repeat("x", 16_384) + `"}`,
	} {
		tenant.Server().Unmarked("😀")
		var sent harness.Message
		if _, err := alice.Call("POST", "/rooms/"+room+"/messages", body, 201, &sent); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if sent.SenderID != "alice" || sent.RoomID != room {
			t.Errorf("%s: stored as %+v", name, sent)
		}
	}
}

func TestBadNumbersAndQueriesAreRefused(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	for range 3 {
		harness.Must(alice.Send(room, harness.Body("x")))(t)
	}
	var table []input
	for _, seq := range []string{
		`1.5`, `-1`, `9007199254740993`, `1e400`, `"5"`, `true`, `null`, `[1]`, `4`, `99999999999999999999999`,
	} {
		body := fmt.Sprintf(`{"room_id":%q,"seq":%s}`, room, seq)
		table = append(table, input{"ack " + seq, "POST", "/acks", body, 400, "VALIDATION_ERROR", "seq"})
	}
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=101", "limit=1e9", "limit=abc", "limit=", "limit=5&limit=100", "limit=99999999999999999999",
	} {
		for _, path := range []string{"/rooms", "/rooms/" + room + "/messages", "/rooms/" + room + "/members"} {
			table = append(table, input{path + "?" + query, "GET", path + "?" + query, nil, 400, "VALIDATION_ERROR", "limit"})
		}
	}
	messages := "/rooms/" + room + "/messages?"
	for _, q := range []struct{ query, field string }{
		{"after_seq=-1", "after_seq"}, {"after_seq=x", "after_seq"}, {"after_seq=1.5", "after_seq"}, {"after_seq=9e18", "after_seq"},
		{"before_seq=-1", "before_seq"}, {"before_seq=x", "before_seq"},
		{"after_seq=1&before_seq=3", ""}, {"after_seq=1&after_seq=2", "after_seq"},
	} {
		table = append(table, input{q.query, "GET", messages + q.query, nil, 400, "VALIDATION_ERROR", q.field})
	}
	for _, query := range []string{"offset=-1", "offset=9e18", "offset=abc", "offset=1&offset=2"} {
		table = append(table, input{query, "GET", "/rooms?" + query, nil, 400, "VALIDATION_ERROR", "offset"})
	}
	table = append(table,
		input{"type unknown", "GET", "/rooms?type=chatroom", nil, 400, "VALIDATION_ERROR", "type"},
		input{"a device id too long", "GET", "/rooms?device_id=" + strings.Repeat("d", 65), nil, 400, "VALIDATION_ERROR", "device_id"},
		input{"ack without a room", "POST", "/acks", `{"seq":1}`, 400, "VALIDATION_ERROR", "room_id"},
		input{"ack without a seq", "POST", "/acks", fmt.Sprintf(`{"room_id":%q}`, room), 400, "VALIDATION_ERROR", "seq"},
		input{"ack 0", "POST", "/acks", fmt.Sprintf(`{"room_id":%q,"seq":0}`, room), 200, "", ""},
		input{"ack 3", "POST", "/acks", fmt.Sprintf(`{"room_id":%q,"seq":3}`, room), 200, "", ""},
		input{"ack 2 after 3", "POST", "/acks", fmt.Sprintf(`{"room_id":%q,"seq":2}`, room), 200, "", ""},
		input{"a page past the end", "GET", messages + "after_seq=9007199254740991", nil, 200, "", ""},
		input{"an unknown parameter", "GET", messages + "wat=1", nil, 200, "", ""},
	)
	run(t, alice, room, table)
	wantDense(t, harness.Must(alice.Page(room, 1, 2))(t), 2, 3)
	var newest []harness.Message
	harness.Must(alice.Call("GET", messages+"before_seq=4&limit=2", nil, 200, &newest))(t)
	wantDense(t, newest, 2, 3)
}

func TestBadRoomsAndMembersAreRefused(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("u%d", i)
	}
	members := "/rooms/" + room + "/members"
	run(t, alice, room, []input{
		{"no type", "POST", "/rooms", `{"members":["bob"]}`, 400, "VALIDATION_ERROR", "type"},
		{"an unknown type", "POST", "/rooms", `{"type":"party","members":["bob"]}`, 400, "VALIDATION_ERROR", "type"},
		{"a type made elsewhere", "POST", "/rooms", `{"type":"chat","members":["bob"]}`, 400, "VALIDATION_ERROR", "type"},
		{"a DM of one", "POST", "/rooms", `{"type":"dm","members":["bob"]}`, 400, "VALIDATION_ERROR", "members"},
		{"a DM with oneself", "POST", "/rooms", `{"type":"dm","members":["bob","bob"]}`, 400, "VALIDATION_ERROR", "members"},
		{"a DM of three", "POST", "/rooms", `{"type":"dm","members":["a","b","c"]}`, 400, "VALIDATION_ERROR", "members"},
		{"a reserved member", "POST", "/rooms", `{"type":"group","members":["bot_1"]}`, 400, "VALIDATION_ERROR", "members"},
		{"the system as member", "POST", "/rooms", `{"type":"group","members":["system"]}`, 400, "VALIDATION_ERROR", "members"},
		{"an empty member", "POST", "/rooms", `{"type":"group","members":[""]}`, 400, "VALIDATION_ERROR", "members"},
		{"members of numbers", "POST", "/rooms", `{"type":"group","members":[1]}`, 400, "VALIDATION_ERROR", "members"},
		{"members of a string", "POST", "/rooms", `{"type":"group","members":"bob"}`, 400, "VALIDATION_ERROR", "members"},
		{"101 members", "POST", "/rooms", map[string]any{"type": "group", "members": many}, 400, "VALIDATION_ERROR", "members"},
		{"a long name", "POST", "/rooms", `{"type":"group","members":["b"],"name":` + quoted(strings.Repeat("n", 5000)) + `}`,
			400, "VALIDATION_ERROR", "name"},
		{"metadata of a list", "POST", "/rooms", `{"type":"group","members":["b"],"metadata":[]}`, 400, "VALIDATION_ERROR", "metadata"},
		{"metadata 33 deep", "POST", "/rooms", `{"type":"group","members":["b"],"metadata":` + nested(33) + `}`,
			400, "VALIDATION_ERROR", "metadata"},
		{"nobody added", "POST", members, `{}`, 400, "VALIDATION_ERROR", "user_id"},
		{"one and many", "POST", members, `{"user_id":"a","user_ids":["b"]}`, 400, "VALIDATION_ERROR", ""},
		{"an unknown role", "POST", members, `{"user_id":"a","role":"owner"}`, 400, "VALIDATION_ERROR", "role"},
		{"101 added", "POST", members, map[string]any{"user_ids": many}, 400, "VALIDATION_ERROR", "user_ids"},
		{"a bot that does not exist", "POST", members, `{"user_id":"bot_1"}`, 400, "VALIDATION_ERROR", "user_id"},
		{"somebody who is not in it", "DELETE", members + "/nobody", nil, 404, "NOT_FOUND", ""},
		{"added twice", "POST", members, `{"user_id":"bob"}`, 204, "", ""},
	})
	room2 := harness.Must(alice.Room(room))(t)
	if room2.LastRev != 2 { // created, and the message of wantLive: the refused changes took no position
		t.Errorf("last_rev after refused changes: got %d, want 2", room2.LastRev)
	}
}

func TestBadAdminRequestsAreRefused(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	operator := tenant.Server().Operator()
	for _, in := range []input{
		{"no name", "POST", "/admin/tenants", `{}`, 400, "VALIDATION_ERROR", "name"},
		{"an empty name", "POST", "/admin/tenants", `{"name":""}`, 400, "VALIDATION_ERROR", "name"},
		{"a name of a number", "POST", "/admin/tenants", `{"name":1}`, 400, "VALIDATION_ERROR", "name"},
		{"an unknown key", "POST", "/admin/tenants", `{"name":"x","config":{"wat":1}}`, 400, "VALIDATION_ERROR", ""},
		{"a negative limit", "POST", "/admin/tenants", `{"name":"x","config":{"rate_limit":-1}}`, 400, "VALIDATION_ERROR", ""},
		{"a limit of a string", "POST", "/admin/tenants", `{"name":"x","config":{"rate_limit":"many"}}`, 400, "VALIDATION_ERROR", ""},
		{"an unknown tenant", "GET", "/admin/tenants/tenant_x", nil, 404, "NOT_FOUND", ""},
		{"a key of an unknown tenant", "POST", "/admin/tenants/tenant_x/keys", `{"name":"k"}`, 404, "NOT_FOUND", ""},
		{"an unknown key revoked", "DELETE", "/admin/tenants/" + tenant.ID + "/keys/key_x", nil, 404, "NOT_FOUND", ""},
	} {
		t.Run(in.name, func(t *testing.T) {
			res := harness.Must(operator.Call(in.method, in.path, in.body, in.status, nil))(t)
			wantProblem(t, res, in.code, in.field)
		})
	}
	keyed := operator.With("Idempotency-Key", "k")
	res := harness.Must(keyed.Call("POST", "/admin/tenants", `{"name":"x"}`, 400, nil))(t)
	wantProblem(t, res, "VALIDATION_ERROR", "Idempotency-Key")
	harness.Must(tenant.Server().NewTenant("valid"))(t)
}

func TestATenantHasAtMostFiveLiveKeys(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	path := "/admin/tenants/" + tenant.ID + "/keys"
	for range 4 {
		var key struct {
			APIKey string `json:"api_key"`
		}
		harness.Must(tenant.Server().Operator().Call(http.MethodPost, path, `{"name":"k"}`, 201, &key))(t)
		tenant.Server().Secret(key.APIKey)
	}
	res := harness.Must(tenant.Server().Operator().Call(http.MethodPost, path, `{"name":"k"}`, 409, nil))(t)
	wantProblem(t, res, "CONFLICT", "")
}
