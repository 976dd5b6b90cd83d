package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestASentMessageIsReadBackAsItWas(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	path := "/rooms/" + room + "/messages"
	first := f.user("alice").post(path, `{"content":"text one"}`).want(http.StatusCreated)
	firstID := first.object()["message_id"].(string)
	if want := path + "/" + firstID; first.header.Get("Location") != want {
		t.Errorf("Location %q, want %q", first.header.Get("Location"), want)
	}
	sent := f.user("bob").post("/v1"+path, `{"content":"two \u00e9 😀\n","meta":"{\"a\": [1]}","client_id":"c-1","reply_to":"`+firstID+`","seq":99}`).
		want(http.StatusCreated).object()
	id := sent["message_id"].(string)
	if diff := cmp.Diff(sent, f.user("alice").get(path+"/"+id).want(http.StatusOK).object()); diff != "" {
		t.Errorf("read back (-sent +read):\n%s", diff)
	}
	delete(sent, "message_id")
	delete(sent, "created_at")
	want := map[string]any{
		"room_id": room, "sender_id": "bob", "sender_type": "user", "seq": 2.0, "rev": 3.0, "content": "two é 😀\n",
		"meta": map[string]any{"a": []any{1.0}}, "client_id": "c-1", "reply_to": firstID,
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestHistoryPagesUpwardsAndDownwards(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	path := "/rooms/" + room + "/messages"
	for n := range 5 {
		f.user("alice").post(path, fmt.Sprintf(`{"content":"message %d"}`, n+1)).want(http.StatusCreated)
	}
	walk := func(query string) (pages []string) {
		for at := path + query; at != ""; {
			page := f.user("alice").get(at).want(http.StatusOK)
			text := ""
			for _, m := range page.list() {
				text += strings.TrimPrefix(m["content"].(string), "message ")
			}
			pages = append(pages, text)
			at = next(t, page)
		}
		return pages
	}
	for query, want := range map[string][]string{
		"":                               {"12345"},
		"?limit=2":                       {"12", "34", "5"},
		"?after_seq=3&limit=2":           {"45"},
		"?after_seq=5":                   {""},
		"?before_seq=9007199254740991":   {"12345"},
		"?before_seq=6&limit=2":          {"45", "23", "1"},
		"?before_seq=1":                  {""},
		"?after_seq=9007199254740991":    {""},
		"?before_seq=3&limit=2&unknown=": {"12"},
	} {
		if diff := cmp.Diff(want, walk(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

func TestClientIDMakesOneMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/rooms/" + f.newRoom("alice", "bob") + "/messages"
	first := f.user("alice").post(path, `{"content":"text of alice","client_id":"c"}`).want(http.StatusCreated)
	again := f.user("alice").post(path, `{"client_id":"c","content":"text of alice"}`).want(http.StatusCreated)
	if again.header.Get("Idempotency-Replayed") != "true" || first.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("Idempotency-Replayed: first %q, again %q", first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"))
	}
	if diff := cmp.Diff(first.object(), again.object()); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	f.user("alice").post(path, `{"content":"another text","client_id":"c"}`).wantError(http.StatusConflict, domain.CodeConflict, "client_id")
	f.user("bob").post(path, `{"content":"another text","client_id":"c"}`).want(http.StatusCreated)
}

func TestMessagesThatBreakARuleAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/rooms/" + f.newRoom("alice") + "/messages"
	foreign := f.user("alice").post("/rooms/"+f.newRoom("alice")+"/messages", `{"content":"some text"}`).want(http.StatusCreated).object()["message_id"].(string)
	for body, field := range map[string]string{
		`{}`:                            "content",
		`{"content":""}`:                "content",
		`{"content":null}`:              "content",
		`{"content":5}`:                 "content",
		`{"Content":"a"}`:               "Content",
		`{"content":"a","content":"b"}`: "content",
		`{"content":"` + strings.Repeat("é", 8193) + `"}`:                                        "content",
		`{"content":"a","meta":[]}`:                                                              "meta",
		`{"content":"a","meta":{"x":"` + strings.Repeat("a", 16384) + `"}}`:                      "meta",
		`{"content":"a","meta":{"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}}`: "meta",
		`{"content":"a","client_id":"` + strings.Repeat("c", 65) + `"}`:                          "client_id",
		`{"content":"a","client_id":"a b"}`:                                                      "client_id",
		`{"content":"a","client_id":""}`:                                                         "client_id",
		`{"content":"a","client_id":5}`:                                                          "client_id",
		`{"content":"a","reply_to":""}`:                                                          "reply_to",
		`{"content":"a","reply_to":"msg_x"}`:                                                     "reply_to",
		`{"content":"a","reply_to":"` + foreign + `"}`:                                           "reply_to",
		`{"content":"\ud800"}`:                                                                   "",
		`{"content":"a\u0000"}`:                                                                  "",
		"{\"content\":\"\xff\"}":                                                                 "",
		"\xef\xbb\xbf{\"content\":\"a\"}":                                                        "",
		`{"content":"a"}x`:                                                                       "",
		`null`:                                                                                   "",
	} {
		f.user("alice").post(path, body).invalid(field)
	}
	if got := f.user("alice").get(path).want(http.StatusOK).list(); len(got) != 0 {
		t.Errorf("%d messages were stored", len(got))
	}
}

func TestContentIsLimitedByTheTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/rooms/" + f.newRoom("alice") + "/messages"
	f.user("alice").post(path, `{"content":"`+strings.Repeat("a", 16384)+`"}`).want(http.StatusCreated)
	f.operator().send(http.MethodPatch, "/admin/tenants/"+f.tenant, `{"config":{"max_message_size":10}}`).want(http.StatusOK)
	f.user("alice").post(path, `{"content":"ten bytes."}`).want(http.StatusCreated)
	f.user("alice").post(path, `{"content":"ten bytes.."}`).invalid("content")
}

func TestSendingAndAckingNeedAUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	f.backend().post("/rooms/"+room+"/messages", `{"content":"a"}`).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "X-User-Id")
	f.backend().post("/acks", `{"room_id":"`+room+`","seq":0}`).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "X-User-Id")
}

func TestAcksOnlyRiseAndStayWithinTheRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	for range 3 {
		f.user("alice").post("/rooms/"+room+"/messages", `{"content":"some text"}`).want(http.StatusCreated)
	}
	ack := func(seq string) *answer {
		return f.user("bob").post("/acks", `{"room_id":"`+room+`","seq":`+seq+`,"device_id":"d"}`)
	}
	if got := string(ack("2").want(http.StatusOK).body); got != `{"success":true}` {
		t.Errorf("body %s", got)
	}
	ack("1").want(http.StatusOK)
	ack("0").want(http.StatusOK)
	if got := f.user("bob").get("/rooms").list()[0]["last_ack"]; got != 2.0 {
		t.Errorf("last_ack %v, want 2", got)
	}
	for _, seq := range []string{"4", "1e0", "1.5", "-1", `"2"`, "true", "9007199254740993", "1e400", "null"} {
		ack(seq).invalid("seq")
	}
	f.user("bob").post("/acks", `{"room_id":"`+room+`"}`).invalid("seq")
	f.user("bob").post("/acks", `{"seq":1}`).invalid("room_id")
	f.user("bob").post("/acks", `{"room_id":"`+room+`","seq":1,"device_id":"a b"}`).invalid("device_id")
	f.user("bob").post("/acks", `{"room_id":"nope","seq":1}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.user("eve").post("/acks", `{"room_id":"`+room+`","seq":1}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
}
