package blackbox

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// call is one line of the table of calls.
type call struct {
	does   string      // for people
	call   string      // method and path; names in braces are made for the line
	body   string      //
	want   [actors]int // the status for each actor; 0 = not walked
	events []string    // what the log of the room gains when the call succeeds
	field  string      // which is at fault, in answers of 400
}

// calls is the REST interface: who may do what, and what becomes of it.
//
//	backend, admin, member, stranger, foreign
var calls = []call{
	{"list the own rooms", "GET /rooms", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"list by type", "GET /rooms?type=dm", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"list what is open to join", "GET /rooms?scope=open", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"list by a scope that is none", "GET /rooms?scope=all", ``, by(400, 400, 400, 400, 400), nil, "scope"},
	{"list for a device", "GET /rooms?device_id=phone", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"make a group", "POST /rooms", `{"type":"group","members":["bob"],"name":"n","metadata":{"a":1}}`, by(201, 201, 201, 201, 201), nil, ""},
	{"make a channel", "POST /rooms", `{"type":"channel","members":["bob"]}`, by(201, 201, 201, 201, 201), nil, ""},
	{"make a DM that exists", "POST /rooms", `{"type":"dm","members":["alice","bob"],"x":"{dm}"}`, by(409, 409, 409, 0, 0), nil, ""},
	{"get a DM that exists", "POST /rooms?if_exists=return", `{"type":"dm","members":["bob","alice"],"x":"{dm}"}`, by(200, 200, 200, 0, 0), nil, ""},

	{"read a room", "GET /rooms/{group}", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read a channel", "GET /rooms/{channel}", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read a DM", "GET /rooms/{dm}", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read no room", "GET /rooms/{no_room}", ``, by(404, 404, 404, 404, 404), nil, ""},
	{"rename a room", "PATCH /rooms/{group}", `{"name":"new"}`, by(200, 200, 403, 403, 404), gains("room.updated"), ""},
	{"describe a room", "PATCH /rooms/{channel}", `{"metadata":{"k":[1]}}`, by(200, 200, 403, 403, 404), gains("room.updated"), ""},
	{"change nothing of a room", "PATCH /rooms/{group}", `{}`, by(200, 200, 403, 403, 404), nil, ""},
	{"clear what is clear", "PATCH /rooms/{group}", `{"name":null,"metadata":null}`, by(200, 200, 403, 403, 404), nil, ""},
	{"name a room by a number", "PATCH /rooms/{group}", `{"name":5}`, by(400, 400, 0, 0, 0), nil, "name"},
	{"describe a room by a list", "PATCH /rooms/{group}", `{"metadata":[]}`, by(400, 400, 0, 0, 0), nil, "metadata"},
	{"rename no room", "PATCH /rooms/{no_room}", `{"name":"new"}`, by(404, 404, 404, 404, 404), nil, ""},
	{"remove a room", "DELETE /rooms/{group}", ``, by(204, 204, 0, 0, 0), gains("room.removed"), ""},
	{"remove a room without the right", "DELETE /rooms/{channel}", ``, by(0, 0, 403, 403, 404), nil, ""},
	{"remove no room", "DELETE /rooms/{no_room}", ``, by(404, 404, 404, 404, 404), nil, ""},

	{"list members", "GET /rooms/{group}/members", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"list members of no room", "GET /rooms/{no_room}/members", ``, by(404, 404, 404, 404, 404), nil, ""},
	{"add a member", "POST /rooms/{group}/members", `{"user_id":"dave"}`, by(204, 204, 403, 403, 404), gains("member.added"), ""},
	{"add an admin", "POST /rooms/{channel}/members", `{"user_id":"dave","role":"admin"}`, by(204, 204, 403, 403, 404), gains("member.added"), ""},
	{"add two members", "POST /rooms/{group}/members", `{"user_ids":["dave","dora"]}`, by(204, 204, 403, 403, 404), gains("member.added", "member.added"), ""},
	{"add who is a member", "POST /rooms/{group}/members", `{"user_id":"bob"}`, by(204, 204, 403, 403, 404), nil, ""},
	{"add nobody", "POST /rooms/{group}/members", `{}`, by(400, 400, 0, 0, 0), nil, "user_id"},
	{"add to a DM", "POST /rooms/{dm}/members", `{"user_id":"dave"}`, by(409, 409, 409, 403, 404), nil, ""},
	{"make an admin", "PATCH /rooms/{group}/members/bob", `{"role":"admin"}`, by(204, 204, 403, 403, 404), gains("member.updated"), ""},
	{"make a member a member", "PATCH /rooms/{group}/members/bob", `{"role":"member"}`, by(204, 204, 403, 403, 404), nil, ""},
	{"make a member nothing", "PATCH /rooms/{group}/members/bob", `{}`, by(400, 400, 0, 0, 0), nil, "role"},
	{"make a member a king", "PATCH /rooms/{group}/members/bob", `{"role":"king"}`, by(400, 400, 0, 0, 0), nil, "role"},
	{"make the last admin a member", "PATCH /rooms/{group}/members/alice", `{"role":"member"}`, by(409, 409, 403, 403, 404), nil, ""},
	{"make somebody else an admin", "PATCH /rooms/{group}/members/eve", `{"role":"admin"}`, by(404, 404, 403, 403, 404), nil, ""},
	{"make an admin of a DM", "PATCH /rooms/{dm}/members/bob", `{"role":"admin"}`, by(409, 409, 409, 403, 404), nil, ""},
	{"remove a member, or leave", "DELETE /rooms/{group}/members/bob", ``, by(204, 204, 204, 403, 404), gains("member.removed"), ""},
	{"remove the last admin, or leave", "DELETE /rooms/{group}/members/alice", ``, by(204, 204, 403, 403, 404), gains("member.removed", "member.updated"), ""},
	{"remove who is none", "DELETE /rooms/{group}/members/eve", ``, by(404, 404, 403, 0, 404), nil, ""},
	{"leave a DM", "DELETE /rooms/{dm}/members/bob", ``, by(409, 409, 409, 403, 404), nil, ""},
	{"join a channel", "POST /rooms/{channel}/join", ``, by(0, 0, 0, 204, 404), gains("member.added"), ""},
	{"join a channel again", "POST /rooms/{channel}/join", ``, by(401, 204, 204, 0, 404), nil, ""},
	{"join a group", "POST /rooms/{group}/join", ``, by(401, 409, 409, 403, 404), nil, ""},
	{"join a DM", "POST /rooms/{dm}/join", ``, by(401, 409, 409, 403, 404), nil, ""},
	{"join no room", "POST /rooms/{no_room}/join", ``, by(401, 404, 404, 404, 404), nil, ""},

	{"send", "POST /rooms/{group}/messages", `{"content":"some text","meta":{"a":1}}`, by(401, 201, 201, 403, 404), gains("message"), ""},
	{"send to a channel", "POST /rooms/{channel}/messages", `{"content":"some text","client_id":"c"}`, by(401, 201, 201, 403, 404), gains("message"), ""},
	{"answer", "POST /rooms/{group}/messages", `{"content":"some text","reply_to":"{of_bob}"}`, by(401, 201, 201, 403, 404), gains("message"), ""},
	{"answer nothing", "POST /rooms/{group}/messages", `{"content":"some text","reply_to":"{no_message}"}`, by(401, 400, 400, 0, 0), nil, "reply_to"},
	{"send nothing", "POST /rooms/{group}/messages", `{}`, by(401, 400, 400, 0, 0), nil, "content"},
	{"send to no room", "POST /rooms/{no_room}/messages", `{"content":"some text"}`, by(401, 404, 404, 404, 404), nil, ""},
	{"read messages", "GET /rooms/{group}/messages", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read messages before", "GET /rooms/{group}/messages?before_seq=9&limit=1", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read both ways", "GET /rooms/{group}/messages?before_seq=9&after_seq=1", ``, by(400, 400, 400, 0, 0), nil, ""},
	{"read messages of no room", "GET /rooms/{no_room}/messages", ``, by(404, 404, 404, 404, 404), nil, ""},
	{"read a message", "GET /rooms/{group}/messages/{of_alice}", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read a tombstone", "GET /rooms/{group}/messages/{deleted}", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read no message", "GET /rooms/{group}/messages/{no_message}", ``, by(404, 404, 404, 403, 404), nil, ""},
	{"read changes", "GET /rooms/{group}/changes?after_rev=0&limit=2", ``, by(200, 200, 200, 403, 404), nil, ""},
	{"read changes from below", "GET /rooms/{group}/changes?after_rev=-1", ``, by(400, 400, 400, 0, 0), nil, "after_rev"},
	{"read changes of no room", "GET /rooms/{no_room}/changes", ``, by(404, 404, 404, 404, 404), nil, ""},
	{"edit bob's", "PUT /rooms/{group}/messages/{of_bob}", `{"content":"another text"}`, by(401, 403, 200, 403, 404), gains("message.edited"), ""},
	{"edit alice's", "PUT /rooms/{group}/messages/{of_alice}", `{"content":"another text","meta":{"b":2}}`, by(401, 200, 403, 403, 404), gains("message.edited"), ""},
	{"edit without a text", "PUT /rooms/{group}/messages/{of_bob}", `{"meta":{}}`, by(401, 0, 400, 0, 0), nil, "content"},
	{"edit a tombstone", "PUT /rooms/{group}/messages/{deleted}", `{"content":"another text"}`, by(401, 403, 409, 403, 404), nil, ""},
	{"edit no message", "PUT /rooms/{group}/messages/{no_message}", `{"content":"another text"}`, by(401, 404, 404, 403, 404), nil, ""},
	{"delete bob's", "DELETE /rooms/{group}/messages/{of_bob}", ``, by(204, 204, 204, 403, 404), gains("message.deleted"), ""},
	{"delete alice's", "DELETE /rooms/{group}/messages/{of_alice}", ``, by(204, 204, 403, 403, 404), gains("message.deleted"), ""},
	{"delete once more", "DELETE /rooms/{group}/messages/{deleted}", ``, by(204, 204, 204, 403, 404), nil, ""},
	{"delete no message", "DELETE /rooms/{group}/messages/{no_message}", ``, by(404, 404, 404, 403, 404), nil, ""},

	{"make a bot", "POST /bots", newBotBody, by(201, 403, 403, 403, 403), nil, ""},
	{"make a bot of nothing", "POST /bots", `{}`, by(400, 403, 403, 403, 403), nil, "name"},
	{"make a bot that calls the server's own network", "POST /bots", `{"name":"n","llm_base_url":"https://10.0.0.1/","model":"m"}`, by(400, 403, 403, 403, 403), nil, "llm_base_url"},
	{"make a bot of the server's secrets", "POST /bots", `{"name":"n","llm_base_url":"https://llm.example.com/","model":"m","llm_api_key_env":"JWT_SECRET"}`, by(400, 403, 403, 403, 403), nil, "llm_api_key_env"},
	{"list bots", "GET /bots", ``, by(200, 403, 403, 403, 403), nil, ""},
	{"read a bot", "GET /bots/{bot}", ``, by(200, 403, 403, 403, 403), nil, ""},
	{"read no bot", "GET /bots/{no_bot}", ``, by(404, 403, 403, 403, 403), nil, ""},
	{"change a bot", "PATCH /bots/{bot}", `{"model":"another","temperature":1}`, by(200, 403, 403, 403, 403), nil, ""},
	{"take a bot's name", "PATCH /bots/{bot}", `{"name":null}`, by(400, 403, 403, 403, 403), nil, "name"},
	{"change no bot", "PATCH /bots/{no_bot}", `{}`, by(404, 403, 403, 403, 403), nil, ""},
	{"remove a bot", "DELETE /bots/{bot}", ``, by(204, 403, 403, 403, 403), nil, ""},
	{"remove no bot", "DELETE /bots/{no_bot}", ``, by(404, 403, 403, 403, 403), nil, ""},
	{"add a bot", "POST /rooms/{group}/members", `{"user_id":"{bot}"}`, by(204, 204, 403, 403, 404), gains("member.added"), ""},
	{"add no bot", "POST /rooms/{group}/members", `{"user_ids":["dave","{no_bot}"]}`, by(400, 400, 403, 403, 404), nil, "user_ids"},
	{"make a room with a bot", "POST /rooms", `{"type":"group","members":["bob","{bot}"]}`, by(201, 201, 201, 201, 400), nil, "members"},
	{"make a room with no bot", "POST /rooms", `{"type":"group","members":["bob","{no_bot}"]}`, by(400, 400, 400, 400, 400), nil, "members"},
	{"hand a room over", "PUT /rooms/{group}/handoff", `{"mode":"human"}`, by(200, 200, 403, 403, 404), gains("room.handoff"), ""},
	{"hand a room over to a member", "PUT /rooms/{channel}/handoff", `{"mode":"human","assignee":"bob"}`, by(200, 200, 403, 403, 404), gains("room.handoff"), ""},
	{"hand a room over to who is none", "PUT /rooms/{group}/handoff", `{"mode":"human","assignee":"dave"}`, by(200, 200, 403, 403, 404), gains("member.added", "room.handoff"), ""},
	{"hand back what is the bots'", "PUT /rooms/{group}/handoff", `{"mode":"bot"}`, by(200, 200, 403, 403, 404), nil, ""},
	{"hand a room over to nobody knows whom", "PUT /rooms/{group}/handoff", `{}`, by(400, 400, 0, 0, 0), nil, "mode"},
	{"hand a room over to a bot", "PUT /rooms/{group}/handoff", `{"mode":"human","assignee":"{bot}"}`, by(400, 400, 0, 0, 0), nil, "assignee"},
	{"hand no room over", "PUT /rooms/{no_room}/handoff", `{"mode":"human"}`, by(404, 404, 404, 404, 404), nil, ""},
	{"stop what is no answer", "POST /rooms/{group}/messages/{of_alice}/stop", ``, by(204, 204, 204, 403, 404), nil, ""},
	{"stop nothing", "POST /rooms/{group}/messages/{no_message}/stop", ``, by(404, 404, 404, 403, 404), nil, ""},
	{"stop nowhere", "POST /rooms/{no_room}/messages/{no_message}/stop", ``, by(404, 404, 404, 404, 404), nil, ""},

	{"ack", "POST /acks", `{"room_id":"{group}","seq":1,"x":"{of_bob}"}`, by(401, 200, 200, 403, 404), nil, ""},
	{"ack of a device", "POST /acks", `{"room_id":"{group}","seq":0,"device_id":"phone"}`, by(401, 200, 200, 403, 404), nil, ""},
	{"ack what is not there", "POST /acks", `{"room_id":"{group}","seq":99}`, by(401, 400, 400, 403, 404), nil, "seq"},
	{"ack no room", "POST /acks", `{"room_id":"{no_room}","seq":1}`, by(401, 404, 404, 404, 404), nil, ""},
	{"mark as read", "POST /rooms/{group}/read", `{"seq":1,"x":"{of_bob}"}`, by(401, 200, 200, 403, 404), nil, ""},
	{"mark what is not there", "POST /rooms/{group}/read", `{"seq":99}`, by(401, 400, 400, 403, 404), nil, "seq"},
	{"mark nothing", "POST /rooms/{group}/read", `{}`, by(0, 400, 400, 0, 0), nil, "seq"},
	{"mark no room", "POST /rooms/{no_room}/read", `{"seq":1}`, by(401, 404, 404, 404, 404), nil, ""},

	{"ask for presence", "GET /presence?user_ids=alice,bob", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"ask for nobody's presence", "GET /presence", ``, by(400, 400, 400, 400, 400), nil, "user_ids"},
	{"make a ticket", "POST /ws/token", ``, by(401, 200, 200, 200, 200), nil, ""},
	{"describe bob", "PUT /users/bob", `{"name":"Bob","x":"{group}"}`, by(200, 403, 200, 403, 403), nil, ""},
	{"give bob a number for a name", "PUT /users/bob", `{"name":1}`, by(400, 0, 400, 0, 0), nil, "name"},
	{"give bob a picture that is none", "PUT /users/bob", `{"avatar_url":"javascript:1"}`, by(400, 0, 400, 0, 0), nil, "avatar_url"},
	{"read bob's profile", "GET /users/bob?x={group}", ``, by(200, 200, 200, 404, 404), nil, ""},
	{"read the profile of nobody", "GET /users/nobody", ``, by(404, 404, 404, 404, 404), nil, ""},

	{"notify", "POST /notify", notifyBody(`{"user_ids":["bob","zoe"],"room_id":"{group}"}`), by(202, 403, 403, 403, 403), nil, ""},
	{"notify a topic", "POST /notify", notifyBody(`{"topic_subscribers":true}`), by(202, 403, 403, 403, 403), nil, ""},
	{"notify nobody", "POST /notify", notifyBody(`{}`), by(400, 403, 403, 403, 403), nil, "targets"},
	{"notify the system", "POST /notify", notifyBody(`{"user_ids":["system"]}`), by(400, 403, 403, 403, 403), nil, "targets.user_ids"},
	{"notify no room", "POST /notify", notifyBody(`{"room_id":"{no_room}"}`), by(404, 403, 403, 403, 403), nil, ""},
	{"notify of nothing", "POST /notify", `{"topic":"open","targets":{"user_ids":["bob"]}}`, by(400, 403, 403, 403, 403), nil, "payload"},
	{"subscribe", "POST /subscriptions", `{"topic":"open","metadata":{"a":1}}`, by(400, 201, 201, 201, 201), nil, "endpoint"},
	{"subscribe bob", "POST /subscriptions", `{"topic":"open","user_id":"bob"}`, by(201, 403, 201, 403, 403), nil, ""},
	{"subscribe an endpoint", "POST /subscriptions", `{"topic":"any","endpoint":"https://example.com/"}`, by(201, 403, 403, 403, 403), nil, ""},
	{"subscribe an endpoint that is none", "POST /subscriptions", `{"topic":"any","endpoint":"https://127.0.0.1/"}`, by(400, 403, 403, 403, 403), nil, "endpoint"},
	{"subscribe to nothing", "POST /subscriptions", `{}`, by(400, 400, 400, 400, 400), nil, "topic"},
	{"list subscriptions", "GET /subscriptions", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"list bob's subscriptions", "GET /subscriptions?user_id=bob&x={sub_of_bob}", ``, by(200, 403, 200, 403, 403), nil, ""},
	{"end a subscription of bob's", "DELETE /subscriptions/{sub_of_bob}", ``, by(204, 403, 204, 403, 404), nil, ""},
	{"end no subscription", "DELETE /subscriptions/{no_sub}", ``, by(404, 404, 404, 404, 404), nil, ""},
	{"list dead letters", "GET /admin/dead-letters", ``, by(200, 403, 403, 403, 403), nil, ""},
	{"replay no dead letter", "POST /admin/dead-letters/{no_letter}/replay", ``, by(404, 403, 403, 403, 403), nil, ""},
	{"delete no dead letter", "DELETE /admin/dead-letters/{no_letter}", ``, by(404, 403, 403, 403, 403), nil, ""},
	{"see a webhook where there is none", "GET /webhook", ``, by(404, 403, 403, 403, 403), nil, ""},

	{"make a tenant", "POST /admin/tenants", `{"name":"x"}`, by(401, 401, 401, 401, 401), nil, ""},
	{"list tenants", "GET /admin/tenants", ``, by(401, 401, 401, 401, 401), nil, ""},
	{"use a method that is none", "PUT /rooms/{group}", `{}`, by(405, 405, 405, 405, 405), nil, ""},
	{"use a path that is none", "GET /rooms/{group}/nothing", ``, by(404, 404, 404, 404, 404), nil, ""},
	{"be well", "GET /health", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"be alive", "GET /health/live", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"be ready", "GET /health/ready", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"read the specification", "GET /openapi.json", ``, by(200, 200, 200, 200, 200), nil, ""},
	{"read that of the sockets", "GET /asyncapi.json", ``, by(200, 200, 200, 200, 200), nil, ""},
}

func by(backend, admin, member, stranger, foreign int) [actors]int {
	return [actors]int{backend, admin, member, stranger, foreign}
}

func gains(events ...string) []string { return events }

// newBotBody is a bot that is never made to speak.
const newBotBody = `{"name":"Ada","llm_base_url":"https://llm.example.com/v1","model":"m"}`

// notifyBody is a notification for targets.
func notifyBody(targets string) string {
	return `{"topic":"open","payload":{"text":"` + harness.Body("notified") + `"},"targets":` + targets + `}`
}

func TestEveryCallIsAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	// Each line is walked from an address of its own: one address may not show as many wrong credentials as all lines do.
	s := harness.Start(t, harness.Options{Env: map[string]string{"TRUSTED_PROXIES": "127.0.0.1"}})
	t.Run("calls", func(t *testing.T) { // ends when all lines are walked
		for i, c := range calls {
			t.Run(c.does, func(t *testing.T) {
				t.Parallel()
				g := stageOn(t, s)
				g.address = fmt.Sprintf("203.0.113.%d", i+1)
				for who, want := range c.want {
					if want != 0 {
						g.inEachWay(t, who, func(name string, u *harness.User) { g.walk(t, c, name, u, want) })
					}
				}
				g.walkWithout(t, c)
			})
		}
	})
}

// walk makes the call of a line as one actor.
func (g *stage) walk(t *testing.T, c call, name string, u *harness.User, want int) {
	t.Helper()
	ids := g.set(t, c.call+c.body)
	room, before := roomOf(ids), int64(0)
	if room != "" {
		before = g.position(t, room)
	}
	method, path, _ := strings.Cut(filled(c.call, ids), " ")
	res := harness.Must(u.Do(t.Context(), method, path, bodyOf(filled(c.body, ids))))(t)
	if res.Status != want {
		t.Errorf("%s: status %d %.300s, want %d", name, res.Status, res.Body, want)
		return
	}
	var events []string
	switch {
	case want == http.StatusBadRequest:
		wantProblem(t, res, codes[want], c.field)
	case want > http.StatusBadRequest:
		wantProblem(t, res, codes[want], "")
	default:
		events = c.events
	}
	if room != "" {
		g.wantLog(t, name, room, before, events)
	}
}

// walkWithout makes the call of a line without a credential: what needs one says so before anything else.
func (g *stage) walkWithout(t *testing.T, c call) {
	t.Helper()
	ids := g.set(t, c.call+c.body)
	method, path, _ := strings.Cut(filled(c.call, ids), " ")
	res := harness.Must(g.from(g.tenant.Server().Anonymous()).Do(t.Context(), method, path, bodyOf(filled(c.body, ids))))(t)
	want := http.StatusUnauthorized
	switch {
	case strings.HasPrefix(path, "/health"), strings.HasSuffix(path, ".json"), strings.HasSuffix(path, "/nothing"), c.want[backend] == 405:
		want = c.want[backend] // public, or no route at all
	}
	if res.Status != want {
		t.Errorf("without a credential: status %d %.300s, want %d", res.Status, res.Body, want)
	}
}

func bodyOf(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// The owner of the key may make rooms between others; who shows a token must be in the DM they make.
func TestADirectMessageBetweenOthersIsTheBackendsToMake(t *testing.T) {
	t.Parallel()
	g := stageOn(t, harness.Start(t, harness.Options{}))
	body := map[string]any{"type": "dm", "members": []string{"alice", "bob"}}
	res := harness.Must(g.actor(t, stranger, byToken).Call("POST", "/rooms", body, 403, nil))(t)
	wantProblem(t, res, "AUTHORIZATION_ERROR", "")
	harness.Must(g.actor(t, stranger, byKey).Call("POST", "/rooms", body, 201, nil))(t)
	res = harness.Must(g.actor(t, member, byToken).Call("POST", "/rooms", body, 409, nil))(t)
	if problem := harness.Must(res.Problem())(t); problem.Error.Details.Room.RoomID == "" || res.Header.Get("Location") == "" {
		t.Errorf("a DM that exists: headers %v and %s, want it named in both", res.Header, res.Body)
	}
}
