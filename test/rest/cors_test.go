package rest_test

import (
	"net/http"
	"testing"

	"github.com/chatapi/chatapi/adapters/httpapi"
)

const allowOrigin = "Access-Control-Allow-Origin"

func (f *fixture) preflight(origin string) *answer {
	f.t.Helper()
	return f.anonymous().with("Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization").
		send(http.MethodOptions, "/rooms", "").want(http.StatusNoContent)
}

func TestPagesOfListedOriginsMayReadAnswers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.operator().send(http.MethodPatch, "/admin/tenants/"+f.tenant, `{"config":{"allowed_origins":["https://tenant.example"]}}`).want(http.StatusOK)
	_, otherKey := f.newTenant("Other", `{"allowed_origins":["https://other.example"]}`)
	for origin, want := range map[string]string{
		"https://operator.example":        "https://operator.example",
		"https://tenant.example":          "https://tenant.example",
		"https://other.example":           "",
		"https://tenant.example.evil.com": "",
		"https://eviltenant.example":      "",
		"http://tenant.example":           "",
		"https://tenant.example:8443":     "",
		"https://TENANT.example":          "",
		"null":                            "",
		"*":                               "",
	} {
		got := f.user("alice").with("Origin", origin).get("/rooms").want(http.StatusOK)
		if got.header.Get(allowOrigin) != want || got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %s %q, want %q and no credentials", origin, allowOrigin, got.header.Get(allowOrigin), want)
		}
	}
	if got := f.anonymous().with("X-API-Key", otherKey, "Origin", "https://other.example").get("/rooms"); got.header.Get(allowOrigin) == "" {
		t.Error("the other tenant's own origin is not allowed")
	}
	refused := f.anonymous().with("Origin", "https://operator.example").get("/rooms").want(http.StatusUnauthorized)
	if refused.header.Get(allowOrigin) == "" {
		t.Error("a page of the operator's cannot read why it was refused")
	}
}

func TestPreflightsAreAnsweredByAnyTenantsList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.newTenant("A", `{"allowed_origins":["https://a.example"]}`)
	f.newTenant("B", `{"allowed_origins":["https://b.example"],"allow_browser_keys":true}`)
	const user, keys = "Authorization, Content-Type, Idempotency-Key", "Authorization, Content-Type, Idempotency-Key, X-API-Key, X-User-Id"
	for origin, headers := range map[string]string{
		"https://operator.example": user, "https://a.example": user, "https://b.example": keys, "https://c.example": "", "null": "", "*": "",
	} {
		got := f.preflight(origin)
		want := origin
		if headers == "" {
			want = ""
		}
		if got.header.Get(allowOrigin) != want || got.header.Get("Access-Control-Allow-Headers") != headers {
			t.Errorf("%s: origin %q, headers %q; want %q, %q", origin, got.header.Get(allowOrigin), got.header.Get("Access-Control-Allow-Headers"), want, headers)
		}
	}
}

func TestAnOriginListedOrRemovedByTheOperatorIsSeenByTheNextPreflight(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const origin = "https://late.example"
	id := ""
	for step, change := range []func() *answer{
		func() *answer { return f.operator().get("/admin/tenants") },
		func() *answer {
			id, _ = f.newTenant("Late", `{"allowed_origins":["`+origin+`"]}`)
			return f.operator().get("/admin/tenants")
		},
		func() *answer {
			return f.operator().send(http.MethodPatch, "/admin/tenants/"+id, `{"config":{"allowed_origins":null}}`)
		},
		func() *answer {
			return f.operator().send(http.MethodPatch, "/admin/tenants/"+id, `{"config":{"allowed_origins":["`+origin+`"]}}`)
		},
	} {
		change().want(http.StatusOK)
		if got, want := f.preflight(origin).header.Get(allowOrigin) != "", step%2 == 1; got != want {
			t.Errorf("step %d: allowed %v, want %v", step, got, want)
		}
	}
	f.operator().del("/admin/tenants/" + id).want(http.StatusNoContent)
	if got := f.preflight(origin).header.Get(allowOrigin); got != "" {
		t.Errorf("%q is allowed for a tenant that was deleted", got)
	}
}

func TestAnyOriginNeedsDevelopment(t *testing.T) {
	t.Parallel()
	anywhere := func(dev bool) option {
		return func(d *httpapi.Deps) { d.Config.AllowedOrigins, d.Config.Dev = []string{"*"}, dev }
	}
	if got := newFixture(t, anywhere(false)).preflight("https://x.example").header.Get(allowOrigin); got != "" {
		t.Errorf("outside development: %q, want none", got)
	}
	dev := newFixture(t, anywhere(true)).preflight("https://x.example")
	if got := dev.header.Get("Access-Control-Allow-Headers"); got != "Authorization, Content-Type, Idempotency-Key, X-API-Key, X-User-Id" {
		t.Errorf("in development: headers %q, want the keys too", got)
	}
}
