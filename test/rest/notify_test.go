package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// notify makes a notification of topic "orders" and returns its id.
func (f *fixture) notify(targets string) string {
	f.t.Helper()
	return f.notified(targets).object()["notification_id"].(string)
}

func (f *fixture) notified(targets string) *answer {
	f.t.Helper()
	return f.backend().post("/notify", `{"topic":"orders","payload":{"order":4711},"targets":`+targets+`}`).want(http.StatusAccepted)
}

// waiting are the ids of what a user has not acknowledged.
func (f *fixture) waiting(user domain.UserID) (ids []string) {
	f.t.Helper()
	notices, err := ports.View(f.t.Context(), f.store, domain.TenantID(f.tenant), func(r ports.Reader) ([]domain.Notice, error) {
		return r.Notices(user, 0, 100)
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, n := range notices {
		ids = append(ids, n.ID.String())
	}
	return ids
}

func TestANotificationReachesTheUnionOfItsTargetsOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob", "carol", "dora")
	f.user("alice").del("/rooms/" + room + "/members/dora").want(http.StatusNoContent)
	for _, user := range []string{"bob", "dave"} {
		f.user(user).post("/subscriptions", `{"topic":"orders"}`).want(http.StatusCreated)
	}
	f.user("mallory").post("/subscriptions", `{"topic":"orders.eu"}`).want(http.StatusCreated)
	f.backend().post("/subscriptions", `{"topic":"orders","user_id":"fred","endpoint":"https://example.com/fred"}`).want(http.StatusCreated)
	f.backend().post("/subscriptions", `{"topic":"orders","endpoint":"https://example.com/ours"}`).want(http.StatusCreated)
	for _, c := range []struct {
		targets    string
		users      string // who gets it over sockets
		recipients float64
	}{
		{`{"user_ids":["bob"]}`, "bob", 1},
		{`{"user_ids":["erin","bob","erin"],"room_id":null,"topic_subscribers":false}`, "bob erin", 2},
		{`{"room_id":"` + room + `"}`, "alice bob carol", 3},
		{`{"topic_subscribers":true}`, "bob dave", 4}, // and two endpoints
		{`{"user_ids":["bob","erin","fred"],"room_id":"` + room + `","topic_subscribers":true}`, "alice bob carol dave erin fred", 8},
		{`{"user_ids":[],"topic_subscribers":true}`, "bob dave", 4},
	} {
		made := f.notified(c.targets).object()
		wantRecent(t, made["created_at"])
		if made["recipients"] != c.recipients {
			t.Errorf("%s: %v recipients, want %v", c.targets, made["recipients"], c.recipients)
		}
		var got []string
		for _, user := range []domain.UserID{"alice", "bob", "carol", "dave", "dora", "erin", "fred", "mallory"} {
			if strings.Contains(strings.Join(f.waiting(user), " "), made["notification_id"].(string)) {
				got = append(got, string(user))
			}
		}
		if diff := cmp.Diff(strings.Fields(c.users), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.targets, diff)
		}
	}
	if got := f.notified(`{"room_id":"` + f.newRoom("alice") + `","topic_subscribers":true}`).object(); got["recipients"] != 5.0 {
		t.Errorf("%v", got)
	}
	f.user("fred").get("/users/erin").want(http.StatusNotFound) // who shares no room with her
	f.backend().get("/users/erin").want(http.StatusOK)          // named is seen
}

func TestANotificationToNobodyIsNoError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if got := f.notified(`{"topic_subscribers":true}`).object(); got["recipients"] != 0.0 {
		t.Errorf("%v, want no recipients", got)
	}
}

func TestANotificationNamesAtMost1000Users(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := make([]string, 1001)
	for i := range ids {
		ids[i] = fmt.Sprintf("user-%d", i)
	}
	body := func(ids []string) string {
		in, err := json.Marshal(map[string]any{"topic": "t", "payload": map[string]any{"n": 1}, "targets": map[string]any{"user_ids": ids}})
		if err != nil {
			t.Fatal(err)
		}
		return string(in)
	}
	f.backend().post("/notify", body(ids)).invalid("targets.user_ids")
	if got := f.backend().post("/notify", body(ids[:1000])).want(http.StatusAccepted).object(); got["recipients"] != 1000.0 {
		t.Errorf("%v, want 1000 recipients", got)
	}
	for _, user := range []domain.UserID{"user-0", "user-499", "user-500", "user-999"} {
		if got := f.waiting(user); len(got) != 1 {
			t.Errorf("%s has %v, want one", user, got)
		}
	}
	if got := f.waiting("user-1000"); got != nil {
		t.Errorf("user-1000 has %v", got)
	}
}

func TestWhatIsWrongWithANotificationIsNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	nested := func(depth int) string { return strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1) }
	filled := func(size int) string { return `{"a":"` + strings.Repeat("x", size-8) + `"}` }
	valid := map[string]string{"topic": `"t"`, "payload": `{}`, "targets": `{"user_ids":["bob"]}`}
	with := func(name, value string) string {
		parts := []string{}
		for _, field := range []string{"topic", "payload", "targets"} {
			text := valid[field]
			if field == name {
				text = value
			}
			if text != "" {
				parts = append(parts, `"`+field+`":`+text)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for field, bad := range map[string][]string{
		"topic": {``, `null`, `""`, `1`, `"` + strings.Repeat("é", 129) + `"`, `"a\nb"`, `"\u0007"`},
		"payload": {
			``, `null`, `[]`, `1`, `"x"`, `"[]"`, `""`, `true`, nested(33), filled(16<<10 + 1),
		},
		"targets": {``, `null`, `{}`, `[]`, `"bob"`, `{"user_ids":[]}`, `{"user_ids":null,"room_id":null}`, `{"topic_subscribers":false}`, `{"users":["bob"]}`},
		"targets.user_ids": {
			`{"user_ids":"bob"}`, `{"user_ids":[1]}`, `{"user_ids":[""]}`, `{"user_ids":["bob","bot_x"]}`, `{"user_ids":["system"]}`,
			`{"user_ids":["a\u0007"]}`, `{"user_ids":["` + strings.Repeat("é", 129) + `"]}`, `{"user_ids":{}}`,
		},
		"targets.room_id":           {`{"room_id":""}`, `{"room_id":1,"user_ids":["bob"]}`},
		"targets.topic_subscribers": {`{"topic_subscribers":"yes"}`, `{"topic_subscribers":1}`},
	} {
		for _, value := range bad {
			top, _, _ := strings.Cut(field, ".")
			f.backend().post("/notify", with(top, value)).invalid(field)
		}
	}
	for name, good := range map[string][]string{
		"topic":   {`"` + strings.Repeat("é", 128) + `"`, `"*"`, `"a.b/c 😀"`},
		"payload": {`"{\"a\":1}"`, `{"a":null,"b":[[]]}`, nested(32), filled(16 << 10)},
		"targets": {`{"user_ids":["` + strings.Repeat("é", 128) + `"],"x":1}`, `{"topic_subscribers":true,"user_ids":null}`},
	} {
		for _, value := range good {
			f.backend().post("/notify", with(name, value)).want(http.StatusAccepted)
		}
	}
	for _, body := range []string{``, `[]`, `{`, `{"topic":"t","topic":"t"}`, with("", "") + "x"} {
		f.backend().post("/notify", body).want(http.StatusBadRequest)
	}
	for _, room := range []string{random["room"], "room_x", "x"} {
		f.backend().post("/notify", with("targets", `{"room_id":"`+room+`","user_ids":["bob"]}`)).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
	f.backend().post("/notify", with("payload", filled(64<<10))).wantError(http.StatusRequestEntityTooLarge, domain.CodeTooLarge, "")
	f.backend().with("Content-Type", "text/plain").post("/notify", with("", "")).
		wantError(http.StatusUnsupportedMediaType, domain.CodeUnsupportedMedia, "Content-Type")
	if got := f.waiting("bob"); len(got) != 7 {
		t.Errorf("bob has %d notifications, want 7: those that were accepted", len(got))
	}
}

func TestOnlyTheBackendNotifies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body = `{"topic":"t","payload":{},"targets":{"user_ids":["bob"]}}`
	for _, c := range f.as("alice") {
		for _, body := range []string{body, `{}`, `{"topic":"t","payload":{},"targets":{"room_id":"room_x"}}`} {
			c.post("/notify", body).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
		}
	}
	f.operator().post("/notify", body).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	f.anonymous().post("/notify", body).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	if got := f.waiting("bob"); got != nil {
		t.Errorf("bob has %v", got)
	}
}

func TestANotificationIsMadeOncePerIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body = `{"topic":"orders","payload":{"order":1},"targets":{"user_ids":["bob"],"topic_subscribers":true}}`
	c := f.backend().with("Idempotency-Key", "k")
	first := c.post("/notify", body).want(http.StatusAccepted)
	f.user("late").post("/subscriptions", `{"topic":"orders"}`).want(http.StatusCreated)
	again := c.post("/v1/notify", body).want(http.StatusAccepted)
	if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("Idempotency-Replayed %q, then %q", first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"))
	}
	if diff := cmp.Diff(string(first.body), string(again.body)); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
	if got := f.waiting("bob"); len(got) != 1 {
		t.Errorf("bob has %v, want one", got)
	}
	if got := f.waiting("late"); got != nil {
		t.Errorf("who came later has %v", got)
	}
	c.post("/notify", body+" ").wantError(http.StatusConflict, domain.CodeConflict, "Idempotency-Key")
	f.user("alice").with("Idempotency-Key", "k").post("/notify", body).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.backend().with("Idempotency-Key", "a b").post("/notify", body).invalid("Idempotency-Key")
	f.backend().post("/notify", body).want(http.StatusAccepted)
	if got := f.waiting("bob"); len(got) != 2 {
		t.Errorf("bob has %v, want two: one with the key and one without", got)
	}
}

func TestParallelRequestsWithOneIdempotencyKeyNotifyOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got := f.backend().with("Idempotency-Key", "k").post("/notify", `{"topic":"t","payload":{},"targets":{"user_ids":["bob"]}}`)
			if got.status != http.StatusAccepted && got.status != http.StatusConflict {
				t.Errorf("%d %s, want 202 or 409", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if got := f.waiting("bob"); len(got) != 1 {
		t.Errorf("bob has %v, want one", got)
	}
}
