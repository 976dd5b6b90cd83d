package postgres

import (
	"slices"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// CreateRoom implements ports.RoomWriter.
func (t *tx) CreateRoom(draft domain.Room, members []domain.Member) (domain.Room, error) {
	if err := t.ready(); err != nil {
		return domain.Room{}, err
	}
	draft.Members = int64(len(members))
	made, err := t.insertRoom(draft)
	if err != nil {
		return domain.Room{}, err
	}
	if err := t.insertMembers(made, members); err != nil {
		return domain.Room{}, err
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

// insertRoom makes a room with the first step of its log. It is domain.ErrDMExists for a unique key that another room has, after
// waiting for whoever is making that room or removing it. The transaction goes on after that error.
func (t *tx) insertRoom(draft domain.Room) (*room, error) {
	kind, err := sqlrows.ChangeNumber(domain.EventRoomCreated)
	if err != nil {
		return nil, err
	}
	draft.LastSeq, draft.LastRev = 0, 1
	draft.FirstSeq = max(draft.FirstSeq, 1)
	draft.Handoff = sqlrows.ScanHandoff(sqlrows.HandoffBot, "")
	made := &room{Room: draft, tenant: t.tenant, changes: 1, active: draft.CreatedAt.UnixMilli()}
	err = t.returning(`WITH made AS (INSERT INTO rooms (id, tenant, type, first_seq, last_seq, last_rev, changes, active, created,
			unique_key, name, metadata, members) VALUES ($1, $2, $3, $4, 0, 1, 1, $5, $5, $6, $7, $8, $9)
			ON CONFLICT (tenant, unique_key) WHERE unique_key IS NOT NULL DO NOTHING RETURNING number),
		change AS (INSERT INTO room_changes (tenant, room, rev, n, seq_then, kind, target, at)
			SELECT $2, number, 1, 1, 0, $10, NULL, $5 FROM made)
		SELECT number FROM made`,
		args(draft.ID[:], t.tenant, string(draft.Type), draft.FirstSeq, made.active,
			sqlrows.TextOrNull(draft.UniqueKey), sqlrows.PointerOrNull(draft.Name), sqlrows.BlobOrNull(draft.Metadata), draft.Members, kind),
		func(r row) error {
			made.number = r.Int(0)
			return nil
		})
	if err != nil {
		return nil, err
	}
	if made.number == 0 {
		return nil, domain.ErrDMExists
	}
	t.rooms[draft.ID] = made
	return made, nil
}

// UpdateRoom implements ports.RoomWriter.
func (t *tx) UpdateRoom(to domain.Room, at time.Time) (domain.Room, error) {
	if err := t.ready(); err != nil {
		return domain.Room{}, err
	}
	r, err := t.room(to.ID)
	if err != nil {
		return domain.Room{}, err
	}
	r.Name, r.Metadata = to.Name, to.Metadata
	rev, err := t.step(r, domain.EventRoomUpdated, nil, at, step{
		query: "UPDATE rooms SET name = $1, metadata = $2 WHERE number = $3 AND tenant = $4",
		args:  args(sqlrows.PointerOrNull(r.Name), sqlrows.BlobOrNull(r.Metadata), r.number, r.tenant),
	})
	if err != nil {
		return domain.Room{}, err
	}
	state := r.Room
	t.emit(domain.Event{Room: r.ID, Rev: rev, Kind: domain.EventRoomUpdated, At: at, State: &state})
	return r.Room, nil
}

// RemoveRoom implements ports.RoomWriter.
func (t *tx) RemoveRoom(id domain.RoomID, at time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	r, err := t.room(id)
	if err != nil {
		return err
	}
	rev, err := t.step(r, domain.EventRoomRemoved, nil, at, step{
		query: `UPDATE rooms SET deleted = $1, unique_key = NULL, name = NULL, metadata = NULL, members = 0, bots = 0,
			assignee = NULL WHERE number = $2 AND tenant = $3`,
		args: args(at.UnixMilli(), r.number, r.tenant),
	})
	if err != nil {
		return err
	}
	last := r.Room
	last.UniqueKey, last.Name, last.Metadata, last.Members, last.Handoff = "", nil, nil, 0, domain.Handoff{}
	t.rooms[id] = nil
	t.emit(domain.Event{Room: id, Rev: rev, Kind: domain.EventRoomRemoved, At: at, State: &last})
	return nil
}

// step takes the room's next rev for a change, stores the change in the room's log and the room's counters with it, and
// then what else the change is. r must be the unit of work's own: its row is locked.
func (t *tx) step(r *room, kind domain.EventKind, target any, at time.Time, then ...step) (rev int64, err error) {
	number, err := sqlrows.ChangeNumber(kind)
	if err != nil {
		return 0, err
	}
	r.LastRev++
	r.changes++
	logged := step{query: logChange, args: args(t.tenant, r.number, r.LastRev, r.changes, r.LastSeq, number, target, at.UnixMilli(), r.Members)}
	return r.LastRev, t.conn.together(append([]step{logged}, then...)...)
}

const logChange = `WITH change AS (INSERT INTO room_changes (tenant, room, rev, n, seq_then, kind, target, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7::bigint, $8))
	UPDATE rooms SET last_rev = $3, changes = $4, members = $9 WHERE number = $2 AND tenant = $1`

// ensureUser is the number of a user, who exists from first sight. Two units of work may see the same user first: the one
// that comes second waits for the other, and sees then what it made.
func (t *tx) ensureUser(id domain.UserID) (int64, error) {
	number, err := t.user(id)
	if err != nil || number != 0 {
		return number, err
	}
	if err := t.ensureUsers([]domain.UserID{id}); err != nil {
		return 0, err
	}
	return t.user(id)
}

// ensureUsers makes those users that do not exist, in one order for all units of work.
func (t *tx) ensureUsers(ids []domain.UserID) error {
	sorted := slices.Clone(ids)
	slices.Sort(sorted)
	return t.put("INSERT INTO users (tenant, id) SELECT $1, x FROM unnest($2::text[]) x ON CONFLICT (tenant, id) DO NOTHING",
		t.tenant, texts(sorted))
}

// texts is one parameter for any number of texts.
func texts[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = string(s)
	}
	return out
}
