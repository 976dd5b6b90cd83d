package postgres

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const memberColumns = "m.role, m.state, m.joined_at, m.joined_seq, m.joined_rev, m.left_seq, m.left_rev, m.read_seq"

// memberWidth is the number of memberColumns.
const memberWidth = 8

func scanMember(r row, user domain.UserID) *domain.Member {
	return &domain.Member{
		User: user, Role: domain.Role(r.Text(0)), State: domain.MemberState(r.Int(1)), JoinedAt: sqlrows.FromMillis(r.Int(2)),
		JoinedSeq: r.Int(3), JoinedRev: r.Int(4), LeftSeq: r.Int(5), LeftRev: r.Int(6), ReadSeq: r.Int(7),
	}
}

// pageOfMembers passes over the members before the offset in the index, and reads whole rows of one page alone.
const pageOfMembers = "SELECT " + memberColumns + `, u.id FROM (SELECT m.user_no, m.joined_at, m.place FROM members m
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
		members = append(members, *scanMember(row, domain.UserID(row.Text(memberWidth))))
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
