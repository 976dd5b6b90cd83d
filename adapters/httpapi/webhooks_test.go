package httpapi

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// webhookSchema is what the specification says of the body of a webhook, closed, the objects under the names inner
// too: a field more is an error.
func webhookSchema(t *testing.T, name string, inner ...string) *openapi3.Schema {
	t.Helper()
	body := loadSpec(t).Webhooks[name].Post.RequestBody.Value.Content["application/json"].Schema.Value
	schemas := []*openapi3.Schema{body}
	for _, field := range inner {
		schemas = append(schemas, body.Properties[field].Value)
	}
	for _, s := range schemas {
		s.AdditionalProperties = openapi3.AdditionalProperties{Has: new(bool)}
	}
	return body
}

func checkBody(schema *openapi3.Schema, body []byte) error {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	return schema.VisitJSON(value, openapi3.EnableJSONSchema2020())
}

func uuid(n byte) (id domain.UUID) {
	copy(id[:], "\x01\x90\xd5\xb2\x7c\x1e\x7a\x3b\x9f\x00\x01\x23\x45\x67\x89")
	id[15] = n
	return id
}

// offline is an event with nothing in it that may be left out.
func offline(recipients ...domain.UserID) ports.OfflineEvent {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	room := domain.RoomID(uuid(1))
	return ports.OfflineEvent{
		Tenant: "tenant_0190d5b2-7c1e-7a3b-9f00-0123456789ad", Room: domain.Room{ID: room, Type: domain.RoomGroup, LastSeq: 9, CreatedAt: at},
		Message: domain.Message{
			ID: domain.MessageID(uuid(2)), Room: room, Sender: "alice", SenderType: domain.SenderUser, Seq: 7, Rev: 8, Content: "Hi", CreatedAt: at,
		},
		Recipients: recipients,
	}
}

func TestAnOfflineEventNamesWhomAMessageHasNotReached(t *testing.T) {
	t.Parallel()
	const message = `"message":{"message_id":"msg_0190d5b2-7c1e-7a3b-9f00-012345678902","room_id":"room_0190d5b2-7c1e-7a3b-9f00-012345678901",` +
		`"sender_id":"alice","sender_type":"user","seq":7,"rev":8,"content":"Hi","meta":null,"created_at":"2026-01-02T03:04:05.678Z"}`
	const start = `{"type":"message.offline","tenant_id":"tenant_0190d5b2-7c1e-7a3b-9f00-0123456789ad","room_id":"room_0190d5b2-7c1e-7a3b-9f00-012345678901",`
	withMetadata := offline("bob")
	withMetadata.Room.Metadata = []byte(`{"order":4711}`)
	for name, c := range map[string]struct {
		event ports.OfflineEvent
		want  string
	}{
		"one":      {offline("bob"), start + `"recipient_ids":["bob"],"recipient_id":"bob",` + message + `}`},
		"several":  {offline("bob", `d"é`), start + `"recipient_ids":["bob","d\"é"],` + message + `}`},
		"metadata": {withMetadata, start + `"room_metadata":{"order":4711},"recipient_ids":["bob"],"recipient_id":"bob",` + message + `}`},
	} {
		if diff := cmp.Diff(c.want, string(WebhookEncoder{}.Offline(c.event))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOfflineEventsAreAsSpecified(t *testing.T) {
	t.Parallel()
	schema := webhookSchema(t, "message.offline", "message")
	full := offline("bob")
	full.Room.Metadata = []byte(`{"a":{"b":[1,"` + strings.Repeat("x", 1000) + `"]}}`)
	m := &full.Message
	m.Meta, m.ClientID, m.ReplyTo, m.EditedAt = []byte(`{"lang":"en"}`), "c-1", domain.MessageID(uuid(3)), m.CreatedAt.Add(time.Minute)
	m.Content = "\"\\\n\x01é\U0001F600\u2028" + strings.Repeat("<&>", 5000)
	var many []domain.UserID
	for n := range domain.MaxWebhookRecipients {
		many = append(many, domain.UserID("user "+strconv.Itoa(n)+strings.Repeat("é", 100)))
	}
	for name, e := range map[string]ports.OfflineEvent{"one": offline("bob"), "two": offline("bob", "carol"), "many": offline(many...), "full": full} {
		body := WebhookEncoder{}.Offline(e)
		if err := checkBody(schema, body); err != nil {
			t.Errorf("%s: %v: %s", name, err, body)
		}
		var got struct {
			RecipientIDs []domain.UserID `json:"recipient_ids"`
			Message      json.RawMessage `json:"message"`
		}
		if err := json.Unmarshal(body, &got); err != nil || !slices.Equal(got.RecipientIDs, e.Recipients) {
			t.Errorf("%s: recipients %v, want %v (%v)", name, got.RecipientIDs, e.Recipients, err)
		}
		if want := api.AppendMessage(nil, &e.Message, e.Message.Rev); string(got.Message) != string(want) {
			t.Errorf("%s: the message is %s, elsewhere %s", name, got.Message, want)
		}
	}
}

// TestWhatIsNoOfflineEventIsFound: the check of the encoder can fail.
func TestWhatIsNoOfflineEventIsFound(t *testing.T) {
	t.Parallel()
	schema := webhookSchema(t, "message.offline", "message")
	good := string(WebhookEncoder{}.Offline(offline("bob")))
	for name, change := range map[string][2]string{
		"a field more":            {`"recipient_id"`, `"x":1,"recipient_id"`},
		"a field of the message":  {`"content"`, `"x":1,"content"`},
		"no recipients":           {`["bob"]`, `[]`},
		"the same twice":          {`["bob"]`, `["bob","bob"]`},
		"null for metadata":       {`"recipient_ids"`, `"room_metadata":null,"recipient_ids"`},
		"another type":            {`message.offline`, `message`},
		"no tenant":               {`"tenant_id"`, `"tenant"`},
		"no message":              {`"message":{`, `"m":{`},
		"a room that is none":     {`"room_`, `"msg_`},
		"a time without its zone": {`.678Z`, `.678`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Errorf("%s: nothing changed", name)
		}
		if err := checkBody(schema, []byte(bad)); err == nil {
			t.Errorf("%s: no error: %s", name, bad)
		}
	}
}

// notified is an event with a user.
func notified(user domain.UserID, payload string) ports.NotificationEvent {
	return ports.NotificationEvent{
		Tenant: "tenant_0190d5b2-7c1e-7a3b-9f00-0123456789ad", User: user, Notification: domain.Notification{
			ID: domain.NotificationID(uuid(5)), Topic: "orders", Payload: []byte(payload), CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
		},
	}
}

func TestANotificationEventSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	const start = `{"type":"notification","tenant_id":"tenant_0190d5b2-7c1e-7a3b-9f00-0123456789ad",` +
		`"notification_id":"notif_0190d5b2-7c1e-7a3b-9f00-012345678905","topic":"orders","payload":{"<&>":[1e2]},"user_id":`
	for want, user := range map[string]domain.UserID{`"d\"é"`: `d"é`, `null`: ""} {
		want = start + want + `,"created_at":"2026-01-02T03:04:05.678Z"}`
		if diff := cmp.Diff(want, string(WebhookEncoder{}.Notification(notified(user, `{"<&>":[1e2]}`)))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestNotificationEventsAreAsSpecified(t *testing.T) {
	t.Parallel()
	schema := webhookSchema(t, "notification")
	full := notified(domain.UserID(strings.Repeat("é", 128)), `{"a":{"b":[1,"`+strings.Repeat("x", 16000)+`"]}}`)
	full.Notification.Topic = strings.Repeat("\U0001F600", 128)
	for name, e := range map[string]ports.NotificationEvent{"full": full, "of the backend": notified("", "{}")} {
		if err := checkBody(schema, WebhookEncoder{}.Notification(e)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := string(WebhookEncoder{}.Notification(notified("bob", "{}")))
	for name, change := range map[string][2]string{
		"a field more":      {`"topic"`, `"x":1,"topic"`},
		"no payload":        {`"payload":{},`, ``},
		"a payload of none": {`"payload":{}`, `"payload":null`},
		"no user":           {`"user_id":"bob",`, ``},
		"an empty user":     {`"bob"`, `""`},
		"another type":      {`"notification",`, `"notify",`},
		"another id":        {`"notif_`, `"evt_`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Errorf("%s: nothing changed", name)
		}
		if err := checkBody(schema, []byte(bad)); err == nil {
			t.Errorf("%s: no error: %s", name, bad)
		}
	}
}

// asked is an event with nothing in it that may be left out.
func asked(turns ...ports.Turn) ports.ContextEvent {
	e := offline("bob")
	return ports.ContextEvent{Tenant: e.Tenant, Bot: domain.BotID(uuid(6)), Room: e.Room, Message: e.Message, History: turns}
}

func TestAContextEventHasWhatTheModelWillBeShown(t *testing.T) {
	t.Parallel()
	const start = `{"type":"bot.context","tenant_id":"tenant_0190d5b2-7c1e-7a3b-9f00-0123456789ad","bot_id":"bot_0190d5b2-7c1e-7a3b-9f00-012345678906",` +
		`"room_id":"room_0190d5b2-7c1e-7a3b-9f00-012345678901","room_metadata":`
	const message = `,"message":{"message_id":"msg_0190d5b2-7c1e-7a3b-9f00-012345678902","room_id":"room_0190d5b2-7c1e-7a3b-9f00-012345678901",` +
		`"sender_id":"alice","sender_type":"user","seq":7,"rev":8,"content":"Hi","meta":null,"created_at":"2026-01-02T03:04:05.678Z"}`
	withMetadata := asked(ports.Turn{Role: "user", Text: "a \"b\"\n"}, ports.Turn{Role: "assistant", Text: "<é>"}, ports.Turn{Role: "user", Text: "Hi"})
	withMetadata.Room.Metadata = []byte(`{"order":4711}`)
	for want, e := range map[string]ports.ContextEvent{
		`null` + message + `,"history":[{"role":"user","content":"Hi"}]}`: asked(ports.Turn{Role: "user", Text: "Hi"}),
		`null` + message + `,"history":[]}`:                               asked(),
		`{"order":4711}` + message + `,"history":[{"role":"user","content":"a \"b\"\n"},{"role":"assistant","content":"<é>"},` +
			`{"role":"user","content":"Hi"}]}`: withMetadata,
	} {
		if diff := cmp.Diff(start+want, string(WebhookEncoder{}.Context(e))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestContextEventsAreAsSpecified(t *testing.T) {
	t.Parallel()
	schema := webhookSchema(t, "bot.context", "message")
	schema.Properties["history"].Value.Items.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: new(bool)}
	full := asked()
	full.Room.Metadata = []byte(`{"a":[1]}`)
	for range domain.MaxContextMessages {
		full.History = append(full.History, ports.Turn{Role: "user", Text: strings.Repeat("\x01é\U0001F600", 1000)})
	}
	for name, e := range map[string]ports.ContextEvent{"full": full, "of little": asked(ports.Turn{Role: "user", Text: "Hi"})} {
		if err := checkBody(schema, WebhookEncoder{}.Context(e)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := string(WebhookEncoder{}.Context(asked(ports.Turn{Role: "user", Text: "Hi"})))
	for name, change := range map[string][2]string{
		"a field more":           {`"room_metadata"`, `"x":1,"room_metadata"`},
		"a field more of a turn": {`{"role"`, `{"x":1,"role"`},
		"a turn of the system":   {`"role":"user"`, `"role":"system"`},
		"no metadata at all":     {`"room_metadata":null,`, ``},
		"no history":             {`"history"`, `"turns"`},
		"another type":           {`bot.context`, `bot`},
		"a bot that is none":     {`"bot_0`, `"bot_x`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Errorf("%s: nothing changed", name)
		}
		if err := checkBody(schema, []byte(bad)); err == nil {
			t.Errorf("%s: no error: %s", name, bad)
		}
	}
}

// TestTheAnswersThatAContextMayGetAreSpecified: as the server understands them.
func TestTheAnswersThatAContextMayGetAreSpecified(t *testing.T) {
	t.Parallel()
	schema := loadSpec(t).Webhooks["bot.context"].Post.Responses.Value("2XX").Value.Content["application/json"].Schema.Value
	for answer, right := range map[string]bool{
		`{"system_prompt":"Be brief."}`: true, `{"system_prompt":""}`: true, `{"skip":true}`: true, `{"skip":false,"system_prompt":"x"}`: true,
		`{}`: false, `{"skip":false}`: false, `{"system_prompt":5}`: false, `{"system_prompt":null}`: false, `[]`: false, `"x"`: false,
	} {
		if err := checkBody(schema, []byte(answer)); (err == nil) != right {
			t.Errorf("%s: %v, want right %v", answer, err, right)
		}
	}
}

func TestEveryWebhookIsDescribedInFull(t *testing.T) {
	t.Parallel()
	spec := loadSpec(t)
	for name, item := range spec.Webhooks {
		o := item.Post
		if o == nil || o.Summary == "" || o.OperationID == "" || len(o.Tags) != 1 || spec.Tags.Get(o.Tags[0]) == nil {
			t.Fatalf("%s is no POST, or has no summary, no id, or not one known tag", name)
		}
		if o.Security == nil || len(*o.Security) != 0 {
			t.Errorf("%s asks for a credential, which no call to a webhook has", name)
		}
		for _, header := range []string{"webhook-id", "webhook-timestamp", "webhook-signature", "X-ChatAPI-Signature"} {
			p := o.Parameters.GetByInAndName("header", header)
			if p == nil || p.Description == "" {
				t.Errorf("%s: the header %s is not described", name, header)
				continue
			}
			if err := p.Schema.Value.VisitJSON(p.Example, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s: the example of %s: %v", name, header, err)
			}
		}
		for _, status := range []string{"2XX", "410", "default"} {
			if o.Responses.Value(status) == nil {
				t.Errorf("%s: what becomes of %s is not said", name, status)
			}
		}
		media := o.RequestBody.Value.Content["application/json"]
		if len(media.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for of, example := range media.Examples {
			if err := media.Schema.Value.VisitJSON(example.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s, %s: %v", name, of, err)
			}
		}
		if answer := o.Responses.Value("2XX").Value.Content["application/json"]; answer != nil {
			for of, example := range answer.Examples {
				if err := answer.Schema.Value.VisitJSON(example.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
					t.Errorf("%s, answer %s: %v", name, of, err)
				}
			}
		}
	}
	if len(spec.Webhooks) == 0 {
		t.Error("no webhook is described")
	}
}
