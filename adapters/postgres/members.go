package postgres

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// pageOfMembers passes over the members before the offset in the index, and reads whole rows of one page alone.
const pageOfMembers = "SELECT " + sqlrows.MemberColumns + `, u.id FROM (SELECT m.user_no, m.joined_at, m.place FROM members m
		WHERE m.room = $1 AND m.tenant = $2 AND m.state = 1 ORDER BY m.joined_at, m.place LIMIT $3 OFFSET $4) p
	JOIN members m ON m.room = $1 AND m.user_no = p.user_no JOIN users u ON u.number = p.user_no
	ORDER BY p.joined_at, p.place`

// Members implements ports.MemberReader.
func (r *reader) Members(id domain.RoomID, offset, limit int) ([]domain.Member, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.look(id)
	if err != nil || limit <= 0 {
		return nil, err
	}
	var members []domain.Member
	values := args(room.number, r.tenant, int64(limit), int64(max(offset, 0)))
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
