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
	message domain.MessageID // to be edited or deleted
	seq     int64            // of it, or to be read
	edit    domain.Edit
	profile domain.User
}

const (
	changeCreate = iota
	changeAdd
	changeRemove
	changeRole
	changeRaise
	changeSee
	changeRead
	changeRoom
	changeEdit
	changeDelete
	changeUser
	changeSeen
	changeKinds
	changeRemoveRoom // more seldom than the others
	changeHandoff
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
	c.at = w.now()
	if c.kind != changeCreate {
		r := w.anyRoom()
		c.room = r.Room
		c.mark = w.anyMark(c.room)
		w.say(&c, r)
	}
	if c.kind == changeRoom && w.rand.IntN(8) == 0 {
		c.kind = changeRemoveRoom
	} else if c.kind == changeRoom && w.rand.IntN(2) == 0 {
		c.kind = changeHandoff
	}
	return c
}

// say fills in what is to be said of a room, of one of its messages and of a user.
func (w *walker) say(c *change, r *modelRoom) {
	text := awkward[w.rand.IntN(len(awkward))]
	c.seq = w.rand.Int64N(r.LastSeq + 1)
	c.profile = domain.User{ID: c.user, Name: &text, AvatarURL: []*string{nil, &text}[w.rand.IntN(2)]}
	c.room.Name, c.room.Metadata = &text, [][]byte{nil, []byte(`{}`)}[w.rand.IntN(2)]
	if len(r.messages) == 0 {
		if c.kind == changeEdit || c.kind == changeDelete {
			c.kind = changeRead
		}
		return
	}
	c.seq = max(c.seq, 1)
	c.message = r.messages[c.seq-1].ID
	c.edit = domain.Edit{Content: text, SetMeta: w.rand.IntN(2) == 0, Meta: [][]byte{nil, []byte(`{"e":1}`)}[w.rand.IntN(2)]}
}

func (w *walker) anyMark(room domain.Room) domain.Mark {
	seq := w.rand.Int64N(room.LastSeq + 1)
	m := domain.Mark{DeliveredSeq: seq}
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
	case changeSee:
		return nil, c.doSee(tx)
	case changeRead:
		return tx.RaiseRead(c.room.ID, c.user, c.seq)
	case changeRoom:
		return tx.UpdateRoom(c.room, c.at)
	case changeRemoveRoom:
		return nil, tx.RemoveRoom(c.room.ID, c.at)
	case changeHandoff:
		return tx.SetHandoff(c.room.ID, c.handoff(), c.at)
	case changeEdit:
		return c.doEdit(tx)
	case changeDelete:
		return c.doDelete(tx)
	case changeUser:
		return nil, tx.PutUser(c.profile)
	}
	return nil, tx.SawUsers([]domain.UserID{c.user, "nobody"}, c.at)
}

// handoff is to the bots, to people, or to one of them.
func (c change) handoff() domain.Handoff {
	switch {
	case c.confirm:
		return byBots
	case c.role == domain.RoleAdmin:
		return domain.Handoff{Mode: domain.HandoffHuman, Assignee: c.user}
	}
	return domain.Handoff{Mode: domain.HandoffHuman}
}

func (c change) doEdit(tx ports.Tx) (domain.Message, error) {
	stored, err := tx.Message(c.room.ID, c.message)
	if err != nil {
		return stored, err
	}
	edited, changed, err := c.edit.Apply(stored, c.at)
	if err != nil || !changed {
		return edited, err
	}
	return tx.EditMessage(edited)
}

func (c change) doDelete(tx ports.Tx) (domain.Message, error) {
	stored, err := tx.Message(c.room.ID, c.message)
	if err != nil || stored.IsDeleted() {
		return stored, err
	}
	return tx.DeleteMessage(stored.Tombstone(c.at))
}

func (c change) doSee(tx ports.Tx) error {
	known, err := tx.Places(c.user, c.device)
	if err != nil {
		return err
	}
	userRev := known.UserRev
	if !c.confirm {
		userRev = 0
	}
	return tx.SeeDevice(c.user, c.device, userRev, c.at)
}

// apply asks the model.
func (w *walker) apply(c change) (any, error) {
	r, d := w.model.room(c.room.ID), deviceOf{c.user, c.device}
	switch c.kind {
	case changeCreate:
		return w.model.create(c.room, c.members)
	case changeSee:
		w.model.see(d, c.confirm, c.at)
		return nil, nil
	case changeUser:
		w.model.put(c.profile)
		return nil, nil
	case changeSeen:
		w.model.saw(c.user, c.at)
		return nil, nil
	}
	if r == nil { // removed by an earlier change of the same plan
		return nil, domain.ErrRoomNotFound
	}
	switch c.kind {
	case changeAdd:
		return w.model.add(r, c.user, c.role, c.at)
	case changeRemove:
		return w.model.remove(r, c.user, c.at)
	case changeRole:
		return w.model.setRole(r, c.user, c.role, c.at)
	case changeRaise:
		return w.model.raise(r, d, c.mark)
	case changeRead:
		return w.model.read(r, c.user, c.seq)
	case changeRoom:
		return w.model.update(r, c.room.Name, c.room.Metadata, c.at)
	case changeHandoff:
		return w.model.handOff(r, c.handoff(), c.at)
	case changeEdit:
		return w.model.edit(r, c.seq, c.edit, c.at)
	case changeDelete:
		return w.model.erase(r, c.seq, c.at)
	}
	w.model.removeRoom(r, c.at)
	return nil, nil
}
