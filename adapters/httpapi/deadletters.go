package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/domain"
)

// deadLettersShape has both kinds, each newest first and [] when there is none.
type deadLettersShape struct {
	Messages      []deadLetterShape `json:"failed_messages"`
	Notifications []struct{}        `json:"failed_notifications"` // nothing makes one yet
}

// deadLetterShape is a delivery of messages that was given up. It holds no text.
type deadLetterShape struct {
	ID            string         `json:"id"`
	MessageID     string         `json:"message_id"`
	UserID        *domain.UserID `json:"user_id"` // null: several
	RoomID        string         `json:"room_id"`
	FromSeq       int64          `json:"from_seq"`
	ToSeq         int64          `json:"to_seq"`
	Attempts      int            `json:"attempts"`
	LastAttemptAt *stamp         `json:"last_attempt_at"` // null: there was none
	Error         string         `json:"error"`
}

func (h *handler) listDeadLetters(x *exchange) (reply, error) {
	q := x.query()
	limit := int(q.integer("limit", 1, domain.MaxDeadLetters, domain.DefaultDeadLetters))
	tenant, err := x.lettersOf(q)
	if err != nil {
		return reply{}, err
	}
	letters, err := h.DeadLetters.List(x.r.Context(), tenant, limit)
	if err != nil {
		return reply{}, err
	}
	shape := deadLettersShape{Messages: make([]deadLetterShape, len(letters)), Notifications: []struct{}{}}
	for i, l := range letters {
		shape.Messages[i] = shapeDeadLetter(l)
	}
	return encoded(http.StatusOK, shape)
}

func (h *handler) replayDeadLetter(x *exchange) (reply, error) {
	tenant, err := x.lettersOf(x.query())
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusAccepted, successBody}, h.DeadLetters.Replay(x.r.Context(), tenant, x.letterID())
}

func (h *handler) deleteDeadLetter(x *exchange) (reply, error) {
	tenant, err := x.lettersOf(x.query())
	if err != nil {
		return reply{}, err
	}
	return noContent(), h.DeadLetters.Delete(x.r.Context(), tenant, x.letterID())
}

// lettersOf is the tenant whose dead letters the call is about: the one that the operator names, or the backend's own,
// which it need not name. To a backend any other is one that does not exist.
func (x *exchange) lettersOf(q *query) (domain.TenantID, error) {
	named, own := domain.TenantID(storable(q.text("tenant_id"))), x.caller.Tenant.ID
	switch {
	case !x.operator && x.caller.Kind != domain.ActorBackend:
		return "", domain.ErrForbidden
	case q.err != nil:
		return "", q.err
	case x.operator && named == "":
		return "", errNoTenant
	case x.operator:
		return named, nil
	case named != "" && named != own:
		return "", domain.ErrTenantNotFound
	}
	return own, nil
}

var errNoTenant = domain.Invalid("tenant_id", "tenant_id is required with the master key")

// letterID is the dead letter of the path; a malformed id becomes the zero id, as a room's does.
func (x *exchange) letterID() domain.DeadLetterID {
	id, _ := domain.ParseDeadLetterID(x.r.PathValue("id"))
	return id
}

func shapeDeadLetter(l domain.DeadLetter) deadLetterShape {
	shape := deadLetterShape{
		ID: l.ID.String(), MessageID: l.Job.Message.String(), RoomID: l.Job.Room.String(), FromSeq: l.FromSeq, ToSeq: l.ToSeq,
		Attempts: l.Attempts, LastAttemptAt: optional(l.LastAttemptAt), Error: l.Error,
	}
	if l.User != "" {
		shape.UserID = &l.User
	}
	return shape
}
