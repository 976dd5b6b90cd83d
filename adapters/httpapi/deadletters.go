package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// deadLettersShape has both kinds, each newest first and [] when there is none.
type deadLettersShape struct {
	Messages      []failedMessage      `json:"failed_messages"`
	Notifications []failedNotification `json:"failed_notifications"`
}

// failedMessage is a delivery of messages that was given up: a call to the webhook, or a run on the sockets of a user. It
// holds no text.
type failedMessage struct {
	ID        string         `json:"id"`
	MessageID string         `json:"message_id"`
	UserID    *domain.UserID `json:"user_id"` // null: several
	RoomID    string         `json:"room_id"`
	FromSeq   int64          `json:"from_seq"`
	ToSeq     int64          `json:"to_seq"`
	failure
}

// failedNotification is a delivery of a notification that was given up, at an endpoint or on the sockets of a user. It
// holds no payload.
type failedNotification struct {
	ID             string         `json:"id"`
	NotificationID string         `json:"notification_id"`
	Topic          string         `json:"topic"`
	UserID         *domain.UserID `json:"user_id"` // null: the tenant's backend
	failure
}

// failure is how it came to that.
type failure struct {
	Attempts      int    `json:"attempts"`
	LastAttemptAt *stamp `json:"last_attempt_at"` // null: there was none
	Error         string `json:"error"`
}

func (h *handler) listDeadLetters(x *exchange) (reply, error) {
	q := x.query()
	limit, overseer := int(q.integer("limit", 1, domain.MaxDeadLetters, domain.DefaultDeadLetters)), x.overseer(q)
	if q.err != nil {
		return reply{}, q.err
	}
	given, err := h.DeadLetters.List(x.r.Context(), overseer, limit)
	if err != nil {
		return reply{}, err
	}
	shape := deadLettersShape{
		Messages:      make([]failedMessage, len(given.Messages)),
		Notifications: make([]failedNotification, len(given.Notifications)),
	}
	for i, l := range given.Messages {
		shape.Messages[i] = shapeFailedMessage(l)
	}
	for i, l := range given.Notifications {
		shape.Notifications[i] = shapeFailedNotification(l)
	}
	return encoded(http.StatusOK, shape)
}

func (h *handler) replayDeadLetter(x *exchange) (reply, error) {
	q := x.query()
	overseer := x.overseer(q)
	if q.err != nil {
		return reply{}, q.err
	}
	return reply{http.StatusAccepted, successBody}, h.DeadLetters.Replay(x.r.Context(), overseer, x.letterID())
}

func (h *handler) deleteDeadLetter(x *exchange) (reply, error) {
	q := x.query()
	overseer := x.overseer(q)
	if q.err != nil {
		return reply{}, q.err
	}
	return noContent(), h.DeadLetters.Delete(x.r.Context(), overseer, x.letterID())
}

// overseer is who asks, and for which tenant's dead letters.
func (x *exchange) overseer(q *query) application.Overseer {
	return application.Overseer{Caller: x.caller, Operator: x.operator, Named: domain.TenantID(storable(q.text("tenant_id")))}
}

// letterID is the dead letter of the path; a malformed id becomes the zero id, as a room's does.
func (x *exchange) letterID() domain.DeadLetterID {
	id, _ := domain.ParseDeadLetterID(x.r.PathValue("id"))
	return id
}

func shapeFailedMessage(l domain.DeadLetter) failedMessage {
	return failedMessage{
		ID: l.ID.String(), MessageID: l.Job.Message.String(), UserID: recipient(l), RoomID: l.Job.Room.String(),
		FromSeq: l.FromSeq, ToSeq: l.ToSeq, failure: shapeFailure(l),
	}
}

func shapeFailedNotification(l domain.DeadLetter) failedNotification {
	return failedNotification{
		ID: l.ID.String(), NotificationID: l.Job.Notification.String(), Topic: l.Topic, UserID: recipient(l), failure: shapeFailure(l),
	}
}

func shapeFailure(l domain.DeadLetter) failure {
	return failure{Attempts: l.Attempts, LastAttemptAt: optional(l.LastAttemptAt), Error: l.Error}
}

// recipient is the user that it was for, when there is exactly one.
func recipient(l domain.DeadLetter) *domain.UserID {
	if l.User == "" {
		return nil
	}
	return &l.User
}
