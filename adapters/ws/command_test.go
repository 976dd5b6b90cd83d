package ws

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/domain"
)

var (
	room    = knownRoom.String()
	strange = strangeRoom.String()
)

func TestFramesAreAnsweredAsTheContractSays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	message := map[string]any{
		"message_id": "msg_00000000-0000-0000-0000-000000000000", "room_id": room, "sender_id": "alice", "sender_type": "user",
		"seq": 1.0, "rev": 1.0, "content": "hi", "meta": map[string]any{"a": 1.0}, "created_at": "0001-01-01T00:00:00.000Z",
	}
	again := map[string]any{}
	for name, value := range message {
		again[name] = value
	}
	again["seq"], again["rev"], again["meta"], again["client_id"], again["duplicate"] = 2.0, 2.0, nil, "again", true
	c := f.dial(t, "device_id=phone").greeted()
	for _, test := range []struct {
		name, frame string
		want        map[string]any
	}{
		{"send, flat", `{"type":"send_message","request_id":"1","room_id":"` + room + `","content":"hi","meta":{"a":1}}`,
			map[string]any{"type": "reply", "request_id": "1", "data": message}},
		{"send, in data, twice", `{"type":"send_message","request_id":"2","data":{"room_id":"` + room + `","content":"hi","client_id":"again"}}`,
			map[string]any{"type": "reply", "request_id": "2", "data": again}},
		{"send to a strange room", `{"type":"send_message","request_id":"3","room_id":"` + strange + `","content":"hi"}`,
			failed("3", "AUTHORIZATION_ERROR", "You are not a member of this room", "")},
		{"send without content", `{"type":"send_message","request_id":"4","room_id":"` + room + `"}`,
			failed("4", "VALIDATION_ERROR", "content is required", "content")},
		{"an internal error tells nothing", `{"type":"send_message","request_id":"5","room_id":"` + room + `","content":"fail"}`,
			failed("5", "INTERNAL_ERROR", "Something went wrong on the server", "")},
		{"ack", `{"type":"ack","request_id":"6","room_id":"` + room + `","seq":1,"rev":2}`,
			map[string]any{"type": "reply", "request_id": "6", "data": map[string]any{"success": true}}},
		{"ack above", `{"type":"ack","room_id":"` + room + `","seq":101}`,
			failed("", "VALIDATION_ERROR", "seq must be between 0 and the room's last_seq", "seq")},
		{"ack without seq", `{"type":"ack","request_id":"7","room_id":"` + room + `"}`,
			failed("7", "VALIDATION_ERROR", "seq is required", "seq")},
		{"ack without room", `{"type":"ack","request_id":"8","seq":1}`,
			failed("8", "VALIDATION_ERROR", "room_id is required", "room_id")},
		{"ack of an impossible room", `{"type":"ack","request_id":"9","room_id":"nonsense","seq":1}`,
			failed("9", "NOT_FOUND", "Not found", "")},
		{"read", `{"type":"read","request_id":"r1","room_id":"` + room + `","seq":3}`,
			map[string]any{"type": "reply", "request_id": "r1", "data": map[string]any{"success": true}}},
		{"read, in data", `{"type":"read","request_id":"r2","data":{"room_id":"` + room + `","seq":4}}`,
			map[string]any{"type": "reply", "request_id": "r2", "data": map[string]any{"success": true}}},
		{"read above", `{"type":"read","request_id":"r3","room_id":"` + room + `","seq":101}`,
			failed("r3", "VALIDATION_ERROR", "seq must be between 0 and the room's last_seq", "seq")},
		{"read without seq", `{"type":"read","request_id":"r4","data":{"room_id":"` + room + `"}}`,
			failed("r4", "VALIDATION_ERROR", "seq is required", "seq")},
		{"read without room", `{"type":"read","request_id":"r5","seq":1}`,
			failed("r5", "VALIDATION_ERROR", "room_id is required", "room_id")},
		{"read of a strange room", `{"type":"read","request_id":"r6","room_id":"` + strange + `","seq":1}`,
			failed("r6", "AUTHORIZATION_ERROR", "You are not a member of this room", "")},
		{"typing.start", `{"type":"typing.start","request_id":"t1","room_id":"` + room + `"}`,
			map[string]any{"type": "reply", "request_id": "t1", "data": map[string]any{"success": true}}},
		{"typing.stop, in data", `{"type":"typing.stop","request_id":"t2","data":{"room_id":"` + room + `"}}`,
			map[string]any{"type": "reply", "request_id": "t2", "data": map[string]any{"success": true}}},
		{"typing in a strange room", `{"type":"typing.start","room_id":"` + strange + `"}`,
			failed("", "AUTHORIZATION_ERROR", "You are not a member of this room", "")},
		{"typing nowhere", `{"type":"typing.stop","request_id":"t3"}`,
			failed("t3", "VALIDATION_ERROR", "room_id is required", "room_id")},
		{"auth without a token", `{"type":"auth","request_id":"a1"}`,
			failed("a1", "VALIDATION_ERROR", "token is required", "token")},
		{"auth with another user's token", `{"type":"auth","request_id":"a2","token":"bob's"}`,
			failed("a2", "AUTHENTICATION_ERROR", "The token is not this socket's user's", "token")},
		{"auth with another tenant's token", `{"type":"auth","request_id":"a3","token":"elsewhere"}`,
			failed("a3", "AUTHENTICATION_ERROR", "The token is not this socket's user's", "token")},
		{"auth with an expired token", `{"type":"auth","request_id":"a4","data":{"token":"expired"}}`,
			failed("a4", "AUTHENTICATION_ERROR", "The token has expired", "")},
		{"auth with nonsense", `{"type":"auth","request_id":"a5","token":"nonsense"}`,
			failed("a5", "AUTHENTICATION_ERROR", "Invalid or missing credentials", "")},
		{"auth with a ticket", `{"type":"auth","request_id":"a6","token":"wst_1"}`,
			map[string]any{"type": "reply", "request_id": "a6", "data": map[string]any{"expires_at": nil}}},
		{"auth with a ticket again", `{"type":"auth","request_id":"a7","token":"wst_1"}`,
			failed("a7", "AUTHENTICATION_ERROR", "Invalid or missing credentials", "")},
		{"subscribe", `{"type":"subscribe","request_id":"10","room_id":"` + room + `"}`,
			map[string]any{"type": "reply", "request_id": "10", "data": map[string]any{
				"room_id": room, "last_seq": 7.0, "last_rev": 9.0, "truncated": []any{}}}},
		{"subscribe from 0", `{"type":"subscribe","request_id":"11","room_id":"` + room + `","after_seq":0}`,
			map[string]any{"type": "reply", "request_id": "11", "data": map[string]any{
				"room_id": room, "last_seq": 7.0, "last_rev": 9.0,
				"truncated": []any{map[string]any{"room_id": room, "from_seq": 1.0, "to_seq": 3.0}}}}},
		{"subscribe to a strange room", `{"type":"subscribe","request_id":"12","room_id":"` + strange + `"}`,
			failed("12", "AUTHORIZATION_ERROR", "You are not a member of this room", "")},
		{"ping", `{"type":"ping"}`, map[string]any{"type": "pong"}},
		{"a notification's ack", `{"type":"notification.ack","request_id":"n1","notification_id":"` + knownNotice.String() + `"}`,
			map[string]any{"type": "reply", "request_id": "n1", "data": map[string]any{"success": true}}},
		{"a notification's ack, in data, unasked", `{"type":"notification.ack","data":{"notification_id":"` + knownNotice.String() + `"}}`, nil},
		{"ack of no notification", `{"type":"notification.ack","request_id":"n2","notification_id":"` + domain.NotificationID{9}.String() + `"}`,
			failed("n2", "NOT_FOUND", "Not found", "")},
		{"ack of an impossible notification", `{"type":"notification.ack","request_id":"n3","notification_id":"` + room + `"}`,
			failed("n3", "NOT_FOUND", "Not found", "")},
		{"a notification's ack of nothing", `{"type":"notification.ack","request_id":"n4"}`,
			failed("n4", "VALIDATION_ERROR", "notification_id is required, or notification_ids", "notification_id")},
		{"acks of several notifications", `{"type":"notification.ack","request_id":"n6","notification_ids":["` + knownNotice.String() + `"]}`,
			map[string]any{"type": "reply", "request_id": "n6", "data": map[string]any{"success": true}}},
		{"an ack and acks of notifications", `{"type":"notification.ack","request_id":"n7","notification_id":"x","notification_ids":["x"]}`,
			failed("n7", "VALIDATION_ERROR", "send notification_id or notification_ids, not both", "notification_ids")},
		{"acks of too many notifications", `{"type":"notification.ack","request_id":"n8","notification_ids":[` + strings.Repeat(`"x",`, 100) + `"x"]}`,
			failed("n8", "VALIDATION_ERROR", "notification_ids has at most 100 ids", "notification_ids")},
		{"a notification's id of the wrong type", `{"type":"notification.ack","request_id":"n5","notification_id":5}`,
			failed("n5", "VALIDATION_ERROR", "notification_id must be a string", "notification_id")},
		{"ping with an id", `{"type":"ping","request_id":"13"}`, map[string]any{"type": "pong", "request_id": "13"}},
		{"late resume", `{"type":"resume","request_id":"14","epoch":"e","rooms":[]}`,
			failed("14", "VALIDATION_ERROR", "resume is the first frame, after ?resume=1, and no other", "type")},
		{"unknown type", `{"type":"dance","request_id":"15"}`,
			failed("15", "VALIDATION_ERROR", "unknown type; known are send_message, ack, read, notification.ack, typing.start, typing.stop, subscribe, resume, auth, ping", "type")},
		{"no type", `{"request_id":"16"}`, failed("16", "VALIDATION_ERROR", "type is required", "type")},
		{"a field of the wrong type", `{"type":"ack","request_id":"17","room_id":5,"seq":1}`,
			failed("17", "VALIDATION_ERROR", "room_id must be a string", "room_id")},
		{"a number that is none", `{"type":"ack","request_id":"18","data":{"room_id":"x","seq":"1"}}`,
			failed("18", "VALIDATION_ERROR", "seq must be an integer from 0 to 9007199254740991", "data.seq")},
		{"a long request_id", `{"type":"ping","request_id":"` + strings.Repeat("x", 65) + `"}`,
			failed("", "VALIDATION_ERROR", "a request_id has at most 64 bytes", "request_id")},
		{"no object", `[]`, failed("", "VALIDATION_ERROR", "send one JSON object, {…}", "")},
		{"nothing", ``, failed("", "VALIDATION_ERROR", "the body is empty: send one JSON object", "")},
		{"the socket lives on after all this", `{"type":"ping","request_id":"19"}`, map[string]any{"type": "pong", "request_id": "19"}},
	} {
		c.say(test.frame)
		if test.want == nil {
			continue // the next answer is the next frame's
		}
		if diff := cmp.Diff(test.want, c.next()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	for _, want := range []string{"typing start", "typing stop", "renew "} {
		f.rooms.peer(0).await(t, want)
	}
	notice := "alice's phone/" + knownNotice.String()
	if diff := cmp.Diff([]string{"phone/1/2", "read by phone/3/0", "read by phone/4/0", notice, notice, notice}, f.acks.acks); diff != "" {
		t.Errorf("acks (-want +got):\n%s", diff)
	}
}

func failed(id, code, message, field string) map[string]any {
	e := map[string]any{"type": "error", "code": code, "message": message}
	if id != "" {
		e["request_id"] = id
	}
	if field != "" {
		e["field"] = field
	}
	return e
}

func TestRepliesAreSentOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	c.say(`{"type":"send_message","room_id":"` + room + `","content":"hi"}`)
	c.say(`{"type":"ack","room_id":"` + room + `","seq":1}`)
	c.say(`{"type":"ping","request_id":"p"}`)
	if got := c.next(); got["type"] != "pong" {
		t.Fatalf("got %v, want only the pong", got)
	}
}

func TestMessagesOfASocketKeepTheOrderOfItsFrames(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	for n := range 200 {
		c.say(fmt.Sprintf(`{"type":"send_message","request_id":"%d","room_id":"%s","content":"m%d"}`, n, room, n))
	}
	for n := range 200 {
		got := c.next()
		if got["request_id"] != fmt.Sprint(n) || got["data"].(map[string]any)["seq"] != float64(n+1) {
			t.Fatalf("reply %d: got %v", n, got)
		}
	}
}

func TestBreachesEndTheSocketWithTheirCode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.listen(t)
	masked := func(first byte, payload string) []byte {
		head := appendHeader(nil, first, len(payload))
		head[1] |= 0x80
		return append(append(head, 0, 0, 0, 0), payload...)
	}
	for name, test := range map[string]struct {
		bytes []byte
		code  int
	}{
		"binary":               {masked(0x82, "{}"), closeNotText},
		"invalid UTF-8":        {masked(0x81, `{"type":"`+"\xff"+`"}`), closeNotUTF8},
		"cut UTF-8":            {masked(0x81, "é"[:1]), closeNotUTF8},
		"64 KiB + 1":           {masked(0x81, strings.Repeat("x", maxMessage+1)), closeTooBig},
		"64 KiB + 1, in parts": {append(masked(0x01, strings.Repeat("x", maxMessage)), masked(0x80, "x")...), closeTooBig},
		"a length of 2^62":     {[]byte{0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, closeTooBig},
		"a length of 2^63":     {[]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, closeProtocol},
		"not masked":           {textFrame(func(dst []byte) []byte { return append(dst, "{}"...) }), closeProtocol},
		"RSV1, compressed":     {masked(0xc1, "{}"), closeProtocol},
		"opcode 3":             {masked(0x83, "{}"), closeProtocol},
		"long ping":            {masked(0x89, strings.Repeat("x", 126)), closeProtocol},
		"fragmented ping":      {masked(0x09, "x"), closeProtocol},
		"stray continuation":   {masked(0x80, "x"), closeProtocol},
		"message in a message": {append(masked(0x01, "x"), masked(0x81, "x")...), closeProtocol},
		"close with one byte":  {masked(0x88, "x"), closeNoStatus},
		"close 1000":           {masked(0x88, "\x03\xe8bye"), 1000},
		"close 999":            {masked(0x88, "\x03\xe7"), closeProtocol},
		"close of our own":     {masked(0x88, "\x11\x38"), 4408},
		"a panic":              {masked(0x81, `{"type":"send_message","room_id":"`+room+`","content":"panic"}`), closeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, "").greeted()
			if _, err := c.NetConn().Write(test.bytes); err != nil {
				t.Fatal(err)
			}
			c.wantClose(test.code)
		})
	}
}

func TestAMessageOf64KiBIsRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	frame := `{"type":"ping","request_id":"big","padding":"`
	c.say(frame + strings.Repeat("x", maxMessage-len(frame)-2) + `"}`)
	if got := c.next(); got["request_id"] != "big" {
		t.Fatalf("got %v, want the pong", got)
	}
}

func TestPongsCarryThePingsPayload(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	got := make(chan string, 1)
	c.SetPongHandler(func(payload string) error {
		got <- payload
		return nil
	})
	if err := c.WriteControl(websocket.PingMessage, []byte("payload"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	c.say(`{"type":"ping"}`)
	c.next()
	if p := <-got; p != "payload" {
		t.Fatalf("got %q, want the payload", p)
	}
}

func TestFloodsAreClosed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.listen(t)
	ping := []byte{finPing, 0x80, 0, 0, 0, 0}
	for name, frame := range map[string][]byte{
		"pings":       ping,
		"pongs":       {finPong, 0x80, 0, 0, 0, 0},
		"JSON pings":  maskedPing,
		"empty texts": {finText, 0x80, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := f.dial(t, "").greeted()
			if _, err := c.NetConn().Write(bytes.Repeat(frame, 200)); err != nil {
				t.Fatal(err)
			}
			c.wantClose(closeFlooding)
		})
	}
}

func TestSendsAndTypingAreNotCountedAsFlood(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	for range 250 {
		c.say(`{"type":"send_message","room_id":"` + room + `","content":"x"}`)
		c.say(`{"type":"typing.start","room_id":"` + room + `"}`)
	}
	c.say(`{"type":"ping"}`)
	if got := c.next(); got["type"] != "pong" {
		t.Fatalf("got %v, want a pong", got)
	}
}

func TestFramesOverTheTenantsRateAreRefusedAndTheSocketLives(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rates.frames = 2
	c := f.dial(t, "").greeted()
	c.say(`{"type":"send_message","room_id":"` + room + `","content":"x"}`)
	c.say(`{"type":"typing.start","room_id":"` + room + `"}`)
	limited := func(id string) map[string]any {
		want := failed(id, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded: try again shortly", "")
		want["retry_after_ms"] = 252.0
		return want
	}
	for _, test := range []struct {
		frame string
		want  map[string]any
	}{
		{`{"type":"send_message","request_id":"1","room_id":"` + room + `","content":"y"}`, limited("1")},
		{`{"type":"send_message","data":{"room_id":"` + room + `","content":"z"}}`, limited("")},
		{`{"type":"typing.start","request_id":"2","room_id":"` + room + `"}`, limited("2")},
		{`{"type":"typing.stop","request_id":"3","room_id":"` + room + `"}`, limited("3")},
		{`{"type":"ack","request_id":"4","room_id":"` + room + `","seq":1}`,
			map[string]any{"type": "reply", "request_id": "4", "data": map[string]any{"success": true}}},
		{`{"type":"read","request_id":"5","room_id":"` + room + `","seq":1}`,
			map[string]any{"type": "reply", "request_id": "5", "data": map[string]any{"success": true}}},
	} {
		c.say(test.frame)
		if diff := cmp.Diff(test.want, c.next()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.frame, diff)
		}
	}
	if diff := cmp.Diff([]string{"x"}, f.sends.contents); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestWhoGoesOnOverTheTenantsRateIsClosed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rates.frames = 1
	c := f.dial(t, "").greeted()
	frame := []byte(`{"type":"send_message","room_id":"` + room + `","content":"x"}`)
	flood := appendHeader(nil, finText, len(frame))
	flood[1] |= 0x80
	flood = append(append(flood, 0, 0, 0, 0), frame...)
	if _, err := c.NetConn().Write(bytes.Repeat(flood, 200)); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for {
		_, raw, err := c.ReadMessage()
		if websocket.IsCloseError(err, closeFlooding) {
			break
		}
		if err != nil || !bytes.Contains(raw, []byte("RATE_LIMIT_EXCEEDED")) {
			t.Fatalf("got %s %v, want refusals and close 4429", raw, err)
		}
		refused++
	}
	if refused < framesPerSecond || refused > 2*framesPerSecond {
		t.Errorf("%d frames were refused before the close, want about %d", refused, framesPerSecond)
	}
}
