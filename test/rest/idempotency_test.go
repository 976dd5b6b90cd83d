package rest_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestAnIdempotencyKeyMakesOneResource(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	for path, body := range map[string]string{
		"/rooms":                       `{"type":"group"}`,
		"/rooms/" + room + "/messages": `{"content":"some text"}`,
		"/rooms/" + room + "/members":  `{"user_id":"carol"}`,
	} {
		c := f.user("alice").with("Idempotency-Key", "key-of-"+path[len(path)-5:])
		first, again, bare := c.post(path, body), c.post("/v1"+path, body), f.user("alice")
		if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: Idempotency-Replayed %q then %q", path, first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"))
		}
		if first.status != again.status {
			t.Errorf("%s: status %d then %d", path, first.status, again.status)
		}
		if diff := cmp.Diff(string(first.body), string(again.body)); diff != "" {
			t.Errorf("%s (-first +again):\n%s", path, diff)
		}
		c.post(path, body+" ").wantError(http.StatusConflict, domain.CodeConflict, "Idempotency-Key")
		bare.post(path, body)
	}
	if got := f.user("alice").get("/rooms/" + room + "/messages").list(); len(got) != 2 {
		t.Errorf("%d messages, want 2: one with the key and one without", len(got))
	}
}

func TestAnIdempotencyKeyBelongsToOneUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/rooms/" + f.newRoom("alice", "bob") + "/messages"
	for _, user := range []string{"alice", "bob"} {
		got := f.user(user).with("Idempotency-Key", "k").post(path, `{"content":"some text"}`).want(http.StatusCreated)
		if got.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s got another user's message", user)
		}
	}
}

func TestIllFormedIdempotencyKeysAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, headers := range [][]string{
		{"Idempotency-Key", ""},
		{"Idempotency-Key", "a b"},
		{"Idempotency-Key", "ü"},
		{"Idempotency-Key", strings.Repeat("k", 129)},
		{"Idempotency-Key", "a", "Idempotency-Key", "b"},
	} {
		f.user("alice").with(headers...).post("/rooms", `{"type":"group"}`).invalid("Idempotency-Key")
	}
	f.user("alice").with("Idempotency-Key", strings.Repeat("k", 128), "Idempotency-Key", strings.Repeat("k", 128)).
		post("/rooms", `{"type":"group"}`).want(http.StatusCreated)
}

func TestParallelRequestsWithOneIdempotencyKeyMakeOneRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got := f.user("alice").with("Idempotency-Key", "k").post("/rooms", `{"type":"group"}`)
			if got.status != http.StatusCreated && got.status != http.StatusConflict {
				t.Errorf("%d %s, want 201 or 409", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if got := f.user("alice").get("/rooms").list(); len(got) != 1 {
		t.Errorf("%d rooms, want 1", len(got))
	}
}
