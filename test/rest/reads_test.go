package rest_test

import (
	"net/http"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

// unread is a user's unread_count of a room.
func (f *fixture) unread(user, room string) any {
	f.t.Helper()
	for _, r := range f.user(user).get("/rooms").want(http.StatusOK).list() {
		if r["room_id"] == room {
			return r["unread_count"]
		}
	}
	f.t.Fatalf("%s is not in %s", user, room)
	return nil
}

func TestUnreadMessagesAreCountedAboveTheReadMark(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	var last string
	for range 3 {
		last = f.newMessage("alice", room, "a")
	}
	f.newMessage("bob", room, "mine")
	f.user("alice").post("/rooms/"+room+"/members", `{"user_id":"carol"}`).want(http.StatusNoContent)
	wantUnread := func(when string, alice, bob, carol float64) {
		t.Helper()
		for user, want := range map[string]float64{"alice": alice, "bob": bob, "carol": carol} {
			if got := f.unread(user, room); got != want {
				t.Errorf("%s %s has %v unread, want %v", when, user, got, want)
			}
		}
	}
	wantUnread("at first", 1, 3, 0)
	f.user("bob").post("/acks", `{"room_id":"`+room+`","seq":4}`).want(http.StatusOK)
	wantUnread("after an ack", 1, 3, 0)
	f.user("bob").post("/rooms/"+room+"/read", `{"seq":1}`).want(http.StatusOK)
	wantUnread("after reading one", 1, 2, 0)
	f.user("alice").del("/rooms/" + room + "/messages/" + last).want(http.StatusNoContent)
	wantUnread("after one was deleted", 1, 1, 0)
	f.jwt("bob").post("/v1/rooms/"+room+"/read", `{"seq":4}`).want(http.StatusOK)
	f.user("bob").post("/rooms/"+room+"/read", `{"seq":2}`).want(http.StatusOK)
	wantUnread("after reading all, and less again", 1, 0, 0)
	if got := f.backend().get("/rooms").want(http.StatusOK).list()[0]["unread_count"]; got != 0.0 {
		t.Errorf("the backend has %v unread", got)
	}
}

func TestReadingRaisesDeliveryAndStaysWithinTheRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	path := "/rooms/" + room + "/read"
	f.newMessage("alice", room, "a")
	f.newMessage("alice", room, "b")
	if got := string(f.user("bob").post(path, `{"seq":2}`).want(http.StatusOK).body); got != `{"success":true}` {
		t.Errorf("body %s", got)
	}
	if got := f.user("bob").get("/rooms").list()[0]["last_ack"]; got != 2.0 {
		t.Errorf("last_ack %v, want 2", got)
	}
	for _, body := range []string{`{"seq":3}`, `{}`, `{"seq":null}`, `{"seq":-1}`, `{"seq":1.5}`, `{"seq":"1"}`} {
		f.user("bob").post(path, body).invalid("seq")
	}
	f.backend().post(path, `{"seq":1}`).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "X-User-Id")
	f.user("eve").post(path, `{"seq":1}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.foreigner("bob").post(path, `{"seq":1}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.user("bob").post("/rooms/nope/read", `{"seq":1}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
}
