package sqlite

import (
	"fmt"
	"math"
	"strconv"

	"github.com/chatapi/chatapi/domain"
)

// membershipsAfter tells of each membership of a room, in the order of users' numbers, whether the user knows nothing of a
// message yet. A membership is never deleted, so that the number is a place that stays whoever leaves.
const membershipsAfter = `SELECT m.user, u.id, m.state = 1 AND m.joined_seq < ?3 AND m.read_seq < ?3 AND NOT EXISTS
		(SELECT 1 FROM marks k WHERE k.user = m.user AND k.room = m.room AND k.delivered_seq >= ?3)
	FROM members m CROSS JOIN users u ON u.number = m.user
	WHERE m.room = ?1 AND m.user > ?2 AND m.user <= ?4 ORDER BY m.user LIMIT 0 + ?5`

// Recipients implements ports.RecipientReader.
func (r *reader) Recipients(id domain.RoomID, m domain.Message, after, upTo string, limit int) (
	users []domain.UserID, through string, err error,
) {
	if err := r.source.ready(); err != nil {
		return nil, "", err
	}
	room, err := r.source.room(id)
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
	if upTo != "" {
		limit = -1 // none
	} else if limit <= 0 {
		return nil, "", nil
	}
	err = r.conn.query(membershipsAfter, args(room.number, from, m.Seq, last, int64(limit)), func(row row) error {
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
		return 0, fmt.Errorf("sqlite: read a place among recipients: %w", err)
	}
	return number, nil
}
