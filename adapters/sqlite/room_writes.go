package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
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
	draft.Members = int64(len(members))
	made, err := t.insertRoom(draft)
	if err != nil {
		return domain.Room{}, err
	}
	rev, err := t.step(made, domain.EventRoomCreated, nil, draft.CreatedAt)
	if err != nil {
		return domain.Room{}, err
	}
	for i, m := range members {
		m.JoinedSeq, m.JoinedRev, m.ReadSeq = 0, 0, 0
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
		Members: made.Members,
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
	draft.Handoff = sqlrows.ScanHandoff(sqlrows.HandoffBot, "")
	made := &room{Room: draft, tenant: t.tenant, active: draft.CreatedAt.UnixMilli(), dirty: true}
	result, err := t.write(`INSERT INTO rooms (id, tenant, type, first_seq, last_seq, last_rev, changes, active, created,
		unique_key, name, metadata, members) VALUES (?, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?)`,
		draft.ID[:], t.tenant, string(draft.Type), draft.FirstSeq, made.active, draft.CreatedAt.UnixMilli(),
		sqlrows.TextOrNull(draft.UniqueKey), sqlrows.PointerOrNull(draft.Name), sqlrows.BlobOrNull(draft.Metadata), draft.Members)
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

// UpdateRoom implements ports.RoomWriter.
func (t *tx) UpdateRoom(to domain.Room, at time.Time) (domain.Room, error) {
	if err := t.ready(); err != nil {
		return domain.Room{}, err
	}
	found, err := t.room(to.ID)
	if err != nil {
		return domain.Room{}, err
	}
	r := t.change(found)
	r.Name, r.Metadata = to.Name, to.Metadata
	rev, err := t.step(r, domain.EventRoomUpdated, nil, at)
	if err != nil {
		return domain.Room{}, err
	}
	err = t.put("UPDATE rooms SET name = ?, metadata = ? WHERE number = ? AND tenant = ?",
		sqlrows.PointerOrNull(r.Name), sqlrows.BlobOrNull(r.Metadata), r.number, r.tenant)
	if err != nil {
		return domain.Room{}, err
	}
	state := r.Room
	t.emit(domain.Event{Room: r.ID, Rev: rev, Kind: domain.EventRoomUpdated, At: at, State: &state})
	return r.Room, nil
}

// RemoveRoom implements ports.RoomWriter. It writes the counters itself, those of earlier jobs of the batch too: the
// room is no more among those that the end of the batch writes.
func (t *tx) RemoveRoom(id domain.RoomID, at time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	found, err := t.room(id)
	if err != nil {
		return err
	}
	last := *found
	rev, err := t.step(&last, domain.EventRoomRemoved, nil, at)
	if err != nil {
		return err
	}
	last.UniqueKey, last.Name, last.Metadata, last.Members, last.Handoff = "", nil, nil, 0, domain.Handoff{}
	err = t.put(`UPDATE rooms SET deleted = ?, unique_key = NULL, name = NULL, metadata = NULL, members = 0, bots = 0, assignee = NULL,
		last_seq = ?, last_rev = ?, changes = ?, active = ? WHERE number = ? AND tenant = ?`,
		at.UnixMilli(), last.LastSeq, last.LastRev, last.changes, last.active, last.number, last.tenant)
	if err != nil {
		return err
	}
	t.w.cache.rooms.put(id, nil)
	t.emit(domain.Event{Room: id, Rev: rev, Kind: domain.EventRoomRemoved, At: at, State: &last.Room})
	return nil
}

// step takes the room's next rev for a change and stores the change in the room's log. r must be the job's own.
func (t *tx) step(r *room, kind domain.EventKind, target any, at time.Time) (rev int64, err error) {
	number, err := sqlrows.ChangeNumber(kind)
	if err != nil {
		return 0, err
	}
	r.LastRev++
	r.changes++
	return r.LastRev, t.put("INSERT INTO room_changes (room, rev, n, seq_then, kind, target, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		r.number, r.LastRev, r.changes, r.LastSeq, number, target, at.UnixMilli())
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
		func(r row) { rev = r.Int(0) })
	return rev, err
}
