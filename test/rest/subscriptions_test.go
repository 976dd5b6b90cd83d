package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// subscribe makes a subscription and returns its id.
func (c client) subscribe(body string) string {
	c.f.t.Helper()
	return c.post("/subscriptions", body).want(http.StatusCreated).object()["id"].(string)
}

// subscriptions are the ids that a list has, page by page.
func (c client) subscriptions(query string) []string {
	c.f.t.Helper()
	ids := []string{}
	for path := "/subscriptions" + query; path != ""; {
		page := c.get(path).want(http.StatusOK)
		for _, s := range page.list() {
			ids = append(ids, s["id"].(string))
		}
		path = next(c.f.t, page)
	}
	return ids
}

func (f *fixture) openTopics(topics string) {
	f.t.Helper()
	f.operator().patch("/admin/tenants/"+f.tenant, `{"config":{"user_topics":`+topics+`}}`).want(http.StatusOK)
}

// quiet is how an endpoint is doing that was never called.
var quiet = map[string]any{
	"circuit": "closed", "failures": 0.0, "last_success_at": nil, "last_failure_at": nil, "last_error": nil, "retry_at": nil,
}

func TestASubscriptionIsShownAsItWasMade(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.openTopics(`["orders"]`)
	const url = "https://example.com/hook?a=b"
	for _, c := range []struct {
		name string
		by   client
		body string
		want map[string]any
	}{
		{"a user with the key", f.user("alice"), `{"topic":"any","metadata":{"a":[1]}}`,
			map[string]any{"user_id": "alice", "topic": "any", "metadata": map[string]any{"a": []any{1.0}}}},
		{"a user with a token", f.jwt("bob"), `{"topic":"orders","metadata":"{\"a\":1}","endpoint":null,"user_id":null}`,
			map[string]any{"user_id": "bob", "topic": "orders", "metadata": map[string]any{"a": 1.0}}},
		{"a user that names itself", f.jwt("carol"), `{"topic":"orders","user_id":"carol"}`,
			map[string]any{"user_id": "carol", "topic": "orders", "metadata": nil}},
		{"the backend for a user", f.backend(), `{"topic":"t","user_id":"dave"}`,
			map[string]any{"user_id": "dave", "topic": "t", "metadata": nil}},
		{"the backend for a user's endpoint", f.backend(), `{"topic":"t","user_id":"dave","endpoint":"` + url + `"}`,
			map[string]any{"user_id": "dave", "topic": "t", "metadata": nil, "endpoint": url, "health": quiet}},
		{"the backend for itself", f.backend(), `{"topic":"t","endpoint":"` + url + `","metadata":null}`,
			map[string]any{"user_id": nil, "topic": "t", "metadata": nil, "endpoint": url, "health": quiet}},
	} {
		got := c.by.post("/subscriptions", c.body).want(http.StatusCreated)
		made := got.object()
		if want := "/subscriptions/" + made["id"].(string); got.header.Get("Location") != want || got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: headers %v, want Location %s", c.name, got.header, want)
		}
		wantRecent(t, made["created_at"])
		c.want["id"], c.want["created_at"] = made["id"], made["created_at"]
		if diff := cmp.Diff(c.want, made); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		var listed []map[string]any
		for _, s := range c.by.get("/subscriptions").want(http.StatusOK).list() {
			if s["id"] == made["id"] {
				listed = append(listed, s)
			}
		}
		if diff := cmp.Diff([]map[string]any{c.want}, listed); diff != "" {
			t.Errorf("%s, in the list (-want +got):\n%s", c.name, diff)
		}
	}
	f.backend().get("/users/dave").want(http.StatusOK) // who is subscribed is seen
	for _, s := range f.user("dave").get("/subscriptions").list() {
		if s["health"] != nil {
			t.Errorf("a user is told of the health of an endpoint: %v", s)
		}
	}
}

func TestTheSameSubscriptionAgainIsTheFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.openTopics(`["t"]`)
	for _, way := range []struct {
		by, again  client
		with, body string
	}{
		{f.user("alice"), f.jwt("alice"), "", `"topic":"t"`},
		{f.backend(), f.backend(), `,"endpoint":"https://example.com/a"`, `"topic":"t"`},
		{f.backend(), f.backend(), `,"endpoint":"https://example.com/a"`, `"topic":"t","user_id":"alice"`},
	} {
		first := way.by.post("/subscriptions", `{`+way.body+way.with+`,"metadata":{"n":1}}`).want(http.StatusCreated).object()
		got := way.again.post("/subscriptions", `{`+way.body+way.with+`,"metadata":{"n":2}}`).want(http.StatusCreated)
		if got.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: Idempotency-Replayed %q", way.body, got.header.Get("Idempotency-Replayed"))
		}
		first["metadata"] = map[string]any{"n": 2.0}
		if diff := cmp.Diff(first, got.object()); diff != "" {
			t.Errorf("%s (-first +again):\n%s", way.body, diff)
		}
	}
	f.backend().subscribe(`{"topic":"t","endpoint":"https://example.com/b"}`)
	f.user("bob").subscribe(`{"topic":"t"}`)
	if got := f.backend().subscriptions(""); len(got) != 5 {
		t.Errorf("%d subscriptions, want 5", len(got))
	}
}

func TestWhatIsWrongWithASubscriptionIsNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := strings.Repeat("é", 129)
	for field, bodies := range map[string][]string{
		"topic":    {`{}`, `{"topic":null}`, `{"topic":""}`, `{"topic":1}`, `{"topic":"` + long + `"}`, `{"topic":"a\tb"}`},
		"metadata": {`{"topic":"t","metadata":[]}`, `{"topic":"t","metadata":"x"}`, `{"topic":"t","metadata":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`},
		"endpoint": {
			`{"topic":"t","endpoint":""}`, `{"topic":"t","endpoint":1}`, `{"topic":"t","endpoint":"x"}`, `{"topic":"t","endpoint":"/hook"}`,
			`{"topic":"t","endpoint":"ftp://example.com"}`, `{"topic":"t","endpoint":"http://10.0.0.1/"}`, `{"topic":"t","endpoint":"https://10.0.0.1/"}`,
			`{"topic":"t","endpoint":"https://a:b@example.com/"}`, `{"topic":"t","endpoint":"https://169.254.169.254/"}`,
			`{"topic":"t","endpoint":"https://example.com/` + strings.Repeat("x", 2048) + `"}`, `{"topic":"t"}`, `{"topic":"t","user_id":null}`,
		},
		"user_id": {
			`{"topic":"t","user_id":""}`, `{"topic":"t","user_id":1}`, `{"topic":"t","user_id":"bot_x"}`, `{"topic":"t","user_id":"system"}`,
			`{"topic":"t","user_id":"` + long + `"}`, `{"topic":"t","user_id":"a\tb","endpoint":"https://example.com/"}`,
		},
	} {
		for _, body := range bodies {
			f.backend().post("/subscriptions", body).invalid(field)
		}
	}
	for _, body := range []string{``, `[]`, `{"topic":"t"`} {
		f.user("alice").post("/subscriptions", body).want(http.StatusBadRequest)
	}
	f.user("alice").post("/subscriptions", `{"topic":"`+strings.Repeat("x", 64<<10)+`"}`).
		wantError(http.StatusRequestEntityTooLarge, domain.CodeTooLarge, "")
	f.user("alice").with("Content-Type", "text/plain").post("/subscriptions", `{"topic":"t"}`).
		wantError(http.StatusUnsupportedMediaType, domain.CodeUnsupportedMedia, "Content-Type")
	if got := f.backend().subscriptions(""); len(got) != 0 {
		t.Errorf("%d subscriptions, want none", len(got))
	}
}

func TestUsersSubscribeThemselvesAndNobodyElse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.openTopics(`["open","also open"]`)
	for _, c := range f.as("alice") {
		for _, body := range []string{
			`{"topic":"open","user_id":"bob"}`, `{"topic":"open","endpoint":"https://example.com/"}`,
			`{"topic":"open","endpoint":"x","user_id":"alice"}`, `{"topic":"open","user_id":"bot_x"}`,
		} {
			c.post("/subscriptions", body).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
		}
		c.get("/subscriptions?user_id=bob").wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	}
	for topic, want := range map[string]int{"open": 201, "also open": 201, "Open": 403, "open ": 403, "*": 403, "other": 403} {
		f.jwt("alice").post("/subscriptions", `{"topic":"`+topic+`"}`).want(want)
		f.user("bob").post("/subscriptions", `{"topic":"`+topic+`"}`).want(http.StatusCreated)
	}
	f.openTopics("null")
	f.jwt("alice").post("/subscriptions", `{"topic":"open"}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	for _, c := range []client{f.operator(), f.anonymous()} {
		c.post("/subscriptions", `{"topic":"open"}`).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
		c.get("/subscriptions").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
		c.del("/subscriptions/x").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	}
}

func TestSubscriptionsAreListedOldestFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.openTopics(`["0","1","2"]`)
	own, all := map[string][]string{}, []string{}
	for n := range 3 {
		for _, user := range []string{"alice", "bob"} {
			id := f.user(user).subscribe(fmt.Sprintf(`{"topic":"%d"}`, n))
			own[user], all = append(own[user], id), append(all, id)
		}
	}
	all = append(all, f.backend().subscribe(`{"topic":"0","endpoint":"https://example.com/"}`))
	for name, c := range map[string]struct {
		by    client
		query string
		want  []string
	}{
		"the own":             {f.user("alice"), "", own["alice"]},
		"with a token":        {f.jwt("bob"), "?limit=2", own["bob"]},
		"the own, by name":    {f.user("alice"), "?user_id=alice&limit=1", own["alice"]},
		"the tenant's":        {f.backend(), "", all},
		"page by page":        {f.backend(), "?limit=2", all},
		"from the fourth on":  {f.backend(), "?offset=3&limit=3", all[3:]},
		"a user's":            {f.backend(), "?user_id=bob&limit=2", own["bob"]},
		"those of an unknown": {f.backend(), "?user_id=nobody", []string{}},
		"those of a newcomer": {f.user("carol"), "", []string{}},
		"behind the last":     {f.backend(), "?offset=7", []string{}},
	} {
		if diff := cmp.Diff(c.want, c.by.subscriptions(c.query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for field, values := range map[string][]string{
		"limit": {"0", "101", "x", ""}, "offset": {"-1", "x", ""}, "user_id": {"", "bot_x", "system", "%00", "%FF", strings.Repeat("x", 129), "a&user_id=a"},
	} {
		for _, value := range values {
			f.backend().get("/subscriptions?" + field + "=" + value).invalid(field)
		}
	}
}

func TestASubscriptionIsItsUsersAndTheBackendsToRemove(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kept := f.user("alice").subscribe(`{"topic":"kept"}`)
	ours := f.backend().subscribe(`{"topic":"t","endpoint":"https://example.com/"}`)
	for name, c := range map[string]client{"with the key": f.user("alice"), "with a token": f.jwt("alice"), "the backend": f.backend()} {
		id := f.user("alice").subscribe(`{"topic":"t"}`)
		for _, other := range f.as("bob") {
			other.del("/subscriptions/"+id).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
			other.del("/subscriptions/"+ours).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
		}
		f.foreigner("alice").del("/subscriptions/"+id).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		c.del("/v1/subscriptions/" + id).want(http.StatusNoContent)
		c.del("/subscriptions/"+id).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		if diff := cmp.Diff([]string{kept, ours}, f.backend().subscriptions("")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, unknown := range []string{strings.ToUpper(kept), "sub_x", "%00", "sub_" + randomUUID, "msg_" + randomUUID} {
		f.user("alice").del("/subscriptions/"+unknown).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
	f.backend().del("/subscriptions/" + ours).want(http.StatusNoContent)
	f.notify(`{"topic_subscribers":true}`)
	if got := f.waiting("alice"); got != nil {
		t.Errorf("who has unsubscribed is told %v", got)
	}
}

func TestASubscriptionIsMadeOncePerIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.user("alice").with("Idempotency-Key", "k")
	first, again := c.post("/subscriptions", `{"topic":"t"}`).want(http.StatusCreated), c.post("/v1/subscriptions", `{"topic":"t"}`).want(http.StatusCreated)
	if again.header.Get("Idempotency-Replayed") != "true" || string(first.body) != string(again.body) {
		t.Errorf("%s, then %s %v", first.body, again.body, again.header)
	}
	c.post("/subscriptions", `{"topic":"u"}`).wantError(http.StatusConflict, domain.CodeConflict, "Idempotency-Key")
	f.user("bob").with("Idempotency-Key", "k").post("/subscriptions", `{"topic":"u"}`).want(http.StatusCreated)
	f.user("alice").with("Idempotency-Key", "").post("/subscriptions", `{"topic":"t"}`).invalid("Idempotency-Key")
	f.user("alice").del("/subscriptions/" + first.object()["id"].(string)).want(http.StatusNoContent)
	c.post("/subscriptions", `{"topic":"t"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "") // what the key has made is gone
}

func TestParallelSubscriptionsToOneTopicAreOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := f.user("alice").post("/subscriptions", `{"topic":"t"}`); got.status != http.StatusCreated {
				t.Errorf("%d %s, want 201", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if got := f.user("alice").subscriptions(""); len(got) != 1 {
		t.Errorf("%v, want one", got)
	}
}

func TestAUserHasAtMost1000Subscriptions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := system.IDs{}
	err := f.store.Update(t.Context(), domain.TenantID(f.tenant), func(tx ports.Tx) error {
		for n := range domain.MaxSubscriptions - 1 {
			s := domain.Subscription{ID: domain.SubscriptionID(ids.NewUUID()), User: "alice", Topic: fmt.Sprint(n), CreatedAt: time.Now()}
			if _, _, err := tx.AddSubscription(s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.user("alice").subscribe(`{"topic":"the last"}`)
	f.user("alice").post("/subscriptions", `{"topic":"one more"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.backend().post("/subscriptions", `{"topic":"one more","user_id":"alice"}`).wantError(http.StatusConflict, domain.CodeConflict, "")
	f.user("alice").subscribe(`{"topic":"0","metadata":{}}`) // one that is there
	f.user("bob").subscribe(`{"topic":"one more"}`)
	if got := f.user("alice").subscriptions("?limit=100"); len(got) != domain.MaxSubscriptions {
		t.Errorf("%d subscriptions, want %d", len(got), domain.MaxSubscriptions)
	}
}
