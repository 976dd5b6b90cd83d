package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/domain"
)

// failedMessages are the dead letters that an answer lists.
func (a *answer) failedMessages() []map[string]any {
	a.t.Helper()
	var got struct {
		Messages []map[string]any `json:"failed_messages"`
	}
	a.want(http.StatusOK).decode(&got)
	return got.Messages
}

// letterIDs are the ids of the fixture's tenant's dead letters, as its backend sees them.
func (f *fixture) letterIDs(query string) []string {
	f.t.Helper()
	var ids []string
	for _, letter := range f.backend().get("/admin/dead-letters" + query).failedMessages() {
		ids = append(ids, letter["id"].(string))
	}
	return ids
}

func TestDeadLettersAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const none = `{"failed_messages":[],"failed_notifications":[]}`
	if got := f.backend().get("/admin/dead-letters").want(http.StatusOK); string(got.body) != none {
		t.Errorf("%s, want %s", got.body, none)
	}
	first := f.newLetter(f.tenant, random["room"], random["message"], "bob")
	second := f.newLetter(f.tenant, random["room"], random["message"], "")
	list := f.backend().get("/admin/dead-letters")
	got := list.failedMessages()
	want := []map[string]any{}
	for i, id := range []string{second, first} {
		want = append(want, map[string]any{
			"id": id, "message_id": random["message"], "room_id": random["room"], "user_id": []any{nil, "bob"}[i], "from_seq": 1.0, "to_seq": 1.0,
			"attempts": 5.0, "last_attempt_at": got[i]["last_attempt_at"], "error": "connection timeout",
		})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, other := range map[string]*answer{
		"by name":      f.backend().get("/v1/admin/dead-letters?tenant_id=" + f.tenant),
		"the operator": f.operator().get("/admin/dead-letters?tenant_id=" + f.tenant),
	} {
		if string(other.want(http.StatusOK).body) != string(list.body) {
			t.Errorf("%s: %s, want %s", name, other.body, list.body)
		}
	}
	if diff := cmp.Diff([]string{second}, f.letterIDs("?limit=1")); diff != "" {
		t.Errorf("limit 1 (-want +got):\n%s", diff)
	}
}

func TestTheLimitOfDeadLettersIs1To1000(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 51 {
		f.newLetter(f.tenant, random["room"], random["message"], "bob")
	}
	for query, want := range map[string]int{"": 50, "?limit=1": 1, "?limit=51": 51, "?limit=1000": 51} {
		if got := f.letterIDs(query); len(got) != want {
			t.Errorf("%q: %d, want %d", query, len(got), want)
		}
	}
	for _, limit := range []string{"0", "1001", "-1", "x", "", "1&limit=1"} {
		f.backend().get("/admin/dead-letters?limit=" + limit).invalid("limit")
		f.operator().get("/admin/dead-letters?tenant_id=" + f.tenant + "&limit=" + limit).invalid("limit")
	}
}

// letterCalls are the calls on dead letters, with what follows the path.
func letterCalls(c client, id, query string) map[string]*answer {
	return map[string]*answer{
		"list":   c.get("/admin/dead-letters" + query),
		"replay": c.post("/admin/dead-letters/"+id+"/replay"+query, ""),
		"delete": c.del("/admin/dead-letters/" + id + query),
	}
}

func TestDeadLettersAreForTheBackendAndTheOperator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.newLetter(f.tenant, random["room"], random["message"], "alice")
	own := "?tenant_id=" + f.tenant
	for _, c := range f.as("alice") {
		for _, query := range []string{"", own, "?tenant_id=tenant_x", "?tenant_id=%00"} {
			for _, got := range letterCalls(c, id, query) {
				got.wantError(http.StatusForbidden, domain.CodeAuthorization, "")
			}
		}
	}
	for name, c := range map[string]client{
		"nobody": f.anonymous(), "wrong master key": f.anonymous().with("X-Master-Key", masterKey+"x"), "empty": f.anonymous().with("X-Master-Key", ""),
		"both keys": f.backend().with("X-Master-Key", masterKey), "master key and token": f.operator().with("Authorization", "Bearer x"),
	} {
		for _, got := range letterCalls(c, id, own) {
			if got.status != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d, want 401", name, got.request, got.status)
			}
		}
	}
	if diff := cmp.Diff([]string{id}, f.letterIDs("")); diff != "" {
		t.Errorf("a call that was refused has done something (-want +got):\n%s", diff)
	}
}

func TestTheOperatorNamesTheTenantOfDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.newLetter(f.tenant, random["room"], random["message"], "alice")
	other, _ := f.newTenant("Other", "{}")
	for _, query := range []string{"", "?tenant_id=", "?tenant_id=" + f.tenant + "&tenant_id=" + f.tenant} {
		for _, got := range letterCalls(f.operator(), id, query) {
			got.invalid("tenant_id")
		}
	}
	for _, query := range []string{"?tenant_id=tenant_" + randomUUID, "?tenant_id=%00", "?tenant_id=%FF", "?tenant_id=x"} {
		for _, got := range letterCalls(f.operator(), id, query) {
			got.wantError(http.StatusNotFound, domain.CodeNotFound, "")
		}
		for _, got := range letterCalls(f.backend(), id, query) {
			got.wantError(http.StatusNotFound, domain.CodeNotFound, "")
		}
	}
	// The letter is not the other tenant's, whose list is empty, and the backend does not see that there is another.
	if got := f.operator().get("/admin/dead-letters?tenant_id=" + other).failedMessages(); len(got) != 0 {
		t.Errorf("the other tenant has %v", got)
	}
	f.operator().del("/admin/dead-letters/"+id+"?tenant_id="+other).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.backend().get("/admin/dead-letters?tenant_id="+other).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.operator().del("/admin/dead-letters/" + id + "?tenant_id=" + f.tenant).want(http.StatusNoContent)
}

func TestADeletedDeadLetterIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kept := f.newLetter(f.tenant, random["room"], random["message"], "alice")
	id := f.newLetter(f.tenant, random["room"], random["message"], "bob")
	f.backend().del("/admin/dead-letters/" + id).want(http.StatusNoContent)
	if diff := cmp.Diff([]string{kept}, f.letterIDs("")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, unknown := range []string{id, strings.ToUpper(kept), "dead_x", "%00", "."} {
		f.backend().del("/admin/dead-letters/"+unknown).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.backend().post("/admin/dead-letters/"+unknown+"/replay", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
}

// undelivered is a dead letter of a message that alice has sent to bob and carol, with the tenant's webhook at a receiver.
func (f *fixture) undelivered(content string) (id, room, message string, to *receiver) {
	f.t.Helper()
	room = f.newRoom("alice", "bob", "carol")
	message = f.newMessage("alice", room, content)
	to = newReceiver(f.t)
	f.setWebhook(to) // after the message, so that nothing but the replay calls it
	f.deliver()
	return f.newLetter(f.tenant, room, message, ""), room, message, to
}

func TestAReplayDeliversOnceMoreUnderTheSameID(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, room, message, to := f.undelivered("Hello")
	got := f.backend().post("/admin/dead-letters/"+id+"/replay", "").want(http.StatusAccepted)
	if string(got.body) != `{"success":true}` {
		t.Errorf("%s", got.body)
	}
	f.wantSettled()
	call := <-to.calls
	if want := "evt_" + strings.TrimPrefix(message, "msg_") + ".0"; call.header.Get("webhook-id") != want {
		t.Errorf("webhook-id %q, want %q", call.header.Get("webhook-id"), want)
	}
	verifier, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(call.body, call.header); err != nil {
		t.Errorf("the signature: %v", err)
	}
	var event map[string]any
	if err := json.Unmarshal(call.body, &event); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "message.offline", "tenant_id": f.tenant, "room_id": room, "recipient_ids": []any{"bob", "carol"},
		"message": f.backend().get("/rooms/" + room + "/messages/" + message).want(http.StatusOK).object(),
	}
	if diff := cmp.Diff(want, event); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if left := f.letterIDs(""); left != nil {
		t.Errorf("the list still has %v", left)
	}
	f.backend().post("/admin/dead-letters/"+id+"/replay", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")
	if len(to.calls) != 0 {
		t.Error("it was delivered twice")
	}
}

func TestAReplayThatFailsIsANewDeadLetter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _, message, to := f.undelivered("a canary in a text")
	to.status.Store(http.StatusInternalServerError)
	for range 2 {
		f.operator().post("/admin/dead-letters/"+id+"/replay?tenant_id="+f.tenant, "").want(http.StatusAccepted)
		f.wantSettled()
		list := f.backend().get("/admin/dead-letters")
		got := list.failedMessages()
		if len(got) != 1 || got[0]["id"] == id || got[0]["attempts"] != 1.0 || got[0]["error"] != "http 500" || got[0]["message_id"] != message {
			t.Fatalf("%v, want one new dead letter of one attempt", got)
		}
		if strings.Contains(string(list.body), "canary") {
			t.Errorf("the text is listed: %s", list.body)
		}
		id = got[0]["id"].(string)
	}
	first, second := <-to.calls, <-to.calls
	if first.header.Get("webhook-id") != second.header.Get("webhook-id") {
		t.Errorf("webhook-id %q, then %q", first.header.Get("webhook-id"), second.header.Get("webhook-id"))
	}
	if log := f.log.String(); strings.Contains(log, "canary") || strings.Contains(log, webhookSecret) || !strings.Contains(log, "http 500") {
		t.Errorf("the log: %s", log)
	}
}

// TestWhoeverCallsIsToldOfItsOwnLimit: one route, two buckets.
func TestWhoeverCallsIsToldOfItsOwnLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const rate = 3
	id, key := f.newTenant("Limited", fmt.Sprintf(`{"rate_limit":%d,"allowed_origins":["https://page.example"]}`, rate))
	backend := f.anonymous().with("X-API-Key", key, "Origin", "https://page.example")
	limits := map[int64]bool{}
	for range 50 {
		limit, remaining, _ := f.operator().get("/admin/dead-letters?tenant_id=" + id).want(http.StatusOK).standing()
		if limit != addressBurst || remaining != addressBurst {
			t.Fatalf("the operator: limit %d, remaining %d; want the address's", limit, remaining)
		}
		got := backend.get("/admin/dead-letters")
		if got.header.Get(allowOrigin) != "https://page.example" {
			t.Error("the tenant's page cannot read the answer")
		}
		if got.status == http.StatusTooManyRequests {
			got.wantError(http.StatusTooManyRequests, domain.CodeRateLimited, "")
			limits[0] = true
			break
		}
		limit, _, _ = got.want(http.StatusOK).standing()
		limits[limit] = true
	}
	if !limits[0] || !limits[rate] || len(limits) != 2 {
		t.Errorf("the backend was told of the limits %v, want %d and a refusal", limits, rate)
	}
	// What is refused to a user was a call of the tenant's.
	if limit, _, _ := f.user("alice").get("/admin/dead-letters").want(http.StatusForbidden).standing(); limit != defaultRate {
		t.Errorf("a user is told of the limit %d", limit)
	}
	usage := f.operator().get("/admin/tenants/" + f.tenant).object()["usage"].(map[string]any)["months"].([]any)[0].(map[string]any)
	if usage["requests"] != 1.0 {
		t.Errorf("usage %v, want the user's call and not the operator's", usage)
	}
	var left []int64
	for _, wrong := range []client{f.anonymous().with("X-Master-Key", "x"), f.anonymous().with("X-API-Key", "x"), f.anonymous()} {
		limit, remaining, _ := wrong.get("/admin/dead-letters").want(http.StatusUnauthorized).standing()
		if limit != addressBurst {
			t.Errorf("limit %d at a wrong credential", limit)
		}
		left = append(left, remaining)
	}
	if slices.Contains(left, addressBurst) {
		t.Errorf("%v left: a failure did not count", left)
	}
}

// TestAReplayToNobodyIsRefused: the letter stays until there is a webhook again.
func TestAReplayToNobodyIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _, _, _ := f.undelivered("Hello")
	f.operator().patch("/admin/tenants/"+f.tenant, `{"config":{"webhook_url":null}}`).want(http.StatusOK)
	f.backend().post("/admin/dead-letters/"+id+"/replay", "").wantError(http.StatusConflict, domain.CodeConflict, "")
	if left := f.letterIDs(""); len(left) != 1 || left[0] != id {
		t.Errorf("the list has %v", left)
	}
}
