package rest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func TestATenantIsMadeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.operator().post("/admin/tenants", `{"name":"Müller","config":{"max_message_size":100,"webhook_secret":"s3cr3t"}}`).want(http.StatusCreated)
	id, key := made.object()["tenant_id"].(string), made.object()["api_key"].(string)
	path := "/admin/tenants/" + id
	if made.header.Get("Location") != path {
		t.Errorf("Location %q, want %q", made.header.Get("Location"), path)
	}
	got := f.operator().get(path).want(http.StatusOK)
	if strings.Contains(string(got.body), "webhook_secret") || strings.Contains(string(got.body), key) {
		t.Errorf("a secret is shown: %s", got.body)
	}
	shape := got.object()
	if diff := cmp.Diff(map[string]any{"max_message_size": 100.0}, shape["config"]); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if keys := shape["api_keys"].([]any); len(keys) != 1 {
		t.Errorf("%d API keys, want 1", len(keys))
	}
	changed := f.operator().send(http.MethodPatch, path, `{"name":"M","config":{"max_message_size":null,"allow_browser_keys":false}}`).want(http.StatusOK).object()
	if diff := cmp.Diff(map[string]any{"allow_browser_keys": false}, changed["config"]); diff != "" || changed["name"] != "M" {
		t.Errorf("name %v, config (-want +got):\n%s", changed["name"], diff)
	}
	f.operator().send(http.MethodPatch, path, `{}`).want(http.StatusOK)
	f.operator().send(http.MethodPatch, path, `{"config":{"nope":1}}`).invalid("config.nope")
	f.operator().send(http.MethodPatch, path, `{"config":{"allowed_origins":["https://x.example/"]}}`).invalid("config.allowed_origins")
	f.operator().send(http.MethodPatch, path, `{"config":5}`).invalid("config")
	f.operator().send(http.MethodPatch, path, `{"config":{"chat_limits":5}}`).invalid("config.chat_limits")
	f.operator().send(http.MethodPatch, path, `{"name":""}`).invalid("name")

	c := f.anonymous().with("X-API-Key", key)
	c.get("/rooms").want(http.StatusOK)
	f.operator().del(path).want(http.StatusNoContent)
	c.get("/rooms").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	f.operator().get(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.operator().del(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
}

func TestTenantsAreListedInPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 4 {
		f.newTenant(fmt.Sprint("T", n), "{}")
	}
	var names []string
	for path := "/admin/tenants?limit=2"; path != ""; {
		page := f.operator().get(path).want(http.StatusOK)
		for _, tenant := range page.list() {
			names = append(names, tenant["name"].(string))
		}
		path = next(t, page)
	}
	if diff := cmp.Diff([]string{"Acme", "T0", "T1", "T2", "T3"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.operator().get("/admin/tenants?limit=0").invalid("limit")
}

func TestKeysAreRotatedAndRevokedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/admin/tenants/" + f.tenant + "/keys"
	second := f.operator().post(path, `{"name":"second"}`).want(http.StatusCreated).object()
	c := f.anonymous().with("X-API-Key", second["api_key"].(string))
	c.get("/rooms").want(http.StatusOK)
	for range 3 {
		f.operator().post(path, "").want(http.StatusCreated)
	}
	f.operator().post(path, "{}").wantError(http.StatusConflict, domain.CodeConflict, "")
	f.operator().del(path + "/" + second["key_id"].(string)).want(http.StatusNoContent)
	c.get("/rooms").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	f.operator().del(path+"/"+second["key_id"].(string)).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	f.operator().post(path, `{"name":5}`).invalid("name")
	f.operator().post(path, `[]`).invalid("")
	for _, unknown := range []string{"/admin/tenants/tenant_x", "/admin/tenants/%00", "/admin/tenants/%FF"} {
		f.operator().post(unknown+"/keys", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.operator().post(unknown+"/signing-keys", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.operator().del(unknown+"/keys/x").wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.operator().del(unknown+"/signing-keys/x").wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.operator().get(unknown).wantError(http.StatusNotFound, domain.CodeNotFound, "")
		f.operator().send(http.MethodPatch, unknown, `{"name":"x"}`).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
}

func TestCallsThatMakeACredentialRefuseAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.operator().with("Idempotency-Key", "k")
	c.post("/admin/tenants", `{"name":"x"}`).invalid("Idempotency-Key")
	c.post("/admin/tenants/"+f.tenant+"/keys", "").invalid("Idempotency-Key")
	c.post("/admin/tenants/"+f.tenant+"/signing-keys", "").invalid("Idempotency-Key")
	if got := f.operator().get("/admin/tenants").list(); len(got) != 1 {
		t.Errorf("%d tenants, want 1", len(got))
	}
}
