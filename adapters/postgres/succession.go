package postgres

import "github.com/chatapi/chatapi/domain"

// Both look at one entry of an index, and at the member who is left out.
const (
	longestBut = `SELECT (SELECT u.id FROM users u WHERE u.number = m.user_no) FROM members m
		WHERE m.room = $1 AND m.tenant = $3 AND m.state = 1 AND m.bot IS NULL AND m.user_no <> $2
		ORDER BY m.joined_at, m.place LIMIT 1`
	adminBut = `SELECT 1 FROM members m
		WHERE m.room = $1 AND m.tenant = $3 AND m.state = 1 AND m.role = 'admin' AND m.user_no <> $2 LIMIT 1`
)

// Succession implements ports.MemberReader.
func (r *reader) Succession(id domain.RoomID, but domain.UserID) (longest domain.UserID, admin bool, err error) {
	if err := r.source.ready(); err != nil {
		return "", false, err
	}
	room, err := r.source.room(id)
	if err != nil {
		return "", false, err
	}
	var number int64
	if but != "" {
		if number, err = r.source.user(but); err != nil {
			return "", false, err
		}
	}
	values := args(room.number, number, r.tenant)
	if _, err = r.conn.first(longestBut, values, func(row row) { longest = domain.UserID(row.Text(0)) }); err != nil {
		return "", false, err
	}
	admin, err = r.conn.first(adminBut, values, func(row) {})
	return longest, admin, err
}
