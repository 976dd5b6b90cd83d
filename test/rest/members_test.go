package rest_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func (f *fixture) members(room string) []string {
	f.t.Helper()
	users := []string{}
	for path := "/rooms/" + room + "/members?limit=2"; path != ""; {
		page := f.backend().get(path).want(http.StatusOK)
		for _, m := range page.list() {
			users = append(users, m["user_id"].(string))
		}
		path = next(f.t, page)
	}
	return users
}

func TestMembersAreAddedOnceAndRemoved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	path := "/rooms/" + room + "/members"
	f.user("alice").post(path, `{"user_id":"bob"}`).want(http.StatusNoContent)
	f.user("alice").post(path, `{"user_ids":["bob","carol","dave"],"role":"admin"}`).want(http.StatusNoContent)
	if diff := cmp.Diff([]string{"alice", "bob", "carol", "dave"}, f.members(room)); diff != "" {
		t.Errorf("after adding (-want +got):\n%s", diff)
	}
	f.user("alice").del(path + "/bob").want(http.StatusNoContent)
	f.user("carol").del(path + "/carol").want(http.StatusNoContent)
	if diff := cmp.Diff([]string{"alice", "dave"}, f.members(room)); diff != "" {
		t.Errorf("after removing (-want +got):\n%s", diff)
	}
	f.user("alice").del(path+"/bob").wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.user("bob").get(path).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
}

func TestAwkwardUserIDsRoundTripThroughPaths(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	awkward := []string{"a/b", "..", ".", "a%2Fb", "a b", "ä?x=1#y", "😀", "a+b", `q"\`, "100%", "//", "a:b", "v1"}
	room := f.newRoom("alice", awkward...)
	for _, user := range awkward {
		if !slices.Contains(f.members(room), user) {
			t.Fatalf("%q is no member", user)
		}
		f.user("alice").del("/v1/rooms/" + room + "/members/" + encodeSegment(user)).want(http.StatusNoContent)
		if slices.Contains(f.members(room), user) {
			t.Errorf("%q is still a member", user)
		}
	}
}

// encodeSegment percent-encodes all that could mean something else in a path, dots included.
func encodeSegment(s string) string {
	switch s {
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	return url.PathEscape(s)
}

func TestMemberPathsThatNameNobodyAreNotFound(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	for _, user := range []string{"nobody", "%00", "%FF", "bot_x"} {
		f.user("alice").del("/rooms/"+room+"/members/"+user).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.backend().del("/rooms/"+room+"/members/"+user).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
}

func TestMembersAreAdministeredByAdminsAndTheBackend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	path := "/rooms/" + room + "/members"
	f.user("bob").post(path, `{"user_id":"eve"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.user("bob").del(path+"/alice").wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.user("eve").post(path, `{"user_id":"eve"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.backend().post(path, `{"user_id":"carol"}`).want(http.StatusNoContent)
	for body, field := range map[string]string{
		`{}`: "user_id", `{"user_id":"a","user_ids":["b"]}`: "user_ids", `{"user_id":"system"}`: "user_id",
		`{"user_ids":["a",""]}`: "user_ids", `{"user_id":"a","role":"owner"}`: "role", `{"user_id":5}`: "user_id",
	} {
		f.user("alice").post(path, body).invalid(field)
	}
	dm := f.backend().post("/rooms", `{"type":"dm","members":["alice","bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
	f.backend().post("/rooms/"+dm+"/members", `{"user_id":"eve"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.user("alice").del("/rooms/"+dm+"/members/alice").wantError(http.StatusConflict, domain.CodeConflict, "")
}

func TestTheMembersOfADirectMessageAreFixedForAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dm := f.user("alice").post("/rooms", `{"type":"dm","members":["alice","bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
	path := "/rooms/" + dm + "/members"
	for name, c := range map[string]client{"its creator": f.user("alice"), "its other member": f.user("bob"), "the backend": f.backend()} {
		t.Log(name)
		c.post(path, `{"user_id":"eve"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
		for _, user := range []string{"alice", "bob", "eve"} {
			c.del(path+"/"+user).wantError(http.StatusConflict, domain.CodeConflict, "")
		}
	}
	f.user("eve").post(path, `{"user_id":"eve"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.user("eve").del(path+"/eve").wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	_, key := f.newTenant("other", "{}")
	foreign := f.anonymous().with("X-API-Key", key)
	for _, c := range []client{foreign, foreign.with("X-User-Id", "alice")} {
		c.post(path, `{"user_id":"eve"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		c.del(path+"/alice").wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
	if diff := cmp.Diff([]string{"alice", "bob"}, f.members(dm)); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestTheLongestMemberSucceedsTheLastAdmin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob", "carol")
	f.user("alice").del("/rooms/" + room + "/members/alice").want(http.StatusNoContent)
	f.user("bob").post("/rooms/"+room+"/members", `{"user_id":"dave"}`).want(http.StatusNoContent)
}
