package sqlite

import "github.com/chatapi/chatapi/domain"

// Both look at one entry of an index, and at the member who is left out.
const (
	longestBut = `SELECT u.id FROM members m JOIN users u ON u.number = m.user WHERE m.room = ? AND m.state = 1 AND m.bot IS NULL AND m.user <> ?
		ORDER BY m.joined_at, m.place LIMIT 1`
	adminBut = "SELECT 1 FROM members m WHERE m.room = ? AND m.state = 1 AND m.role = 'admin' AND m.user <> ? LIMIT 1"
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
	if _, err = r.conn.first(longestBut, args(room.number, number), func(row row) { longest = domain.UserID(row.Text(0)) }); err != nil {
		return "", false, err
	}
	admin, err = r.conn.first(adminBut, args(room.number, number), func(row) {})
	return longest, admin, err
}
