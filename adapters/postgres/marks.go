package postgres

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// RaiseMark implements ports.MarkWriter. It takes no lock of the room: nothing of it need stay as it is, and confirmations
// must not wait for those who write into a busy room.
func (t *tx) RaiseMark(id domain.RoomID, user domain.UserID, device domain.DeviceID, mark domain.Mark) (domain.Mark, error) {
	if err := t.ready(); err != nil {
		return domain.Mark{}, err
	}
	at, err := t.standingOfSeen(id, user, device, mark.DeliveredSeq)
	if err != nil {
		return domain.Mark{}, err
	}
	if mark.DeliveredRev == 0 {
		mark.DeliveredRev = at.rev
	}
	return t.raiseMark(at, device, mark)
}

// raiseMark raises from where the device stands: its own mark, else the user's highest.
func (t *tx) raiseMark(at standing, device domain.DeviceID, mark domain.Mark) (domain.Mark, error) {
	raised := at.highest.Raise(mark)
	if at.own != nil {
		raised = at.own.Raise(mark)
	}
	if at.own != nil && raised == *at.own {
		return raised, nil
	}
	rises := at.highest.Raise(raised) != at.highest
	err := t.returning(putMark, args(t.tenant, at.user, at.room, string(device), raised.DeliveredSeq, raised.DeliveredRev,
		rises, at.highest.DeliveredSeq, at.highest.DeliveredRev), func(row row) error {
		if domain.DeviceID(row.Text(0)) == device {
			raised = domain.Mark{DeliveredSeq: row.Int(1), DeliveredRev: row.Int(2)}
		}
		return nil
	})
	return raised, err
}

// putMark writes a device's mark, and, when the user's highest rises with it, the place of the user's other devices that
// had none of their own in the room: it was the highest, which is about to rise without them. Two devices that come first in
// a room write the same rows in the same order, and each raises its own alone.
const putMark = `INSERT INTO marks (tenant, user_no, room, device, delivered_seq, delivered_rev)
	SELECT $1, $2, $3, d.device, CASE WHEN d.device = $4 THEN $5::bigint ELSE $8::bigint END,
		CASE WHEN d.device = $4 THEN $6::bigint ELSE $9::bigint END
	FROM devices d WHERE d.user_no = $2 AND (d.device = $4 OR $7::bool AND NOT EXISTS
		(SELECT 1 FROM marks k WHERE k.user_no = $2 AND k.room = $3 AND k.device = d.device OFFSET 0))
	ORDER BY d.device
	ON CONFLICT (user_no, room, device) DO UPDATE SET delivered_seq = greatest(marks.delivered_seq, excluded.delivered_seq),
		delivered_rev = greatest(marks.delivered_rev, excluded.delivered_rev) WHERE marks.device = $4
	RETURNING device, delivered_seq, delivered_rev`

// standing is where a device stands in a room: its own mark, nil when it has none, and the highest of its user's, which
// is the position of joining when there is none at all. rev is the position of the message asked for, 0 when there is none.
type standing struct {
	room, user int64
	known      bool
	seen       time.Time
	own        *domain.Mark
	highest    domain.Mark
	rev        int64
}

// shareUser keeps new devices of the user from being noted until the end of the unit of work: one that is noted has its
// place kept by whatever raises the user's highest mark from then on. Those who raise marks do not wait for each other. But
// a device that is new is to be noted first: lockUser takes the lock for that at once. Two that shared the user already
// would each wait for the other to end.
const (
	lockUser = `SELECT 1 FROM users u WHERE u.tenant = $1 AND u.id = $2 AND NOT EXISTS
		(SELECT 1 FROM devices d WHERE d.user_no = u.number AND d.device = $3 OFFSET 0) FOR UPDATE OF u`
	shareUser = "SELECT 1 FROM users WHERE tenant = $1 AND id = $2 FOR KEY SHARE"
)

const standings = `SELECT r.number, u.number, m.joined_seq, m.joined_rev, d.seen, k.device, k.delivered_seq, k.delivered_rev,
		(SELECT x.first_rev FROM messages x WHERE x.room = r.number AND x.seq = $5)
	FROM rooms r LEFT JOIN users u ON u.tenant = $2 AND u.id = $3
	LEFT JOIN members m ON m.room = r.number AND m.user_no = u.number
	LEFT JOIN devices d ON d.user_no = u.number AND d.device = $4
	LEFT JOIN marks k ON k.user_no = u.number AND k.room = r.number
	WHERE r.id = $1 AND r.tenant = $2 AND r.deleted IS NULL`

func (t *tx) standing(id domain.RoomID, user domain.UserID, device domain.DeviceID, seq int64) (at standing, err error) {
	member, marked := false, false
	err = t.conn.together(step{query: lockUser, args: args(t.tenant, string(user), string(device))},
		step{query: shareUser, args: args(t.tenant, string(user))},
		step{query: standings, args: args(id[:], t.tenant, string(user), string(device), seq), each: func(row row) error {
			at.room, at.user, member = row.Int(0), row.Int(1), !row.Null(2)
			at.known, at.seen, at.rev = !row.Null(4), sqlrows.Time(row, 4), row.Int(8)
			if !marked {
				at.highest = domain.Mark{DeliveredSeq: row.Int(2), DeliveredRev: row.Int(3)}
			}
			if row.Null(5) {
				return nil
			}
			mark := domain.Mark{DeliveredSeq: row.Int(6), DeliveredRev: row.Int(7)}
			if domain.DeviceID(row.Text(5)) == device {
				at.own = &mark
			}
			if marked {
				at.highest = at.highest.Raise(mark)
				return nil
			}
			at.highest, marked = mark, true
			return nil
		}})
	switch {
	case err != nil:
	case at.room == 0:
		err = domain.ErrRoomNotFound
	case !member:
		err = domain.ErrMemberNotFound
	}
	return at, err
}

// seenAgain is how long a device may have been unseen before what it confirms counts as being seen: those that never
// connect are not forgotten while they are in use, and an ack costs no second row.
const seenAgain = 24 * time.Hour

// standingOfSeen is standing, of a device that is known by then: only known devices are counted and swept.
func (t *tx) standingOfSeen(id domain.RoomID, user domain.UserID, device domain.DeviceID, seq int64) (standing, error) {
	at, err := t.standing(id, user, device, seq)
	now := t.store.cfg.Clock.Now()
	if err != nil || at.known && now.Sub(at.seen) < seenAgain {
		return at, err
	}
	if err := t.noteDevice(at.user, device, 0, now); err != nil || at.known {
		return at, err
	}
	return t.standing(id, user, device, seq) // without the marks of a device that was displaced
}

// RaiseRead implements ports.MarkWriter. Like RaiseMark it takes no lock of the room.
func (t *tx) RaiseRead(id domain.RoomID, user domain.UserID, seq int64) (read int64, err error) {
	if err := t.ready(); err != nil {
		return 0, err
	}
	found, member := false, false
	err = t.conn.together(step{query: raiseRead, args: args(id[:], t.tenant, string(user), seq)},
		step{query: readMark, args: args(id[:], t.tenant, string(user)), each: func(row row) error {
			found, member, read = true, !row.Null(0), row.Int(0)
			return nil
		}})
	switch {
	case err != nil:
	case !found:
		err = domain.ErrRoomNotFound
	case !member:
		err = domain.ErrMemberNotFound
	}
	return read, err
}

const (
	raiseRead = `UPDATE members m SET read_seq = $4 FROM rooms r, users u WHERE r.id = $1 AND r.tenant = $2 AND r.deleted IS NULL
		AND u.tenant = $2 AND u.id = $3 AND m.room = r.number AND m.user_no = u.number AND m.read_seq < $4`
	readMark = `SELECT m.read_seq FROM rooms r LEFT JOIN users u ON u.tenant = $2 AND u.id = $3
		LEFT JOIN members m ON m.room = r.number AND m.user_no = u.number
		WHERE r.id = $1 AND r.tenant = $2 AND r.deleted IS NULL`
)
