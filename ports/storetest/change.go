package storetest

import (
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// change is one call of a writer, chosen beforehand, since an update may run again.
type change struct {
	kind    int
	room    domain.Room
	members []domain.Member // of a new room
	user    domain.UserID
	device  domain.DeviceID
	role    domain.Role
	mark    domain.Mark
	confirm bool
	at      time.Time
}

const (
	changeCreate = iota
	changeAdd
	changeRemove
	changeRole
	changeRaise
	changeSee
	changeKinds
)

// plan is one to four changes of any kind.
func (w *walker) plan() []change {
	plan := make([]change, 1+w.rand.IntN(4))
	for i := range plan {
		plan[i] = w.newChange(w.rand.IntN(changeKinds))
	}
	return plan
}

func (w *walker) newChange(kind int) change {
	c := change{
		kind: kind, user: w.anyUser(), device: w.devices[w.rand.IntN(len(w.devices))], confirm: w.rand.IntN(2) == 0,
		role: []domain.Role{domain.RoleMember, domain.RoleAdmin}[w.rand.IntN(2)],
	}
	if kind == changeCreate && len(w.rooms()) < walkRooms {
		c.room, c.members = w.newDM(c.user, w.anyUser())
		if c.members = c.members[:1+w.rand.IntN(2)]; w.rand.IntN(3) > 0 {
			c.room.Type, c.room.UniqueKey = domain.RoomGroup, ""
		}
		if len(c.members) == 2 && c.members[0].User == c.members[1].User {
			c.members = c.members[:1]
		}
	} else if kind == changeCreate {
		c.kind = changeAdd
	}
	if c.kind != changeCreate {
		c.room = w.anyRoom().Room
		c.mark = w.anyMark(c.room)
	}
	c.at = w.now()
	return c
}

func (w *walker) anyMark(room domain.Room) domain.Mark {
	seq := w.rand.Int64N(room.LastSeq + 1)
	m := domain.Mark{DeliveredSeq: seq, ReadSeq: w.rand.Int64N(room.LastSeq + 1)}
	if w.rand.IntN(2) == 0 {
		m.DeliveredRev = w.rand.Int64N(room.LastRev + 1)
	}
	return m
}

// run does a plan in one update and compares each answer with the model's; a failing one changes nothing.
func (w *walker) run(plan []change, fail bool) {
	w.t.Helper()
	var answers []string
	err := w.tryUpdate(func(tx ports.Tx) error {
		answers = nil
		for _, c := range plan {
			answer, err := c.do(tx)
			answers = append(answers, showAnswer(answer, err))
		}
		if fail {
			return errSentinel
		}
		return nil
	})
	if fail {
		wantError(w.t, "a failing update", err, errSentinel)
		return
	}
	equal(w.t, "the error of an update", err, nil)
	for i, c := range plan {
		answer, err := w.apply(c)
		equal(w.t, "the answer to "+show(c.kind)+" "+show(c.room.ID), answers[i], showAnswer(answer, err))
	}
}

// showAnswer is an answer, or the error instead of it.
func showAnswer(answer any, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return show(answer)
}

// do asks the store.
func (c change) do(tx ports.Tx) (any, error) {
	switch c.kind {
	case changeCreate:
		return tx.CreateRoom(c.room, c.members)
	case changeAdd:
		return tx.AddMember(c.room.ID, c.user, c.role, c.at)
	case changeRemove:
		return tx.RemoveMember(c.room.ID, c.user, c.at)
	case changeRole:
		return tx.SetRole(c.room.ID, c.user, c.role, c.at)
	case changeRaise:
		return tx.RaiseMark(c.room.ID, c.user, c.device, c.mark)
	}
	known, err := tx.Places(c.user, c.device)
	if err != nil {
		return nil, err
	}
	userRev := known.UserRev
	if !c.confirm {
		userRev = 0
	}
	return nil, tx.SeeDevice(c.user, c.device, userRev, c.at)
}

// apply asks the model.
func (w *walker) apply(c change) (any, error) {
	r, d := w.model.room(c.room.ID), deviceOf{c.user, c.device}
	switch c.kind {
	case changeCreate:
		return w.model.create(c.room, c.members)
	case changeAdd:
		return w.model.add(r, c.user, c.role, c.at)
	case changeRemove:
		return w.model.remove(r, c.user, c.at)
	case changeRole:
		return w.model.setRole(r, c.user, c.role, c.at)
	case changeRaise:
		return w.model.raise(r, d, c.mark)
	}
	w.model.see(d, c.confirm, c.at)
	return nil, nil
}
