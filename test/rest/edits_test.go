package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestAnEditReplacesTheTextAndKeepsThePlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	sent := f.user("bob").post("/rooms/"+room+"/messages", `{"content":"text one","meta":{"a":1},"client_id":"c-1"}`).want(http.StatusCreated).object()
	path := "/rooms/" + room + "/messages/" + sent["message_id"].(string)
	rev := sent["rev"].(float64)
	for _, c := range []struct {
		body    string
		content string
		meta    any
		changes bool
	}{
		{`{"content":"text one"}`, "text one", map[string]any{"a": 1.0}, false},
		{`{"content":"text two"}`, "text two", map[string]any{"a": 1.0}, true},
		{`{"content":"text two","meta":"{\"b\":2}"}`, "text two", map[string]any{"b": 2.0}, true},
		{`{"content":"text two","meta":{"b":2}}`, "text two", map[string]any{"b": 2.0}, false},
		{`{"content":"three é😀","meta":null,"seq":9}`, "three é😀", nil, true},
	} {
		got := f.user("bob").put("/v1"+path, c.body).want(http.StatusOK).object()
		if c.changes {
			rev++
			sent["edited_at"] = got["edited_at"]
			if got["edited_at"] == nil {
				t.Errorf("%s: no edited_at", c.body)
			}
		}
		sent["content"], sent["meta"], sent["rev"] = c.content, c.meta, rev
		if diff := cmp.Diff(sent, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, diff)
		}
		if diff := cmp.Diff(sent, f.user("alice").get(path).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%s read back (-want +got):\n%s", c.body, diff)
		}
	}
}

func TestMessagesAreEditedByTheirSenderAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room, other := f.newRoom("alice", "bob", "carol"), f.newRoom("bob")
	message := f.newMessage("bob", room, "a")
	path := "/rooms/" + room + "/messages/" + message
	for _, c := range []client{f.user("alice"), f.jwt("carol"), f.user("eve")} {
		c.put(path, `{"content":"b"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	}
	f.backend().put(path, `{"content":"b"}`).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "X-User-Id")
	f.foreigner("bob").put(path, `{"content":"b"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.user("bob").put("/rooms/"+other+"/messages/"+message, `{"content":"b"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	for body, field := range map[string]string{
		`{}`: "content", `{"content":""}`: "content", `{"content":null}`: "content", `{"meta":{}}`: "content",
		`{"content":"a","meta":[]}`: "meta", `{"content":"` + strings.Repeat("a", 16385) + `"}`: "content", `{"Content":"a"}`: "Content",
	} {
		f.user("bob").put(path, body).invalid(field)
	}
	f.jwt("bob").put(path, `{"content":"another text"}`).want(http.StatusOK)
	f.user("alice").del("/rooms/" + room + "/members/bob").want(http.StatusNoContent)
	f.user("bob").put(path, `{"content":"c"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
}

func TestADeletedMessageLeavesATombstone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	messages := "/rooms/" + room + "/messages"
	sent := f.user("bob").post(messages, `{"content":"a secret","meta":{"a":1},"client_id":"c-1"}`).want(http.StatusCreated).object()
	path := messages + "/" + sent["message_id"].(string)
	for range 2 {
		f.user("bob").del("/v1" + path).want(http.StatusNoContent)
	}
	got := f.user("alice").get(path).want(http.StatusOK).object()
	if got["deleted_at"] == nil {
		t.Error("no deleted_at")
	}
	sent["content"], sent["meta"], sent["rev"], sent["deleted_at"] = "", nil, sent["rev"].(float64)+1, got["deleted_at"]
	if diff := cmp.Diff(sent, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if list := f.user("alice").get(messages).want(http.StatusOK).list(); len(list) != 1 || list[0]["content"] != "" {
		t.Errorf("the history is %v, want the tombstone", list)
	}
	f.user("bob").put(path, `{"content":"back"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
}

func TestMessagesAreDeletedByTheirSenderAdminsAndTheBackend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room, other := f.newRoom("alice", "bob", "carol"), f.newRoom("alice")
	messages := "/rooms/" + room + "/messages/"
	for _, c := range []client{f.user("alice"), f.jwt("alice"), f.backend(), f.jwt("bob")} {
		c.del(messages + f.newMessage("bob", room, "a")).want(http.StatusNoContent)
	}
	message := f.newMessage("bob", room, "a")
	for _, c := range []client{f.user("carol"), f.jwt("carol"), f.user("eve")} {
		c.del(messages+message).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	}
	f.foreigner("bob").del(messages+message).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.user("alice").del("/rooms/"+other+"/messages/"+message).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	for _, nothing := range []string{"msg_" + randomUUID, "nope", "%00"} {
		f.user("alice").del(messages+nothing).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
	f.user("alice").del("/rooms/" + room + "/members/bob").want(http.StatusNoContent)
	f.user("bob").del(messages+message).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
}

// TestChangesTellTheLogInOrder: each step, in the present state of what it is about.
func TestChangesTellTheLogInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	path := "/rooms/" + room
	first := f.newMessage("alice", room, "one")                                             // rev 2
	f.user("bob").post(path+"/messages", `{"content":"text two"}`).want(http.StatusCreated) // 3
	f.user("alice").post(path+"/members", `{"user_id":"carol"}`)                            // 4
	f.user("alice").patch(path, `{"name":"Team"}`).want(http.StatusOK)                      // 5
	f.user("alice").patch(path+"/members/bob", `{"role":"admin"}`)                          // 6
	f.user("alice").put(path+"/messages/"+first, `{"content":"Text eins"}`)                 // 7
	f.user("alice").del(path + "/members/carol").want(http.StatusNoContent)                 // 8

	var told []string
	byRev := map[float64]map[string]any{}
	for at, pages := path+"/changes?limit=3", 0; at != ""; pages++ {
		page := f.user("bob").get("/v1" + strings.TrimPrefix(at, "/v1")).want(http.StatusOK)
		for _, event := range page.list() {
			told = append(told, event["type"].(string))
			byRev[event["rev"].(float64)] = event
		}
		at = next(t, page)
		if pages > 5 {
			t.Fatal("the pages do not end")
		}
	}
	if diff := cmp.Diff([]string{
		"room.created", "message", "message", "member.added", "room.updated", "member.updated", "message.edited", "member.removed",
	}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if byRev[2]["content"] != "Text eins" || byRev[7]["content"] != "Text eins" || byRev[2]["seq"] != 1.0 {
		t.Errorf("the edited message is told as %v and %v", byRev[2], byRev[7])
	}
	if name := byRev[1]["room"].(map[string]any)["name"]; name != "Team" {
		t.Errorf("the room is told with the name %v", name)
	}
	if byRev[6]["role"] != "admin" || byRev[8]["user_id"] != "carol" {
		t.Errorf("members are told as %v and %v", byRev[6], byRev[8])
	}
	if got := f.backend().get(path + "/changes?after_rev=7").want(http.StatusOK).list(); len(got) != 1 || got[0]["rev"] != 8.0 {
		t.Errorf("after 7: %v", got)
	}
	if got := string(f.jwt("alice").get(path + "/changes?after_rev=8").want(http.StatusOK).body); got != "[]" {
		t.Errorf("after the end: %s", got)
	}
}

func TestChangesAreForMembersAndTheBackend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/rooms/" + f.newRoom("alice") + "/changes"
	f.user("eve").get(path).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.foreigner("alice").get(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	for query, field := range map[string]string{
		"?after_rev=-1": "after_rev", "?after_rev=x": "after_rev", "?after_rev=1&after_rev=1": "after_rev", "?limit=0": "limit", "?limit=101": "limit",
	} {
		f.user("alice").get(path + query).invalid(field)
	}
}
