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

// Notification implements ports.WebhookEncoder.
func (WebhookEncoder) Notification(e ports.NotificationEvent) []byte {
	n := &e.Notification
	return api.AppendNotificationCall(make([]byte, 0, 256+len(n.Topic)+len(n.Payload)+len(e.User)), e.Tenant, n, e.User)
}
