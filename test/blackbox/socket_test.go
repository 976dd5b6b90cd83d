package blackbox

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/test/harness"
)

func TestBadFramesGetAnErrorAndTheSocketLives(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID

	frames := map[string]string{
		"an unknown type": `{"type":"dance"}`, "no type": `{}`, "a type of a number": `{"type":7}`, "no JSON": `hello`, "null": `null`,
		"an array": `[]`, "truncated": `{"type":"ping"`, "trailing data": `{"type":"ping"}{}`,
		"two types":      `{"type":"ping","type":"ping"}`,
		"a case variant": `{"type":"ping","Type":"ping"}`, "an empty frame": ``, "data of a list": `{"type":"ack","data":[1]}`,
		"a request_id too long": `{"type":"ping","request_id":"` + strings.Repeat("r", 65) + `"}`,
		"ack without a room":    `{"type":"ack","seq":1}`,
		"ack above the room":    `{"type":"ack","room_id":"` + room + `","seq":99}`,
		"ack of a string":       `{"type":"ack","room_id":"` + room + `","seq":"1"}`,
		"ack of a fraction":     `{"type":"ack","room_id":"` + room + `","seq":1.5}`,
		"ack below 0":           `{"type":"ack","room_id":"` + room + `","seq":-1}`,
		"ack of 2^53+1":         `{"type":"ack","room_id":"` + room + `","seq":9007199254740993}`,
		"subscribe from -1":     `{"type":"subscribe","room_id":"` + room + `","after_seq":-1}`,
		"subscribe to nothing":  `{"type":"subscribe"}`,
		"send to nowhere":       `{"type":"send_message","content":"x"}`,
		"resume, but late":      `{"type":"resume","epoch":"x","rooms":[]}`,
		"a surrogate":           `{"type":"ping","x":"\ud800"}`,
	}
	for name, raw := range frames {
		c := connect(t, alice)
		wantErrorFrame(t, name, c, raw, "")
		c.Close()
	}
	for _, shape := range bodyShapes {
		var fields map[string]json.RawMessage
		if json.Unmarshal([]byte(shape.body), &fields) != nil || fields == nil || strings.Contains(shape.name, "UTF-8") ||
			strings.Contains(shape.name, "overlong") {
			continue // not an object, or not text: those have their own cases
		}
		c := connect(t, alice)
		fragment := strings.Replace(fmt.Sprintf(`"room_id":%q,%s`, room, shape.body[1:]), ",}", "}", 1)
		wantErrorFrame(t, shape.name, c, `{"type":"send_message",`+fragment, shape.field)
		wantErrorFrame(t, shape.name+", nested", c, `{"type":"send_message","data":{`+fragment+`}`, shape.field)
		c.Close()
	}
	wantLive(t, alice, room)
	wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 1)
}

// wantErrorFrame sends a frame and wants an error for it, and a pong for the ping after it.
func wantErrorFrame(t *testing.T, name string, c *harness.Conn, raw, field string) {
	t.Helper()
	before := len(c.Frames())
	harness.Check(t, c.WriteRaw(websocket.TextMessage, []byte(raw)))
	pong, err := c.Request(map[string]any{"type": "ping"})
	if err != nil || pong.Type != "pong" {
		t.Errorf("%s: the socket does not answer a ping afterwards: %v %s", name, err, pong.Raw)
		return
	}
	for _, f := range c.Frames()[before:] {
		if f.Type != "error" {
			continue
		}
		if f.Code != "VALIDATION_ERROR" || f.Text == "" || !names(f.Field, field) {
			t.Errorf("%s: got %s, want VALIDATION_ERROR with field %q", name, f.Raw, field)
		}
		wantNoInternals(t, string(f.Raw))
		return
	}
	t.Errorf("%s (%.120s): no error frame", name, raw)
}

func TestFlatAndNestedFramesMeanTheSame(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c := connect(t, alice)
	fields := map[string]any{"room_id": room, "content": harness.Body("either way"), "meta": map[string]any{"k": 1}}
	flat := map[string]any{"type": "send_message"}
	maps.Copy(flat, fields)
	for i, frame := range []map[string]any{flat, {"type": "send_message", "data": fields}} {
		answer := harness.Must(c.Request(frame))(t)
		var m harness.Message
		harness.Check(t, json.Unmarshal(answer.Data, &m))
		if answer.Type != "reply" || m.Seq != int64(i)+1 || m.Content != fields["content"] {
			t.Errorf("frame %d: %s", i, answer.Raw)
		}
	}
	harness.Check(t, c.Write(flat)) // without a request_id there is no reply, and the message comes all the same
	harness.Must(c.AwaitMessage(room, 3))(t)
}

func TestFramesThatBreakTheProtocolCloseWithTheirCode(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	text := func(raw string) func(*harness.Conn) error {
		return func(c *harness.Conn) error { return c.WriteRaw(websocket.TextMessage, []byte(raw)) }
	}
	bytes := func(raw ...byte) func(*harness.Conn) error {
		return func(c *harness.Conn) error { return c.WriteBytes(raw) }
	}
	big := `{"type":"send_message","room_id":"` + room + `","content":"` + strings.Repeat("x", 70_000) + `"}`
	for _, c := range []struct {
		name string
		send func(*harness.Conn) error
		code int
	}{
		{"a binary frame", func(c *harness.Conn) error { return c.WriteRaw(websocket.BinaryMessage, []byte(`{"type":"ping"}`)) }, 1003},
		{"invalid UTF-8", text("{\"type\":\"ping\",\"x\":\"\xff\"}"), 1007},
		{"an overlong encoding", text("{\"type\":\"ping\",\"x\":\"\xc0\xaf\"}"), 1007},
		{"a surrogate in UTF-8", text("{\"type\":\"ping\",\"x\":\"\xed\xa0\x80\"}"), 1007},
		{"over 64 KiB", text(big), 1009},
		{"a length of 2^63", bytes(0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), 1002},
		{"an unmasked frame", bytes(0x81, 0x02, '{', '}'), 1002},
		{"a reserved bit", bytes(0xc1, 0x82, 0, 0, 0, 0, '{', '}'), 1002},
		{"a reserved opcode", bytes(0x83, 0x82, 0, 0, 0, 0, '{', '}'), 1002},
		{"a fragmented ping", bytes(0x09, 0x80, 0, 0, 0, 0), 1002},
		{"a continuation of nothing", bytes(0x80, 0x80, 0, 0, 0, 0), 1002},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, alice)
			harness.Check(t, c.send(conn))
			got := harness.Must(conn.CloseCode(30 * time.Second))(t)
			if got != c.code && !(c.name == "a length of 2^63" && got == 1009) {
				t.Errorf("close code: got %d, want %d", got, c.code)
			}
		})
	}
	wantLive(t, alice, room)
	wantDense(t, harness.Must(alice.History(room, 0, 100))(t), 1, 1)
}

func TestAFragmentedFrameIsOneFrame(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	c := connect(t, alice)
	for _, part := range [][]byte{
		append([]byte{0x01, 0x80 | 9, 0, 0, 0, 0}, `{"type":"`...), {0x89, 0x80, 0, 0, 0, 0}, // a ping between the parts
		append([]byte{0x80, 0x80 | 25, 0, 0, 0, 0}, `ping","request_id":"joi"}`...),
	} {
		harness.Check(t, c.WriteBytes(part))
	}
	harness.Must(c.Await("pong", func(f harness.Frame) bool { return f.Type == "pong" && f.RequestID == "joi" }))(t)
}

func TestAFloodOfFramesClosesItsSocketAlone(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	witness, flooder := connect(t, bob), connect(t, alice)
	for range 2_000 {
		if flooder.WriteRaw(websocket.TextMessage, []byte(`{"type":"ping"}`)) != nil {
			break
		}
	}
	if code := harness.Must(flooder.CloseCode(30 * time.Second))(t); code != 4429 && code != 1006 {
		t.Errorf("close code of a flood: got %d, want 4429, or 1006 when the server's side was reset", code)
	}
	wantLive(t, alice, room)
	harness.Must(witness.AwaitMessage(room, 1))(t)
}

func TestUpgradesAreRefusedBeforeTheyHappen(t *testing.T) {
	t.Parallel()
	const listed = "https://good.example"
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"ALLOWED_ORIGINS": listed}})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID

	_, err := harness.Dial(alice.Base, harness.DialOptions{})
	wantRefused(t, "no credentials", err, 401)
	_, err = harness.Dial(alice.Base, harness.DialOptions{Query: map[string][]string{"api_key": {tenant.Key}}})
	wantRefused(t, "no user", err, 401)
	_, err = alice.Dial("user_id", "bob")
	wantRefused(t, "two users", err, 401)
	_, err = alice.Dial("device_id", strings.Repeat("d", 65))
	wantRefused(t, "a device id too long", err, 400)
	for _, origin := range []string{
		"null", "https://evil.test", "https://good.example.evil.test", "https://evilgood.example", "http://good.example",
		"https://good.example:8443", "https://good.example.", "https://sub.good.example", "https://gооd.example", "file://",
	} {
		_, err := alice.DialWith(harness.DialOptions{Header: http.Header{"Origin": {origin}}})
		wantRefused(t, "origin "+origin, err, 403)
	}
	for _, origin := range []string{listed, alice.Base} {
		c, err := alice.DialWith(harness.DialOptions{Header: http.Header{"Origin": {origin}}})
		if err != nil {
			t.Errorf("origin %s: %v", origin, err)
			continue
		}
		c.Close()
	}
	wantLive(t, alice, room)
}

func wantRefused(t *testing.T, name string, err error, status int) {
	t.Helper()
	var refused *harness.HandshakeError
	if !errors.As(err, &refused) || refused.Status != status {
		t.Errorf("%s: %v, want status %d", name, err, status)
		return
	}
	code := map[int]string{400: "VALIDATION_ERROR", 401: "AUTHENTICATION_ERROR", 403: "AUTHORIZATION_ERROR"}[status]
	wantProblem(t, refused.Response, code, "")
}

func TestHandshakesOutsideTheProtocol(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	auth := "Host: x\r\nX-API-Key: " + tenant.Key + "\r\nX-User-Id: alice\r\n"
	up := auth + "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	keyed := "Sec-WebSocket-Key: " + key + "\r\n"
	const thirteen = "Sec-WebSocket-Version: 13\r\n"
	for _, c := range []struct {
		name, request string
		want          []int
	}{
		{"version 12", "GET /ws HTTP/1.1\r\n" + up + "Sec-WebSocket-Version: 12\r\n" + keyed + "\r\n", []int{400, 426}},
		{"no key", "GET /ws HTTP/1.1\r\n" + up + thirteen + "\r\n", []int{400}},
		{"a short key", "GET /ws HTTP/1.1\r\n" + up + thirteen + "Sec-WebSocket-Key: YWJj\r\n\r\n", []int{400}},
		{"POST", "POST /ws HTTP/1.1\r\n" + up + thirteen + "Content-Length: 0\r\n" + keyed + "\r\n", []int{400, 405}},
		{"HTTP/1.0", "GET /ws HTTP/1.0\r\n" + up + thirteen + keyed + "\r\n", []int{400, 426, 505}},
		{"a plain GET", "GET /ws HTTP/1.1\r\n" + auth + "Connection: close\r\n\r\n", []int{400, 426}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := raw(t, tenant.Server(), c.request)
			for _, want := range c.want {
				if got == want {
					return
				}
			}
			t.Errorf("status: got %d, want one of %v", got, c.want)
		})
	}
	wantLive(t, alice, room)
}

func TestCompressionIsNotNegotiated(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	dialer := websocket.Dialer{EnableCompression: true}
	header := http.Header{"X-Api-Key": {tenant.Key}, "X-User-Id": {"alice"}}
	ws, res, err := dialer.Dial("ws"+strings.TrimPrefix(tenant.Server().Base, "http")+"/ws", header)
	harness.Check(t, err)
	defer ws.Close()
	if got := res.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("Sec-WebSocket-Extensions: got %q, want none", got)
	}
}

func TestAResumeThatNeverComesIsClosed(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	c := harness.Must(tenant.User("alice").Dial("resume", "1"))(t)
	t.Cleanup(c.Drop)
	harness.Must(c.AwaitType("connected"))(t)
	select {
	case <-c.Finished():
	case <-time.After(30 * time.Second):
		if !hasType(c, "sync.complete") {
			t.Error("a socket that announced a resume and sent none neither went on nor ended within 30 s")
		}
	}
}

func hasType(c *harness.Conn, kind string) bool {
	for _, f := range c.Frames() {
		if f.Type == kind {
			return true
		}
	}
	return false
}
