package httpapi

import (
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/ports"
)

// WebhookEncoder writes the bodies of webhook calls, as api/openapi.yaml describes them under webhooks. It satisfies
// ports.WebhookEncoder.
type WebhookEncoder struct{}

var _ ports.WebhookEncoder = WebhookEncoder{}

// Offline implements ports.WebhookEncoder. The message has the shape that it has everywhere.
func (WebhookEncoder) Offline(e ports.OfflineEvent) []byte {
	dst := make([]byte, 0, 1024+len(e.Message.Content)+len(e.Message.Meta)+len(e.Room.Metadata)+64*len(e.Recipients))
	dst = api.AppendString(append(dst, `{"type":"message.offline","tenant_id":`...), e.Tenant)
	dst = api.AppendRoomID(append(dst, `,"room_id":`...), e.Room.ID)
	if e.Room.Metadata != nil {
		dst = append(append(dst, `,"room_metadata":`...), e.Room.Metadata...)
	}
	dst = append(dst, `,"recipient_ids":[`...)
	for i, user := range e.Recipients {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = api.AppendString(dst, user)
	}
	dst = append(dst, ']')
	if len(e.Recipients) == 1 {
		dst = api.AppendString(append(dst, `,"recipient_id":`...), e.Recipients[0])
	}
	return append(api.AppendMessage(append(dst, `,"message":`...), &e.Message, e.Message.Rev), '}')
}

// Context implements ports.WebhookEncoder.
func (WebhookEncoder) Context(e ports.ContextEvent) []byte {
	size := 1024 + len(e.Message.Content) + len(e.Message.Meta) + len(e.Room.Metadata)
	for _, turn := range e.History {
		size += 64 + len(turn.Text)
	}
	dst := make([]byte, 0, size)
	dst = api.AppendString(append(dst, `{"type":"bot.context","tenant_id":`...), e.Tenant)
	dst = api.AppendBotID(append(dst, `,"bot_id":`...), e.Bot)
	dst = api.AppendRoomID(append(dst, `,"room_id":`...), e.Room.ID)
	dst = append(dst, `,"room_metadata":`...)
	if e.Room.Metadata == nil {
		dst = append(dst, "null"...)
	}
	dst = append(dst, e.Room.Metadata...)
	dst = api.AppendMessage(append(dst, `,"message":`...), &e.Message, e.Message.Rev)
	dst = append(dst, `,"history":[`...)
	for i, turn := range e.History {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = api.AppendString(append(dst, `{"role":`...), turn.Role)
		dst = append(api.AppendString(append(dst, `,"content":`...), turn.Text), '}')
	}
	return append(dst, `]}`...)
}

// Notification implements ports.WebhookEncoder.
func (WebhookEncoder) Notification(e ports.NotificationEvent) []byte {
	n := &e.Notification
	return api.AppendNotificationCall(make([]byte, 0, 256+len(n.Topic)+len(n.Payload)+len(e.User)), e.Tenant, n, e.User)
}
