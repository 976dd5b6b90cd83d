package ws

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/domain"
)

func TestRefusedUpgradesGetTheNativeError(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	base := strings.Replace(f.listen(t), "ws://", "http://", 1)
	upgrade := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
	}
	for name, test := range map[string]struct {
		method, query string
		header        map[string]string
		status        int
		code          domain.Code
		field         string
	}{
		"no credentials":     {"GET", "", nil, 401, domain.CodeAuthentication, ""},
		"a bad token":        {"GET", "token=bad", nil, 401, domain.CodeAuthentication, ""},
		"token and key":      {"GET", "token=good&api_key=key", nil, 401, domain.CodeAuthentication, ""},
		"ticket and key":     {"GET", "token=wst_1&api_key=key&user_id=bob", nil, 401, domain.CodeAuthentication, ""},
		"a ticket as bearer": {"GET", "", map[string]string{"Authorization": "Bearer wst_2"}, 401, domain.CodeAuthentication, ""},
		"a bad offer":        {"GET", "", map[string]string{"Sec-WebSocket-Protocol": "chatapi.v1, bearer.bad"}, 401, domain.CodeAuthentication, ""},
		"an offer and a key": {"GET", "api_key=key&user_id=bob", map[string]string{"Sec-WebSocket-Protocol": "chatapi.v1, bearer.good"},
			401, domain.CodeAuthentication, ""},
		"two different tokens": {"GET", "token=good", map[string]string{"Sec-WebSocket-Protocol": "chatapi.v1, bearer.bad"}, 401, domain.CodeAuthentication, ""},
		"an offer that cannot be answered": {"GET", "", map[string]string{"Sec-WebSocket-Protocol": "bearer.good"},
			400, domain.CodeValidation, "Sec-WebSocket-Protocol"},
		"a key without user":  {"GET", "api_key=key", nil, 401, domain.CodeAuthentication, "X-User-Id"},
		"a foreign origin":    {"GET", "token=good", map[string]string{"Origin": "https://evil.example"}, 403, domain.CodeAuthorization, "Origin"},
		"a look-alike origin": {"GET", "token=good", map[string]string{"Origin": "https://app.example.evil.com"}, 403, domain.CodeAuthorization, "Origin"},
		"origin null":         {"GET", "token=good", map[string]string{"Origin": "null"}, 403, domain.CodeAuthorization, "Origin"},
		"a long device id":    {"GET", "token=good&device_id=" + strings.Repeat("x", 65), nil, 400, domain.CodeValidation, "device_id"},
		"two device ids":      {"GET", "token=good&device_id=a&device_id=b", nil, 400, domain.CodeValidation, "device_id"},
		"resume=maybe":        {"GET", "token=good&resume=maybe", nil, 400, domain.CodeValidation, "resume"},
		"ack=manual":          {"GET", "token=good&ack=manual", nil, 400, domain.CodeValidation, "ack"},
		"ack without a value": {"GET", "token=good&ack=", nil, 400, domain.CodeValidation, "ack"},
		"ack=auto twice":      {"GET", "token=good&ack=auto&ack=auto", nil, 400, domain.CodeValidation, "ack"},
		"no upgrade":          {"GET", "token=good", map[string]string{"Upgrade": ""}, 426, domain.CodeValidation, "Upgrade"},
		"version 12":          {"GET", "token=good", map[string]string{"Sec-WebSocket-Version": "12"}, 426, domain.CodeValidation, "Sec-WebSocket-Version"},
		"no key":              {"GET", "token=good", map[string]string{"Sec-WebSocket-Key": ""}, 400, domain.CodeValidation, ""},
		"a short key":         {"GET", "token=good", map[string]string{"Sec-WebSocket-Key": "QUJD"}, 400, domain.CodeValidation, ""},
		"POST":                {"POST", "token=good", nil, 405, domain.CodeMethodNotAllowed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := http.NewRequestWithContext(t.Context(), test.method, base+"/ws?"+test.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, header := range []map[string]string{upgrade, test.header} {
				for name, value := range header {
					r.Header.Set(name, value)
				}
			}
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			var got struct {
				Success bool
				Error   struct {
					Code      domain.Code
					Message   string
					Field     string
					RequestID string `json:"request_id"`
				}
			}
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("body %q: %v", body, err)
			}
			e := got.Error
			if res.StatusCode != test.status || e.Code != test.code || test.field != "" && e.Field != test.field {
				t.Errorf("got %d %+v, want %d %s about %q", res.StatusCode, e, test.status, test.code, test.field)
			}
			if e.RequestID == "" || e.RequestID != res.Header.Get("X-Request-Id") {
				t.Errorf("request id %q, header %q", e.RequestID, res.Header.Get("X-Request-Id"))
			}
			if res.Header.Get("X-RateLimit-Limit") != "50" || res.Header.Get("X-RateLimit-Reset") == "" {
				t.Errorf("headers %v, want those of the address's rate", res.Header)
			}
			if offered := res.Header.Get("Sec-WebSocket-Protocol"); offered != "" {
				t.Errorf("answered subprotocol %q", offered)
			}
		})
	}
}

func TestUpgradesOfAllowedOriginsAndCredentialsStand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	base := f.listen(t)
	for name, test := range map[string]struct {
		query    string
		header   http.Header
		user     string
		protocol string // that is answered
	}{
		"a ticket":                     {"token=wst_1", nil, "alice", ""},
		"an offered token":             {"", http.Header{"Sec-Websocket-Protocol": {"chatapi.v1, bearer.good"}}, "alice", "chatapi.v1"},
		"an offered ticket":            {"", http.Header{"Sec-Websocket-Protocol": {"bearer.wst_2,chatapi.v1"}}, "alice", "chatapi.v1"},
		"an offer in two headers":      {"", http.Header{"Sec-Websocket-Protocol": {"bearer.good", "chatapi.v1"}}, "alice", "chatapi.v1"},
		"the protocol without a token": {"token=good", http.Header{"Sec-Websocket-Protocol": {"chatapi.v1"}}, "alice", "chatapi.v1"},
		"another protocol":             {"token=good", http.Header{"Sec-Websocket-Protocol": {"graphql-ws"}}, "alice", ""},
		"a token in the query":         {"token=good", nil, "alice", ""},
		"a token in the header":        {"", http.Header{"Authorization": {"Bearer good"}}, "alice", ""},
		"a key and user in query":      {"api_key=key&user_id=bob", nil, "bob", ""},
		"a key and user in header":     {"", http.Header{"X-Api-Key": {"key"}, "X-User-Id": {"bob"}}, "bob", ""},
		"the server's origin":          {"token=good", http.Header{"Origin": {"https://app.example"}}, "alice", ""},
		"the tenant's origin":          {"token=good", http.Header{"Origin": {"https://tenant.example"}}, "alice", ""},
		"the own host":                 {"token=good", http.Header{"Origin": {strings.Replace(base, "ws://", "http://", 1)}}, "alice", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialer := websocket.Dialer{EnableCompression: true} // which is not agreed on
			ws, res, err := dialer.Dial(base+"/ws?device_id=d-1&"+test.query, test.header)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			if got := res.Header.Get("Sec-WebSocket-Extensions"); got != "" {
				t.Errorf("extensions %q were agreed on", got)
			}
			if got := res.Header.Get("Sec-WebSocket-Protocol"); got != test.protocol {
				t.Errorf("subprotocol %q was answered, want %q", got, test.protocol)
			}
			got := (&client{t, ws}).next()
			id, _ := got["connection_id"].(string)
			if !strings.HasPrefix(id, "conn_") {
				t.Errorf("connection_id %q", id)
			}
			if at, err := time.Parse(time.RFC3339Nano, got["server_time"].(string)); err != nil || time.Since(at) > time.Minute {
				t.Errorf("server_time %v", got["server_time"])
			}
			delete(got, "connection_id")
			delete(got, "server_time")
			want := map[string]any{
				"type": "connected", "user_id": test.user, "device_id": "d-1", "epoch": "epoch-1", "protocol": 1.0, "heartbeat_ms": 30000.0,
			}
			if len(got) != len(want) {
				t.Errorf("got %v, want %v", got, want)
			}
			for name, value := range want {
				if got[name] != value {
					t.Errorf("%s: got %v, want %v", name, got[name], value)
				}
			}
		})
	}
}

func TestSocketBeyondTheUsersLimitIsClosedWithAReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rooms.err = domain.ErrTooManySockets
	code, reason := f.dial(t, "").ending()
	if code != closePolicy || reason != "connection limit reached" {
		t.Fatalf("got %d %q, want 1008", code, reason)
	}
}

func TestReplayThatCannotBeginEndsTheSocket(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		domain.ErrUnavailable:    closeTryLater,
		context.DeadlineExceeded: closeTryLater,
		domain.ErrClosing:        closeGoingAway,
		domain.ErrTenantNotFound: closeToken,
		errors.New("disk"):       closeInternal,
	} {
		f := newFixture(t)
		f.rooms.start = err
		f.dial(t, "").wantClose(want)
	}
}

func TestHandshakesBeyondTheLimitAreRefusedAfterAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for range handshakes {
			f.slots <- struct{}{}
		}
		since := time.Now()
		w := newRecorder()
		f.ServeHTTP(w, must(http.NewRequestWithContext(t.Context(), "GET", "/ws?token=good", nil)))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Fatalf("got %d %v, want 503 with Retry-After", w.Code, w.Header())
		}
		wantAfter(t, since, handshakeWait, handshakeWait)
		go func() {
			time.Sleep(time.Second)
			<-f.slots
		}()
		f.dialPipe(t, "").greeted()
	})
}

func TestAddressThatGuessedTooOftenIsRefusedBeforeItsCredentialIsLookedAt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rates.address = domain.Allowance{Limit: 50, Reset: time.Now().Add(time.Second), RetryAfter: 1200 * time.Millisecond}
	_, res, err := websocket.DefaultDialer.Dial(f.listen(t)+"/ws?token=good", nil)
	if err == nil || res.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("got %v, want 429", err)
	}
	body, _ := io.ReadAll(res.Body)
	if !strings.Contains(string(body), `"code":"RATE_LIMIT_EXCEEDED"`) || res.Header.Get("Retry-After") != "2" ||
		res.Header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("got %s with %v", body, res.Header)
	}
	if f.auth.asked != 0 || len(f.rates.failed) != 0 {
		t.Errorf("%d credentials were looked at, failures %v", f.auth.asked, f.rates.failed)
	}
}

// TestOnlyWrongCredentialsCountAgainstTheirAddress: the address is that of the client, not of the operator's proxy.
func TestOnlyWrongCredentialsCountAgainstTheirAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, test := range []struct {
		target, peer string
		left         string
	}{
		{"/ws?token=bad", "192.0.2.7:1234", "49"},
		{"/ws?token=bad", "10.1.1.1:1234", "48"},
		{"/ws?api_key=key", "192.0.2.8:1234", "47"}, // without a user
		{"/ws?token=good&resume=maybe", "192.0.2.9:1234", "47"},
		{"/ws?token=good", "192.0.2.9:1234", "47"}, // no handshake
	} {
		r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, test.target, nil))
		r.RemoteAddr = test.peer
		r.Header.Set("X-Forwarded-For", "203.0.113.5, 198.51.100.1")
		w := newRecorder()
		f.ServeHTTP(w, r)
		if got := w.Header().Get("X-RateLimit-Remaining"); got != test.left {
			t.Errorf("%s from %s: %d, %s left, want %s", test.target, test.peer, w.Code, got, test.left)
		}
	}
	if diff := cmp.Diff([]string{"192.0.2.7", "198.51.100.1", "192.0.2.8"}, f.rates.failed); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
}
