package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestAPatchOfARoomChangesWhatItNamesAndNullClears(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.user("alice").post("/rooms", `{"type":"group","name":"Team","metadata":{"a":1}}`).want(http.StatusCreated).object()
	path := "/rooms/" + room["room_id"].(string)
	rev := 1.0
	for _, c := range []struct {
		body     string
		name     any
		metadata any
		changes  bool
	}{
		{`{}`, "Team", map[string]any{"a": 1.0}, false},
		{`{"unknown":1}`, "Team", map[string]any{"a": 1.0}, false},
		{`{"name":"Team"}`, "Team", map[string]any{"a": 1.0}, false},
		{`{"name":"B"}`, "B", map[string]any{"a": 1.0}, true},
		{`{"metadata":"{\"b\": [2]}"}`, "B", map[string]any{"b": []any{2.0}}, true},
		{`{"metadata":null}`, "B", nil, true},
		{`{"metadata":null}`, "B", nil, false},
		{`{"name":null,"metadata":{}}`, nil, map[string]any{}, true},
	} {
		if c.changes {
			rev++
		}
		room["name"], room["metadata"], room["last_rev"] = c.name, c.metadata, rev
		if diff := cmp.Diff(room, f.user("alice").patch("/v1"+path, c.body).want(http.StatusOK).object()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, diff)
		}
	}
	if diff := cmp.Diff(room, f.user("alice").get(path).want(http.StatusOK).object()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for body, field := range map[string]string{
		`{"name":5}`: "name", `{"name":"` + strings.Repeat("n", 257) + `"}`: "name", `{"metadata":[]}`: "metadata",
		`{"Name":"x"}`: "Name", `{"metadata":{"x":"` + strings.Repeat("a", 16384) + `"}}`: "metadata", `[]`: "", ``: "",
	} {
		f.user("alice").patch(path, body).invalid(field)
	}
}

func TestRoomsAreChangedAndDeletedByAdminsAndTheBackend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := "/rooms/" + f.newRoom("alice", "bob")
	dm := "/rooms/" + f.backend().post("/rooms", `{"type":"dm","members":["alice","bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
	foreigner := f.foreigner("alice")
	for _, path := range []string{room, dm} {
		for way, c := range f.as("bob") {
			t.Log(way)
			c.patch(path, `{"name":"x"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
			c.del(path).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
		}
		for way, c := range f.as("eve") {
			t.Log(way)
			c.patch(path, `{"name":"x"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
			c.del(path).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
		}
		foreigner.patch(path, `{"name":"x"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		foreigner.del(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.backend().patch(path, `{"name":"named"}`).want(http.StatusOK)
	}
	f.jwt("alice").patch(room, `{"name":"x"}`).want(http.StatusOK)
	f.user("alice").del(room).want(http.StatusNoContent)
	f.backend().del(dm).want(http.StatusNoContent)
}

func TestADeletedRoomIsGoneAndItsDirectMessageKeyIsFree(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body = `{"type":"dm","members":["alice","bob"]}`
	first := f.user("alice").post("/rooms", body).want(http.StatusCreated).object()["room_id"].(string)
	message := f.newMessage("alice", first, "secret")
	f.backend().del("/v1/rooms/" + first).want(http.StatusNoContent)
	for _, c := range []client{f.user("alice"), f.jwt("bob"), f.backend()} {
		for _, path := range []string{"", "/members", "/messages", "/messages/" + message, "/changes"} {
			c.get("/rooms/"+first+path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		}
		c.del("/rooms/"+first).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		c.patch("/rooms/"+first, `{}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		if rooms := c.get("/rooms").want(http.StatusOK).list(); len(rooms) != 0 {
			t.Errorf("the list still has %v", rooms)
		}
	}
	f.user("alice").post("/rooms/"+first+"/messages", `{"content":"x"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	if second := f.user("bob").post("/rooms", body).want(http.StatusCreated).object()["room_id"]; second == first {
		t.Error("the deleted room came back")
	}
}

func TestChannelsAreJoinedByTheirTenantsUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	channel := "/rooms/" + f.user("alice").post("/rooms", `{"type":"channel"}`).want(http.StatusCreated).object()["room_id"].(string)
	f.user("bob").get(channel).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.user("bob").post(channel+"/join", "").want(http.StatusNoContent)
	f.user("bob").post("/v1"+channel+"/join", "").want(http.StatusNoContent)
	f.jwt("carol").post(channel+"/join", "{}").want(http.StatusNoContent)
	if diff := cmp.Diff([]string{"alice", "bob", "carol"}, f.members(channel[len("/rooms/"):])); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	f.user("bob").get(channel).want(http.StatusOK)
	f.backend().post(channel+"/join", "").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "X-User-Id")
	f.foreigner("bob").post(channel+"/join", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")

	group := "/rooms/" + f.newRoom("alice")
	dm := "/rooms/" + f.user("alice").post("/rooms", `{"type":"dm","members":["alice","bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
	for _, path := range []string{group, dm} {
		f.user("alice").post(path+"/join", "").wantError(http.StatusConflict, domain.CodeConflict, "")
		f.user("eve").post(path+"/join", "").wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	}
}

func (f *fixture) role(room, user string) any {
	f.t.Helper()
	for _, m := range f.backend().get("/rooms/" + room + "/members").want(http.StatusOK).list() {
		if m["user_id"] == user {
			return m["role"]
		}
	}
	return nil
}

func TestRolesAreGivenAndTakenButARoomKeepsAnAdmin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob", "c/d")
	path := "/rooms/" + room + "/members/"
	f.user("alice").patch(path+"alice", `{"role":"member"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.user("alice").patch(path+"alice", `{"role":"admin"}`).want(http.StatusNoContent)
	f.user("alice").patch("/v1"+path+"c%2Fd", `{"role":"admin"}`).want(http.StatusNoContent)
	if got := f.role(room, "c/d"); got != "admin" {
		t.Errorf("the role given is %v", got)
	}
	f.jwt("c/d").patch(path+"alice", `{"role":"member"}`).want(http.StatusNoContent)
	if got := f.role(room, "alice"); got != "member" {
		t.Errorf("the role taken is %v", got)
	}
	f.backend().patch(path+"c%2Fd", `{"role":"member"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.backend().patch(path+"bob", `{"role":"admin"}`).want(http.StatusNoContent)

	f.user("alice").patch(path+"alice", `{"role":"admin"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.user("eve").patch(path+"eve", `{"role":"admin"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.foreigner("bob").patch(path+"bob", `{"role":"member"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	for _, nobody := range []string{"eve", "%00", "%FF"} {
		f.user("bob").patch(path+nobody, `{"role":"admin"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
	for _, body := range []string{`{}`, `{"role":null}`, `{"role":""}`, `{"role":"owner"}`, `{"role":5}`} {
		f.user("bob").patch(path+"alice", body).invalid("role")
	}
	dm := f.backend().post("/rooms", `{"type":"dm","members":["alice","bob"]}`).want(http.StatusCreated).object()["room_id"].(string)
	f.backend().patch("/rooms/"+dm+"/members/bob", `{"role":"admin"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
}
