package sqlite

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Of each target's changes the latest. Messages are found by their latest change, however often they were changed; the
// others by the few changes that are none of a message, each with a look at the membership it names.
const (
	latestOfMessages = `SELECT c.rev, c.kind, c.target, c.at, NULL
		FROM messages x INDEXED BY messages_changed CROSS JOIN room_changes c ON c.room = ?1 AND c.rev = x.rev
		WHERE x.pos >> 36 = ?1 AND x.rev IS NOT NULL AND x.rev > ?2 AND x.rev <= ?3
		AND (x.pos <= ?5 OR x.pos >= ?6)
		ORDER BY x.rev LIMIT 0 + ?4`
	latestOfOthers = "SELECT c.rev, c.kind, c.target, c.at, u.id, " + sqlrows.MemberColumns + `
		FROM room_changes c INDEXED BY room_changes_others
		LEFT JOIN members m ON m.room = c.room AND m.user = c.target AND c.kind BETWEEN 4 AND 6
		LEFT JOIN users u ON u.number = m.user
		WHERE c.room = ?1 AND c.rev > ?2 AND c.rev <= ?3 AND c.kind NOT IN (7, 8) AND CASE c.kind
			WHEN 2 THEN c.rev = (SELECT max(rev) FROM room_changes WHERE room = ?1 AND kind = 2)
			WHEN 4 THEN m.state = 1 AND m.joined_rev = c.rev - 1
			WHEN 5 THEN m.state = 2 AND m.left_rev = c.rev
			WHEN 6 THEN m.state = 1 AND m.rev = c.rev
			WHEN 9 THEN c.rev = (SELECT max(rev) FROM room_changes WHERE room = ?1 AND kind = 9)
			ELSE 1 END
		ORDER BY c.rev LIMIT 0 + ?4`
)

// withLatest adds the latest changes of the stretch to its messages; told is the last message below it.
func (r *reader) withLatest(room *room, q ports.EventQuery, told int64, messages []domain.Event) ([]domain.Event, error) {
	values := args(room.number, q.After, q.Through, int64(q.Limit))
	others, err := r.changeEvents(room, latestOfOthers, values)
	if err != nil {
		return nil, err
	}
	changed, err := r.changeEvents(room, latestOfMessages,
		append(values, position(room.number, told), position(room.number, q.MinSeq)))
	if err != nil {
		return nil, err
	}
	return sqlrows.MergeEvents(sqlrows.MergeEvents(messages, changed, q.Limit), others, q.Limit), nil
}
