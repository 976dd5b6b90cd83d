package rest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestTheBackendSeesHowItsWebhookIsDoing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.backend().get("/webhook").wantError(http.StatusNotFound, domain.CodeNotFound, "")
	id, _, _, to := f.undelivered("Hello")
	quiet := map[string]any{
		"url": to.url, "circuit": "closed", "failures": 0.0, "last_success_at": nil, "last_failure_at": nil, "last_error": nil,
		"retry_at": nil, "disabled_at": nil,
	}
	f.wantEndpoint(quiet)

	to.status.Store(http.StatusInternalServerError)
	f.replay(id)
	failed := f.backend().get("/webhook").want(http.StatusOK).object()
	if failed["failures"] != 1.0 || failed["last_error"] != "http 500" || failed["circuit"] != "closed" || failed["last_success_at"] != nil {
		t.Errorf("after a failure: %v", failed)
	}
	wantRecent(t, failed["last_failure_at"])

	to.status.Store(http.StatusNoContent)
	f.replay(f.letterIDs("")[0])
	works := f.backend().get("/v1/webhook").want(http.StatusOK).object()
	if works["failures"] != 0.0 || works["last_error"] != "http 500" || works["last_failure_at"] != failed["last_failure_at"] {
		t.Errorf("after a success: %v", works)
	}
	wantRecent(t, works["last_success_at"])

	f.setWebhook(newReceiver(t))
	if got := f.backend().get("/webhook").want(http.StatusOK).object(); got["url"] == to.url || got["last_success_at"] != nil {
		t.Errorf("another URL has the history of the one before: %v", got)
	}
	f.operator().patch("/admin/tenants/"+f.tenant, `{"config":{"webhook_url":null}}`).want(http.StatusOK)
	f.backend().get("/webhook").wantError(http.StatusNotFound, domain.CodeNotFound, "")
}

func TestAWebhookThatFailsFiveTimesRests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _, _, to := f.undelivered("Hello")
	to.status.Store(http.StatusBadGateway)
	for range 5 {
		f.replay(id)
		id = f.letterIDs("")[0]
	}
	got := f.backend().get("/webhook").want(http.StatusOK).object()
	if got["circuit"] != "open" || got["failures"] != 5.0 || got["last_error"] != "http 502" {
		t.Errorf("after five failures: %v", got)
	}
	retry, err := time.Parse(time.RFC3339, got["retry_at"].(string))
	if wait := time.Until(retry); err != nil || wait < 0 || wait > 30*time.Second {
		t.Errorf("retry_at %v is in %v, want within 30 s (%v)", got["retry_at"], wait, err)
	}
}

func TestAWebhookThatAnswers410IsDisabledUntilItIsSetAnew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, _, _, to := f.undelivered("Hello")
	to.status.Store(http.StatusGone)
	f.replay(id)
	tenant := "/admin/tenants/" + f.tenant
	disabled := f.backend().get("/webhook").want(http.StatusOK).object()
	for deadline := time.Now().Add(30 * time.Second); disabled["disabled_at"] == nil && time.Now().Before(deadline); { // a moment after the call is settled
		<-time.After(5 * time.Millisecond)
		disabled = f.backend().get("/webhook").want(http.StatusOK).object()
	}
	wantRecent(t, disabled["disabled_at"])
	shown := f.operator().get(tenant).want(http.StatusOK).object()
	if shown["webhook_disabled_at"] != disabled["disabled_at"] || shown["config"].(map[string]any)["webhook_url"] != to.url {
		t.Errorf("the operator is shown %v", shown)
	}
	f.operator().patch(tenant, `{"config":{"webhook_disabled_at":null}}`).invalid("config.webhook_disabled_at")
	f.setWebhook(to)
	if got := f.backend().get("/webhook").want(http.StatusOK).object(); got["disabled_at"] != nil {
		t.Errorf("set anew it is %v", got)
	}
	if shown := f.operator().get(tenant).object(); shown["webhook_disabled_at"] != nil {
		t.Errorf("the operator is shown %v", shown)
	}
}

func TestTheWebhookIsShownToTheBackendAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, set := range []bool{false, true} {
		if set {
			f.setWebhook(newReceiver(t))
		}
		for _, c := range f.as("alice") {
			c.get("/webhook").wantError(http.StatusForbidden, domain.CodeAuthorization, "")
		}
		f.operator().get("/webhook").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
		f.anonymous().get("/webhook").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	}
	_, key := f.newTenant("Other", "{}")
	f.anonymous().with("X-API-Key", key).get("/webhook").wantError(http.StatusNotFound, domain.CodeNotFound, "")
}

// replay has a dead letter delivered once more, whatever comes of it.
func (f *fixture) replay(id string) {
	f.t.Helper()
	f.backend().post("/admin/dead-letters/"+id+"/replay", "").want(http.StatusAccepted)
	f.wantSettled()
}

func (f *fixture) wantEndpoint(want map[string]any) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.backend().get("/webhook").want(http.StatusOK).object()); diff != "" {
		f.t.Errorf("(-want +got):\n%s", diff)
	}
}

func wantRecent(t *testing.T, at any) {
	t.Helper()
	text, _ := at.(string)
	then, err := time.Parse(time.RFC3339, text)
	if since := time.Since(then); err != nil || since < 0 || since > time.Minute {
		t.Errorf("%v is %v ago, want a moment ago (%v)", at, since, err)
	}
}
