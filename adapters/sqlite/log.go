package sqlite

import (
	"database/sql/driver"
	"fmt"
	"math"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// changeKinds are the numbers of a room's changes in the store; they are never given another meaning.
var changeKinds = [...]domain.EventKind{
	1: domain.EventRoomCreated,
	2: domain.EventRoomUpdated,
	3: domain.EventRoomRemoved,
	4: domain.EventMemberAdded,
	5: domain.EventMemberRemoved,
	6: domain.EventMemberUpdated,
	7: domain.EventMessageEdited,
	8: domain.EventMessageDeleted,
	9: domain.EventHandoff,
}

// isOfMessage reports whether the target of a kind of changes is a message.
func isOfMessage(kind int64) bool { return kind == 7 || kind == 8 }

func changeNumber(kind domain.EventKind) (int64, error) {
	if i := slices.Index(changeKinds[:], kind); i > 0 {
		return int64(i), nil
	}
	return 0, fmt.Errorf("sqlite: %q is no kind of change", kind)
}

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
	_, err := r.conn.first("SELECT n FROM room_changes WHERE room = ? AND rev <= ? ORDER BY rev DESC LIMIT 1",
		args(room.number, rev), func(r row) { changes = r.int(0) })
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
		args(room.number, q.After, q.Through, told, q.MinSeq, int64(q.Limit)))
	if err != nil {
		return nil, err
	}
	return mergeEvents(messages, changes, q.Limit), nil
}

// mergeEvents joins two runs in order of rev into one, of at most limit.
func mergeEvents(a, b []domain.Event, limit int) []domain.Event {
	if len(b) == 0 {
		return a
	}
	merged := make([]domain.Event, 0, min(len(a)+len(b), limit))
	for len(merged) < limit && len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Rev < b[0].Rev {
			merged, a = append(merged, a[0]), a[1:]
			continue
		}
		merged, b = append(merged, b[0]), b[1:]
	}
	return merged
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
	events := make([]domain.Event, len(found))
	for i := range found {
		events[i] = domain.Event{
			Tenant: r.tenantID, Room: room.ID, Rev: found[i].FirstRev, Kind: domain.EventMessage,
			At: found[i].CreatedAt, Message: &found[i],
		}
	}
	return events, nil
}

// change is a row of room_changes with the membership it names, if it names one.
type change struct {
	rev, kind, target, at int64
	member                *domain.Member
}

// changesAfter joins the membership that a change of members (kinds 4 to 6) names, and leaves out changes of messages
// (kinds 7 and 8) that lie above one seq and below another.
const changesAfter = "SELECT c.rev, c.kind, c.target, c.at, u.id, " + memberColumns + ` FROM room_changes c
	LEFT JOIN members m ON m.room = c.room AND m.user = c.target AND c.kind BETWEEN 4 AND 6
	LEFT JOIN users u ON u.number = m.user
	WHERE c.room = ? AND c.rev > ? AND c.rev <= ? AND (c.kind NOT IN (7, 8) OR c.target <= ? OR c.target >= ?)
	ORDER BY c.rev LIMIT 0 + ?`

// changeEvents are the changes that a query finds.
func (r *reader) changeEvents(room *room, query string, values []driver.Value) ([]domain.Event, error) {
	var changes []change
	err := r.conn.query(query, values, func(row row) error {
		c := change{rev: row.int(0), kind: row.int(1), target: row.int(2), at: row.int(3)}
		if !row.null(4) {
			c.member = scanMember(row[5:], domain.UserID(row.text(4)))
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
		e, err := r.changeEvent(room, c, changed)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// changedMessages are the messages that changes name, by seq.
func (r *reader) changedMessages(room *room, changes []change) (map[int64]domain.Message, error) {
	var places []int64
	for _, c := range changes {
		if isOfMessage(c.kind) {
			places = append(places, position(room.number, c.target))
		}
	}
	if len(places) == 0 {
		return nil, nil
	}
	found, _, err := r.messagesAt(places)
	if err != nil {
		return nil, err
	}
	changed := make(map[int64]domain.Message, len(found))
	for _, m := range found {
		m.Room = room.ID
		changed[m.Seq] = m
	}
	return changed, nil
}

// changeEvent tells a change with its target as it is now.
func (r *reader) changeEvent(room *room, c change, changed map[int64]domain.Message) (domain.Event, error) {
	if c.kind < 1 || c.kind >= int64(len(changeKinds)) {
		return domain.Event{}, fmt.Errorf("sqlite: unknown kind of change %d", c.kind)
	}
	e := domain.Event{Tenant: r.tenantID, Room: room.ID, Rev: c.rev, Kind: changeKinds[c.kind], At: fromMillis(c.at)}
	switch e.Kind {
	case domain.EventMemberAdded, domain.EventMemberRemoved, domain.EventMemberUpdated:
		if e.Member, e.Members = c.member, room.Members; c.member == nil {
			return e, fmt.Errorf("sqlite: change %d names a membership that does not exist", c.rev)
		}
	case domain.EventMessageEdited, domain.EventMessageDeleted:
		m, ok := changed[c.target]
		if !ok {
			return e, fmt.Errorf("sqlite: change %d names a message that does not exist", c.rev)
		}
		e.Message = &m
	case domain.EventRoomCreated:
		state := room.Room
		e.State, e.Members = &state, room.Members
	default:
		state := room.Room
		e.State = &state
	}
	return e, nil
}
