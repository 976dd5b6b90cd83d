package postgres

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// EditMessage implements ports.MessageWriter.
func (t *tx) EditMessage(m domain.Message) (domain.Message, error) {
	return t.changeMessage(m, domain.EventMessageEdited, m.EditedAt, func(stored *domain.Message) {
		stored.Content, stored.Meta, stored.EditedAt = m.Content, m.Meta, m.EditedAt
	})
}

// DeleteMessage implements ports.MessageWriter.
func (t *tx) DeleteMessage(m domain.Message) (domain.Message, error) {
	return t.changeMessage(m, domain.EventMessageDeleted, m.DeletedAt, func(stored *domain.Message) {
		*stored = stored.Tombstone(m.DeletedAt)
	})
}

// changeMessage writes what apply makes of the stored message, as the room's next step. The row's client_id and the
// fingerprint of the original send stay.
func (t *tx) changeMessage(m domain.Message, kind domain.EventKind, at time.Time, apply func(*domain.Message)) (
	domain.Message, error,
) {
	stored, err := t.Message(m.Room, m.ID)
	if err != nil {
		return domain.Message{}, err
	}
	r, err := t.room(m.Room)
	if err != nil {
		return domain.Message{}, err
	}
	apply(&stored)
	rev := r.LastRev + 1
	stored.Rev, err = t.step(r, kind, stored.Seq, at, step{
		query: "UPDATE messages SET rev = $1, body = $2, edited = $3, deleted = $4 WHERE room = $5 AND seq = $6 AND tenant = $7",
		args: args(rev, domain.EncodeBody(nil, stored.Content, stored.Meta), sqlrows.TimeOrNull(stored.EditedAt),
			sqlrows.TimeOrNull(stored.DeletedAt), r.number, stored.Seq, t.tenant),
	})
	if err != nil {
		return domain.Message{}, err
	}
	told := stored
	t.emit(domain.Event{Room: r.ID, Rev: stored.Rev, Kind: kind, At: at, Message: &told})
	return stored, nil
}
