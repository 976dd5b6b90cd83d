package ws

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// payload is what a client reads of a frame.
func payload(t *testing.T, frame []byte) string {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() { _, _ = theirs.Write(frame) }()
	_, got, err := websocketReader(ours).ReadMessage()
	if err != nil || !json.Valid(got) {
		t.Fatalf("frame % x: %v", frame, err)
	}
	return string(got)
}

func TestEncoderMakesTheFramesOfTheContract(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 6, 7, 8, 9, 10_000_000, time.UTC)
	const id = "00000000-0000-0000-0000-000000000000"
	room := domain.RoomID{}
	name := "Gr\"üße"
	message := &domain.Message{
		Sender: "bob", SenderType: domain.SenderUser, Seq: 3, FirstRev: 4, Rev: 9, Content: "a\n\u2028\x01é", Meta: []byte(`{"k":1}`), CreatedAt: at,
	}
	fields := func(rev int) string {
		return `"message_id":"msg_` + id + `","room_id":"room_` + id + `","sender_id":"bob","sender_type":"user","seq":3,"rev":` +
			fmt.Sprint(rev) + `,"content":"a\n` + "\u2028" + `\u0001é","meta":{"k":1},"created_at":"2024-05-06T07:08:09.010Z"}`
	}
	member := &domain.Member{User: "eve", Role: domain.RoleAdmin, JoinedAt: at}
	head := func(kind string) string { return `{"type":"` + kind + `","room_id":"room_` + id + `","rev":5` }
	for _, test := range []struct {
		event domain.Event
		want  string
	}{
		{domain.Event{Kind: domain.EventMessage, Rev: 4, Message: message}, `{"type":"message",` + fields(4)},
		{domain.Event{Kind: domain.EventMessageEdited, Rev: 9, Message: message}, `{"type":"message.edited",` + fields(9)},
		{domain.Event{Kind: domain.EventRoomCreated, Rev: 5, State: &domain.Room{Type: domain.RoomGroup, Name: &name, FirstSeq: 1, LastRev: 5, CreatedAt: at}},
			head("room.created") + `,"room":{"room_id":"room_` + id + `","type":"group","name":"Gr\"üße","metadata":null,` +
				`"last_seq":0,"last_rev":5,"first_seq":1,"created_at":"2024-05-06T07:08:09.010Z"}}`},
		{domain.Event{Kind: domain.EventMemberAdded, Rev: 5, Member: member},
			head("member.added") + `,"user_id":"eve","role":"admin","joined_at":"2024-05-06T07:08:09.010Z"}`},
		{domain.Event{Kind: domain.EventMemberRemoved, Rev: 5, Member: member}, head("member.removed") + `,"user_id":"eve"}`},
		{domain.Event{Kind: domain.EventMemberUpdated, Rev: 5, Member: member}, head("member.updated") + `,"user_id":"eve","role":"admin"}`},
		{domain.Event{Kind: domain.EventRoomRemoved, Rev: 5}, head("room.removed") + `}`},
	} {
		test.event.Room = room
		if diff := cmp.Diff(test.want, payload(t, Encoder{}.Event(test.event).Bytes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.event.Kind, diff)
		}
	}
}

func TestEncoderMakesTheFramesOfRedelivery(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 6, 7, 8, 9, 10_000_000, time.UTC)
	id := knownRoom.String()
	message := domain.Message{
		ID: domain.MessageID{7}, Room: knownRoom, Sender: "bob", SenderType: domain.SenderUser, Seq: 3, FirstRev: 4, Rev: 9, Content: "edited",
		CreatedAt: at, EditedAt: at,
	}
	fields := func(content string) string {
		return `{"type":"message","message_id":"` + message.ID.String() + `","room_id":"` + id + `","sender_id":"bob","sender_type":"user","seq":3,"rev":4,` +
			`"content":"` + content + `","meta":null,"created_at":"2024-05-06T07:08:09.010Z","edited_at":"2024-05-06T07:08:09.010Z"`
	}
	notice := domain.Notification{ID: knownNotice, Topic: `o"rders`, Payload: []byte(`{"n": 1}`), CreatedAt: at}
	told := `{"type":"notification","notification_id":"` + knownNotice.String() + `","topic":"o\"rders","payload":{"n": 1},"created_at":"2024-05-06T07:08:09.010Z"`
	for _, test := range []struct {
		name  string
		got   ports.Frame
		want  string
		knows ports.Frame
	}{
		{"a message again", Encoder{}.Again(message), fields("edited") + `,"redelivered":true}`,
			ports.Frame{Room: knownRoom, Seq: 3, Kind: domain.EventMessage, User: "bob"}},
		{"a deleted message again", Encoder{}.Again(message.Tombstone(at)), fields("") + `,"deleted_at":"2024-05-06T07:08:09.010Z","redelivered":true}`,
			ports.Frame{Room: knownRoom, Seq: 3, Kind: domain.EventMessage, User: "bob"}},
		{"a notification", Encoder{}.Notice(notice, false), told + `}`, ports.Frame{Kind: domain.EventNotification, Notice: knownNotice}},
		{"a notification again", Encoder{}.Notice(notice, true), told + `,"redelivered":true}`,
			ports.Frame{Kind: domain.EventNotification, Notice: knownNotice}},
	} {
		if diff := cmp.Diff(test.want, payload(t, test.got.Bytes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		test.got.Bytes = nil
		if diff := cmp.Diff(test.knows, test.got); diff != "" {
			t.Errorf("%s: what the fan-out must know (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestSyncCompleteAsksForConfirmationOnlyWhenThereIsSomethingToConfirm(t *testing.T) {
	t.Parallel()
	plain := Encoder{}.SyncComplete(ports.SyncReport{}).Bytes
	asking := Encoder{}.SyncComplete(ports.SyncReport{Confirm: true}).Bytes
	if diff := cmp.Diff(append(slices.Clone(plain), "\x89\x04sync"...), asking); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEncoderNamesWhatTheFanOutMustKnow(t *testing.T) {
	t.Parallel()
	message := &domain.Message{Sender: "bob", Seq: 3}
	for _, test := range []struct {
		event domain.Event
		want  ports.Frame
	}{
		{domain.Event{Room: knownRoom, Rev: 4, Kind: domain.EventMessage, Message: message},
			ports.Frame{Room: knownRoom, Rev: 4, Seq: 3, Kind: domain.EventMessage, User: "bob"}},
		{domain.Event{Room: knownRoom, Rev: 4, Kind: domain.EventMessageEdited, Message: message},
			ports.Frame{Room: knownRoom, Rev: 4, Kind: domain.EventMessageEdited, User: "bob"}},
		{domain.Event{Room: knownRoom, Rev: 4, Kind: domain.EventMemberAdded, Member: &domain.Member{User: "eve"}},
			ports.Frame{Room: knownRoom, Rev: 4, Kind: domain.EventMemberAdded, User: "eve"}},
	} {
		got := Encoder{}.Event(test.event)
		got.Bytes = nil
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.event.Kind, diff)
		}
	}
}

func TestEncoderMakesTheFramesOfHints(t *testing.T) {
	t.Parallel()
	id := knownRoom.String()
	at := time.Date(2024, 5, 6, 7, 8, 9, 10_000_000, time.UTC)
	for want, hint := range map[string]domain.Hint{
		`{"type":"ack.received","room_id":"` + id + `","user_id":"b\"ob","seq":7}`:                             {Kind: domain.HintAcked, Room: knownRoom, User: `b"ob`, Seq: 7},
		`{"type":"read.received","room_id":"` + id + `","user_id":"bob","seq":0}`:                              {Kind: domain.HintRead, Room: knownRoom, User: "bob"},
		`{"type":"typing","room_id":"` + id + `","user_id":"bob","action":"start"}`:                            {Kind: domain.HintTyping, Room: knownRoom, User: "bob", State: domain.TypingStarted},
		`{"type":"typing","room_id":"` + id + `","user_id":"bob","action":"stop"}`:                             {Kind: domain.HintTyping, Room: knownRoom, User: "bob", State: domain.TypingStopped},
		`{"type":"presence.update","user_id":"bob","status":"offline","timestamp":"2024-05-06T07:08:09.010Z"}`: {Kind: domain.HintPresence, User: "bob", State: domain.PresenceOffline, At: at},
	} {
		got := Encoder{}.Hint(hint)
		if diff := cmp.Diff(want, payload(t, got.Bytes)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got.Bytes = nil
		if diff := cmp.Diff(ports.Frame{Room: hint.Room, Kind: hint.Kind, User: hint.User}, got); diff != "" {
			t.Errorf("what the fan-out must know (-want +got):\n%s", diff)
		}
	}
}

func TestEncoderMakesTheFramesOfAReplay(t *testing.T) {
	t.Parallel()
	id := knownRoom.String()
	for want, frame := range map[string]ports.Frame{
		`{"type":"sync.complete","rooms":2,"messages":7,"cursor":"c","truncated":[]}`: Encoder{}.SyncComplete(
			ports.SyncReport{Rooms: 2, Messages: 7, Cursor: "c"}),
		`{"type":"sync.complete","rooms":0,"messages":0,"cursor":"","truncated":[{"room_id":"` + id + `","from_seq":1,"to_seq":9}]}`: Encoder{}.SyncComplete(
			ports.SyncReport{Truncated: []domain.Gap{{Room: knownRoom, FromSeq: 1, ToSeq: 9}}}),
		`{"type":"resync_required","epoch":"e","rooms":["` + id + `","` + id + `"]}`: Encoder{}.ResyncRequired("e", []domain.RoomID{knownRoom, knownRoom}),
		`{"type":"resync_required","epoch":"e","rooms":[]}`:                          Encoder{}.ResyncRequired("e", nil),
	} {
		if got := payload(t, frame.Bytes); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func BenchmarkEncodeMessage(b *testing.B) {
	e := domain.Event{Kind: domain.EventMessage, Rev: 4, Message: &domain.Message{
		Sender: "bob", SenderType: domain.SenderUser, Seq: 3, Content: strings.Repeat("x", 200), CreatedAt: time.Now(),
	}}
	b.ReportAllocs()
	for b.Loop() {
		Encoder{}.Event(e)
	}
}

func BenchmarkDecodeSend(b *testing.B) {
	raw := []byte(`{"type":"send_message","request_id":"12345","room_id":"` + knownRoom.String() + `","content":"` + strings.Repeat("x", 200) +
		`","client_id":"0190b1f0-0000-7000-8000-000000000000"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
