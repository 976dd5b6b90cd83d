package ws

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var knownBot = domain.BotID{11}

// soFar is a part with all the text that has come.
func soFar(p domain.StreamPart, text string) domain.StreamPart {
	p.Text = text
	return p
}

// answered is a bot's message with a meta.
func answered(meta string) domain.Message {
	return domain.Message{
		ID: domain.MessageID{7}, Room: knownRoom, Sender: knownBot.User(), SenderType: domain.SenderBot, Seq: 3, FirstRev: 4, Rev: 4,
		Content: "a \"text\"\n", Meta: []byte(meta), ReplyTo: domain.MessageID{5}, CreatedAt: time.Date(2024, 5, 6, 7, 8, 9, 10_000_000, time.UTC),
	}
}

func TestEncoderMakesTheFramesOfStreams(t *testing.T) {
	t.Parallel()
	const meta, errorMeta = `{"model":"m","finish_reason":"stopped"}`, `{"model":"m","finish_reason":"error","error":"TIMEOUT"}`
	part := domain.StreamPart{
		Tenant: "t", Room: knownRoom, Message: domain.MessageID{7}, Bot: knownBot.User(), ReplyTo: domain.MessageID{5}, Attempt: 2,
	}
	head := func(kind string) string {
		return `{"type":"message.stream.` + kind + `","room_id":"` + knownRoom.String() + `","message_id":"` + part.Message.String() + `"`
	}
	began := `,"sender_id":"` + knownBot.String() + `","reply_to":"` + part.ReplyTo.String() + `","attempt":2`
	failed := part
	failed.Failed, failed.Text = domain.StreamHandedOff, "a\u2028"
	passing := ports.Frame{Room: knownRoom, User: knownBot.User()}
	step := ports.Frame{Room: knownRoom, Rev: 4, Seq: 3, Kind: domain.EventMessage, User: knownBot.User(), Stream: part.Message}
	edited := answered(meta)
	edited.Rev = 9
	for _, test := range []struct {
		name  string
		got   ports.Frame
		want  string
		knows ports.Frame
	}{
		{"a start", Encoder{}.StreamStart(part), head("start") + began + `}`, passing},
		{"a start midway", Encoder{}.StreamStart(soFar(part, "a \"é")), head("start") + began + `,"content":"a \"é"}`, passing},
		{"a delta", Encoder{}.StreamDelta(soFar(part, "all of it"), 5, "of\n"), head("delta") + `,"offset":5,"delta":"of\n"}`, passing},
		{"an end", Encoder{}.StreamEnd(edited), `{"type":"message.stream.end","message_id":"` + part.Message.String() + `","room_id":"` + knownRoom.String() +
			`","sender_id":"` + knownBot.String() + `","sender_type":"bot","seq":3,"rev":4,"content":"a \"text\"\n","meta":` + meta + `,"reply_to":"` +
			part.ReplyTo.String() + `","created_at":"2024-05-06T07:08:09.010Z"}`, step},
		{"an error with a message", Encoder{}.StreamEnd(answered(errorMeta)),
			head("error") + `,"code":"TIMEOUT","content":"a \"text\"\n","seq":3,"rev":4}`, step},
		{"an error without a code", Encoder{}.StreamEnd(answered(`{"finish_reason":"error"}`)),
			head("error") + `,"code":"INTERRUPTED","content":"a \"text\"\n","seq":3,"rev":4}`, step},
		{"an error without a message", Encoder{}.StreamError(failed), head("error") + `,"code":"HANDED_OFF","content":"a` + "\u2028" + `"}`, passing},
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

// TestAnAnswerWithoutAFinishReasonOfErrorIsAnEnd: whatever else its meta holds.
func TestAnAnswerWithoutAFinishReasonOfErrorIsAnEnd(t *testing.T) {
	t.Parallel()
	for _, meta := range []string{"", `{}`, `{"error":"TIMEOUT"}`, `{"finish_reason":"length","error":"TIMEOUT"}`, `{"finish_reason":5}`, `nonsense`} {
		got := Encoder{}.StreamEnd(answered(meta))
		if !strings.Contains(string(got.Bytes), `"type":"message.stream.end"`) {
			t.Errorf("%s: got %s", meta, got.Bytes)
		}
	}
}

func TestAHandoffSaysWhoAnswersNow(t *testing.T) {
	t.Parallel()
	const id = "00000000-0000-0000-0000-000000000000"
	at := time.Date(2024, 5, 6, 7, 8, 9, 10_000_000, time.UTC)
	for want, h := range map[string][2]string{
		`"mode":"human","assignee":"c\"arol"`: {"human", `c"arol`}, `"mode":"human"`: {"human"}, `"mode":"bot"`: {"bot"}, `"mode":"bot",`: {},
	} {
		want = strings.TrimSuffix(want, ",")
		shown := ""
		if h[0] == "human" {
			shown = `"handoff":{` + want + `},`
		}
		room := &domain.Room{Type: domain.RoomGroup, LastRev: 5, CreatedAt: at, Handoff: domain.Handoff{Mode: domain.HandoffMode(h[0]), Assignee: domain.UserID(h[1])}}
		got := Encoder{}.Event(domain.Event{Kind: domain.EventHandoff, Rev: 5, State: room})
		want = `{"type":"room.handoff","room_id":"room_` + id + `","rev":5,` + want + `,"room":{"room_id":"room_` + id + `","type":"group","name":null,` +
			`"metadata":null,"last_seq":0,"last_rev":5,"first_seq":0,` + shown + `"created_at":"2024-05-06T07:08:09.010Z"}}`
		if diff := cmp.Diff(want, payload(t, got.Bytes)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
