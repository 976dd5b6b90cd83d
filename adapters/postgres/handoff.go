package postgres

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// SetHandoff implements ports.RoomWriter.
func (t *tx) SetHandoff(id domain.RoomID, h domain.Handoff, at time.Time) (domain.Room, error) {
	if err := t.ready(); err != nil {
		return domain.Room{}, err
	}
	r, err := t.room(id)
	if err != nil {
		return domain.Room{}, err
	}
	mode, assignee, err := t.handoffValues(h)
	if err != nil {
		return domain.Room{}, err
	}
	r.Handoff = sqlrows.ScanHandoff(mode, string(h.Assignee))
	rev, err := t.step(r, domain.EventHandoff, nil, at)
	if err != nil {
		return domain.Room{}, err
	}
	err = t.put("UPDATE rooms SET handoff = $1, assignee = $2 WHERE number = $3 AND tenant = $4", mode, assignee, r.number, r.tenant)
	if err != nil {
		return domain.Room{}, err
	}
	state := r.Room
	t.emit(domain.Event{Room: r.ID, Rev: rev, Kind: domain.EventHandoff, At: at, State: &state})
	return r.Room, nil
}

// handoffValues are the columns of a handoff. Its assignee exists from then on.
func (t *tx) handoffValues(h domain.Handoff) (mode int64, assignee any, err error) {
	if !h.IsHuman() {
		return sqlrows.HandoffBot, nil, nil
	}
	if h.Assignee == "" {
		return sqlrows.HandoffHuman, nil, nil
	}
	number, err := t.ensureUser(h.Assignee)
	return sqlrows.HandoffHuman, number, err
}
