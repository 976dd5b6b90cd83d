package postgres

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

var _ source = (*tx)(nil)

// lockRoom waits until nobody else writes into the room. What is read of the room by later statements, each of which has a
// snapshot of its own, includes all that was committed before.
const lockRoom = "SELECT 1 FROM rooms WHERE id = $1 AND tenant + 0 = $2 AND deleted IS NULL FOR NO KEY UPDATE"

// memberByID is a user's number and membership of a room.
const memberByID = "SELECT u.number, " + sqlrows.MemberColumns + ` FROM users u JOIN rooms r ON r.id = $1 AND r.tenant + 0 = $2
	LEFT JOIN members m ON m.room = r.number AND m.user_no = u.number WHERE u.tenant = $2 AND u.id = $3`

func (t *tx) room(id domain.RoomID) (*room, error) {
	r, _, err := t.access(id, "")
	return r, err
}

// look is the room as it is locked already, or as the latest commit left it.
func (t *tx) look(id domain.RoomID) (*room, error) {
	if r, ok := t.rooms[id]; ok {
		return known(r)
	}
	return findRoom(t.conn, t.tenant, id)
}

func known(r *room) (*room, error) {
	if r == nil {
		return nil, domain.ErrRoomNotFound
	}
	return r, nil
}

func (t *tx) access(id domain.RoomID, user domain.UserID) (*room, *domain.Member, error) {
	return t.accessAs(id, user)
}

// accessAs finds all in one exchange with the server, in which first is done between the lock of the room and the look at
// the user.
func (t *tx) accessAs(id domain.RoomID, user domain.UserID, first ...step) (*room, *domain.Member, error) {
	found, held := t.rooms[id]
	var steps []step
	locked := held
	if !held {
		if !t.at.enter(id) {
			return nil, nil, errCrowded
		}
		steps = append(steps,
			step{query: lockRoom, args: args(id[:], t.tenant), each: func(row) error { locked = true; return nil }},
			step{query: roomByID, args: args(id[:], t.tenant), each: func(r row) error { found = scanRoom(r); return nil }})
	} else if found == nil {
		return nil, nil, domain.ErrRoomNotFound
	}
	var member *domain.Member
	var number int64
	if user != "" {
		steps = append(steps, first...)
		steps = append(steps, step{query: memberByID, args: args(id[:], t.tenant, string(user)), each: func(r row) error {
			number = r.Int(0)
			if !r.Null(1) {
				member = sqlrows.ScanMember(r[1:], user)
			}
			return nil
		}})
	}
	if err := t.conn.together(steps...); err != nil {
		return nil, nil, err
	}
	if found == nil || !locked { // a room that came between the two statements comes after this unit of work
		return nil, nil, domain.ErrRoomNotFound
	}
	t.rooms[id] = found
	if number != 0 {
		t.users[user] = number
	}
	return found, member, nil
}

func (t *tx) user(id domain.UserID) (int64, error) {
	if number, ok := t.users[id]; ok {
		return number, nil
	}
	number, err := findUser(t.conn, t.tenant, id)
	if err == nil && number != 0 {
		t.users[id] = number
	}
	return number, err
}
