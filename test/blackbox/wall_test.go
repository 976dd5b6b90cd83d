package blackbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// roomCalls is every call that names a room, and a message where it names one.
func roomCalls(room, message string) []struct {
	method, path string
	body         any
} {
	type call = struct {
		method, path string
		body         any
	}
	return []call{
		{http.MethodGet, "/rooms/" + room, nil},
		{http.MethodGet, "/rooms/" + room + "/members", nil},
		{http.MethodPost, "/rooms/" + room + "/members", map[string]any{"user_id": "eve"}},
		{http.MethodDelete, "/rooms/" + room + "/members/alice", nil},
		{http.MethodPost, "/rooms/" + room + "/messages", map[string]any{"content": harness.Body("x")}},
		{http.MethodGet, "/rooms/" + room + "/messages", nil},
		{http.MethodGet, "/rooms/" + room + "/messages?before_seq=9", nil},
		{http.MethodGet, "/rooms/" + room + "/messages/" + message, nil},
		{http.MethodPost, "/acks", map[string]any{"room_id": room, "seq": 1}},
		{http.MethodPatch, "/rooms/" + room, map[string]any{"name": "taken over"}},
		{http.MethodDelete, "/rooms/" + room, nil},
		{http.MethodPatch, "/rooms/" + room + "/members/alice", map[string]any{"role": "member"}},
		{http.MethodPost, "/rooms/" + room + "/join", nil},
		{http.MethodGet, "/rooms/" + room + "/changes", nil},
		{http.MethodPut, "/rooms/" + room + "/messages/" + message, map[string]any{"content": harness.Body("not theirs")}},
		{http.MethodDelete, "/rooms/" + room + "/messages/" + message, nil},
		{http.MethodPost, "/rooms/" + room + "/read", map[string]any{"seq": 1}},
	}
}

// roomFrames is every frame that names a room.
func roomFrames(room string) []map[string]any {
	return []map[string]any{
		{"type": "send_message", "room_id": room, "content": harness.Body("x")},
		{"type": "ack", "room_id": room, "seq": 1},
		{"type": "subscribe", "room_id": room},
		{"type": "subscribe", "room_id": room, "after_seq": 0},
		{"type": "read", "room_id": room, "seq": 1},
		{"type": "typing.start", "room_id": room},
		{"type": "typing.stop", "room_id": room},
	}
}

func TestANonMemberIsForbiddenEverywhere(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, eve := tenant.User("alice"), tenant.User("eve")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	message := harness.Must(alice.Send(room, harness.Body("private")))(t).MessageID
	for _, c := range roomCalls(room, message) {
		res, err := eve.Call(c.method, c.path, c.body, http.StatusForbidden, nil)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		wantProblem(t, res, "AUTHORIZATION_ERROR", "")
	}
	socket := connect(t, eve)
	for _, f := range roomFrames(room) {
		if answer := harness.Must(socket.Request(f))(t); answer.Type != "error" || answer.Code != "AUTHORIZATION_ERROR" {
			t.Errorf("%v: got %s, want AUTHORIZATION_ERROR", f, answer.Raw)
		}
	}
	for _, f := range socket.Frames() {
		if strings.Contains(string(f.Raw), harness.BodyMark) {
			t.Errorf("a stranger received %s", f.Raw)
		}
	}
	wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 1)
}

func TestAPlainMemberManagesNobody(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPost, "/rooms/" + room + "/members", map[string]any{"user_id": "eve"}},
		{http.MethodPost, "/rooms/" + room + "/members", map[string]any{"user_id": "bob", "role": "admin"}},
		{http.MethodDelete, "/rooms/" + room + "/members/alice", nil},
	} {
		res := harness.Must(bob.Call(c.method, c.path, c.body, http.StatusForbidden, nil))(t)
		wantProblem(t, res, "AUTHORIZATION_ERROR", "")
	}
}

func TestAnotherTenantsRoomIsAnsweredLikeOneThatDoesNotExist(t *testing.T) {
	t.Parallel()
	ours := tenantOf(t, harness.Options{})
	theirs := harness.Must(ours.Server().NewTenant("the others"))(t)
	foreign := harness.Must(theirs.User("alice").CreateRoom("group", "bob"))(t).RoomID
	message := harness.Must(theirs.User("alice").Send(foreign, harness.Body("theirs")))(t).MessageID
	const random = "room_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
	const randomMessage = "msg_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"

	alice := ours.User("alice")
	socket := connect(t, alice)
	for who, client := range map[string]*harness.Client{"a user": alice.Client, "the backend": ours.Backend()} {
		none := roomCalls(random, randomMessage)
		for i, c := range roomCalls(foreign, message) {
			got := harness.Must(client.Do(t.Context(), c.method, c.path, c.body))(t)
			want := harness.Must(client.Do(t.Context(), none[i].method, none[i].path, none[i].body))(t)
			if got.Status != want.Status || withoutRequestID(t, got.Body) != withoutRequestID(t, want.Body) {
				t.Errorf("%s, %s %s: a foreign id gives %d %s, a random one %d %s",
					who, c.method, c.path, got.Status, got.Body, want.Status, want.Body)
			}
			if (who != "the backend" || !needsUser(c.method, c.path)) && got.Status != http.StatusNotFound {
				t.Errorf("%s, %s %s: status %d, want 404", who, c.method, c.path, got.Status)
			}
			wantSameHeaders(t, got.Header, want.Header)
		}
	}
	for i, f := range roomFrames(foreign) {
		got := harness.Must(socket.Request(f))(t)
		want := harness.Must(socket.Request(roomFrames(random)[i]))(t)
		if got.Code != "NOT_FOUND" || withoutRequestID(t, got.Raw) != withoutRequestID(t, want.Raw) {
			t.Errorf("%v: a foreign id gives %s, a random one %s", f["type"], got.Raw, want.Raw)
		}
	}
	for _, id := range []string{"room_", "room_xyz", strings.ToUpper(random), "tenant_1", "%00", "room_0190a1b2"} {
		res := harness.Must(alice.Call(http.MethodGet, "/rooms/"+id, nil, http.StatusNotFound, nil))(t)
		wantProblem(t, res, "NOT_FOUND", "")
	}
}

// needsUser reports whether a call is done as somebody, which the backend must name.
func needsUser(method, path string) bool {
	switch method {
	case http.MethodPost:
		return path == "/acks" || strings.HasSuffix(path, "/messages") || strings.HasSuffix(path, "/read") || strings.HasSuffix(path, "/join")
	case http.MethodPut:
		return strings.Contains(path, "/messages/")
	}
	return false
}

func wantSameHeaders(t *testing.T, got, want http.Header) {
	t.Helper()
	for name := range want {
		switch name {
		case "Date", "X-Request-Id", "X-Ratelimit-Remaining", "X-Ratelimit-Reset":
			continue
		}
		if fmt.Sprint(got[name]) != fmt.Sprint(want[name]) {
			t.Errorf("header %s: got %v, want %v", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("headers: got %v, want %v", got, want)
	}
}

func TestAForeignMessageIDOfAnOwnRoomIsNotFound(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	other := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	message := harness.Must(alice.Send(other, harness.Body("elsewhere")))(t).MessageID
	res := harness.Must(alice.Call(http.MethodGet, "/rooms/"+room+"/messages/"+message, nil, http.StatusNotFound, nil))(t)
	wantProblem(t, res, "NOT_FOUND", "")
	reply := map[string]any{"content": harness.Body("re"), "reply_to": message}
	res = harness.Must(alice.Call(http.MethodPost, "/rooms/"+room+"/messages", reply, http.StatusBadRequest, nil))(t)
	wantProblem(t, res, "VALIDATION_ERROR", "reply_to")
}

func TestTheEnvelopeWrapsEveryAnswer(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	harness.Must(alice.Send(room, harness.Body("wrapped")))(t)
	for _, path := range []string{"/rooms/" + room, "/rooms/" + room + "/messages", "/rooms/" + room + "/members", "/rooms"} {
		bare := harness.Must(alice.Call(http.MethodGet, path, nil, 200, nil))(t)
		wrapped := harness.Must(alice.With("X-Response-Envelope", "true").Call(http.MethodGet, path, nil, 200, nil))(t)
		want := harness.Must(json.Marshal(map[string]any{"success": true, "data": json.RawMessage(bare.Body), "error": nil}))(t)
		sameJSON(t, path, wrapped.Body, want)
	}
	enveloped := alice.With("X-Response-Envelope", "true")
	res := harness.Must(enveloped.Call(http.MethodPost, "/rooms/"+room+"/members", `{"user_id":"carol"}`, 204, nil))(t)
	if len(res.Body) != 0 {
		t.Errorf("a 204 has the body %q", res.Body)
	}
	res = harness.Must(enveloped.Call(http.MethodGet, "/rooms/room_x", nil, 404, nil))(t)
	wantProblem(t, res, "NOT_FOUND", "")
}

func TestVersionOneIsTheBarePathAndThereIsNoOther(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	for _, path := range []string{"/rooms/" + room, "/rooms", "/rooms/" + room + "/members"} {
		bare := harness.Must(alice.Call(http.MethodGet, path, nil, 200, nil))(t)
		first := harness.Must(alice.Call(http.MethodGet, "/v1"+path, nil, 200, nil))(t)
		sameJSON(t, path, first.Body, bare.Body)
		for _, version := range []string{"/v2", "/v0", "/v10"} {
			res := harness.Must(alice.Call(http.MethodGet, version+path, nil, 404, nil))(t)
			wantProblem(t, res, "NOT_FOUND", "")
		}
	}
	var sent harness.Message
	body := map[string]any{"content": harness.Body("v1")}
	harness.Must(alice.Call(http.MethodPost, "/v1/rooms/"+room+"/messages", body, 201, &sent))(t)
	if sent.Seq != 1 {
		t.Errorf("a message sent below /v1: %+v", sent)
	}
}

func TestARemovedMemberGetsNothingAboveTheRemoval(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob", "carol"))(t).RoomID
	b, c := connect(t, bob), connect(t, tenant.User("carol"))
	harness.Must(alice.Send(room, harness.Body("seen by all")))(t)
	harness.Must(b.AwaitMessage(room, 1))(t)

	harness.Check(t, alice.RemoveMember(room, "bob"))
	fill(t, alice, room, 20)
	removal := harness.Must(c.AwaitType("member.removed"))(t)
	harness.Must(c.AwaitMessage(room, 21))(t)
	harness.Must(b.Await("word of the removal", func(f harness.Frame) bool {
		return f.RoomID == room && (f.Type == "room.removed" || f.Type == "member.removed")
	}))(t)
	harness.Must(b.Request(map[string]any{"type": "ping"}))(t)
	for _, f := range b.Frames() {
		if f.RoomID == room && f.Rev > removal.Rev {
			t.Errorf("a removed member received %s, the removal is rev %d", f.Raw, removal.Rev)
		}
	}
	for _, call := range roomCalls(room, "msg_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b") {
		if _, err := bob.Call(call.method, call.path, call.body, http.StatusForbidden, nil); err != nil {
			t.Error(err)
		}
	}

	harness.Check(t, alice.AddMembers(room, "bob"))
	harness.Must(alice.Send(room, harness.Body("welcome back")))(t)
	harness.Must(b.AwaitMessage(room, 22))(t)
}

func TestAnAbsentMemberLearnsOfTheRemovalOnConnect(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	connect(t, bob, "device_id", "phone").Close()
	harness.Check(t, alice.RemoveMember(room, "bob"))
	harness.Must(alice.Send(room, harness.Body("without bob")))(t)

	told := func() (told bool) {
		back := connect(t, bob, "device_id", "phone")
		defer back.Close()
		for _, f := range back.Frames() {
			told = told || f.Type == "room.removed" && f.RoomID == room
			if f.Type == "message" && f.RoomID == room {
				t.Errorf("a removed member received %s", f.Raw)
			}
		}
		return told
	}
	if !told() {
		t.Fatal("a member removed while away was not told by room.removed before sync.complete")
	}
	// The client's library has answered the ping behind sync.complete, or will have in one of the next connects.
	deadline := time.Now().Add(30 * time.Second)
	for told() {
		if time.Now().After(deadline) {
			t.Fatal("a confirmed removal is told at every connect")
		}
	}
}

func TestADirectMessageHasFixedMembers(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	dm := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t)
	if dm.UniqueKey == nil || *dm.UniqueKey != "dm:alice:bob" {
		t.Errorf("unique_key: got %v, want dm:alice:bob", dm.UniqueKey)
	}
	for _, err := range []error{tenant.Backend().AddMembers(dm.RoomID, "carol"), alice.RemoveMember(dm.RoomID, "alice")} {
		var refused *harness.StatusError
		if !errors.As(err, &refused) || refused.Status != http.StatusConflict {
			t.Errorf("changing the members of a DM: %v, want 409", err)
		}
	}
	var returned harness.Room
	body := map[string]any{"type": "dm", "members": []string{"bob", "alice"}}
	harness.Must(alice.Call(http.MethodPost, "/rooms?if_exists=return", body, 200, &returned))(t)
	if returned.RoomID != dm.RoomID {
		t.Errorf("if_exists=return: got %s, want %s", returned.RoomID, dm.RoomID)
	}
}

func TestARevokedKeyIsRefusedAndItsSocketsAreClosed(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	var key struct {
		KeyID  string `json:"key_id"`
		APIKey string `json:"api_key"`
	}
	path := "/admin/tenants/" + tenant.ID + "/keys"
	harness.Must(s.Operator().Call(http.MethodPost, path, `{"name":"second"}`, 201, &key))(t)
	s.Secret(key.APIKey)
	alice := s.Anonymous().With("X-API-Key", key.APIKey).With("X-User-Id", "alice")
	harness.Must(alice.Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
	query := map[string][]string{"api_key": {key.APIKey}, "user_id": {"alice"}}
	socket := harness.Must(harness.Dial(s.Base, harness.DialOptions{Query: query}))(t)
	t.Cleanup(socket.Drop)
	harness.Must(socket.AwaitType("sync.complete"))(t)

	harness.Must(s.Operator().Call(http.MethodDelete, path+"/"+key.KeyID, nil, 204, nil))(t)
	res := harness.Must(alice.Call(http.MethodGet, "/rooms", nil, 401, nil))(t)
	wantProblem(t, res, "AUTHENTICATION_ERROR", "")
	if code := harness.Must(socket.CloseCode(30 * time.Second))(t); code != 4401 {
		t.Errorf("the socket of a revoked key: close code %d, want 4401", code)
	}
	harness.Must(tenant.User("alice").Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
}
