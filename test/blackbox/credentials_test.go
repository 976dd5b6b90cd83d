package blackbox

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chatapi/chatapi/test/harness"
)

func TestEveryWrongCredentialIsRefusedAlike(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	token := harness.Must(s.Token("alice"))(t)
	anyone := s.Anonymous()
	for name, c := range map[string]*harness.Client{
		"none":                 anyone,
		"a user id alone":      anyone.With("X-User-Id", "alice"),
		"an unknown key":       anyone.With("X-API-Key", "sk_"+strings.Repeat("A", 43)),
		"a truncated key":      anyone.With("X-API-Key", tenant.Key[:40]),
		"a longer key":         anyone.With("X-API-Key", tenant.Key+"A"),
		"a key in capitals":    anyone.With("X-API-Key", strings.ToUpper(tenant.Key)),
		"no prefix":            anyone.With("X-API-Key", strings.TrimPrefix(tenant.Key, "sk_")),
		"a key of 10 KB":       anyone.With("X-API-Key", "sk_"+strings.Repeat("A", 10_000)),
		"the master key":       anyone.With("X-Master-Key", s.MasterKey),
		"master as API key":    anyone.With("X-API-Key", s.MasterKey),
		"key and token":        tenant.Backend().With("Authorization", "Bearer "+token),
		"two keys":             anyone.WithValues("X-API-Key", tenant.Key, "sk_"+strings.Repeat("A", 43)),
		"two users":            tenant.Backend().WithValues("X-User-Id", "alice", "bob"),
		"basic":                anyone.With("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("a:b"))),
		"an empty bearer":      anyone.With("Authorization", "Bearer "),
		"a key as bearer":      anyone.With("Authorization", "Bearer "+tenant.Key),
		"another way to write": anyone.With("Authorization", token),
	} {
		res, err := c.Call(http.MethodGet, "/rooms", nil, 401, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantProblem(t, res, "AUTHENTICATION_ERROR", "")
	}
	for name, c := range map[string]*harness.Client{
		"none": anyone, "a tenant key": tenant.Backend(), "a wrong master key": anyone.With("X-Master-Key", s.MasterKey[:20]),
		"a token": anyone.With("Authorization", "Bearer "+token),
	} {
		if _, err := c.Call(http.MethodPost, "/admin/tenants", `{"name":"x"}`, 401, nil); err != nil {
			t.Errorf("admin with %s: %v", name, err)
		}
	}
	harness.Must(tenant.User("alice").Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
}

func TestCallsOfAUserSayWhichHeaderIsMissing(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	room := harness.Must(tenant.Backend().CreateRoom("group", "alice"))(t).RoomID
	for path, body := range map[string]string{
		"/rooms/" + room + "/messages": `{"content":"x"}`, "/acks": `{"room_id":"` + room + `","seq":0}`,
	} {
		res := harness.Must(tenant.Backend().Call(http.MethodPost, path, body, 401, nil))(t)
		wantProblem(t, res, "AUTHENTICATION_ERROR", "X-User-Id")
	}
}

func TestUserIDsFollowTheRules(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	for name, id := range map[string]string{
		"a bot's": "bot_x", "the server's own": "system", "too long": strings.Repeat("u", 129), "a zero-width space": "a\u200bb",
	} {
		res, err := tenant.User(id).Call(http.MethodGet, "/rooms", nil, 400, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantProblem(t, res, "VALIDATION_ERROR", "X-User-Id")
	}
	for _, id := range []string{"a", strings.Repeat("ü", 128), "日本", "o'brien; --", "System", "a:b%c"} {
		if _, err := tenant.User(id).Call(http.MethodGet, "/rooms", nil, 200, nil); err != nil {
			t.Errorf("user id %q: %v", id, err)
		}
	}
}

// tokens are JWTs that must be refused, by what is wrong with them.
func tokens(t *testing.T, s *harness.Server) map[string]string {
	t.Helper()
	now := time.Now()
	good := func() jwt.MapClaims { return jwt.MapClaims{"sub": "alice", "exp": now.Add(time.Hour).Unix()} }
	key := []byte(s.JWTSecret)
	sign := func(method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
		return harness.Must(s.TokenWith(method, key, claims))(t)
	}
	with := func(name string, value any) string {
		claims := good()
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
		return sign(jwt.SigningMethodHS256, key, claims)
	}
	kid := func(value any) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, good())
		token.Header["kid"] = value
		return harness.Must(token.SignedString(key))(t)
	}
	parts := strings.Split(sign(jwt.SigningMethodHS256, key, good()), ".")
	algorithm := func(alg string) string {
		head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","typ":"JWT"}`))
		return head + "." + parts[1] + "."
	}
	return map[string]string{
		"alg none": algorithm("none"), "alg None": algorithm("None"), "alg nOnE": algorithm("nOnE"),
		"alg HS256 unsigned": algorithm("HS256"),
		"HS384":              sign(jwt.SigningMethodHS384, key, good()), "HS512": sign(jwt.SigningMethodHS512, key, good()),
		"another secret":    sign(jwt.SigningMethodHS256, []byte(strings.Repeat("k", 40)), good()),
		"an empty secret":   sign(jwt.SigningMethodHS256, []byte{}, good()),
		"an empty sign":     parts[0] + "." + parts[1] + ".",
		"two parts":         parts[0] + "." + parts[1],
		"expired":           with("exp", now.Add(-time.Hour).Unix()),
		"no exp":            with("exp", nil),
		"exp a string":      with("exp", "tomorrow"),
		"exp huge":          with("exp", 1e300),
		"exp negative":      with("exp", -1),
		"exp in 31 days":    with("exp", now.Add(31*24*time.Hour).Unix()),
		"not yet valid":     with("nbf", now.Add(time.Hour).Unix()),
		"no sub":            with("sub", nil),
		"an empty sub":      with("sub", ""),
		"a sub of 10 KB":    with("sub", strings.Repeat("s", 10_000)),
		"a sub with NUL":    with("sub", "a\x00b"),
		"a sub with CRLF":   with("sub", "a\r\nb"),
		"a bot's sub":       with("sub", "bot_1"),
		"the system's sub":  with("sub", "system"),
		"a sub of a number": with("sub", 7),
		"kid a path":        kid("../../etc/passwd"),
		"kid SQL":           kid("' OR 1=1--"),
		"kid unknown":       kid("kid_0123456789"),
		"kid 10 KB":         kid(strings.Repeat("k", 10_000)),
		"kid a number":      kid(7),
		"12,000 dots":       strings.Repeat(".", 12_000),
	}
}

func TestNoForgedOrWornOutTokenGetsIn(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for name, token := range tokens(t, s) { // fewer than an address may show at once
		if _, err := s.Anonymous().With("Authorization", "Bearer "+token).Call(http.MethodGet, "/rooms", nil, 401, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	token := harness.Must(s.Token("alice"))(t)
	alice := s.Anonymous().With("Authorization", "Bearer "+token)
	harness.Must(alice.Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
	harness.Must(alice.With("X-User-Id", "alice").Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
	res := harness.Must(alice.With("X-User-Id", "mallory").Call(http.MethodGet, "/rooms", nil, 400, nil))(t)
	wantProblem(t, res, "VALIDATION_ERROR", "X-User-Id")
}

func TestNoForgedOrWornOutTokenOpensASocket(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for name, token := range tokens(t, s) {
		_, err := harness.Dial(s.Base, harness.DialOptions{Query: url.Values{"token": {token}}})
		wantRefused(t, name, err, 401)
	}
	c, err := dialToken(s, harness.Must(s.Token("alice"))(t))
	opened(t, c, err)
}
