package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/domain"
)

// CreateRoom implements ports.RoomWriter.
func (t *tx) CreateRoom(draft domain.Room, members []domain.Member) (domain.Room, error) {
	if err := t.ready(); err != nil {
		return domain.Room{}, err
	}
	if err := t.checkKey(draft.UniqueKey); err != nil {
		return domain.Room{}, err
	}
	made, err := t.insertRoom(draft)
	if err != nil {
		return domain.Room{}, err
	}
	rev, err := t.step(made, domain.EventRoomCreated, nil, draft.CreatedAt)
	if err != nil {
		return domain.Room{}, err
	}
	for i, m := range members {
		m.JoinedSeq, m.JoinedRev = 0, 0
		if err := t.insertMember(made, m, rev, i); err != nil {
			return domain.Room{}, err
		}
	}
	t.emitCreated(made, members)
	return made.Room, nil
}

func (t *tx) emitCreated(made *room, members []domain.Member) {
	state := made.Room
	users := make([]domain.UserID, len(members))
	for i, m := range members {
		users[i] = m.User
	}
	t.emit(domain.Event{
		Room: made.ID, Rev: made.LastRev, Kind: domain.EventRoomCreated, At: made.CreatedAt, State: &state, Users: users,
	})
}

// checkKey looks before anything is written: the transaction goes on after domain.ErrDMExists.
func (t *tx) checkKey(key string) error {
	if key == "" {
		return nil
	}
	_, taken, err := t.idByKey(key)
	if err == nil && taken {
		err = domain.ErrDMExists
	}
	return err
}

func (t *tx) insertRoom(draft domain.Room) (*room, error) {
	draft.LastSeq, draft.LastRev = 0, 0
	draft.FirstSeq = max(draft.FirstSeq, 1)
	made := &room{Room: draft, tenant: t.tenant, active: millis(draft.CreatedAt), dirty: true}
	var name any
	if draft.Name != nil {
		name = *draft.Name
	}
	result, err := t.write(`INSERT INTO rooms (id, tenant, type, first_seq, last_seq, last_rev, changes, active, created,
		unique_key, name, metadata) VALUES (?, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?)`,
		draft.ID[:], t.tenant, string(draft.Type), draft.FirstSeq, made.active, millis(draft.CreatedAt),
		textOrNull(draft.UniqueKey), name, blobOrNull(draft.Metadata))
	if isCheck(err) { // the table's only CHECK: the numbers of rooms are used up
		t.w.log.Error("no room can be made any more", "error", err)
		return nil, domain.ErrUnavailable
	}
	if err != nil {
		return nil, err
	}
	if made.number, err = result.LastInsertId(); err != nil {
		return nil, err
	}
	t.w.cache.rooms.put(draft.ID, made)
	return made, nil
}

// step takes the room's next rev for a change and stores the change in the room's log. r must be the job's own.
func (t *tx) step(r *room, kind domain.EventKind, target any, at time.Time) (rev int64, err error) {
	number, err := changeNumber(kind)
	if err != nil {
		return 0, err
	}
	r.LastRev++
	r.changes++
	return r.LastRev, t.put("INSERT INTO room_changes (room, rev, n, seq_then, kind, target, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		r.number, r.LastRev, r.changes, r.LastSeq, number, target, millis(at))
}

// ensureUser is the number of a user, who exists from first sight.
func (t *tx) ensureUser(id domain.UserID) (int64, error) {
	number, err := t.user(id)
	if err != nil || number != 0 {
		return number, err
	}
	result, err := t.write("INSERT INTO users (tenant, id) VALUES (?, ?)", t.tenant, string(id))
	if err != nil {
		return 0, err
	}
	if number, err = result.LastInsertId(); err != nil {
		return 0, err
	}
	t.w.cache.users.put(userKey{t.tenant, id}, &number)
	return number, nil
}

// raiseUserRev counts a change of the user's memberships.
func (t *tx) raiseUserRev(user int64) (rev int64, err error) {
	if err := t.put("UPDATE users SET user_rev = user_rev + 1 WHERE number = ? AND tenant = ?", user, t.tenant); err != nil {
		return 0, err
	}
	return t.userRev(user)
}

// userRev is how many changes of the user's memberships there were.
func (t *tx) userRev(user int64) (rev int64, err error) {
	_, err = t.conn.first("SELECT user_rev FROM users WHERE number = ? AND tenant = ?", args(user, t.tenant),
		func(r row) { rev = r.int(0) })
	return rev, err
}
