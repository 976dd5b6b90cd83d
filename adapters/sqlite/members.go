package sqlite

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// pageOfMembers passes over the members before the offset in the index alone.
const pageOfMembers = "SELECT " + sqlrows.MemberColumns + `, u.id FROM (SELECT m.room, m.user FROM members m
		WHERE m.room = ? AND m.state = 1 ORDER BY m.joined_at, m.place LIMIT 0 + ? OFFSET ?) p
	CROSS JOIN members m ON m.room = p.room AND m.user = p.user CROSS JOIN users u ON u.number = m.user
	ORDER BY m.joined_at, m.place`

// Members implements ports.MemberReader.
func (r *reader) Members(id domain.RoomID, offset, limit int) ([]domain.Member, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(id)
	if err != nil || limit <= 0 {
		return nil, err
	}
	var members []domain.Member
	values := args(room.number, int64(limit), int64(max(offset, 0)))
	err = r.conn.query(pageOfMembers, values, func(row row) error {
		members = append(members, *sqlrows.ScanMember(row, domain.UserID(row.Text(sqlrows.MemberWidth))))
		return nil
	})
	return members, err
}

// Member implements ports.MemberReader.
func (r *reader) Member(id domain.RoomID, user domain.UserID) (domain.Member, error) {
	if err := r.source.ready(); err != nil {
		return domain.Member{}, err
	}
	_, member, err := r.source.access(id, user)
	if err != nil {
		return domain.Member{}, err
	}
	if member == nil {
		return domain.Member{}, domain.ErrMemberNotFound
	}
	return *member, nil
}
