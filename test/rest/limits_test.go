package rest_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/domain"
)

// limitedTenant is a tenant with a rate of so many calls a second: at so few, a bucket refills too slowly to matter here.
func (f *fixture) limitedTenant(rate int) (id string, c client) {
	f.t.Helper()
	id, key := f.newTenant("Limited", fmt.Sprintf(`{"rate_limit":%d}`, rate))
	return id, f.anonymous().with("X-API-Key", key, "X-User-Id", "alice")
}

// standing is what an answer tells of a limit.
func (a *answer) standing() (limit, remaining, reset int64) {
	a.t.Helper()
	for name, into := range map[string]*int64{"Limit": &limit, "Remaining": &remaining, "Reset": &reset} {
		var err error
		if *into, err = strconv.ParseInt(a.header.Get("X-RateLimit-"+name), 10, 64); err != nil {
			a.t.Errorf("%s: X-RateLimit-%s: %v", a.request, name, err)
		}
	}
	return limit, remaining, reset
}

func TestATenantOverItsRateIsRefusedAndNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const rate = 3
	id, c := f.limitedTenant(rate)
	_, other := f.limitedTenant(rate)
	start := time.Now()
	var refused *answer
	for calls := 1; refused == nil; calls++ {
		got := c.get("/rooms")
		limit, remaining, reset := got.standing()
		if limit != rate || remaining < 0 || remaining >= rate {
			t.Fatalf("call %d: limit %d, remaining %d; want %d and fewer", calls, limit, remaining, rate)
		}
		if reset < start.Unix() || reset > time.Now().Unix()+2 {
			t.Errorf("call %d: reset %d, want within two seconds from now", calls, reset)
		}
		if got.status == http.StatusTooManyRequests && calls > rate {
			refused = got
			continue
		}
		got.want(http.StatusOK)
	}
	refused.wantError(http.StatusTooManyRequests, domain.CodeRateLimited, "")
	if refused.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q, want 1", refused.header.Get("Retry-After"))
	}
	if _, remaining, _ := refused.standing(); remaining != 0 {
		t.Errorf("%d remaining at a refusal", remaining)
	}
	if _, remaining, _ := other.get("/rooms").want(http.StatusOK).standing(); remaining != rate-1 {
		t.Errorf("the other tenant has %d left, want %d", remaining, rate-1)
	}
	f.operator().get("/admin/tenants").want(http.StatusOK)
	months := f.operator().get("/admin/tenants/" + id).object()["usage"].(map[string]any)["months"].([]any)
	month := months[0].(map[string]any)
	if month["rate_limited"].(float64) < 1 || month["requests"].(float64) < rate+1 {
		t.Errorf("usage %v, want the refused call in it", month)
	}
}

func TestACallOverTheRateHasDoneNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, c := f.limitedTenant(1)
	for c.post("/rooms", `{"type":"group"}`).status != http.StatusTooManyRequests {
	}
	f.operator().patch("/admin/tenants/"+id, `{"config":{"rate_limit":0}}`).want(http.StatusOK)
	before := len(c.get("/rooms").want(http.StatusOK).list())
	f.operator().patch("/admin/tenants/"+id, `{"config":{"rate_limit":1}}`).want(http.StatusOK)
	made := 0
	for {
		got := c.post("/rooms", `{"type":"group"}`)
		if got.status == http.StatusTooManyRequests {
			break
		}
		made++
	}
	f.operator().patch("/admin/tenants/"+id, `{"config":{"rate_limit":0}}`).want(http.StatusOK)
	if after := len(c.get("/rooms").want(http.StatusOK).list()); after != before+made {
		t.Errorf("%d rooms, want %d and %d", after, before, made)
	}
}

func TestAnUnlimitedTenantIsToldThat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, c := f.limitedTenant(0)
	for range 20 {
		if limit, _, reset := c.get("/rooms").want(http.StatusOK).standing(); limit != 0 || reset < time.Now().Unix()-1 {
			t.Fatalf("limit %d, reset %d; want 0 and now", limit, reset)
		}
	}
}

// addressBurst is how many failed authentications an address has.
const addressBurst = 50

func TestAnAddressThatFailsTooOftenIsRefusedBeforeItsCredentialIsSeen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	wrong, start := f.anonymous().with("X-API-Key", "sk_"+strings.Repeat("a", 43)), time.Now()
	var refused *answer
	for failures := 1; refused == nil; failures++ {
		got := wrong.get("/rooms")
		if limit, remaining, _ := got.standing(); limit != addressBurst || remaining >= addressBurst {
			t.Fatalf("failure %d: limit %d, remaining %d", failures, limit, remaining)
		}
		if got.status == http.StatusUnauthorized && (failures <= addressBurst || time.Since(start) > time.Second/addressBurst) {
			continue
		}
		refused = got
		if failures <= addressBurst {
			t.Errorf("refused at failure %d", failures)
		}
	}
	refused.wantError(http.StatusTooManyRequests, domain.CodeRateLimited, "")
	if refused.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// The right key is refused alike, until the address has a failure left again; what needs no credential is answered.
	for f.user("alice").get("/rooms").status != http.StatusTooManyRequests {
		wrong.get("/rooms")
	}
	for f.operator().get("/admin/tenants").status != http.StatusTooManyRequests {
		wrong.get("/rooms")
	}
	got := f.anonymous().get("/health").want(http.StatusOK)
	if got.header.Get("Retry-After") != "" {
		t.Error("an answer that was given says Retry-After")
	}
}

func TestFailuresCountForTheAddressThatATrustedProxyNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		trusted   []netip.Prefix
		forwarded func(n int) string
		limited   bool
	}{
		{"nobody is trusted", nil, func(n int) string { return fmt.Sprintf("198.51.100.%d", n) }, true},
		{"each client has its own", loopback, func(n int) string { return fmt.Sprintf("198.51.100.%d", n) }, false},
		{"one client with spoofed others", loopback, func(n int) string { return fmt.Sprintf("203.0.113.%d, 198.51.100.1", n) }, true},
		{"one network of IPv6", loopback, func(n int) string { return fmt.Sprintf("2001:db8::%x", n+1) }, true},
	} {
		f := newFixture(t, func(d *httpapi.Deps) { d.Config.TrustedProxies = c.trusted })
		low := int64(addressBurst)
		for n := range 20 {
			got := f.anonymous().with("X-Forwarded-For", c.forwarded(n)).get("/rooms").want(http.StatusUnauthorized)
			_, remaining, _ := got.standing()
			low = min(low, remaining)
		}
		if limited := low < addressBurst-1; limited != c.limited {
			t.Errorf("%s: at the least %d failures remained, limited together is to be %v", c.name, low, c.limited)
		}
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestWhatIsNoWrongCredentialIsNoFailure: a bad user id, a call that needs a user, a route that is none.
func TestWhatIsNoWrongCredentialIsNoFailure(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 5 {
		f.user("system").get("/rooms").invalid("X-User-Id")
		f.backend().post("/ws/token", "").want(http.StatusUnauthorized)
		f.user("alice").get("/nope").want(http.StatusNotFound)
		f.anonymous().send(http.MethodPut, "/rooms", "").want(http.StatusMethodNotAllowed)
	}
	if _, remaining, _ := f.anonymous().get("/health").standing(); remaining != addressBurst {
		t.Errorf("%d of %d failures left, want all", remaining, addressBurst)
	}
}

func TestPagesMayReadWhereTheyStand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	exposed := f.user("alice").with("Origin", "https://operator.example").get("/rooms").header.Get("Access-Control-Expose-Headers")
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "X-Request-Id"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %s", name, exposed)
		}
	}
	id, key := f.newTenant("Page", `{"rate_limit":1,"allowed_origins":["https://page.example"]}`)
	c := f.anonymous().with("X-API-Key", key, "X-User-Id", "alice", "Origin", "https://page.example")
	for range 50 {
		if got := c.get("/rooms"); got.status == http.StatusTooManyRequests {
			if got.header.Get(allowOrigin) == "" {
				t.Error("a page of the tenant's cannot read that it is over the rate")
			}
			return
		}
	}
	t.Errorf("tenant %s was never over its rate", id)
}

func TestATenantsLimitsAndUsageAreTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice")
	f.newMessage("alice", room, "a")
	got := f.operator().get("/admin/tenants/" + f.tenant).want(http.StatusOK).object()
	limits := map[string]any{
		"rate_limit": float64(defaultRate), "max_message_size": 16384.0, "max_live_keys": 5.0,
		"bot_limits":  map[string]any{"concurrent_runs": 8.0, "replies_per_minute": 20.0, "tokens_per_month": 0.0},
		"chat_limits": map[string]any{"requests_per_minute": 100.0, "messages_per_second": 10.0, "sockets": 50.0},
	}
	if diff := cmp.Diff(limits, got["limits"]); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	want := map[string]any{"open_sockets": 2.0, "months": []any{map[string]any{
		"month": time.Now().UTC().Format("2006-01"), "messages": 1.0, "requests": 2.0, "rate_limited": 0.0, "sockets": 0.0, "tokens": 0.0,
	}}}
	if diff := cmp.Diff(want, got["usage"]); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	for _, listed := range f.operator().get("/admin/tenants").want(http.StatusOK).list() {
		if listed["usage"] != nil || listed["api_keys"] != nil {
			t.Errorf("the list has more than names and limits: %v", listed)
		}
	}
	id, _ := f.limitedTenant(7)
	if limits := f.operator().get("/admin/tenants/" + id).object()["limits"].(map[string]any); limits["rate_limit"] != 7.0 {
		t.Errorf("limits %v, want the rate of the config", limits)
	}
}
