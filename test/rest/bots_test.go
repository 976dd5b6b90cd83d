package rest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/test/harness"
)

// botBody is what a bot is made of at least.
func botBody(name string) string {
	return `{"name":"` + name + `","llm_base_url":"https://llm.example.com/v1","model":"m"}`
}

// newBot makes a bot, as a tenant's backend, and returns its id.
func (c client) newBot(name string) string {
	c.f.t.Helper()
	return c.post("/bots", botBody(name)).want(http.StatusCreated).object()["bot_id"].(string)
}

// plainBot is a bot of botBody as it is shown.
func plainBot(name string) map[string]any {
	return map[string]any{
		"name": name, "provider": "openai", "llm_base_url": "https://llm.example.com/v1", "model": "m", "has_key": false, "llm_api_key_env": nil,
		"webhook_url": nil, "system_prompt": nil, "context_messages": 20.0, "max_output_tokens": nil, "temperature": nil,
	}
}

// with is a copy that has other values.
func with(shown map[string]any, changes map[string]any) map[string]any {
	changed := maps.Clone(shown)
	maps.Copy(changed, changes)
	return changed
}

func TestABotIsShownAsItWasMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range map[string]struct {
		body string
		want map[string]any
	}{
		"of little": {botBody("Ada"), plainBot("Ada")},
		"of nulls":  {`{"name":"Ada","llm_base_url":"https://llm.example.com/v1/","model":"m","provider":null,"llm_api_key":null,"llm_api_key_env":null,"webhook_url":null,"system_prompt":null,"context_messages":null,"max_output_tokens":null,"temperature":null}`, plainBot("Ada")},
		"of all there is": {`{"name":"Ada","provider":"anthropic","llm_base_url":"https://llm.example.com/v1","model":"m","llm_api_key":"a-key-of-the-provider","webhook_url":"https://example.com/c","system_prompt":"Be brief.","context_messages":100,"max_output_tokens":1,"temperature":2}`,
			with(plainBot("Ada"), map[string]any{
				"provider": "anthropic", "has_key": true, "webhook_url": "https://example.com/c", "system_prompt": "Be brief.", "context_messages": 100.0,
				"max_output_tokens": 1.0, "temperature": 2.0,
			})},
		"with a lent key": {`{"name":"Ada","llm_base_url":"https://LLM.example.com/v1","model":"m","llm_api_key_env":"LENT_KEY","temperature":0}`,
			with(plainBot("Ada"), map[string]any{"llm_base_url": "https://LLM.example.com/v1", "llm_api_key_env": "LENT_KEY", "temperature": 0.0})},
	} {
		got := f.backend().post("/bots", c.body).want(http.StatusCreated)
		made := got.object()
		id := made["bot_id"].(string)
		if got.header.Get("Location") != "/bots/"+id || got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: headers %v, want Location of %s", name, got.header, id)
		}
		wantRecent(t, made["created_at"])
		c.want["bot_id"], c.want["created_at"] = id, made["created_at"]
		if diff := cmp.Diff(c.want, made); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(c.want, f.backend().get("/bots/"+id).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%s, read again (-want +got):\n%s", name, diff)
		}
		listed := f.backend().get("/bots").want(http.StatusOK).list()
		if diff := cmp.Diff(c.want, listed[len(listed)-1]); diff != "" {
			t.Errorf("%s, in the list (-want +got):\n%s", name, diff)
		}
	}
}

func TestAChangeOfABotLeavesWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/bots/" + f.backend().newBot("Ada")
	want := f.backend().get(path).object()
	for i, c := range []struct {
		patch   string
		changes map[string]any
	}{
		{`{}`, nil},
		{`{"name":"Bea","model":"n","context_messages":5,"max_output_tokens":9,"temperature":0.5,"system_prompt":"Be kind.","webhook_url":"https://example.com/"}`,
			map[string]any{"name": "Bea", "model": "n", "context_messages": 5.0, "max_output_tokens": 9.0, "temperature": 0.5, "system_prompt": "Be kind.", "webhook_url": "https://example.com/"}},
		{`{"context_messages":null,"max_output_tokens":null,"temperature":null,"system_prompt":null,"webhook_url":null}`,
			map[string]any{"context_messages": 20.0, "max_output_tokens": nil, "temperature": nil, "system_prompt": nil, "webhook_url": nil}},
		{`{"llm_api_key":"the-first-key"}`, map[string]any{"has_key": true}},
		{`{"llm_base_url":"https://llm.example.com/v2"}`, map[string]any{"llm_base_url": "https://llm.example.com/v2"}}, // the origin is the same
		{`{"provider":"anthropic"}`, map[string]any{"provider": "anthropic"}},
		{`{"llm_base_url":"https://other.example.com/v2"}`, map[string]any{"llm_base_url": "https://other.example.com/v2", "has_key": false}},
		{`{"llm_api_key":"the-second-key"}`, map[string]any{"has_key": true}},
		{`{"llm_base_url":"https://llm.example.com:8443/v1","llm_api_key":"the-third-key"}`, map[string]any{"llm_base_url": "https://llm.example.com:8443/v1"}},
		{`{"llm_base_url":"https://llm.example.com/v1"}`, map[string]any{"llm_base_url": "https://llm.example.com/v1", "has_key": false}}, // another port
		{`{"llm_api_key":"the-fourth-key"}`, map[string]any{"has_key": true}},
		{`{"llm_api_key_env":"LENT_KEY"}`, map[string]any{"llm_api_key_env": "LENT_KEY", "has_key": false}},
		{`{"llm_api_key":"the-fifth-key"}`, map[string]any{"llm_api_key_env": nil, "has_key": true}},
		{`{"llm_api_key":null,"provider":null}`, map[string]any{"has_key": false, "provider": "openai"}},
	} {
		want = with(want, c.changes)
		if diff := cmp.Diff(want, f.backend().patch(path, c.patch).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%d: %s (-want +got):\n%s", i, c.patch, diff)
		}
		if diff := cmp.Diff(want, f.backend().get(path).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%d: %s, read again (-want +got):\n%s", i, c.patch, diff)
		}
	}
}

// TestWhatIsNoBotIsRefusedByItsField: when it is made and when it is changed.
func TestWhatIsNoBotIsRefusedByItsField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/bots/" + f.backend().newBot("Ada")
	before := f.backend().get(path).object()
	var whole map[string]any
	if err := json.Unmarshal([]byte(botBody("Ada")), &whole); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field string
		value any
	}{
		{"name", ""}, {"name", nil}, {"name", strings.Repeat("é", 129)}, {"name", 5}, {"model", ""}, {"model", nil}, {"model", strings.Repeat("m", 257)},
		{"provider", "other"}, {"provider", "OpenAI"}, {"provider", 1},
		{"llm_base_url", ""}, {"llm_base_url", nil}, {"llm_base_url", "llm.example.com"}, {"llm_base_url", "ftp://llm.example.com"},
		{"llm_base_url", "https://llm.example.com/v1?key=1"}, {"llm_base_url", "https://llm.example.com/v1#x"}, {"llm_base_url", "http://llm.example.com/v1"},
		{"llm_base_url", "https://user:password@llm.example.com/v1"}, {"llm_base_url", "https://127.0.0.1/v1"}, {"llm_base_url", "http://127.0.0.1:1/v1"},
		{"llm_base_url", "https://[::1]/v1"}, {"llm_base_url", "https://10.1.2.3/v1"}, {"llm_base_url", "https://169.254.169.254/latest"},
		{"llm_base_url", "https://192.168.0.1/v1"}, {"llm_base_url", "https://100.64.0.1/"}, {"llm_base_url", "https://[fd00::1]/"},
		{"llm_base_url", "file:///etc/passwd"}, {"llm_base_url", "https://" + strings.Repeat("a", 2048) + ".example.com"},
		{"webhook_url", "https://10.1.2.3/"}, {"webhook_url", "nonsense"}, {"webhook_url", "https://[::ffff:10.1.2.3]/"},
		{"llm_api_key", "a key with an é"}, {"llm_api_key", "two\nlines"}, {"llm_api_key", strings.Repeat("k", 4097)}, {"llm_api_key", 5},
		{"llm_api_key_env", "JWT_SECRET"}, {"llm_api_key_env", "MASTER_API_KEY"}, {"llm_api_key_env", "lent_key"}, {"llm_api_key_env", "PATH"},
		{"system_prompt", strings.Repeat("s", 32769)}, {"system_prompt", []string{"x"}},
		{"context_messages", 0}, {"context_messages", 101}, {"context_messages", -1}, {"context_messages", 1.5}, {"context_messages", "5"},
		{"max_output_tokens", -1}, {"max_output_tokens", 100_001}, {"temperature", -0.1}, {"temperature", 2.1}, {"temperature", "warm"},
	} {
		f.canary.Unmarked(fmt.Sprint(c.value))
		for method, at := range map[string]string{http.MethodPost: "/bots", http.MethodPatch: path} {
			body := map[string]any{c.field: c.value}
			if method == http.MethodPost {
				body = with(whole, body)
			}
			raw, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			f.backend().send(method, at, string(raw)).invalid(c.field)
		}
	}
	for _, missing := range []string{"name", "llm_base_url", "model"} {
		less := maps.Clone(whole)
		delete(less, missing)
		raw, _ := json.Marshal(less)
		f.backend().post("/bots", string(raw)).invalid(missing)
	}
	if diff := cmp.Diff([]map[string]any{before}, f.backend().get("/bots").want(http.StatusOK).list()); diff != "" {
		t.Errorf("bots after all that (-before +after):\n%s", diff)
	}
}

// TestALentKeyGoesToItsOriginAlone: no setting of a bot leads it elsewhere.
func TestALentKeyGoesToItsOriginAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const env = "llm_api_key_env"
	for _, base := range []string{
		"https://evil.example.com/v1", "https://llm.example.com:8443/v1", "https://llm.example.com.evil.example/", "https://evil.example/llm.example.com",
	} {
		f.backend().post("/bots", `{"name":"n","model":"m","llm_base_url":"`+base+`","llm_api_key_env":"LENT_KEY"}`).invalid(env)
	}
	path := "/bots/" + f.backend().newBot("Ada")
	f.backend().patch(path, `{"llm_api_key_env":"LENT_KEY","llm_api_key":"a-key-beside-it"}`).invalid(env)
	f.backend().patch(path, `{"llm_api_key_env":"LENT_KEY"}`).want(http.StatusOK)
	f.backend().patch(path, `{"llm_base_url":"https://evil.example.com/v1"}`).invalid(env)
	f.backend().patch(path, `{"llm_base_url":"https://evil.example.com/v1","llm_api_key_env":"LENT_KEY"}`).invalid(env)
	if got := f.backend().get(path).object(); got["llm_base_url"] != "https://llm.example.com/v1" || got[env] != "LENT_KEY" {
		t.Errorf("the bot is now %v", got)
	}
	f.backend().patch(path, `{"llm_base_url":"https://evil.example.com/v1","llm_api_key_env":null}`).want(http.StatusOK)
}

func TestAKeyIsInNoAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const key, other = "provider-key-canary-1", "provider-key-canary-2"
	body := `{"name":"n","llm_base_url":"https://llm.example.com/v1","model":"m","llm_api_key":"` + key + `"}`
	c := f.backend().with("Idempotency-Key", "k")
	made := c.post("/bots", body).want(http.StatusCreated)
	path := "/bots/" + made.object()["bot_id"].(string)
	room := f.newRoom("alice", strings.TrimPrefix(path, "/bots/"))
	for _, got := range []*answer{
		made, c.post("/bots", body).want(http.StatusCreated), c.post("/bots", strings.Replace(body, `"m"`, `"n"`, 1)).want(http.StatusConflict),
		f.backend().get(path), f.backend().get("/bots"), f.backend().with("X-Response-Envelope", "true").get("/v1" + path),
		f.backend().patch(path, `{"llm_api_key":"`+other+`"}`), f.backend().patch(path, `{"llm_api_key":"`+other+` é"}`),
		f.backend().patch(path, `{"llm_api_key":"`+other+`","llm_api_key_env":"LENT_KEY"}`),
		f.user("alice").get("/rooms/" + room + "/members"), f.operator().get("/admin/tenants/" + f.tenant), f.user("alice").get(path),
	} {
		all := fmt.Sprint(got.header) + string(got.body)
		if strings.Contains(all, "canary") || strings.Contains(all, lentKey) {
			t.Errorf("%s: %d shows a key: %s", got.request, got.status, all)
		}
	}
}

func TestABotIsMadeOnceByAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.backend().with("Idempotency-Key", "once")
	first := c.post("/bots", botBody("Ada")).want(http.StatusCreated)
	again := c.post("/v1/bots", botBody("Ada")).want(http.StatusCreated)
	if diff := cmp.Diff(first.object(), again.object()); diff != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("headers %v (-first +again):\n%s", again.header, diff)
	}
	c.post("/bots", botBody("Bea")).wantError(http.StatusConflict, domain.CodeConflict, "Idempotency-Key")
	f.backend().del("/bots/" + first.object()["bot_id"].(string)).want(http.StatusNoContent)
	c.post("/bots", botBody("Ada")).want(http.StatusNotFound)
	if got := f.backend().get("/bots").list(); len(got) != 0 {
		t.Errorf("bots: %v", got)
	}
}

func TestATenantHasSoManyBotsAndTheyAreListedInPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var made, listed []string
	for i := range domain.MaxBots {
		made = append(made, f.backend().newBot(fmt.Sprint("Bot ", i)))
	}
	f.backend().post("/bots", botBody("One more")).wantError(http.StatusConflict, domain.CodeConflict, "")
	for path := "/bots?limit=20"; path != ""; {
		page := f.backend().get(path).want(http.StatusOK)
		for _, bot := range page.list() {
			listed = append(listed, bot["bot_id"].(string))
		}
		path = next(t, page)
	}
	if diff := cmp.Diff(made, listed); diff != "" {
		t.Errorf("(-made +listed):\n%s", diff)
	}
	for query, field := range map[string]string{"limit=0": "limit", "limit=101": "limit", "offset=-1": "offset", "limit=x": "limit"} {
		f.backend().get("/bots?" + query).invalid(field)
	}
	f.backend().del("/bots/" + made[7]).want(http.StatusNoContent)
	f.backend().newBot("In its place")
}

// roles are a room's members with their roles, as the backend sees them.
func (f *fixture) roles(room string) map[string]string {
	f.t.Helper()
	roles := map[string]string{}
	for _, m := range f.backend().get("/rooms/" + room + "/members").want(http.StatusOK).list() {
		roles[m["user_id"].(string)] = m["role"].(string)
	}
	return roles
}

func TestABotIsAMemberLikeAUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ada, bea := f.backend().newBot("Ada"), f.backend().newBot("Bea")
	for _, kind := range []string{"group", "channel"} {
		room := f.backend().post("/rooms", `{"type":"`+kind+`","members":["`+ada+`","alice"]}`).want(http.StatusCreated).object()["room_id"].(string)
		path := "/rooms/" + room + "/members"
		f.user("alice").post(path, `{"user_id":"`+bea+`","role":"admin"}`).want(http.StatusNoContent)
		f.user("alice").post(path, `{"user_ids":["bob","`+ada+`"]}`).want(http.StatusNoContent)
		if diff := cmp.Diff(map[string]string{"alice": "admin", ada: "member", bea: "member", "bob": "member"}, f.roles(room)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
		f.user("alice").patch(path+"/"+ada, `{"role":"admin"}`).invalid("role")
		f.user("bob").del(path + "/" + ada).want(http.StatusForbidden)
		f.user("alice").del(path + "/" + ada).want(http.StatusNoContent)
		f.user("alice").del(path + "/" + ada).want(http.StatusNotFound)
		if got := f.roles(room); got[ada] != "" || got[bea] == "" {
			t.Errorf("%s: members %v after one was taken out", kind, got)
		}
	}
	dm := `{"type":"dm","members":["alice","` + ada + `"]}`
	made := f.jwt("alice").post("/rooms", dm).want(http.StatusCreated).object()
	if want := "dm:alice:" + ada; made["unique_key"] != want {
		t.Errorf("unique key %v, want %s", made["unique_key"], want)
	}
	f.jwt("alice").post("/rooms", dm).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.backend().post("/rooms", `{"type":"dm","members":["`+ada+`","`+bea+`"]}`).invalid("members")
	f.backend().post("/rooms", `{"type":"group","members":["`+ada+`"]}`).invalid("members")
}

// TestABotThatIsNoneIsNobodysMember: one that is unknown, malformed, removed or another tenant's is refused in the same words.
func TestABotThatIsNoneIsNobodysMember(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, key := f.newTenant("Other", "{}")
	gone := f.backend().newBot("Gone")
	f.backend().del("/bots/" + gone).want(http.StatusNoContent)
	room := f.newRoom("alice")
	before := f.roles(room)
	for name, id := range map[string]string{
		"another tenant's": f.anonymous().with("X-API-Key", key).newBot("Spy"), "removed": gone, "malformed": "bot_x", "of none": "bot_",
	} {
		for field, call := range map[string]string{
			"user_id": `{"user_id":"` + id + `"}`, "user_ids": `{"user_ids":["bob","` + id + `"]}`,
		} {
			got := f.user("alice").post("/rooms/"+room+"/members", call)
			got.invalid(field)
			unknown := f.user("alice").post("/rooms/"+room+"/members", strings.Replace(call, id, random["bot"], 1))
			if name != "malformed" && name != "of none" && got.withoutRequestID() != unknown.withoutRequestID() {
				t.Errorf("%s is answered %s, and one that never was %s", name, got.body, unknown.body)
			}
		}
		for _, kind := range []string{"group", "channel", "dm"} {
			f.user("alice").post("/rooms", `{"type":"`+kind+`","members":["alice","`+id+`"]}`).invalid("members")
		}
	}
	if diff := cmp.Diff(before, f.roles(room)); diff != "" {
		t.Errorf("members (-before +after):\n%s", diff)
	}
}

func TestARoomHasSoManyBots(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bots := make([]string, domain.MaxBotsPerRoom+1)
	for i := range bots {
		bots[i] = f.backend().newBot(fmt.Sprint("Bot ", i))
	}
	all, err := json.Marshal(bots)
	if err != nil {
		t.Fatal(err)
	}
	f.user("alice").post("/rooms", `{"type":"group","members":`+string(all)+`}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	room := f.newRoom("alice", bots[:domain.MaxBotsPerRoom]...)
	path := "/rooms/" + room + "/members"
	last := bots[domain.MaxBotsPerRoom]
	f.user("alice").post(path, `{"user_ids":["bob","`+last+`"]}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	if got := f.roles(room); got["bob"] != "" {
		t.Errorf("members %v: of what was refused a part was done", got)
	}
	f.user("alice").post(path, `{"user_id":"`+bots[0]+`"}`).want(http.StatusNoContent) // who is there already
	f.user("alice").del(path + "/" + bots[0]).want(http.StatusNoContent)
	f.user("alice").post(path, `{"user_id":"`+last+`"}`).want(http.StatusNoContent)
}

// TestABotIsNobodysUser: its id is refused wherever a person is meant.
func TestABotIsNobodysUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.backend().newBot("Ada")
	room := f.newRoom("alice", id)
	f.user(id).get("/rooms").want(http.StatusBadRequest)
	f.user(id).post("/rooms/"+room+"/messages", `{"content":"said by nobody"}`).want(http.StatusBadRequest)
	f.jwt(id).get("/rooms").want(http.StatusUnauthorized)
	f.backend().put("/users/"+id, `{"name":"n"}`).want(http.StatusBadRequest)
	f.backend().post("/notify", `{"topic":"t","payload":{},"targets":{"user_ids":["`+id+`"]}}`).invalid("targets.user_ids")
	f.backend().post("/subscriptions", `{"topic":"t","user_id":"`+id+`"}`).invalid("user_id")
	f.backend().put("/rooms/"+room+"/handoff", `{"mode":"human","assignee":"`+id+`"}`).invalid("assignee")
	if got := f.backend().post("/notify", `{"topic":"t","payload":{},"targets":{"room_id":"`+room+`"}}`).want(http.StatusAccepted).object(); got["recipients"] != 1.0 {
		t.Errorf("a notification to the room: %v recipients, want alice alone", got["recipients"])
	}
}

func TestARemovedBotLeavesItsRoomsAndItsNameIsFree(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, stays := f.backend().newBot("Ada"), f.backend().newBot("Bea")
	group, other := f.newRoom("alice", id, stays), f.newRoom("bob", id)
	dm := f.user("alice").post("/rooms", `{"type":"dm","members":["alice","`+id+`"]}`).want(http.StatusCreated).object()["room_id"].(string)
	f.backend().del("/bots/" + id).want(http.StatusNoContent)
	f.backend().del("/bots/" + id).want(http.StatusNotFound)
	f.backend().get("/bots/" + id).want(http.StatusNotFound)
	f.backend().patch("/bots/"+id, `{}`).want(http.StatusNotFound)
	for room, want := range map[string]map[string]string{
		group: {"alice": "admin", stays: "member"}, other: {"bob": "admin"}, dm: {"alice": "member"},
	} {
		if diff := cmp.Diff(want, f.roles(room)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		log := f.backend().get("/rooms/" + room + "/changes").want(http.StatusOK).list()
		if last := log[len(log)-1]; last["type"] != "member.removed" || last["user_id"] != id {
			t.Errorf("the last step of the log: %v", last)
		}
	}
}

func TestAHandoffIsAStepOfTheRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob", f.backend().newBot("Ada"))
	path := "/rooms/" + room
	position := func() float64 { return f.backend().get(path).object()["last_rev"].(float64) }
	began := position()
	for i, c := range []struct {
		by    client
		body  string
		want  any // of the room's handoff
		steps []string
	}{
		{f.user("alice"), `{"mode":"bot"}`, nil, nil},
		{f.user("alice"), `{"mode":"human"}`, map[string]any{"mode": "human"}, []string{"room.handoff"}},
		{f.backend(), `{"mode":"human","assignee":null}`, map[string]any{"mode": "human"}, nil},
		{f.backend(), `{"mode":"human","assignee":"bob"}`, map[string]any{"mode": "human", "assignee": "bob"}, []string{"room.handoff"}},
		{f.jwt("alice"), `{"mode":"human","assignee":"bob"}`, map[string]any{"mode": "human", "assignee": "bob"}, nil},
		{f.jwt("alice"), `{"mode":"human","assignee":"carol"}`, map[string]any{"mode": "human", "assignee": "carol"}, []string{"member.added", "room.handoff"}},
		{f.user("alice"), `{"mode":"human"}`, map[string]any{"mode": "human"}, []string{"room.handoff"}},
		{f.user("alice"), `{"mode":"bot"}`, nil, []string{"room.handoff"}},
	} {
		before := position()
		got := c.by.put(path+"/handoff", c.body).want(http.StatusOK).object()
		if diff := cmp.Diff(c.want, got["handoff"]); diff != "" {
			t.Errorf("%d: %s (-want +got):\n%s", i, c.body, diff)
		}
		if diff := cmp.Diff(got, f.user("bob").get(path).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%d: the room as it is read (-answered +read):\n%s", i, diff)
		}
		var steps []string
		for _, step := range f.user("bob").get(fmt.Sprintf("%s/changes?after_rev=%d", path, int(before))).want(http.StatusOK).list() {
			steps = append(steps, step["type"].(string))
			if step["type"] == "room.handoff" && (step["mode"] != orElse(c.want, "mode", "bot") || step["assignee"] != orElse(c.want, "assignee", nil)) {
				t.Errorf("%d: %s is told as %v", i, c.body, step)
			}
		}
		if diff := cmp.Diff(c.steps, steps); diff != "" {
			t.Errorf("%d: %s (-want +steps):\n%s", i, c.body, diff)
		}
	}
	if got := f.roles(room); got["carol"] != "member" {
		t.Errorf("members %v, want carol among them", got)
	}
	if got := position() - began; got != 6 {
		t.Errorf("the room has made %v steps, want 6", got)
	}
}

// orElse is a value of an object that may be none.
func orElse(of any, name string, otherwise any) any {
	if m, ok := of.(map[string]any); ok && m[name] != nil {
		return m[name]
	}
	return otherwise
}

func TestWhatIsNoHandoffIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	path := "/rooms/" + room + "/handoff"
	for body, field := range map[string]string{
		`{}`: "mode", `{"mode":null}`: "mode", `{"mode":"robot"}`: "mode", `{"mode":5}`: "mode", `{"mode":"bot","assignee":"bob"}`: "assignee",
		`{"mode":"human","assignee":""}`: "assignee", `{"mode":"human","assignee":"system"}`: "assignee", `{"mode":"human","assignee":"bot_x"}`: "assignee",
		`{"mode":"human","assignee":7}`: "assignee",
	} {
		f.user("alice").put(path, body).invalid(field)
	}
	const human = `{"mode":"human","assignee":"carol"}`
	f.user("bob").put(path, human).want(http.StatusForbidden)
	f.user("eve").put(path, human).want(http.StatusForbidden)
	f.user("alice").put("/rooms/"+random["room"]+"/handoff", human).want(http.StatusNotFound)
	dm := f.user("alice").post("/rooms", `{"type":"dm","members":["alice","bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
	f.backend().put("/rooms/"+dm+"/handoff", human).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.backend().put("/rooms/"+dm+"/handoff", `{"mode":"human","assignee":"bob"}`).want(http.StatusOK)
	for _, r := range []string{room, dm} {
		if got := f.roles(r); got["carol"] != "" {
			t.Errorf("members %v: who was refused has come in", got)
		}
	}
}

func TestARoomInAListShowsItsHandoff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	for _, c := range []struct {
		body string
		want any
	}{{`{"mode":"human","assignee":"alice"}`, map[string]any{"mode": "human", "assignee": "alice"}}, {`{"mode":"bot"}`, nil}} {
		f.user("alice").put("/rooms/"+room+"/handoff", c.body).want(http.StatusOK)
		listed := f.user("alice").get("/rooms").want(http.StatusOK).list()
		if diff := cmp.Diff(c.want, listed[0]["handoff"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, diff)
		}
	}
}

// TestStoppingWhatIsNoAnswerChangesNothing: an ordinary message of the room, whoever may ask.
func TestStoppingWhatIsNoAnswerChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room, elsewhere := f.newRoom("alice", "bob"), f.newRoom("alice")
	message := f.newMessage("alice", room, "Hello")
	before := f.backend().get("/rooms/" + room + "/messages/" + message).object()
	stop := func(in, id string) string { return "/rooms/" + in + "/messages/" + id + "/stop" }
	for _, by := range []client{f.user("alice"), f.user("bob"), f.jwt("bob"), f.backend()} {
		by.post(stop(room, message), "").want(http.StatusNoContent)
		by.post(stop(room, message), `{"ignored":1}`).want(http.StatusNoContent)
	}
	f.user("eve").post(stop(room, message), "").want(http.StatusForbidden)
	f.user("alice").post(stop(elsewhere, message), "").want(http.StatusNotFound)
	f.user("alice").post(stop(room, random["message"]), "").want(http.StatusNotFound)
	f.user("alice").post(stop(random["room"], message), "").want(http.StatusNotFound)
	f.user("alice").get(stop(room, message)).want(http.StatusMethodNotAllowed)
	if diff := cmp.Diff(before, f.backend().get("/rooms/"+room+"/messages/"+message).object()); diff != "" {
		t.Errorf("the message (-before +after):\n%s", diff)
	}
}

func TestATenantsBotLimitsAreWithinTheServers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/admin/tenants/" + f.tenant
	for _, c := range []struct {
		limits string
		want   map[string]any
	}{
		{`{"concurrent_runs":2,"replies_per_minute":600,"tokens_per_month":1000000000000}`,
			map[string]any{"concurrent_runs": 2.0, "replies_per_minute": 600.0, "tokens_per_month": 1e12}},
		{`{"tokens_per_month":5}`, map[string]any{"concurrent_runs": 8.0, "replies_per_minute": 20.0, "tokens_per_month": 5.0}},
		{`null`, map[string]any{"concurrent_runs": 8.0, "replies_per_minute": 20.0, "tokens_per_month": 0.0}},
	} {
		got := f.operator().patch(path, `{"config":{"bot_limits":`+c.limits+`}}`).want(http.StatusOK).object()
		if diff := cmp.Diff(c.want, got["limits"].(map[string]any)["bot_limits"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.limits, diff)
		}
	}
	for _, limits := range []string{
		`{"concurrent_runs":9}`, `{"concurrent_runs":-1}`, `{"replies_per_minute":601}`, `{"tokens_per_month":-1}`, `{"tokens_per_month":1.5}`, `[]`, `5`,
	} {
		f.operator().patch(path, `{"config":{"bot_limits":`+limits+`}}`).invalid("config.bot_limits")
	}
}

// TestABotsPromptIsTheBackendsToRead: the backend's alone, and in no log.
func TestABotsPromptIsTheBackendsToRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	prompt := harness.Body("You are kind.")
	f.canary.Secret(prompt)
	made := f.backend().post("/bots", `{"name":"n","llm_base_url":"https://llm.example.com","model":"m","system_prompt":"`+prompt+`"}`).want(http.StatusCreated).object()
	id := made["bot_id"].(string)
	room := f.newRoom("alice", id)
	for _, path := range []string{"/rooms/" + room, "/rooms/" + room + "/members", "/rooms/" + room + "/changes", "/users/" + id, "/rooms", "/bots", "/bots/" + id} {
		if got := f.user("alice").get(path); strings.Contains(string(got.body), prompt) {
			t.Errorf("%s shows it: %s", path, got.body)
		}
	}
	if made["system_prompt"] != prompt {
		t.Errorf("to the backend: %v", made)
	}
}
