package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type newNotification struct {
	Topic   string     `json:"topic"`
	Payload api.Object `json:"payload"`
	Targets newTargets `json:"targets"`
}

type newTargets struct {
	UserIDs          []string `json:"user_ids"`
	RoomID           api.Text `json:"room_id"`
	TopicSubscribers bool     `json:"topic_subscribers"`
}

// notify makes a notification; it is durable with each of its recipients when answered, and delivered after that.
func (h *handler) notify(x *exchange) (reply, error) {
	var in newNotification
	body, err := x.decode(&in)
	if err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	made, err := h.Notifications.Notify(x.r.Context(), x.caller, domain.NotificationDraft{
		Topic: in.Topic, Payload: in.Payload,
		Users: in.Targets.UserIDs, Room: string(in.Targets.RoomID), Subscribers: in.Targets.TopicSubscribers,
	}, key)
	if err != nil {
		return reply{}, err
	}
	x.markReplayed(made.Replayed)
	return reply{http.StatusAccepted, api.AppendNotified(nil, &made.Notification, made.Recipients)}, nil
}
