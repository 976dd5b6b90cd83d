package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/domain"
)

// signed makes a JWT for a user.
func (f *fixture) signed(user, kid, secret string, life time.Duration) string {
	f.t.Helper()
	text, err := token.New().Sign(domain.Claims{Subject: user, ExpiresAt: time.Now().Add(life)}, kid, []byte(secret))
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

func (f *fixture) newSigningKey() (kid, secret string) {
	f.t.Helper()
	made := f.operator().post("/admin/tenants/"+f.tenant+"/signing-keys", "").want(http.StatusCreated).object()
	return made["kid"].(string), made["secret"].(string)
}

// jwt is a client that acts as a user with a token.
func (f *fixture) jwt(user string) client {
	f.t.Helper()
	f.signing.once.Do(func() { f.signing.kid, f.signing.secret = f.newSigningKey() })
	return f.bearer(f.signed(user, f.signing.kid, f.signing.secret, time.Hour))
}

// as are the ways in which a user calls.
func (f *fixture) as(user string) map[string]client {
	f.t.Helper()
	return map[string]client{"with the API key": f.user(user), "with a token": f.jwt(user)}
}

// foreigner is somebody of another tenant, who may have the same name.
func (f *fixture) foreigner(user string) client {
	f.t.Helper()
	_, key := f.newTenant("Foreign", "{}")
	return f.anonymous().with("X-API-Key", key, "X-User-Id", user)
}

func TestBadCredentialsAreAllAnsweredAlike(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kid, secret := f.newSigningKey()
	good := f.signed("alice", kid, secret, time.Hour)
	f.bearer(good).get("/rooms").want(http.StatusOK)
	want := f.anonymous().get("/rooms").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "").withoutRequestID()
	for name, c := range map[string]client{
		"unknown key":           f.anonymous().with("X-API-Key", "sk_"+strings.Repeat("a", 43)),
		"short key":             f.anonymous().with("X-API-Key", f.key[:len(f.key)-1]),
		"long key":              f.anonymous().with("X-API-Key", f.key+"a"),
		"two keys":              f.backend().with("X-API-Key", "sk_other"),
		"two users":             f.user("alice").with("X-User-Id", "bob"),
		"key and token":         f.backend().with("Authorization", "Bearer "+good),
		"Basic":                 f.backend().with("Authorization", "Basic YTpi"),
		"garbage token":         f.bearer("a.b.c"),
		"unknown kid":           f.bearer(f.signed("alice", "kid_nope", secret, time.Hour)),
		"wrong secret":          f.bearer(f.signed("alice", kid, "x"+secret, time.Hour)),
		"other tenant's secret": f.bearer(f.signed("alice", "", secret, time.Hour)),
		"too long a life":       f.bearer(f.signed("alice", kid, secret, 31*24*time.Hour)),
		"a bot":                 f.bearer(f.signed("bot_x", kid, secret, time.Hour)),
		"master key":            f.operator(),
		"master and API key":    f.operator().with("X-API-Key", f.key),
		"master key and token":  f.operator().with("Authorization", "Bearer "+good),
		"user alone":            f.anonymous().with("X-User-Id", "alice"),
	} {
		got := c.get("/rooms")
		if got.status != http.StatusUnauthorized || got.withoutRequestID() != want {
			t.Errorf("%s: %d %s, want 401 %s", name, got.status, got.withoutRequestID(), want)
		}
	}
	f.bearer(f.signed("alice", kid, secret, -time.Minute)).get("/rooms").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
	f.anonymous().get("/rooms?api_key="+f.key+"&user_id=alice").wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
}

func TestAnIllFormedUserIDIsAValidationError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kid, secret := f.newSigningKey()
	for _, user := range []string{"", "system", "bot_1", strings.Repeat("u", 129), "a\tb", "\xff"} {
		f.user(user).get("/rooms").invalid("X-User-Id")
	}
	f.bearer(f.signed("alice", kid, secret, time.Hour)).with("X-User-Id", "bob").get("/rooms").invalid("X-User-Id")
	f.bearer(f.signed("alice", kid, secret, time.Hour)).with("X-User-Id", "alice").get("/rooms").want(http.StatusOK)
	f.user("ünï cødé").get("/rooms").want(http.StatusOK)
}

func TestATokenActsInTheTenantOfItsKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kid, secret := f.newSigningKey()
	alice := f.bearer(f.signed("alice", kid, secret, time.Hour))
	room := alice.post("/rooms", `{"type":"group"}`).want(http.StatusCreated).object()["room_id"].(string)
	f.user("alice").get("/rooms/" + room).want(http.StatusOK)
	alice.post("/rooms", `{"type":"dm","members":["bob","carol"]}`).wantError(http.StatusForbidden, domain.CodeAuthorization, "")
	f.operator().del("/admin/tenants/" + f.tenant + "/signing-keys/" + kid).want(http.StatusNoContent)
	alice.get("/rooms/"+room).wantError(http.StatusUnauthorized, domain.CodeAuthentication, "")
}

func TestOperatorRoutesTakeTheMasterKeyAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range map[string]client{
		"nothing":       f.anonymous(),
		"wrong":         f.anonymous().with("X-Master-Key", masterKey+"x"),
		"empty":         f.anonymous().with("X-Master-Key", ""),
		"two":           f.operator().with("X-Master-Key", "x"),
		"API key":       f.backend(),
		"both keys":     f.backend().with("X-Master-Key", masterKey),
		"and a token":   f.operator().with("Authorization", "Bearer x"),
		"as a token":    f.bearer(masterKey),
		"as an API key": f.anonymous().with("X-API-Key", masterKey),
	} {
		for _, path := range []string{"/admin/tenants", "/v1/admin/tenants/" + f.tenant} {
			if got := c.get(path); got.status != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d, want 401", name, path, got.status)
			}
		}
	}
}

func TestNoCredentialReachesTheLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kid, secret := f.newSigningKey()
	jwt := f.signed("alice", kid, secret, time.Hour)
	f.bearer(jwt).get("/rooms?token=" + jwt).want(http.StatusOK)
	f.user("alice").post("/rooms?api_key="+f.key, `{"type":"group","name":"private"}`).want(http.StatusCreated)
	f.operator().get("/admin/tenants").want(http.StatusOK)
	log := f.log.String()
	if !strings.Contains(log, `"route":"GET /rooms"`) || !strings.Contains(log, `"request_id":"req_`) {
		t.Errorf("the access log is missing: %s", log)
	}
	for _, private := range []string{f.key, jwt, secret, masterKey, "private", "alice"} {
		if strings.Contains(log, private) {
			t.Errorf("the log holds %q", private)
		}
	}
}
