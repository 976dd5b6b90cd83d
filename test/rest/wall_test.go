package rest_test

import (
	"net/http"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

const randomUUID = "0190d5b2-7c1e-7a3b-9f00-0123456789ab"

// TestAnotherTenantsIDsAreAnsweredLikeIDsThatDoNotExist: same status, same body, for every call that names a room or
// message.
func TestAnotherTenantsIDsAreAnsweredLikeIDsThatDoNotExist(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, otherKey := f.newTenant("Other", "{}")
	other := client{f, []string{"X-API-Key", otherKey, "X-User-Id", "alice"}}
	room := other.post("/rooms", `{"type":"group"}`).want(http.StatusCreated).object()["room_id"].(string)
	message := other.post("/rooms/"+room+"/messages", `{"content":"secret"}`).want(http.StatusCreated).object()["message_id"].(string)
	own := f.newRoom("alice")

	calls := []func(c client, room, message string) *answer{
		func(c client, room, _ string) *answer { return c.get("/rooms/" + room) },
		func(c client, room, _ string) *answer { return c.get("/rooms/" + room + "/members") },
		func(c client, room, _ string) *answer { return c.post("/rooms/"+room+"/members", `{"user_id":"eve"}`) },
		func(c client, room, _ string) *answer { return c.del("/rooms/" + room + "/members/alice") },
		func(c client, room, _ string) *answer { return c.get("/rooms/" + room + "/messages") },
		func(c client, room, _ string) *answer { return c.post("/rooms/"+room+"/messages", `{"content":"x"}`) },
		func(c client, room, message string) *answer { return c.get("/rooms/" + room + "/messages/" + message) },
		func(c client, _, message string) *answer { return c.get("/rooms/" + own + "/messages/" + message) },
		func(c client, room, _ string) *answer { return c.post("/acks", `{"room_id":"`+room+`","seq":0}`) },
	}
	for i, call := range calls {
		want := call(f.user("alice"), "room_"+randomUUID, "msg_"+randomUUID).wantError(http.StatusNotFound, domain.CodeNotFound, "").withoutRequestID()
		for _, ids := range [][2]string{{room, message}, {"room_x", "msg_x"}, {"%00", "%00"}, {"ROOM_" + randomUUID, "x"}} {
			got := call(f.user("alice"), ids[0], ids[1])
			if got.status != http.StatusNotFound || got.withoutRequestID() != want {
				t.Errorf("call %d with %v: %d %s, want 404 %s", i, ids, got.status, got.withoutRequestID(), want)
			}
		}
	}
}

func TestPathsWithoutARouteAreNotFoundAndNeverRedirected(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{
		"/", "/nope", "/rooms/", "/rooms/x/", "//rooms", "/rooms//members", "/./rooms", "/rooms/../rooms", "/v2/rooms", "/v1", "/v1/",
		"/v1/v1/rooms", "/V1/rooms", "/Rooms", "/admin", "/metrics", "/debug/pprof/", "/ws", "/health/", "/favicon.ico",
	} {
		f.user("alice").get(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
}

func TestMethodsAPathDoesNotHaveAreNamedInAllow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range [][3]string{
		{http.MethodPut, "/rooms", "GET, HEAD, POST"},
		{http.MethodDelete, "/v1/rooms", "GET, HEAD, POST"},
		{http.MethodTrace, "/acks", "POST"},
		{http.MethodGet, "/acks", "POST"},
		{http.MethodOptions, "/acks", "POST"},
		{http.MethodPost, "/health", "GET, HEAD"},
		{"BREW", "/admin/tenants/x", "DELETE, GET, HEAD, PATCH"},
	} {
		got := f.anonymous().with("X-HTTP-Method-Override", "GET").send(c[0], c[1], "").
			wantError(http.StatusMethodNotAllowed, domain.CodeMethodNotAllowed, "")
		if allow := got.header.Get("Allow"); allow != c[2] {
			t.Errorf("%s %s: Allow %q, want %q", c[0], c[1], allow, c[2])
		}
	}
	if got := f.anonymous().send(http.MethodHead, "/acks", ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD /acks: %d, want 405", got.status)
	}
	if got := f.anonymous().send(http.MethodHead, "/health", ""); got.status != http.StatusOK || len(got.body) != 0 {
		t.Errorf("HEAD /health: %d %q, want 200 without a body", got.status, got.body)
	}
}
