package sqlite

import (
	"encoding/json"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// User implements ports.UserReader.
func (r *reader) User(id domain.UserID) (user domain.User, err error) {
	if err := r.source.ready(); err != nil {
		return domain.User{}, err
	}
	found, err := r.conn.first("SELECT "+sqlrows.UserColumns+" FROM users u WHERE u.tenant = ? AND u.id = ?",
		args(r.tenant, string(id)), func(row row) { user = sqlrows.ScanUser(row) })
	if err == nil && !found {
		err = domain.ErrUserNotFound
	}
	return user, err
}

// Those asked for come first, one look-up each. Whether one of them shares a room is found along the rooms of the user, or
// of the other when the user has more than may be looked at, with one look-up in each, and ends at the first: how many
// members the rooms have does not matter.
const (
	usersNamed = "SELECT " + sqlrows.UserColumns + ` FROM users u
		WHERE u.tenant = ?1 AND u.id IN (SELECT value FROM json_each(?2))`
	roomMates = usersNamed + ` AND (u.number = ?3 OR
		CASE WHEN (SELECT count(*) FROM (SELECT 1 FROM members WHERE user = ?3 AND state = 1 LIMIT 1 + ?4)) <= ?4
		THEN EXISTS (SELECT 1 FROM members mine
			CROSS JOIN members theirs ON theirs.room = mine.room AND theirs.user = u.number AND theirs.state = 1
			CROSS JOIN rooms r ON r.number = mine.room AND r.deleted IS NULL WHERE mine.user = ?3 AND mine.state = 1)
		ELSE EXISTS (SELECT 1 FROM (SELECT room FROM members WHERE user = u.number AND state = 1 LIMIT 0 + ?4) theirs
			CROSS JOIN members mine ON mine.room = theirs.room AND mine.user = ?3 AND mine.state = 1
			CROSS JOIN rooms r ON r.number = theirs.room AND r.deleted IS NULL)
		END)`
)

// RoomMates implements ports.UserReader.
func (r *reader) RoomMates(user domain.UserID, others []domain.UserID) (found []domain.User, err error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	if len(others) == 0 {
		return nil, nil
	}
	list, err := json.Marshal(others)
	if err != nil {
		return nil, err
	}
	query, values := usersNamed, args(r.tenant, string(list))
	if user != "" {
		number, err := r.source.user(user)
		if err != nil || number == 0 {
			return nil, err
		}
		query, values = roomMates, append(values, number, int64(ports.MaxMateLookups/len(others)))
	}
	err = r.conn.query(query, values, func(row row) error {
		found = append(found, sqlrows.ScanUser(row))
		return nil
	})
	return found, err
}

// SmallRooms implements ports.UserReader.
func (r *reader) SmallRooms(user domain.UserID, atMost int) (rooms []domain.RoomID, err error) {
	if err := r.prepareList(); err != nil {
		return nil, err
	}
	number, err := r.source.user(user)
	if err != nil || number == 0 {
		return nil, err
	}
	err = r.conn.query(`SELECT r.id FROM members m CROSS JOIN rooms r ON r.number = m.room AND +r.tenant = ?
		AND r.deleted IS NULL AND r.members <= ? WHERE m.user = ? AND m.state = 1 LIMIT 0 + ?`,
		args(r.tenant, int64(atMost), number, int64(ports.MaxSmallRooms)), func(row row) error {
			rooms = append(rooms, domain.RoomID(row.Blob(0)))
			return nil
		})
	return rooms, err
}

// PutUser implements ports.UserWriter.
func (t *tx) PutUser(u domain.User) error {
	if err := t.ready(); err != nil {
		return err
	}
	number, err := t.ensureUser(u.ID)
	if err != nil {
		return err
	}
	return t.put("UPDATE users SET name = ?, avatar_url = ?, metadata = ? WHERE number = ? AND tenant = ?",
		sqlrows.PointerOrNull(u.Name), sqlrows.PointerOrNull(u.AvatarURL), sqlrows.BlobOrNull(u.Metadata), number, t.tenant)
}

// SawUsers implements ports.UserWriter. An earlier time than the one noted changes nothing.
func (t *tx) SawUsers(users []domain.UserID, at time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	if len(users) == 0 {
		return nil
	}
	list, err := json.Marshal(users)
	if err != nil {
		return err
	}
	return t.put(`UPDATE users SET seen = ?1 WHERE tenant = ?2 AND id IN (SELECT value FROM json_each(?3))
		AND (seen IS NULL OR seen < ?1)`, at.UnixMilli(), t.tenant, string(list))
}
