package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

var (
	roomUUID    = domain.UUID{0x01, 0x90, 0xd5, 0xb2, 0x7c, 0x1e, 0x7a, 0x3b, 0x9f, 0, 1, 0x23, 0x45, 0x67, 0x89, 0xab}
	messageUUID = domain.UUID{0x01, 0x90, 0xd5, 0xb2, 0x7c, 0x1e, 0x7a, 0x3b, 0x9f, 0, 1, 0x23, 0x45, 0x67, 0x89, 0xac}
	noon        = time.Date(2026, 11, 21, 12, 5, 9, 7_999_999, time.UTC)
)

func fullMessage() *domain.Message {
	return &domain.Message{
		ID: domain.MessageID(messageUUID), Room: domain.RoomID(roomUUID), Sender: "al\"ice", SenderType: domain.SenderUser,
		Seq: 42, FirstRev: 43, Rev: 45, Content: "hé\n\u2028", Meta: []byte(`{"a":1}`), ClientID: "c-1",
		ReplyTo: domain.MessageID(roomUUID), CreatedAt: noon, EditedAt: noon.Add(time.Second),
	}
}

func TestAppendMessageWritesTheContractsShape(t *testing.T) {
	t.Parallel()
	const id, room = `msg_0190d5b2-7c1e-7a3b-9f00-0123456789ac`, `room_0190d5b2-7c1e-7a3b-9f00-0123456789ab`
	bare := &domain.Message{ID: domain.MessageID(messageUUID), Room: domain.RoomID(roomUUID), Sender: "bob", SenderType: domain.SenderUser, Seq: 1, Content: "x", CreatedAt: noon}
	deleted := fullMessage()
	deleted.DeletedAt = noon.Add(time.Hour)
	for name, c := range map[string]struct {
		message *domain.Message
		rev     int64
		want    string
	}{
		"bare": {bare, 2, `{"message_id":"` + id + `","room_id":"` + room + `","sender_id":"bob","sender_type":"user","seq":1,"rev":2,` +
			`"content":"x","meta":null,"created_at":"2026-11-21T12:05:09.007Z"}`},
		"full": {fullMessage(), 45, `{"message_id":"` + id + `","room_id":"` + room + `","sender_id":"al\"ice","sender_type":"user","seq":42,"rev":45,` +
			`"content":"hé\n` + "\u2028" + `","meta":{"a":1},"client_id":"c-1","reply_to":"msg_0190d5b2-7c1e-7a3b-9f00-0123456789ab",` +
			`"created_at":"2026-11-21T12:05:09.007Z","edited_at":"2026-11-21T12:05:10.007Z"}`},
		"tombstone": {deleted, 46, `{"message_id":"` + id + `","room_id":"` + room + `","sender_id":"al\"ice","sender_type":"user","seq":42,"rev":46,` +
			`"content":"","meta":null,"client_id":"c-1","reply_to":"msg_0190d5b2-7c1e-7a3b-9f00-0123456789ab",` +
			`"created_at":"2026-11-21T12:05:09.007Z","edited_at":"2026-11-21T12:05:10.007Z","deleted_at":"2026-11-21T13:05:09.007Z"}`},
	} {
		if diff := cmp.Diff(c.want, string(api.AppendMessage(nil, c.message, c.rev))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAppendRoomWritesTheContractsShape(t *testing.T) {
	t.Parallel()
	name := "Team <1>"
	group := domain.Room{ID: domain.RoomID(roomUUID), Type: domain.RoomGroup, Name: &name, Metadata: []byte(`{}`), FirstSeq: 1, LastSeq: 7, LastRev: 9, CreatedAt: noon}
	dm := domain.Room{ID: domain.RoomID(roomUUID), Type: domain.RoomDM, UniqueKey: "dm:a:b", FirstSeq: 1, LastRev: 1, CreatedAt: noon}
	const id = `"room_id":"room_0190d5b2-7c1e-7a3b-9f00-0123456789ab"`
	const dmFields = id + `,"type":"dm","unique_key":"dm:a:b","name":null,"metadata":null,"last_seq":0,"last_rev":1,"first_seq":1,"created_at":"2026-11-21T12:05:09.007Z"`
	message := string(api.AppendMessage(nil, fullMessage(), 45))
	for want, got := range map[string][]byte{
		`{` + id + `,"type":"group","name":"Team <1>","metadata":{},"last_seq":7,"last_rev":9,"first_seq":1,"created_at":"2026-11-21T12:05:09.007Z"}`: api.AppendRoom(nil, &group),
		`{` + dmFields + `}`: api.AppendRoom(nil, &dm),
		`{` + dmFields + `,"last_message":null,"unread_count":0,"last_ack":0}`:                 api.AppendRoomSummary(nil, &domain.RoomSummary{Room: dm}),
		`{` + dmFields + `,"last_message":` + message + `,"unread_count":10000,"last_ack":41}`: api.AppendRoomSummary(nil, &domain.RoomSummary{Room: dm, LastMessage: fullMessage(), LastAck: 41, Unread: 10000}),
		`{"user_id":"a/b","role":"admin","joined_at":"2026-11-21T12:05:09.007Z"}`:              api.AppendMember(nil, &domain.Member{User: "a/b", Role: domain.RoleAdmin, JoinedAt: noon}),
	} {
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAppendUserAndStatusWriteNullForWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	name, avatar := "Bob \"b\"", "https://example.com/b.png"
	for want, got := range map[string][]byte{
		`{"user_id":"b/ob","name":null,"avatar_url":null,"metadata":null,"last_seen_at":null}`: api.AppendUser(nil, &domain.User{ID: "b/ob"}),
		`{"user_id":"bob","name":"Bob \"b\"","avatar_url":"https://example.com/b.png","metadata":{"a":1},"last_seen_at":"2026-11-21T12:05:09.007Z"}`: api.AppendUser(nil,
			&domain.User{ID: "bob", Name: &name, AvatarURL: &avatar, Metadata: []byte(`{"a":1}`), LastSeen: noon}),
		`{"user_id":"bob","status":"offline","last_seen_at":null}`:                      api.AppendStatus(nil, &domain.Status{User: "bob"}),
		`{"user_id":"bob","status":"online","last_seen_at":"2026-11-21T12:05:09.007Z"}`: api.AppendStatus(nil, &domain.Status{User: "bob", Online: true, LastSeen: noon}),
	} {
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAppendErrorWritesTheContractsShape(t *testing.T) {
	t.Parallel()
	room := domain.Room{ID: domain.RoomID(roomUUID), Type: domain.RoomDM, FirstSeq: 1, CreatedAt: noon}
	conflict := *domain.ErrDMExists
	conflict.Room = &room
	for want, e := range map[string]*domain.Error{
		`{"success":false,"data":null,"error":{"code":"NOT_FOUND","message":"Not found","request_id":"req_1"}}`:                                                                             domain.ErrRoomNotFound,
		`{"success":false,"data":null,"error":{"code":"VALIDATION_ERROR","message":"say \"x\"","field":"a","request_id":"req_1"}}`:                                                          domain.Invalid("a", `say "x"`),
		`{"success":false,"data":null,"error":{"code":"CONFLICT","message":"` + conflict.Message + `","details":{"room":` + string(api.AppendRoom(nil, &room)) + `},"request_id":"req_1"}}`: &conflict,
	} {
		if diff := cmp.Diff(want, string(api.AppendError(nil, e, "req_1"))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestAppendTimeIsRFC3339WithMilliseconds(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("x", -7*3600)
	for _, at := range []time.Time{
		noon, noon.In(zone), time.UnixMilli(0), time.UnixMilli(1), time.UnixMilli(253402300799999), time.UnixMilli(-1),
		time.Date(2000, 2, 29, 23, 59, 59, 999_999_999, zone), {},
	} {
		want := `"` + at.UTC().Format("2006-01-02T15:04:05.000Z") + `"`
		if got := string(api.AppendTime(nil, at)); got != want {
			t.Errorf("AppendTime(%v) = %s, want %s", at, got, want)
		}
	}
}

func TestAppendStringReplacesInvalidUTF8(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a\xffb": "\"a\ufffdb\"", "\xc3": "\"\ufffd\"", "\ufffd": "\"\ufffd\"", "\xed\xa0\x80": "\"\ufffd\ufffd\ufffd\""} {
		if got := string(api.AppendString(nil, in)); got != want {
			t.Errorf("AppendString(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzAppendStringRoundTripsThroughEncodingJSON(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\/\b\f\n\r\t", "\x00\x1f\x7f", "é€😀\u2028\u2029\ufffd", "\xff", "a\xc3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := api.AppendString(nil, s)
		if string(encoded) != string(api.AppendString(nil, []byte(s))) {
			t.Fatalf("a string and its bytes differ: %q", s)
		}
		if !utf8.Valid(encoded) {
			t.Fatalf("%q is not UTF-8", encoded)
		}
		var got string
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		if want := string([]rune(s)); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func FuzzAppendMessageReadsBackThroughEncodingJSON(f *testing.F) {
	f.Add("hello", "alice", "c1", int64(1), int64(1_700_000_000_000), true)
	f.Add("\"\\\n\x00😀", "b/%2F ö", "", int64(1<<53-1), int64(0), false)
	f.Fuzz(func(t *testing.T, content, sender, clientID string, n, millis int64, reply bool) {
		const year10000 = 253402300800000
		if !utf8.ValidString(content) || !utf8.ValidString(sender) || !utf8.ValidString(clientID) || millis < 0 || millis >= year10000 {
			return
		}
		m := domain.Message{Content: content, Sender: domain.UserID(sender), ClientID: clientID, Seq: n, CreatedAt: time.UnixMilli(millis).UTC()}
		if reply {
			m.ReplyTo = domain.MessageID(messageUUID)
		}
		var got struct {
			Content   string    `json:"content"`
			Sender    string    `json:"sender_id"`
			ClientID  string    `json:"client_id"`
			ReplyTo   string    `json:"reply_to"`
			Seq       int64     `json:"seq"`
			Rev       int64     `json:"rev"`
			CreatedAt time.Time `json:"created_at"`
		}
		encoded := api.AppendMessage(nil, &m, n)
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		if got.Content != content || got.Sender != sender || got.ClientID != clientID || got.Seq != n || got.Rev != n ||
			!got.CreatedAt.Equal(m.CreatedAt) || (got.ReplyTo != "") != reply {
			t.Fatalf("%+v became %s", m, encoded)
		}
	})
}

func TestEncodersDoNotAllocate(t *testing.T) {
	m, buf := fullMessage(), make([]byte, 0, 4096)
	m.Content = strings.Repeat("hé\n", 100)
	room := domain.RoomSummary{Room: domain.Room{ID: domain.RoomID(roomUUID), Type: domain.RoomGroup, CreatedAt: noon}, LastMessage: m}
	for name, encode := range map[string]func(){
		"message": func() { api.AppendMessage(buf, m, 1) },
		"summary": func() { api.AppendRoomSummary(buf, &room) },
		"error":   func() { api.AppendError(buf, domain.ErrNotMember, "req_1") },
		"bytes":   func() { api.AppendString(buf, []byte("é\n\xff")) },
	} {
		if n := testing.AllocsPerRun(100, encode); n > 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m, buf := fullMessage(), make([]byte, 0, 4096)
	m.Content = strings.Repeat("hello world ", 16)
	b.ReportAllocs()
	for b.Loop() {
		buf = api.AppendMessage(buf[:0], m, 45)
	}
}

func BenchmarkAppendString(b *testing.B) {
	for name, s := range map[string]string{"ascii": strings.Repeat("hello world ", 16), "utf8": strings.Repeat("héllo wörld 😀", 16)} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			for b.Loop() {
				buf = api.AppendString(buf[:0], s)
			}
		})
	}
}
