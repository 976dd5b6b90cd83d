package frames_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/frames"
)

func load(t testing.TB) *frames.Spec {
	t.Helper()
	spec, err := frames.Load()
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestEveryMessageHasExamplesThatAreRight(t *testing.T) {
	t.Parallel()
	spec := load(t)
	for name := range spec.FromServer {
		checkExamples(t, spec, name, frames.Check)
	}
	for name := range spec.FromClient {
		checkExamples(t, spec, name, frames.CheckCommand)
	}
	for name := range spec.ToChat {
		for _, example := range spec.Examples["chat."+name] {
			raw, err := json.Marshal(example)
			if err = errors.Join(err, frames.CheckChat(raw)); err != nil {
				t.Errorf("example of %s: %v", name, err)
			}
		}
	}
	for kind := range spec.ChatEvents {
		name := kind
		if kind == "error" {
			name = "chat.error"
		}
		if len(spec.Examples[name]) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range spec.Examples[name] {
			wantEvent(t, kind, example.(map[string]any))
		}
	}
}

// wantEvent checks an event of a chat, with its name first as the server has it.
func wantEvent(t *testing.T, kind string, event map[string]any) {
	t.Helper()
	if event["event_type"] != kind {
		t.Errorf("example of %s: %v", kind, event)
	}
	delete(event, "event_type")
	raw, err := json.Marshal(event)
	if err == nil {
		err = frames.Check(append([]byte(`{"event_type":"`+kind+`",`), raw[1:]...))
	}
	if err != nil {
		t.Errorf("example of %s: %v", kind, err)
	}
}

func checkExamples(t *testing.T, spec *frames.Spec, name string, check func([]byte) error) {
	t.Helper()
	if len(spec.Examples[name]) == 0 {
		t.Errorf("%s has no example", name)
	}
	for _, example := range spec.Examples[name] {
		raw, err := json.Marshal(example)
		if err == nil {
			err = check(raw)
		}
		if err != nil {
			t.Errorf("example of %s: %v", name, err)
		}
		if !strings.Contains(string(raw), `"type":"`+name+`"`) {
			t.Errorf("example of %s: %s", name, raw)
		}
	}
}

func TestWhatIsNotDocumentedIsAFault(t *testing.T) {
	t.Parallel()
	const room = `"room_id":"room_0190b1f0-5c3e-7a10-8f2e-3b1a5c7d9e01"`
	const fields = `"message_id":"msg_0190b1f0-5c3e-7a10-8f2e-3b1a5c7d9e02",` + room +
		`,"sender_id":"bob","sender_type":"user","seq":1,"rev":2,"content":"x","meta":{"free":1},"created_at":"2026-01-02T03:04:05.678Z"`
	const notice = `"notification_id":"notif_0190b1f0-5c3e-7a10-8f2e-3b1a5c7d9e04","topic":"t","created_at":"2026-01-02T03:04:05.678Z"`
	for _, right := range []string{
		`{"type":"pong"}`, `{"type":"message",` + fields + `}`, `{"type":"reply","request_id":"1","data":{` + fields + `}}`,
		`{"type":"message","redelivered":true,` + fields + `}`, `{"type":"notification",` + notice + `,"payload":{"free":1}}`,
		`{"type":"notification","redelivered":true,` + notice + `,"payload":{}}`,
	} {
		if err := frames.Check([]byte(right)); err != nil {
			t.Error(err)
		}
	}
	for name, wrong := range map[string]string{
		"an unknown type":            `{"type":"dance"}`,
		"a client's type":            `{"type":"ping"}`,
		"no type":                    `{}`,
		"no object":                  `[]`,
		"no JSON":                    `{"type":"pong"`,
		"an unknown field":           `{"type":"pong","extra":1}`,
		"an unknown field beside":    `{"type":"message",` + fields + `,"extra":1}`,
		"an unknown field within":    `{"type":"reply","request_id":"1","data":{"success":true,"extra":1}}`,
		"an unknown field of a send": `{"type":"reply","request_id":"1","data":{` + fields + `,"extra":1}}`,
		"an unknown field in a list": `{"type":"sync.complete","rooms":0,"messages":0,"cursor":"","truncated":[{` + room + `,"from_seq":1,"to_seq":2,"extra":1}]}`,
		"a missing field":            `{"type":"typing",` + room + `,"user_id":"bob"}`,
		"redelivered: false":         `{"type":"message","redelivered":false,` + fields + `}`,
		"a redelivered reply":        `{"type":"reply","request_id":"1","data":{"redelivered":true,` + fields + `}}`,
		"a redelivered edit":         `{"type":"message.edited","edited_at":"2026-01-02T03:04:05.678Z","redelivered":true,` + fields + `}`,
		"a notification of nothing":  `{"type":"notification",` + notice + `,"payload":null}`,
		"a notification with a rev":  `{"type":"notification",` + notice + `,"payload":{},"rev":1}`,
		"another value":              `{"type":"typing",` + room + `,"user_id":"bob","action":"dance"}`,
		"a number as a string":       `{"type":"read.received",` + room + `,"user_id":"bob","seq":"1"}`,
		"a time without its zone":    `{"type":"token.expiring","expires_at":"2026-01-02T03:04:05.678"}`,
		"a time in seconds":          `{"type":"token.expiring","expires_at":"2026-01-02T03:04:05Z"}`,
		"a deleted text":             strings.Replace(`{"type":"message.deleted",`+fields+`,"deleted_at":"2026-01-02T03:04:05.678Z"}`, `{"free":1}`, "null", 1),
	} {
		if err := frames.Check([]byte(wrong)); err == nil {
			t.Errorf("%s: %s was taken for documented", name, wrong)
		}
	}
}

func BenchmarkCheckMessage(b *testing.B) {
	raw, err := json.Marshal(load(b).Examples["message"][0])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := frames.Check(raw); err != nil {
			b.Fatal(err)
		}
	}
}
