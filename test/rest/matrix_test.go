package rest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

// calls say for each route how it is called with ids that are the caller's own, and what it answers then. {name} stands
// for an id, in the path by itself. A route with several calls names different ids in each.
var calls = map[string][]call{
	"GET /health": {{want: 200}}, "GET /health/live": {{want: 200}}, "GET /health/ready": {{want: 200}},
	"GET /openapi.json": {{want: 200}}, "GET /asyncapi.json": {{want: 200}},

	"POST /rooms":                               {{body: `{"type":"channel","members":["{members}"]}`, want: 201}},
	"GET /rooms":                                {{query: "device_id=d", want: 200}},
	"GET /rooms/{room_id}":                      {{want: 200}},
	"PATCH /rooms/{room_id}":                    {{body: `{"name":"n"}`, want: 200}},
	"DELETE /rooms/{room_id}":                   {{want: 204}},
	"POST /rooms/{room_id}/join":                {{user: "carol", want: 204, backend: 401}},
	"GET /rooms/{room_id}/members":              {{want: 200}},
	"POST /rooms/{room_id}/members":             {{body: `{"user_id":"{user_id}"}`, want: 204}, {body: `{"user_ids":["dave","{user_ids}"]}`, want: 204}},
	"PATCH /rooms/{room_id}/members/{user_id}":  {{body: `{"role":"admin"}`, want: 204}},
	"DELETE /rooms/{room_id}/members/{user_id}": {{want: 204}},
	"POST /rooms/{room_id}/messages": {
		{body: `{"content":"some text"}`, want: 201, backend: 401}, {body: `{"content":"some text","reply_to":"{reply_to}"}`, want: 201, backend: 401},
	},
	"GET /rooms/{room_id}/messages":                    {{want: 200}},
	"GET /rooms/{room_id}/messages/{message_id}":       {{want: 200}},
	"PUT /rooms/{room_id}/messages/{message_id}":       {{body: `{"content":"another text"}`, want: 200, backend: 401}},
	"DELETE /rooms/{room_id}/messages/{message_id}":    {{want: 204}},
	"POST /rooms/{room_id}/messages/{message_id}/stop": {{want: 204}},
	"PUT /rooms/{room_id}/handoff":                     {{body: `{"mode":"human","assignee":"{assignee}"}`, want: 200}},
	"GET /rooms/{room_id}/changes":                     {{want: 200}},
	"POST /rooms/{room_id}/read":                       {{body: `{"seq":1}`, want: 200, backend: 401}},
	"POST /acks":                                       {{body: `{"room_id":"{room_id}","seq":1}`, want: 200, backend: 401}},
	"PUT /users/{user_id}":                             {{body: `{"name":"n"}`, want: 403, backend: 200}},
	"GET /users/{user_id}":                             {{want: 200}},
	"GET /presence":                                    {{query: "user_ids=alice,{user_ids}", want: 200}},
	"POST /ws/token":                                   {{want: 200, backend: 401}},
	"GET /webhook":                                     {{want: 403, backend: 404}},

	"POST /bots":            {{body: `{"name":"n","llm_base_url":"https://llm.example.com/v1","model":"m"}`, want: 403, backend: 201}},
	"GET /bots":             {{want: 403, backend: 200}},
	"GET /bots/{bot_id}":    {{want: 403, backend: 200}},
	"PATCH /bots/{bot_id}":  {{body: `{"model":"another"}`, want: 403, backend: 200}},
	"DELETE /bots/{bot_id}": {{want: 403, backend: 204}},

	"POST /api/v1/chats":                   {{body: `{"user_id":"{user_id}"}`, user: "bob", want: 201}},
	"GET /api/v1/chats/user/{user_id}":     {{user: "bob", want: 200}},
	"GET /api/v1/chats/{chat_id}":          {{want: 200}},
	"DELETE /api/v1/chats/{chat_id}":       {{want: 200}},
	"GET /api/v1/chats/{chat_id}/messages": {{want: 200}},

	"POST /notify": {
		{body: `{"topic":"t","payload":{},"targets":{"user_ids":["bob","{user_ids}"],"room_id":"{room_id}","topic_subscribers":true}}`, want: 403, backend: 202},
	},
	"POST /subscriptions": {
		{body: `{"topic":"t"}`, want: 201, backend: 400}, {body: `{"topic":"t","user_id":"{user_id}"}`, want: 403, backend: 201},
	},
	"GET /subscriptions":                      {{want: 200}, {query: "user_id={user_id}", want: 403, backend: 200}},
	"DELETE /subscriptions/{subscription_id}": {{want: 204}},

	"GET /admin/dead-letters":              forBoth(200),
	"POST /admin/dead-letters/{id}/replay": forBoth(202),
	"DELETE /admin/dead-letters/{id}":      forBoth(204),

	"POST /admin/tenants":                                  {{body: `{"name":"n"}`, want: 201}},
	"GET /admin/tenants":                                   {{want: 200}},
	"GET /admin/tenants/{tenant_id}":                       {{want: 200}},
	"PATCH /admin/tenants/{tenant_id}":                     {{body: `{"name":"n"}`, want: 200}},
	"DELETE /admin/tenants/{tenant_id}":                    {{want: 204}},
	"POST /admin/tenants/{tenant_id}/keys":                 {{want: 201}},
	"DELETE /admin/tenants/{tenant_id}/keys/{key_id}":      {{want: 204}},
	"POST /admin/tenants/{tenant_id}/signing-keys":         {{want: 201}},
	"DELETE /admin/tenants/{tenant_id}/signing-keys/{kid}": {{want: 204}},
}

// kinds say what a parameter or a field of a body names; nothing: it is no id of anything.
var kinds = map[string]string{
	"room_id": "room", "message_id": "message", "reply_to": "message", "user_id": "user", "user_ids": "user", "members": "user",
	"tenant_id": "tenant", "key_id": "key", "kid": "kid", "id": "letter", "subscription_id": "subscription",
	"bot_id": "bot", "assignee": "user", "chat_id": "chat",

	"limit": "", "offset": "", "type": "", "scope": "", "device_id": "", "if_exists": "", "after_seq": "", "before_seq": "",
	"after_rev": "", "name": "", "metadata": "", "role": "", "content": "", "meta": "", "client_id": "", "seq": "", "avatar_url": "",
	"config": "", "topic": "", "payload": "", "topic_subscribers": "", "endpoint": "", "mode": "", "provider": "", "llm_base_url": "",
	"model": "", "llm_api_key": "", "llm_api_key_env": "", "webhook_url": "", "system_prompt": "", "context_messages": "",
	"max_output_tokens": "", "temperature": "", "title": "", "order": "",
}

type call struct {
	query, body string
	user        string // who calls; empty is alice, who has made everything
	want        int
	backend     int  // the status for the backend; 0 is want
	operator    bool // the master key is shown
}

// forBoth are the calls of a route that is the operator's for any tenant and a backend's for its own; users have no part
// in it.
func forBoth(status int) []call {
	const named = "tenant_id={tenant_id}"
	return []call{
		{query: named, want: status, operator: true}, {want: http.StatusForbidden, backend: status},
		{query: named, want: http.StatusForbidden, backend: status},
	}
}

// template is the whole call, with its places.
func (c call) template(path string) string { return path + "?" + c.query + " " + c.body }

var placeholder = regexp.MustCompile(`\{([a-z_]+)\}`)

// places are the names of the ids in a template.
func places(template string) []string {
	var names []string
	for _, match := range placeholder.FindAllStringSubmatch(template, -1) {
		names = append(names, match[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestTheMatrixKnowsEveryRouteAndEveryIDInIt: a route, a parameter or a field that is new needs an entry.
func TestTheMatrixKnowsEveryRouteAndEveryIDInIt(t *testing.T) {
	t.Parallel()
	var routes []string
	for path, methods := range specified(t) {
		for _, method := range methods {
			route := method + " " + path
			routes = append(routes, route)
			var known []string
			for _, c := range calls[route] {
				known = append(known, places(c.template(path))...)
			}
			slices.Sort(known)
			if diff := cmp.Diff(idsOf(t, path, method), slices.Compact(known)); diff != "" {
				t.Errorf("ids of %s (-specified +in the matrix):\n%s", route, diff)
			}
		}
	}
	slices.Sort(routes)
	if diff := cmp.Diff(routes, slices.Sorted(maps.Keys(calls))); diff != "" {
		t.Errorf("routes (-specified +in the matrix):\n%s", diff)
	}
}

// idsOf are the ids that a route takes, by the specification.
func idsOf(t *testing.T, path, method string) []string {
	t.Helper()
	item := object(object(document(t)["paths"])[path])
	operation := object(item[strings.ToLower(method)])
	names := places(path)
	for _, parameter := range list(operation["parameters"]) {
		p := resolve(t, parameter)
		if p["in"] == "query" {
			names = append(names, p["name"].(string))
		}
	}
	media := object(object(object(operation["requestBody"])["content"])["application/json"])
	names = append(names, fieldsOf(t, media["schema"])...)
	var ids []string
	for _, name := range names {
		kind, known := kinds[name]
		if !known {
			t.Errorf("%s %s: nobody says what %s names", method, path, name)
		}
		if kind != "" {
			ids = append(ids, name)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// fieldsOf are the fields of an object, those of objects in it instead of their own names.
func fieldsOf(t *testing.T, schema any) (names []string) {
	t.Helper()
	for name, field := range object(resolve(t, schema)["properties"]) {
		if inner := fieldsOf(t, field); inner != nil {
			names = append(names, inner...)
			continue
		}
		names = append(names, name)
	}
	return names
}

func object(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any            { l, _ := v.([]any); return l }

// resolve follows a reference into the components.
func resolve(t *testing.T, v any) map[string]any {
	t.Helper()
	ref, ok := object(v)["$ref"].(string)
	if !ok {
		return object(v)
	}
	at := document(t)
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = object(at[name])
	}
	return at
}

// TestOnesOwnIDsWorkAndForeignOnesAreAsUnknown is the wall between tenants: for every route, for every id in it, for
// everybody who may call it, another tenant's id is answered with the same bytes as one that never was.
func TestOnesOwnIDsWorkAndForeignOnesAreAsUnknown(t *testing.T) {
	t.Parallel()
	for route, ways := range calls {
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			w := newWall(t)
			method, path, _ := strings.Cut(route, " ")
			for _, c := range ways {
				for name, caller := range w.callers(path, c) {
					w.hold(name, caller, method, path, c)
				}
			}
			w.wantForeignUntouched()
		})
	}
}

// wall is a tenant with what a caller has of its own, beside another tenant.
type wall struct {
	*fixture
	foreign  map[string]string // by kind
	other    string            // the other tenant
	stranger client            // its user, who sees all of it
	backdoor client            // its backend
	before   string
	bobChats bool // bob has a chat
}

func newWall(t *testing.T) *wall {
	t.Helper()
	w := &wall{fixture: newFixture(t)}
	w.openTopics(`["t"]`)
	other, key := w.newTenant("Other", "{}")
	w.stranger = w.anonymous().with("X-API-Key", key, "X-User-Id", "mallory")
	room := w.stranger.post("/rooms", `{"type":"channel","members":["victor"]}`).want(http.StatusCreated).object()["room_id"].(string)
	message := w.stranger.post("/rooms/"+room+"/messages", `{"content":"a secret"}`).want(http.StatusCreated).object()["message_id"].(string)
	keyID, kid := w.keysOf(other)
	gone, _ := w.newTenant("Gone", "{}")
	w.operator().del("/admin/tenants/" + gone).want(http.StatusNoContent)
	w.foreign = map[string]string{
		"room": room, "message": message, "user": "victor", "tenant": gone, "key": keyID, "kid": kid, "letter": w.newLetter(other, room, message, ""),
		"subscription": w.stranger.subscribe(`{"topic":"t"}`),
	}
	w.other, w.backdoor = other, w.anonymous().with("X-API-Key", key)
	w.foreign["bot"] = w.backdoor.newBot("Spy")
	w.foreign["chat"] = w.backdoor.newChat("victor")
	w.before = w.foreignState()
	return w
}

// newChat makes a chat of a user's and returns its id.
func (c client) newChat(user string) string {
	c.f.t.Helper()
	return c.post("/api/v1/chats", `{"user_id":"`+user+`"}`).want(http.StatusCreated).object()["id"].(string)
}

// keysOf makes a key of each kind.
func (w *wall) keysOf(tenant string) (key, kid string) {
	w.t.Helper()
	path := "/admin/tenants/" + tenant
	made := w.operator().post(path+"/keys", "").want(http.StatusCreated).object()
	signing := w.operator().post(path+"/signing-keys", "").want(http.StatusCreated).object()
	return made["key_id"].(string), signing["kid"].(string)
}

// foreignState is what the other tenant sees of its own.
func (w *wall) foreignState() string {
	w.t.Helper()
	var seen strings.Builder
	for _, path := range []string{"", "/members", "/changes", "/messages"} {
		seen.Write(w.stranger.get("/rooms/" + w.foreign["room"] + path).want(http.StatusOK).body)
	}
	seen.Write(w.stranger.get("/users/victor").want(http.StatusOK).body)
	seen.Write(w.backdoor.get("/admin/dead-letters").want(http.StatusOK).body)
	seen.Write(w.backdoor.get("/subscriptions").want(http.StatusOK).body)
	seen.Write(w.backdoor.get("/bots").want(http.StatusOK).body)
	seen.Write(w.backdoor.get("/api/v1/chats/" + w.foreign["chat"]).want(http.StatusOK).body)
	return seen.String()
}

// foreignTo are the ids that must be as nobody's to a caller. No tenant is foreign to the operator but one that is gone.
func (w *wall) foreignTo(c caller) map[string]string {
	ids := maps.Clone(w.foreign)
	if !c.operator {
		ids["tenant"] = w.other
	}
	return ids
}

func (w *wall) wantForeignUntouched() {
	w.t.Helper()
	if diff := cmp.Diff(w.before, w.foreignState()); diff != "" {
		w.t.Errorf("the other tenant's room has changed (-before +after):\n%s", diff)
	}
}

// caller is somebody who may call a route, and the status for it.
type caller struct {
	client
	want     int
	operator bool
}

func (w *wall) callers(path string, c call) map[string]caller {
	w.t.Helper()
	if c.operator || strings.HasPrefix(path, "/admin/tenants") {
		return map[string]caller{"the operator": {w.operator(), c.want, true}}
	}
	user := "alice"
	if c.user != "" {
		user = c.user
	}
	backend := c.want
	if c.backend != 0 {
		backend = c.backend
	}
	return map[string]caller{
		"the backend for a user": {client: w.user(user), want: c.want}, "a token": {client: w.jwt(user), want: c.want},
		"the backend": {client: w.backend(), want: backend},
	}
}

// own are ids that everything is right with; they are made anew, as calls use them up. To the operator all tenants are
// its own, to others theirs.
func (w *wall) own(c caller, needed []string) map[string]string {
	w.t.Helper()
	ids := map[string]string{"user": "bob"}
	needs := func(wanted ...string) bool {
		return slices.ContainsFunc(needed, func(place string) bool { return slices.Contains(wanted, kinds[place]) })
	}
	if needs("room", "message", "user") {
		ids["room"] = w.user("alice").post("/rooms", `{"type":"channel","members":["bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
		ids["message"] = w.newMessage("alice", ids["room"], "a")
	}
	ids["tenant"] = w.tenant
	if c.operator && needs("tenant") {
		ids["tenant"], _ = w.newTenant("Own", "{}")
		ids["key"], ids["kid"] = w.keysOf(ids["tenant"])
	}
	if needs("subscription") {
		ids["subscription"] = w.user("alice").subscribe(`{"topic":"t"}`)
	}
	if needs("bot") {
		ids["bot"] = w.backend().newBot("Own")
	}
	if needs("chat") {
		ids["chat"] = w.backend().newChat("alice")
	}
	if needs("user") && !w.bobChats {
		w.backend().newChat("bob")
		w.bobChats = true
	}
	if needs("letter") {
		w.operator().patch("/admin/tenants/"+ids["tenant"], `{"config":{"webhook_url":"https://example.com/hook"}}`).want(http.StatusOK)
		ids["letter"] = w.newLetter(ids["tenant"], random["room"], random["message"], "bob")
	}
	return ids
}

const randomUUID = "0190d5b2-7c1e-7a3b-9f00-0123456789ab"

// The ids that nobody has.
var (
	random = map[string]string{
		"room": "room_" + randomUUID, "message": "msg_" + randomUUID, "user": "nobody", "tenant": "tenant_" + randomUUID,
		"key": "key_" + randomUUID, "kid": "kid_AAAAAAAAAAAAAAAAAAAAAA", "letter": "dead_" + randomUUID,
		"subscription": "sub_" + randomUUID, "bot": "bot_" + randomUUID, "chat": randomUUID,
	}
	malformed = map[string]string{
		"room": "room_%00zz", "message": "MSG_zz", "tenant": "zz.zz", "key": "key_zz", "kid": "kid_%FFzz", "letter": "DEAD_%00zz",
		"subscription": "SUB_%00zz", "bot": "BOT_%00zz", "chat": "%00zz",
	}
)

// hold calls a route with each of its ids in turn being another's, nobody's and no id at all, and with all at once.
func (w *wall) hold(who string, c caller, method, path string, how call) {
	w.t.Helper()
	names := places(how.template(path))
	w.call(c, method, path, how, w.own(c, names), names, nil).want(c.want)
	again := c
	if !strings.HasPrefix(path, "/api/v1/chats") { // which has no envelopes
		again.client = c.with("X-Response-Envelope", "true")
	}
	w.call(again, method, "/v1"+path, how, w.own(c, names), names, nil).want(c.want)
	turns := [][]string{}
	for _, name := range names {
		turns = append(turns, []string{name})
	}
	if len(names) > 1 {
		turns = append(turns, names)
	}
	for _, turn := range turns {
		answer := func(ids map[string]string) string {
			return w.call(c, method, path, how, w.own(c, names), turn, ids).comparable(ids)
		}
		want := answer(random)
		if diff := cmp.Diff(want, answer(w.foreignTo(c))); diff != "" {
			w.t.Errorf("%s, %s, %v (-unknown +another tenant's):\n%s", who, method, turn, diff)
		}
		if len(turn) > 1 || kinds[turn[0]] == "user" {
			continue // what is malformed may be told so, before anything is looked for
		}
		if diff := cmp.Diff(want, answer(malformed)); diff != "" {
			w.t.Errorf("%s, %s, %v (-unknown +malformed):\n%s", who, method, turn, diff)
		}
	}
}

// call fills the places in: those in turn with ids, the others with the caller's own.
func (w *wall) call(c caller, method, path string, how call, own map[string]string, turn []string, ids map[string]string) *answer {
	w.t.Helper()
	fill := func(template string) string {
		return placeholder.ReplaceAllStringFunc(template, func(place string) string {
			name := strings.Trim(place, "{}")
			if ids != nil && slices.Contains(turn, name) {
				return ids[kinds[name]]
			}
			return own[kinds[name]]
		})
	}
	target := fill(path)
	if how.query != "" {
		target += "?" + fill(how.query)
	}
	return c.send(method, target, fill(how.body))
}

var (
	aUUID   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	aTime   = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	aSecret = regexp.MustCompile(`"(token|api_key|secret|kid)":"[^"]+"`)
)

// comparable is an answer without what differs each time: the request's id, times, new ids and the ids asked with.
func (a *answer) comparable(asked map[string]string) string {
	header := a.header.Clone()
	for _, name := range []string{"X-Request-Id", "Date", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
		delete(header, name)
	}
	headers, err := json.Marshal(header)
	if err != nil {
		a.t.Fatal(err)
	}
	text := http.StatusText(a.status) + " " + string(headers) + "\n" + string(a.body)
	for _, id := range asked {
		text = strings.ReplaceAll(text, id, "{asked}")
	}
	text = aSecret.ReplaceAllString(aUUID.ReplaceAllString(text, "{new}"), `"$1":"{new}"`)
	return aTime.ReplaceAllString(text, "{time}")
}

// TestAnswersDifferWhereTheIDsDo: the comparison of the wall can fail.
func TestAnswersDifferWhereTheIDsDo(t *testing.T) {
	t.Parallel()
	w := newWall(t)
	known := w.stranger.get("/rooms/" + w.foreign["room"]).comparable(w.foreign)
	if unknown := w.stranger.get("/rooms/" + random["room"]).comparable(random); known == unknown {
		t.Errorf("a room that is there is answered as one that is not: %s", known)
	}
	other := w.stranger.get("/rooms/"+random["room"]).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	if got := other.comparable(random); !strings.Contains(got, "Not found") || strings.Contains(got, other.header.Get("X-Request-Id")) {
		t.Errorf("compared is %s", got)
	}
}
