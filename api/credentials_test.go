package api_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func request(target string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestCredentialsComeFromHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		headers []string
		want    api.Credentials
	}{
		{nil, api.Credentials{}},
		{[]string{"X-API-Key", "sk_1"}, api.Credentials{APIKey: "sk_1"}},
		{[]string{"x-api-key", "sk_1", "X-API-KEY", "sk_1", "X-User-Id", "ä b"}, api.Credentials{APIKey: "sk_1", UserID: "ä b"}},
		{[]string{"Authorization", "Bearer a.b.c"}, api.Credentials{Bearer: "a.b.c"}},
		{[]string{"Authorization", "bearer  a.b.c", "X-User-Id", "bob"}, api.Credentials{Bearer: "a.b.c", UserID: "bob"}},
	} {
		got, err := api.RequestCredentials(request("/rooms?api_key=sk_2&token=x&user_id=eve", c.headers...))
		if err != nil || got != c.want {
			t.Errorf("%v: %+v, %v; want %+v", c.headers, got, err, c.want)
		}
	}
}

func TestAmbiguousCredentialsAreUnauthenticated(t *testing.T) {
	t.Parallel()
	for _, headers := range [][]string{
		{"X-API-Key", "sk_1", "X-API-Key", "sk_2"},
		{"X-API-Key", "sk_1", "X-User-Id", "a", "X-User-Id", "b"},
		{"Authorization", "Bearer a", "Authorization", "Bearer b"},
		{"Authorization", "Bearer a", "X-API-Key", "sk_1"},
		{"Authorization", "Basic YTpi"},
		{"Authorization", "Bearer"},
		{"Authorization", "Bearer "},
		{"Authorization", ""},
		{"Authorization", "a.b.c"},
		{"Authorization", "Basic YTpi", "X-API-Key", "sk_1"},
		{"X-Master-Key", "m", "X-API-Key", "sk_1"},
		{"X-Master-Key", "m", "Authorization", "Bearer a"},
		{"X-Master-Key", ""},
	} {
		if _, err := api.RequestCredentials(request("/rooms", headers...)); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("%v: %v, want ErrUnauthenticated", headers, err)
		}
	}
}

func TestAnEmptyUserIDDoesNotBecomeTheBackend(t *testing.T) {
	t.Parallel()
	_, rest := api.RequestCredentials(request("/rooms", "X-API-Key", "sk_1", "X-User-Id", ""))
	_, socket := api.SocketCredentials(request("/ws?api_key=sk_1&user_id="))
	for _, err := range []error{rest, socket} {
		var e *domain.Error
		if !errors.As(err, &e) || e.Code != domain.CodeValidation || e.Field != "X-User-Id" {
			t.Errorf("%v, want a VALIDATION_ERROR of X-User-Id", err)
		}
	}
}

func TestSocketCredentialsMayComeInTheQuery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target  string
		headers []string
		want    api.Credentials
	}{
		{"/ws?api_key=sk_1&user_id=a%2Fb", nil, api.Credentials{APIKey: "sk_1", UserID: "a/b"}},
		{"/ws?token=a.b.c&device_id=d", nil, api.Credentials{Bearer: "a.b.c"}},
		{"/ws?api_key=sk_1", []string{"X-API-Key", "sk_1", "X-User-Id", "bob"}, api.Credentials{APIKey: "sk_1", UserID: "bob"}},
		{"/ws?token=wst_x&user_id=bob", nil, api.Credentials{Ticket: "wst_x", UserID: "bob"}},
		{"/ws", []string{"Authorization", "Bearer wst_x"}, api.Credentials{Bearer: "wst_x"}},
	} {
		got, err := api.SocketCredentials(request(c.target, c.headers...))
		if err != nil || got != c.want {
			t.Errorf("%s %v: %+v, %v; want %+v", c.target, c.headers, got, err, c.want)
		}
	}
	for target, headers := range map[string][]string{
		"/ws?api_key=sk_1&api_key=sk_2":         nil,
		"/ws?api_key=sk_1":                      {"X-API-Key", "sk_2"},
		"/ws?user_id=a":                         {"X-API-Key", "sk_2", "X-User-Id", "b"},
		"/ws?token=a":                           {"Authorization", "Bearer b"},
		"/ws?token=a&api_key=sk_1":              nil,
		"/ws?token=a&x=%zz":                     nil,
		"/ws?token=b":                           {"X-Master-Key", "m"},
		"/ws?api_key=sk_1&user_id=a&user_id=A%": nil,
		"/ws?token=wst_x&token=wst_y":           nil,
		"/ws?token=wst_x&token=a":               nil,
		"/ws?token=wst_x":                       {"Authorization", "Bearer wst_x"},
		"/ws?token=wst_x&api_key=sk_1":          nil,
	} {
		if _, err := api.SocketCredentials(request(target, headers...)); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("%s %v: %v, want ErrUnauthenticated", target, headers, err)
		}
	}
}

func TestSocketCredentialsMayBeOfferedAsASubprotocol(t *testing.T) {
	t.Parallel()
	const name = "Sec-WebSocket-Protocol"
	for _, c := range []struct {
		headers []string
		want    api.Credentials
		offers  bool
	}{
		{[]string{name, "chatapi.v1, bearer.a.b.c"}, api.Credentials{Bearer: "a.b.c"}, true},
		{[]string{name, "bearer.wst_x ,\tchatapi.v1"}, api.Credentials{Ticket: "wst_x"}, true},
		{[]string{name, "chatapi.v1", name, "bearer.a.b.c"}, api.Credentials{Bearer: "a.b.c"}, true},
		{[]string{name, "chatapi.v1,bearer.a", "Authorization", "Bearer a"}, api.Credentials{Bearer: "a"}, true},
		{[]string{name, "chatapi.v1", "X-API-Key", "sk_1"}, api.Credentials{APIKey: "sk_1"}, true},
		{[]string{name, "mqtt", "Authorization", "Bearer a"}, api.Credentials{Bearer: "a"}, false},
		{[]string{name, "CHATAPI.V1, Bearer.a"}, api.Credentials{}, false},
	} {
		r := request("/ws", c.headers...)
		got, err := api.SocketCredentials(r)
		if err != nil || got != c.want || api.OffersProtocol(r) != c.offers {
			t.Errorf("%v: %+v, %v, offered %v; want %+v", c.headers, got, err, api.OffersProtocol(r), c.want)
		}
	}
	for target, headers := range map[string][]string{
		"/ws?x=1":          {name, "chatapi.v1, bearer."},
		"/ws?x=2":          {name, "chatapi.v1, bearer.a, bearer.b"},
		"/ws?x=3":          {name, "chatapi.v1, bearer.a", "Authorization", "Bearer b"},
		"/ws?x=4":          {name, "chatapi.v1, bearer.a", "X-API-Key", "sk_1"},
		"/ws?x=5":          {name, "chatapi.v1, bearer.wst_x", "X-API-Key", "sk_1"},
		"/ws?token=a":      {name, "chatapi.v1, bearer.wst_x"},
		"/ws?token=wst_y":  {name, "chatapi.v1, bearer.wst_x"},
		"/ws?api_key=sk_1": {name, "chatapi.v1, bearer.a"},
	} {
		if _, err := api.SocketCredentials(request(target, headers...)); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("%s %v: %v, want ErrUnauthenticated", target, headers, err)
		}
	}
	var e *domain.Error
	_, err := api.SocketCredentials(request("/ws", name, "bearer.a"))
	if !errors.As(err, &e) || e.Code != domain.CodeValidation || e.Field != name {
		t.Errorf("a token without chatapi.v1: %v, want a VALIDATION_ERROR of %s", err, name)
	}
}

func TestMasterKeyIsReadFromItsHeaderAlone(t *testing.T) {
	t.Parallel()
	if got, err := api.MasterKey(request("/admin/tenants?master_key=x", "X-Master-Key", "m")); got != "m" || err != nil {
		t.Errorf("%q, %v; want m", got, err)
	}
	if got, err := api.MasterKey(request("/admin/tenants")); got != "" || err != nil {
		t.Errorf("%q, %v; want nothing", got, err)
	}
	for _, headers := range [][]string{
		{"X-Master-Key", "m", "X-Master-Key", "n"},
		{"X-Master-Key", "m", "X-API-Key", "sk_1"},
		{"X-Master-Key", "m", "Authorization", "Bearer a"},
		{"X-Master-Key", "m", "Authorization", ""},
	} {
		if _, err := api.MasterKey(request("/admin/tenants", headers...)); !errors.Is(err, domain.ErrUnauthenticated) {
			t.Errorf("%v: %v, want ErrUnauthenticated", headers, err)
		}
	}
}

func TestSocketsOpenFromTheSameHostAndListedOriginsOnly(t *testing.T) {
	t.Parallel()
	global, tenant := []string{"https://good.com"}, []string{"http://localhost:3000"}
	for _, c := range []struct {
		host, origin string
		want         bool
	}{
		{"chat.example", "https://good.com", true},
		{"chat.example", "http://localhost:3000", true},
		{"chat.example", "https://chat.example", true},
		{"chat.example", "http://chat.example", true},
		{"Chat.Example:443", "https://chat.example", true},
		{"chat.example:8080", "http://chat.example:8080", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"chat.example:8080", "http://chat.example", false},
		{"chat.example:80", "https://chat.example", false},
		{"chat.example", "null", false},
		{"chat.example", "", false},
		{"chat.example", "*", false},
		{"chat.example", "https://good.com.evil.com", false},
		{"chat.example", "https://evilgood.com", false},
		{"chat.example", "http://good.com", false},
		{"chat.example", "https://good.com:8443", false},
		{"chat.example", "https://good.com.", false},
		{"chat.example", "https://GOOD.com", false},
		{"chat.example", "https://good.com/", false},
		{"chat.example", "https://chat.example.", false},
		{"chat.example", "https://user@chat.example", false},
		{"", "https://", false},
	} {
		r := request("/ws", "Origin", c.origin)
		r.Host = c.host
		if got := api.OriginAllowed(r, global, tenant); got != c.want {
			t.Errorf("host %q, origin %q: %v, want %v", c.host, c.origin, got, c.want)
		}
	}
	if !api.OriginAllowed(request("/ws")) {
		t.Error("a request without Origin is from no page and must pass")
	}
	if api.OriginAllowed(request("/ws", "Origin", "https://good.com", "Origin", "https://good.com"), global) {
		t.Error("two Origin headers must not pass")
	}
	if !api.OriginAllowed(request("/ws", "Origin", "https://any.where"), nil, []string{api.AnyOrigin}) {
		t.Error("* must allow every origin")
	}
}
