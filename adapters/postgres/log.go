package postgres

import (
	"math"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// SeqAt implements ports.LogReader.
func (r *reader) SeqAt(id domain.RoomID, rev int64) (int64, error) {
	if err := r.source.ready(); err != nil {
		return 0, err
	}
	room, err := r.source.room(id)
	if err != nil {
		return 0, err
	}
	return r.seqAt(room, rev)
}

// seqAt counts the messages at or below a position: every position that is no change is a message.
func (r *reader) seqAt(room *room, rev int64) (int64, error) {
	if rev >= room.LastRev {
		return room.LastSeq, nil
	}
	if rev <= 0 {
		return 0, nil
	}
	var changes int64
	_, err := r.conn.first("SELECT n FROM room_changes WHERE room = $1 AND rev <= $2 AND tenant = $3 ORDER BY rev DESC LIMIT 1",
		args(room.number, rev, r.tenant), func(r row) { changes = r.Int(0) })
	return rev - changes, err
}

// Events implements ports.LogReader.
func (r *reader) Events(q ports.EventQuery) ([]domain.Event, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(q.Room)
	if err != nil || q.Limit <= 0 {
		return nil, err
	}
	if q.Through == 0 {
		q.Through = math.MaxInt64
	}
	told, err := r.seqAt(room, q.After)
	if err != nil {
		return nil, err
	}
	messages, err := r.messageEvents(room, q, told)
	if err != nil {
		return nil, err
	}
	if q.Latest {
		return r.withLatest(room, q, told, messages)
	}
	changes, err := r.changeEvents(room, changesAfter,
		args(room.number, r.tenant, q.After, q.Through, told, q.MinSeq, int64(q.Limit)))
	if err != nil {
		return nil, err
	}
	return sqlrows.MergeEvents(messages, changes, q.Limit), nil
}

// messageEvents are the messages of the stretch; told is the last one below it.
func (r *reader) messageEvents(room *room, q ports.EventQuery, told int64) ([]domain.Event, error) {
	through, err := r.seqAt(room, q.Through)
	if err != nil {
		return nil, err
	}
	found, err := r.after(room, max(told, q.MinSeq-1), through, q.Limit)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return sqlrows.MessageEvents(r.tenantID, room.ID, found), nil
}

// ofMembers joins the membership that a change of members (kinds 4 to 6) names.
const ofMembers = `SELECT c.rev, c.kind, c.target, c.at, (SELECT u.id FROM users u WHERE u.number = m.user_no), ` + sqlrows.MemberColumns + `
	FROM room_changes c LEFT JOIN LATERAL (SELECT * FROM members l
		WHERE c.kind BETWEEN 4 AND 6 AND l.room = c.room AND l.user_no = c.target OFFSET 0) m ON true
	WHERE c.room = $1 AND c.tenant = $2 AND c.rev > $3 AND c.rev <= $4`

// changesAfter leaves out changes of messages (kinds 7 and 8) that lie above one seq and below another.
const changesAfter = ofMembers + " AND (c.kind NOT IN (7, 8) OR c.target <= $5 OR c.target >= $6) ORDER BY c.rev LIMIT $7"

// changeEvents are the changes that a query finds.
func (r *reader) changeEvents(room *room, query string, values []any) ([]domain.Event, error) {
	var changes []sqlrows.Change
	err := r.conn.query(query, values, func(row row) error {
		c := sqlrows.Change{Rev: row.Int(0), Kind: row.Int(1), Target: row.Int(2), At: row.Int(3)}
		if !row.Null(4) {
			c.Member = sqlrows.ScanMember(row[5:], domain.UserID(row.Text(4)))
		}
		changes = append(changes, c)
		return nil
	})
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	changed, err := r.changedMessages(room, changes)
	if err != nil {
		return nil, err
	}
	events := make([]domain.Event, 0, len(changes))
	for _, c := range changes {
		e, err := c.Event(r.tenantID, room.Room, changed)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// changedMessages are the messages that changes name, by seq.
func (r *reader) changedMessages(room *room, changes []sqlrows.Change) (map[int64]domain.Message, error) {
	var at places
	for _, c := range changes {
		if c.IsOfMessage() {
			at.add(room.number, c.Target)
		}
	}
	found, _, err := r.messagesAt(at)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	changed := make(map[int64]domain.Message, len(found))
	for _, m := range found {
		m.Room = room.ID
		changed[m.Seq] = m
	}
	return changed, nil
}
