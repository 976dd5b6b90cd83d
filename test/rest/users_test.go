package rest_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestAPutOfAUserChangesWhatItNamesAndNullClears(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/users/" + url.PathEscape("b/ob é")
	want := map[string]any{"user_id": "b/ob é", "name": nil, "avatar_url": nil, "metadata": nil, "last_seen_at": nil}
	for _, step := range []struct {
		c    client
		body string
		set  map[string]any
	}{
		{f.backend(), `{}`, nil},
		{f.user("b/ob é"), `{"name":"Bob","metadata":{ "a":1}}`, map[string]any{"name": "Bob", "metadata": map[string]any{"a": 1.0}}},
		{f.jwt("b/ob é"), `{"avatar_url":"https://x.example/b.png","last_seen_at":"x"}`, map[string]any{"avatar_url": "https://x.example/b.png"}},
		{f.backend(), `{"name":null,"metadata":"{}"}`, map[string]any{"name": nil, "metadata": map[string]any{}}},
		{f.backend(), `{"avatar_url":null,"metadata":null}`, map[string]any{"avatar_url": nil, "metadata": nil}},
	} {
		for name, value := range step.set {
			want[name] = value
		}
		if diff := cmp.Diff(want, step.c.put("/v1"+path, step.body).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.body, diff)
		}
		if diff := cmp.Diff(want, f.user("b/ob é").get(path).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%s read back (-want +got):\n%s", step.body, diff)
		}
	}
}

func TestUsersThatBreakARuleAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for body, field := range map[string]string{
		`{"name":5}`: "name", `{"name":"` + strings.Repeat("n", 257) + `"}`: "name", `{"avatar_url":"javascript:x"}`: "avatar_url",
		`{"avatar_url":"https://x/` + strings.Repeat("a", 2048) + `"}`: "avatar_url", `{"avatar_url":""}`: "avatar_url",
		`{"metadata":[]}`: "metadata", `{"Name":"x"}`: "Name", ``: "",
	} {
		f.backend().put("/users/bob", body).invalid(field)
	}
	for _, id := range []string{"system", "bot_x", "%00", "%FF", strings.Repeat("u", 129)} {
		f.backend().put("/users/"+id, `{}`).invalid("user_id")
		f.backend().get("/users/"+id).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
	for _, c := range f.as("eve") {
		c.put("/users/bob", `{"name":"x"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	}
}

func TestUsersAreSeenByThemselvesTheirRoomMatesAndTheBackend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	f.backend().put("/users/bob", `{"name":"Bob"}`).want(http.StatusOK)
	for _, c := range []client{f.backend(), f.user("bob"), f.jwt("bob"), f.user("alice"), f.jwt("alice")} {
		if got := c.get("/users/bob").want(http.StatusOK).object()["name"]; got != "Bob" {
			t.Errorf("name %v", got)
		}
	}
	want := f.user("alice").get("/users/nobody").wantError(http.StatusNotFound, domain.CodeNotFound, "").withoutRequestID()
	for name, c := range map[string]client{"a stranger": f.user("eve"), "a stranger's token": f.jwt("eve"), "a foreigner": f.foreigner("alice")} {
		if got := c.get("/users/bob").wantError(http.StatusNotFound, domain.CodeNotFound, "").withoutRequestID(); got != want {
			t.Errorf("%s is told %s, want %s", name, got, want)
		}
	}
	f.user("bob").del("/rooms/" + room + "/members/bob").want(http.StatusNoContent)
	f.user("alice").get("/users/bob").wantError(http.StatusNotFound, domain.CodeNotFound, "")
}

// arrive gives users of the fixture's tenant a socket.
func (f *fixture) arrive(users ...domain.UserID) {
	f.t.Helper()
	for _, u := range users {
		at := []ports.TenantUser{{Tenant: domain.TenantID(f.tenant), User: u}}
		if _, err := f.online.Arrive(context.Background(), "node", at, time.Minute); err != nil {
			f.t.Fatal(err)
		}
	}
}

func TestPresenceIsToldOfRoomMates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.newRoom("alice", "bob", "carol")
	f.newRoom("eve")
	f.arrive("bob", "eve")
	statuses := func(c client, ids string) map[string]string {
		got := map[string]string{}
		for _, s := range c.get("/v1/presence?user_ids=" + ids).want(http.StatusOK).list() {
			got[s["user_id"].(string)] = s["status"].(string)
			if seen := s["last_seen_at"] != nil; seen != (s["status"] == "online") {
				t.Errorf("%v: last_seen_at %v", s["user_id"], s["last_seen_at"])
			}
		}
		return got
	}
	mates := map[string]string{"bob": "online", "carol": "offline"}
	for name, c := range f.as("alice") {
		for _, ids := range []string{"bob,carol,eve,nobody", "bob%2Ccarol%2Ceve", "carol,bob,bob"} {
			if diff := cmp.Diff(mates, statuses(c, ids)); diff != "" {
				t.Errorf("alice %s asks for %s (-want +got):\n%s", name, ids, diff)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"bob": "online", "eve": "online"}, statuses(f.backend(), "bob,eve,nobody")); diff != "" {
		t.Errorf("the backend (-want +got):\n%s", diff)
	}
	if got := string(f.foreigner("alice").get("/presence?user_ids=bob").want(http.StatusOK).body); got != "[]" {
		t.Errorf("a foreigner is told %s", got)
	}
	for _, query := range []string{
		"", "?user_ids=", "?user_ids=bob,", "?user_ids=bob&user_ids=carol", "?user_ids=system", "?user_ids=%00",
		"?user_ids=" + strings.Repeat("u,", 100) + "u",
	} {
		f.user("alice").get("/presence" + query).invalid("user_ids")
	}
}
