package rest_test

import (
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestAGroupIsMadeWithItsCreatorAsAdmin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.user("alice").post("/rooms", `{"type":"group","name":"Team","members":["bob","carol","bob"],"metadata":{ "a" : 1 }}`).want(http.StatusCreated)
	room := made.object()
	if want := "/rooms/" + room["room_id"].(string); made.header.Get("Location") != want {
		t.Errorf("Location %q, want %q", made.header.Get("Location"), want)
	}
	id := room["room_id"].(string)
	delete(room, "room_id")
	delete(room, "created_at")
	want := map[string]any{
		"type": "group", "name": "Team", "metadata": map[string]any{"a": 1.0}, "last_seq": 0.0, "last_rev": 1.0, "first_seq": 1.0,
	}
	if diff := cmp.Diff(want, room); diff != "" {
		t.Errorf("room (-want +got):\n%s", diff)
	}
	var members []string
	for _, m := range f.user("bob").get("/rooms/" + id + "/members").want(http.StatusOK).list() {
		members = append(members, m["user_id"].(string)+" "+m["role"].(string))
	}
	if diff := cmp.Diff([]string{"alice admin", "bob member", "carol member"}, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if got := f.user("carol").get("/rooms/" + id).want(http.StatusOK).object()["name"]; got != "Team" {
		t.Errorf("name %v", got)
	}
}

func TestADirectMessageExistsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body = `{"type":"dm","members":["alice","b:ob"]}`
	room := f.user("alice").post("/rooms", body).want(http.StatusCreated).object()
	if room["unique_key"] != "dm:alice:b%3Aob" {
		t.Errorf("unique_key %v", room["unique_key"])
	}
	conflict := f.user("b:ob").post("/v1/rooms", `{"type":"dm","members":["b:ob","alice"]}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	if want := "/v1/rooms/" + room["room_id"].(string); conflict.header.Get("Location") != want {
		t.Errorf("Location %q, want %q", conflict.header.Get("Location"), want)
	}
	details := conflict.object()["error"].(map[string]any)["details"]
	if diff := cmp.Diff(map[string]any{"room": room}, details.(map[string]any)); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(room, f.backend().post("/rooms?if_exists=return", body).want(http.StatusOK).object()); diff != "" {
		t.Errorf("if_exists=return (-want +got):\n%s", diff)
	}
}

func TestFiftyParallelCreatesOfOneDirectMessageMakeOneRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses, ids := map[int]int{}, map[any]int{}
	for range 50 {
		wg.Go(func() {
			a := f.backend().post("/rooms?if_exists=return", `{"type":"dm","members":["a","b"]}`)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			ids[a.object()["room_id"]]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{200: 49, 201: 1}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if len(ids) != 1 {
		t.Errorf("%d rooms, want 1", len(ids))
	}
}

func TestRoomsThatBreakARuleAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for body, field := range map[string]string{
		`{}`:                                    "type",
		`{"type":"chat"}`:                       "type",
		`{"type":"dm","members":["a"]}`:         "members",
		`{"type":"dm","members":["a","a"]}`:     "members",
		`{"type":"dm","members":["a","b","c"]}`: "members",
		`{"type":"group","members":["bot_x"]}`:  "members",
		`{"type":"group","members":[null]}`:     "members",
		`{"type":"group","members":[1]}`:        "members",
		`{"type":"group","members":"a"}`:        "members",
		`{"type":"group","metadata":[]}`:        "metadata",
		`{"type":"group","name":5}`:             "name",
		`{"Type":"group"}`:                      "Type",
		`[]`:                                    "",
		`{"type":"group"} {}`:                   "",
	} {
		f.user("alice").post("/rooms", body).invalid(field)
	}
	f.user("alice").post("/rooms", "").invalid("")
	f.user("alice").post("/rooms?if_exists=maybe", `{"type":"group"}`).invalid("if_exists")
	f.user("alice").post("/rooms?if_exists=return&if_exists=return", `{"type":"group"}`).invalid("if_exists")
	f.backend().post("/rooms", `{"type":"group"}`).invalid("members")
	if rooms := f.backend().get("/rooms").want(http.StatusOK).list(); len(rooms) != 0 {
		t.Errorf("%d rooms were made", len(rooms))
	}
}

func TestRoomsAreListedByLatestActivityWithTheirLastMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first, second := f.newRoom("alice", "bob"), f.newRoom("alice")
	for made := time.Now().Truncate(time.Millisecond); time.Now().Truncate(time.Millisecond).Equal(made); { // activity has milliseconds
		runtime.Gosched()
	}
	message := f.user("alice").post("/rooms/"+first+"/messages", `{"content":"hi there"}`).want(http.StatusCreated).object()
	f.user("alice").post("/acks", `{"room_id":"`+first+`","seq":1}`).want(http.StatusOK)
	rooms := f.user("alice").get("/rooms?device_id=phone").want(http.StatusOK).list()
	if len(rooms) != 2 || rooms[0]["room_id"] != first || rooms[1]["room_id"] != second {
		t.Fatalf("rooms %v, want %s then %s", rooms, first, second)
	}
	if diff := cmp.Diff(message, rooms[0]["last_message"]); diff != "" {
		t.Errorf("last_message (-want +got):\n%s", diff)
	}
	if rooms[0]["last_ack"] != 1.0 || rooms[1]["last_message"] != nil {
		t.Errorf("last_ack %v, second last_message %v", rooms[0]["last_ack"], rooms[1]["last_message"])
	}
	if got := f.user("bob").get("/rooms").want(http.StatusOK).list(); len(got) != 1 {
		t.Errorf("bob sees %d rooms, want 1", len(got))
	}
	if got := f.backend().get("/rooms").want(http.StatusOK).list(); len(got) != 2 {
		t.Errorf("the backend sees %d rooms, want 2", len(got))
	}
	if got := string(f.user("nobody").get("/rooms").want(http.StatusOK).body); got != "[]" {
		t.Errorf("an empty list is %s, want []", got)
	}
}

func TestOpenScopeListsChannelsToJoin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	channel := f.user("alice").post("/rooms", `{"type":"channel"}`).want(http.StatusCreated).object()["room_id"]
	f.newRoom("alice")
	open := f.user("bob").get("/rooms?scope=open").want(http.StatusOK).list()
	if len(open) != 1 || open[0]["room_id"] != channel {
		t.Errorf("open to bob: %v, want %v alone", open, channel)
	}
	if got := f.user("alice").get("/rooms?scope=open").want(http.StatusOK).list(); len(got) != 0 {
		t.Errorf("open to alice: %v, want none", got)
	}
	if got := f.user("alice").get("/rooms?type=channel").want(http.StatusOK).list(); len(got) != 1 {
		t.Errorf("alice's channels: %v, want one", got)
	}
}

func TestListsLinkToTheirNextPageUntilTheEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 5 {
		f.newRoom("alice")
	}
	seen, pages := map[any]bool{}, 0
	for path := "/v1/rooms?limit=2&type=group"; path != ""; pages++ {
		page := f.user("alice").get(path).want(http.StatusOK)
		for _, room := range page.list() {
			seen[room["room_id"]] = true
		}
		path = next(t, page)
	}
	if len(seen) != 5 || pages != 3 {
		t.Errorf("%d rooms on %d pages, want 5 on 3", len(seen), pages)
	}
}

// next is the path of the Link header, "" at the end of the list.
func next(t *testing.T, a *answer) string {
	t.Helper()
	link := a.header.Get("Link")
	if link == "" {
		return ""
	}
	u, err := url.Parse(link[1 : len(link)-len(`>; rel="next"`)])
	if err != nil || u.Host != "" {
		t.Fatalf("Link %q", link)
	}
	return u.String()
}

func TestListParametersOutOfRangeAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	for query, field := range map[string]string{
		"/rooms?limit=0": "limit", "/rooms?limit=101": "limit", "/rooms?limit=1&limit=100": "limit", "/rooms?limit=abc": "limit",
		"/rooms?limit=": "limit", "/rooms?offset=-1": "offset", "/rooms?offset=9223372036854775807": "offset", "/rooms?type=chats": "type",
		"/rooms?scope=all": "scope", "/rooms?device_id=a%20b": "device_id", "/rooms?limit=%zz": "",
		"/rooms/" + room + "/members?limit=1e1":                   "limit",
		"/rooms/" + room + "/members?offset=x":                    "offset",
		"/rooms/" + room + "/messages?after_seq=-1":               "after_seq",
		"/rooms/" + room + "/messages?before_seq=0":               "before_seq",
		"/rooms/" + room + "/messages?before_seq=1.5":             "before_seq",
		"/rooms/" + room + "/messages?after_seq=1&before_seq=5":   "before_seq",
		"/rooms/" + room + "/messages?after_seq=1&after_seq=1":    "after_seq",
		"/rooms/" + room + "/messages?after_seq=9007199254740992": "after_seq",
	} {
		f.user("alice").get(query).invalid(field)
	}
	if got := f.user("alice").get("/rooms?offset=9007199254740991").want(http.StatusOK).list(); len(got) != 0 {
		t.Errorf("far offset: %v", got)
	}
}
