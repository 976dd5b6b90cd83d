package chats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/frames"
)

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Unix(1_767_323_045, 0).UTC() }

// newSession is one without a connection: what waits in it is looked at.
func newSession() *session {
	h := New(Deps{Clock: wallClock{}, Logger: slog.New(slog.DiscardHandler)})
	s := &session{h: h, room: domain.RoomID{1}, wake: make(chan struct{}, 1), over: make(chan struct{})}
	s.caller = application.Caller{Actor: domain.Actor{User: "alice"}, Tenant: domain.Tenant{ID: "tenant_1"}}
	s.socket = &application.ChatSocket{Owner: "alice"}
	s.eased = sync.NewCond(&s.mu)
	return s
}

// native is a frame of the native socket.
func native(kind domain.EventKind, rev, seq int64, payload string) ports.Frame {
	head := []byte{0x81, byte(len(payload))}
	if len(payload) > 125 {
		head = []byte{0x81, 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	return ports.Frame{Kind: kind, Rev: rev, Seq: seq, Bytes: append(head, payload...)}
}

// say is a message as /ws has it.
func say(seq int64, sender, meta string) ports.Frame {
	return native(domain.EventMessage, seq+1, seq, fmt.Sprintf(
		`{"type":"message","message_id":"msg_0190d5b2-7c1e-7a3b-9f00-0123456789ac","sender_id":%q,"sender_type":"user","seq":%d,"content":"hi","meta":%s}`, sender, seq, meta))
}

const (
	streamed = `"room_id":"room_x","message_id":"msg_0190d5b2-7c1e-7a3b-9f00-0123456789ac"`
	kept     = `,"seq":3,"rev":4`
)

// TestFramesBecomeEvents: each frame that is about what is said, in the words of this API, as they are specified.
func TestFramesBecomeEvents(t *testing.T) {
	t.Parallel()
	s := newSession()
	for name, c := range map[string]struct {
		frame ports.Frame
		want  string // the kinds, and what tells them apart
	}{
		"the owner's":        {say(1, "alice", "null"), "message_received hi"},
		"a person's":         {say(2, "carol", `{"mood":"good"}`), `message_stream_started|message_stream_token hi|message_stream_ended hi {"human":true,"mood":"good"}`},
		"a bot's as a whole": {say(3, "bot_1", `{"model":"m"}`), "message_stream_started|message_stream_token hi|message_stream_ended hi"},
		"a start":            {native("", 0, 0, `{"type":"message.stream.start",`+streamed+`,"attempt":1}`), "message_stream_started"},
		"a start midway":     {native("", 0, 0, `{"type":"message.stream.start",`+streamed+`,"content":"so far"}`), "message_stream_started|message_stream_token so far"},
		"a part":             {native("", 0, 0, `{"type":"message.stream.delta",`+streamed+`,"offset":3,"delta":" é"}`), "message_stream_token  é"},
		"an end":             {native(domain.EventMessage, 4, 3, `{"type":"message.stream.end",`+streamed+kept+`,"sender_id":"bot_1","content":"all"}`), "message_stream_ended all"},
		"an error":           {native("", 0, 0, `{"type":"message.stream.error",`+streamed+`,"code":"EMPTY","content":""}`), "error AI_ERROR"},
		"an error, kept":     {native(domain.EventMessage, 4, 3, `{"type":"message.stream.error",`+streamed+kept+`,"code":"TIMEOUT","content":"half"}`), "error TIMEOUT half"},
		"something else":     {native("", 0, 0, `{"type":"sync.complete"}`), ""},
		"nonsense":           {ports.Frame{Bytes: []byte("x")}, ""},
	} {
		s.answer = answer{id: "msg_0190d5b2-7c1e-7a3b-9f00-0123456789ac"} // is being told
		var got []string
		for _, event := range s.translate(c.frame) {
			if event == nil {
				continue
			}
			if err := frames.Check(event); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got = append(got, short(t, event))
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "|")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, event := range [][]byte{s.established(), s.userCreated(), s.errorEvent(noBot), s.errorEvent(s.tooFast())} {
		if err := frames.Check(event); err != nil {
			t.Error(err)
		}
	}
}

// short is what tells events apart.
func short(t *testing.T, event []byte) string {
	t.Helper()
	var e struct {
		Kind     string          `json:"event_type"`
		Token    string          `json:"token"`
		Content  string          `json:"content"`
		Code     string          `json:"error_code"`
		Metadata json.RawMessage `json:"metadata"`
		Details  struct{ Content string }
	}
	if err := json.Unmarshal(event, &e); err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	return strings.TrimRight(strings.Join([]string{e.Kind, e.Token + e.Content + e.Code, string(e.Metadata) + e.Details.Content}, " "), " ")
}

// TestOneAnswerIsToldAtATime: what a person or another bot says meanwhile comes as a whole, and the answer under way begins
// anew behind it, so that a client that follows the events ends with what is stored.
func TestOneAnswerIsToldAtATime(t *testing.T) {
	t.Parallel()
	s := newSession()
	stream := func(kind, id, more string) ports.Frame {
		return native("", 0, 0, `{"type":"message.stream.`+kind+`","message_id":"`+id+`",`+more+`}`)
	}
	var got []string
	for _, f := range []ports.Frame{
		stream("start", "a", `"content":"so "`),
		stream("delta", "a", `"delta":"far"`),
		say(1, "carol", "null"),
		stream("delta", "a", `"delta":" so"`),
		stream("start", "b", `"attempt":1`),
		stream("delta", "b", `"delta":"me"`),
		say(2, "alice", "null"),
		stream("end", "b", `"sender_id":"bot_2","content":"me too"`),
		stream("delta", "a", `"delta":" good"`),
		stream("error", "c", `"code":"TIMEOUT"`),
		stream("end", "a", `"sender_id":"bot_1","content":"so far so good"`),
		stream("end", "d", `"sender_id":"bot_1","content":"unheard of"`),
	} {
		for _, event := range s.translate(f) {
			if event != nil {
				got = append(got, strings.TrimPrefix(short(t, event), "message_"))
			}
		}
	}
	want := []string{
		"stream_started", "stream_token so", "stream_token far",
		"stream_started", "stream_token hi", `stream_ended hi {"human":true}`,
		"stream_started", "stream_token so far", "stream_token  so",
		"received hi",
		"stream_started", "stream_token me too", "stream_ended me too",
		"stream_started", "stream_token so far so", "stream_token  good",
		"error TIMEOUT",
		"stream_started", "stream_token so far so good", "stream_ended so far so good",
		"stream_started", "stream_token unheard of", "stream_ended unheard of",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryWayToFailHasItsCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[domain.StreamCode]string{
		domain.StreamEmpty: codeAI, domain.StreamTimeout: codeTimeout, domain.StreamInterrupted: codeAI, domain.StreamRefused: codeAI,
		domain.StreamRateLimited: codeLimited, domain.StreamUnreachable: codeAI, domain.StreamHandedOff: codeAI, domain.StreamRemoved: codeAI,
		domain.StreamBudget: codeLimited, "NEW": codeAI,
	} {
		if p := problemOf(&api.Told{Code: code}); p.code != want || p.message == "" || p.fix == "" || p.messageID != "" {
			t.Errorf("%s is %+v, want %s", code, p, want)
		}
	}
}

func TestErrorsOfTheCoreHaveTheirCodes(t *testing.T) {
	t.Parallel()
	h := newSession().h
	for _, c := range []struct {
		err  error
		want string
	}{
		{domain.ErrChatNotFound, codeNotFound}, {domain.ErrNotMember, codeNotFound}, {domain.ErrTooManyWatched, codeLimited},
		{domain.ErrRateLimited, codeLimited}, {domain.ErrUnauthenticated, codeAuth}, {domain.ErrTokenExpired, codeAuth},
		{domain.Invalid("content", "content is required"), codeInvalid}, {domain.ErrBusy, codeInternal}, {domain.ErrUnavailable, codeInternal},
		{domain.ErrHandedOff, codeInternal}, {fmt.Errorf("a driver's: %w", fmt.Errorf("SELECT")), codeInternal},
	} {
		if p := h.whyNot(c.err); p.code != c.want || p.fix == "" || strings.Contains(p.message, "SELECT") {
			t.Errorf("%v is %+v, want %s", c.err, p, c.want)
		}
	}
}

// TestWorkThatWasTakenBackIsNoFaultOfTheServers: its client has gone, or has waited for too long.
func TestWorkThatWasTakenBackIsNoFaultOfTheServers(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := newSession().h
	h.Logger = slog.New(slog.NewTextHandler(&log, nil))
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, fmt.Errorf("find key: %w", context.Canceled)} {
		if p := h.whyNot(err); p != &busy {
			t.Errorf("%v is %+v, want %+v", err, p, busy)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", &log)
	}
	if p := h.whyNot(errors.New("disk gone")); p != &failed || !strings.Contains(log.String(), "disk gone") {
		t.Errorf("a fault is told as %+v, logged %q", p, &log)
	}
}

// TestTheQueueIsBounded: a full one refuses until it has emptied, and parts of answers leave room for what must come.
func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	s := newSession()
	seq := int64(0)
	push := func() bool {
		seq++
		return s.Push(say(seq, "alice", "null"))
	}
	part := native("", 0, 0, `{"type":"message.stream.delta"}`)
	for i := range hintFrames {
		if !s.Hint(part) {
			t.Fatalf("part %d was refused", i)
		}
	}
	if s.Hint(part) {
		t.Error("parts take all the room")
	}
	for len(s.out) < pushFrames {
		if !push() {
			t.Fatalf("refused with %d waiting", len(s.out))
		}
	}
	for range 2 {
		if push() {
			t.Error("more than the queue holds")
		}
	}
	batch, bye := s.take()
	if len(batch) != pushFrames || bye != nil || push() {
		t.Errorf("%d were taken, %v, and one is pushed before it is all written", len(batch), bye)
	}
	s.overflowed = false // as drained does, which tells the fan-out
	if !push() {
		t.Error("an empty queue refuses")
	}
}

// TestWhatIsNotSaidInTheChatIsTakenAndNotTold.
func TestWhatIsNotSaidInTheChatIsTakenAndNotTold(t *testing.T) {
	t.Parallel()
	s := newSession()
	for _, kind := range []domain.EventKind{
		domain.EventMessageEdited, domain.EventMessageDeleted, domain.EventRoomUpdated, domain.EventMemberAdded, domain.EventHandoff,
		domain.HintTyping, domain.HintAcked, domain.HintPresence, domain.EventNotification,
	} {
		if f := native(kind, 5, 0, `{}`); !s.Push(f) || !s.Hint(f) {
			t.Errorf("%s was refused", kind)
		}
	}
	if again := say(1, "alice", "null"); !s.Push(ports.Frame{Kind: again.Kind, Seq: 1, Bytes: again.Bytes}) {
		t.Error("a message that is sent again was refused")
	}
	if len(s.out) != 0 {
		t.Errorf("%d frames wait", len(s.out))
	}
}

// TestAnErrorFollowsItsMessage, whichever of both comes first.
func TestAnErrorFollowsItsMessage(t *testing.T) {
	t.Parallel()
	order := func(steps ...func(*session)) string {
		s := newSession()
		for _, step := range steps {
			step(s)
		}
		var got []string
		for _, i := range s.out {
			if i.event != nil {
				got = append(got, string(i.event))
			} else {
				got = append(got, fmt.Sprint(i.frame.Seq))
			}
		}
		return strings.Join(got, " ")
	}
	message := func(seq int64) func(*session) { return func(s *session) { s.Push(say(seq, "alice", "null")) } }
	trouble := func(seq int64) func(*session) {
		return func(s *session) { s.say(seq, fmt.Appendf(nil, "e%d", seq)) }
	}
	for _, c := range []struct {
		got, want string
	}{
		{order(message(1), trouble(1)), "1 e1"}, {order(trouble(1), message(1)), "1 e1"}, {order(trouble(2), message(1), trouble(0), message(2)), "1 e0 2 e2"},
		{order(trouble(1)), ""}, {order(trouble(1), trouble(2), message(1), message(2)), "1 e1 2 e2"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// TestAnEndHasOneReason: what comes after the first changes nothing, and nothing is queued behind it.
func TestAnEndHasOneReason(t *testing.T) {
	t.Parallel()
	s := newSession()
	s.Push(say(1, "alice", "null"))
	s.Close(closeToken, "credential revoked") // nothing that waits goes before
	s.Close(closeGoingAway, "server is shutting down")
	s.part(&unknown, closePolicy)
	s.leave()
	s.say(0, []byte("late"))
	if s.Push(say(2, "alice", "null")) || s.Hint(native("", 0, 0, "{}")) {
		t.Error("something is queued behind the end")
	}
	if len(s.out) != 1 || short(t, s.out[0].event) != "error AUTH_ERROR" || s.farewell.code != closePolicy {
		t.Errorf("%d wait, the end is %+v", len(s.out), s.farewell)
	}
	removed := newSession()
	removed.Push(say(1, "alice", "null"))
	removed.Push(ports.Frame{Kind: domain.EventRoomRemoved, Rev: 3})
	if len(removed.out) != 2 || short(t, removed.out[1].event) != "error CHAT_NOT_FOUND" {
		t.Errorf("after the chat is gone %d wait", len(removed.out))
	}
}

func TestMetadataTellsWhoHasSpoken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sender  domain.UserID
		meta    string
		deleted bool
		want    string
	}{
		{"alice", "", false, `{}`}, {"alice", `{"human":false}`, false, `{"human":false}`}, {"alice", `{"a":1}`, true, `{"deleted":true}`},
		{"carol", "", false, `{"human":true}`}, {"carol", `{"human":false,"a":1}`, false, `{"a":1,"human":true}`},
		{"carol", `{"usage":{"input_tokens":1}}`, false, `{"human":true,"usage":{"input_tokens":1}}`},
		{"bot_1", `{"model":"m","usage":{"input_tokens":3,"output_tokens":4}}`, false, `{"model":"m","tokens_used":7,"usage":{"input_tokens":3,"output_tokens":4}}`},
		{"bot_1", `{"model":"m"}`, false, `{"model":"m"}`}, {"bot_1", `{"model":"m"}`, true, `{"deleted":true}`},
	} {
		var meta []byte
		if c.meta != "" {
			meta = []byte(c.meta)
		}
		if got := string(metadataOf("alice", c.sender, meta, c.deleted)); got != c.want {
			t.Errorf("%s with %s, deleted %v: %s, want %s", c.sender, c.meta, c.deleted, got, c.want)
		}
	}
}
