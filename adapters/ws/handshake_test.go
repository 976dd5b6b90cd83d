package ws

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

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
		"no credentials":      {"GET", "", nil, 401, domain.CodeAuthentication, ""},
		"a bad token":         {"GET", "token=bad", nil, 401, domain.CodeAuthentication, ""},
		"token and key":       {"GET", "token=good&api_key=key", nil, 401, domain.CodeAuthentication, ""},
		"a key without user":  {"GET", "api_key=key", nil, 401, domain.CodeAuthentication, "X-User-Id"},
		"a foreign origin":    {"GET", "token=good", map[string]string{"Origin": "https://evil.example"}, 403, domain.CodeAuthorization, "Origin"},
		"a look-alike origin": {"GET", "token=good", map[string]string{"Origin": "https://app.example.evil.com"}, 403, domain.CodeAuthorization, "Origin"},
		"origin null":         {"GET", "token=good", map[string]string{"Origin": "null"}, 403, domain.CodeAuthorization, "Origin"},
		"a long device id":    {"GET", "token=good&device_id=" + strings.Repeat("x", 65), nil, 400, domain.CodeValidation, "device_id"},
		"two device ids":      {"GET", "token=good&device_id=a&device_id=b", nil, 400, domain.CodeValidation, "device_id"},
		"resume=maybe":        {"GET", "token=good&resume=maybe", nil, 400, domain.CodeValidation, "resume"},
		"ack=auto":            {"GET", "token=good&ack=auto", nil, 400, domain.CodeValidation, "ack"},
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
		})
	}
}

func TestUpgradesOfAllowedOriginsAndCredentialsStand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	base := f.listen(t)
	for name, test := range map[string]struct {
		query  string
		header http.Header
		user   string
	}{
		"a token in the query":     {"token=good", nil, "alice"},
		"a token in the header":    {"", http.Header{"Authorization": {"Bearer good"}}, "alice"},
		"a key and user in query":  {"api_key=key&user_id=bob", nil, "bob"},
		"a key and user in header": {"", http.Header{"X-Api-Key": {"key"}, "X-User-Id": {"bob"}}, "bob"},
		"the server's origin":      {"token=good", http.Header{"Origin": {"https://app.example"}}, "alice"},
		"the tenant's origin":      {"token=good", http.Header{"Origin": {"https://tenant.example"}}, "alice"},
		"the own host":             {"token=good", http.Header{"Origin": {strings.Replace(base, "ws://", "http://", 1)}}, "alice"},
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
	for want, err := range map[int]error{
		closeTryLater:  domain.ErrUnavailable,
		closeGoingAway: domain.ErrClosing,
		closeToken:     domain.ErrTenantNotFound,
		closeInternal:  errors.New("disk"),
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
