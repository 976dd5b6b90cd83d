package postgres

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// User implements ports.UserReader.
func (r *reader) User(id domain.UserID) (domain.User, error) {
	if err := r.source.ready(); err != nil {
		return domain.User{}, err
	}
	return r.profile(id)
}

// lockProfile has one unit of work at a time read a profile to change it, of one who does not exist yet too.
const lockProfile = "SELECT pg_advisory_xact_lock(hashtextextended('chatapi user ' || $2::text, $1))"

// User is that of a reader, but whoever else reads the profile in a unit of work waits: of two changes that are made at once
// the second is made of what the first has left.
func (t *tx) User(id domain.UserID) (domain.User, error) {
	if err := t.ready(); err != nil {
		return domain.User{}, err
	}
	return t.profile(id, step{query: lockProfile, args: args(t.tenant, string(id))})
}

// profile finds a user after what is to be done before.
func (r *reader) profile(id domain.UserID, before ...step) (user domain.User, err error) {
	found := false
	err = r.conn.together(append(before, step{
		query: "SELECT " + sqlrows.UserColumns + " FROM users u WHERE u.tenant = $1 AND u.id = $2", args: args(r.tenant, string(id)),
		each: func(row row) error {
			user, found = sqlrows.ScanUser(row), true
			return nil
		},
	})...)
	if err == nil && !found {
		err = domain.ErrUserNotFound
	}
	return user, err
}

// Those asked for come first, one look-up each. Whether one of them shares a room is found along the rooms of the user, or
// of the other when the user has more than may be looked at, with one look-up in each, and ends at the first: how many
// members the rooms have does not matter.
const (
	usersNamed = "SELECT " + sqlrows.UserColumns + " FROM users u WHERE u.tenant = $1 AND u.id = ANY($2::text[])"
	roomMates  = usersNamed + ` AND (u.number = $3 OR
		CASE WHEN (SELECT count(*) FROM (SELECT 1 FROM members WHERE user_no = $3 AND state = 1 LIMIT 1 + $4::bigint) l) <= $4
		THEN EXISTS (SELECT 1 FROM members mine
			CROSS JOIN LATERAL (SELECT 1 FROM members l WHERE l.room = mine.room AND l.user_no = u.number AND l.state = 1 OFFSET 0) theirs
			CROSS JOIN LATERAL (SELECT 1 FROM rooms l WHERE l.number = mine.room AND l.deleted IS NULL OFFSET 0) r
			WHERE mine.user_no = $3 AND mine.state = 1 OFFSET 0)
		ELSE EXISTS (SELECT 1 FROM (SELECT room FROM members WHERE user_no = u.number AND state = 1 LIMIT $4) theirs
			CROSS JOIN LATERAL (SELECT 1 FROM members l WHERE l.room = theirs.room AND l.user_no = $3 AND l.state = 1 OFFSET 0) mine
			CROSS JOIN LATERAL (SELECT 1 FROM rooms l WHERE l.number = theirs.room AND l.deleted IS NULL OFFSET 0) r OFFSET 0)
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
	query, values := usersNamed, args(r.tenant, texts(others))
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
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	number, err := r.source.user(user)
	if err != nil || number == 0 {
		return nil, err
	}
	err = r.conn.query(`SELECT r.id FROM members m CROSS JOIN LATERAL (SELECT l.id FROM rooms l
			WHERE l.number = m.room AND l.tenant = $1 AND l.deleted IS NULL AND l.members <= $2 OFFSET 0) r
		WHERE m.user_no = $3 AND m.state = 1 LIMIT $4`,
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
	return t.put(`INSERT INTO users (tenant, id, name, avatar_url, metadata) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant, id) DO UPDATE SET name = excluded.name, avatar_url = excluded.avatar_url, metadata = excluded.metadata`,
		t.tenant, string(u.ID), sqlrows.PointerOrNull(u.Name), sqlrows.PointerOrNull(u.AvatarURL), sqlrows.BlobOrNull(u.Metadata))
}

// SawUsers implements ports.UserWriter. An earlier time than the one noted changes nothing. The rows are locked in the order of
// their numbers: another node may have seen the same users. They are looked up by them too: see countLeavers.
func (t *tx) SawUsers(users []domain.UserID, at time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	if len(users) == 0 {
		return nil
	}
	return t.put(sawUsers, at.UnixMilli(), t.tenant, texts(users))
}

// sawUsers sorts by what no index has: by the index of numbers it would look for the users among those of all tenants.
const sawUsers = `UPDATE users SET seen = $1 WHERE number = ANY(ARRAY(SELECT number FROM users WHERE tenant = $2
	AND id = ANY($3::text[]) AND (seen IS NULL OR seen < $1) ORDER BY number + 0 FOR NO KEY UPDATE))`
