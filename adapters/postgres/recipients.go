package postgres

import (
	"fmt"
	"math"
	"strconv"

	"github.com/chatapi/chatapi/domain"
)

// membershipsAfter tells of each membership of a room, in the order of users' numbers, whether the user knows nothing of a
// message yet. A membership is never deleted, so that the number is a place that stays whoever leaves. The marks are looked
// up one membership at a time: as an EXISTS they might all be read for it.
const membershipsAfter = `SELECT m.user_no, u.id, m.state = 1 AND m.joined_seq < $3 AND m.read_seq < $3 AND
		(SELECT 1 FROM marks k WHERE k.user_no = m.user_no AND k.room = m.room AND k.delivered_seq >= $3 LIMIT 1) IS NULL
	FROM members m JOIN users u ON u.number = m.user_no
	WHERE m.room = $1 AND m.user_no > $2 AND m.user_no <= $4 AND m.tenant = $6 ORDER BY m.user_no LIMIT $5`

// Recipients implements ports.RecipientReader.
func (r *reader) Recipients(id domain.RoomID, m domain.Message, after, upTo string, limit int) (
	users []domain.UserID, through string, err error,
) {
	if err := r.source.ready(); err != nil {
		return nil, "", err
	}
	room, err := r.source.look(id)
	if err != nil {
		return nil, "", err
	}
	from, err := parsePlace(after, 0)
	if err != nil {
		return nil, "", err
	}
	last, err := parsePlace(upTo, math.MaxInt64)
	if err != nil {
		return nil, "", err
	}
	var most any = int64(limit)
	if upTo != "" {
		most = nil
	} else if limit <= 0 {
		return nil, "", nil
	}
	err = r.conn.query(membershipsAfter, args(room.number, from, m.Seq, last, most, r.tenant), func(row row) error {
		through = strconv.FormatInt(row.Int(0), 10)
		user := domain.UserID(row.Text(1))
		if row.Int(2) != 0 && user != m.Sender && !user.IsReserved() {
			users = append(users, user)
		}
		return nil
	})
	return users, through, err
}

// parsePlace reads a place among a room's memberships: the number of a user.
func parsePlace(place string, empty int64) (int64, error) {
	if place == "" {
		return empty, nil
	}
	number, err := strconv.ParseInt(place, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("postgres: read a place among recipients: %w", err)
	}
	return number, nil
}
