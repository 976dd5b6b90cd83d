package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// RaiseMark implements ports.MarkWriter.
func (t *tx) RaiseMark(id domain.RoomID, user domain.UserID, device domain.DeviceID, mark domain.Mark) (domain.Mark, error) {
	if err := t.ready(); err != nil {
		return domain.Mark{}, err
	}
	r, member, err := t.access(id, user)
	if err != nil {
		return domain.Mark{}, err
	}
	if member == nil {
		return domain.Mark{}, domain.ErrMemberNotFound
	}
	if mark.DeliveredRev, err = t.deliveredRev(r, mark); err != nil {
		return domain.Mark{}, err
	}
	return t.raiseMark(r, *member, device, mark)
}

// raiseMark raises from where the device stands: its own mark, else the user's highest.
func (t *tx) raiseMark(r *room, m domain.Member, device domain.DeviceID, mark domain.Mark) (domain.Mark, error) {
	user, err := t.user(m.User)
	if err != nil {
		return domain.Mark{}, err
	}
	at, err := t.standingOfSeen(r, user, m, device)
	if err != nil {
		return domain.Mark{}, err
	}
	raised := at.highest.Raise(mark)
	if at.own != nil {
		raised = at.own.Raise(mark)
	}
	if at.own != nil && raised == *at.own {
		return raised, nil
	}
	if at.highest.Raise(raised) != at.highest {
		if err := t.keepPlaces(r, user, device, at.highest); err != nil {
			return domain.Mark{}, err
		}
	}
	return raised, t.putMark(r, user, device, raised)
}

// seenAgain is how long a device may have been unseen before what it confirms counts as being seen: those that never
// connect are not forgotten while they are in use, and an ack costs no second row.
const seenAgain = 24 * time.Hour

// standingOfSeen is standing, of a device that is known by then: only known devices are counted and swept.
func (t *tx) standingOfSeen(r *room, user int64, m domain.Member, device domain.DeviceID) (standing, error) {
	at, err := t.standing(r, user, m, device)
	now := t.w.store.cfg.Clock.Now()
	if err != nil || at.known && now.Sub(at.seen) < seenAgain {
		return at, err
	}
	if err := t.noteDevice(user, device, at.known, 0, now); err != nil || at.known {
		return at, err
	}
	return t.standing(r, user, m, device) // without the marks of a device that was displaced
}

// deliveredRev is the position of a mark: when only the message is named, that message's.
func (t *tx) deliveredRev(r *room, mark domain.Mark) (rev int64, err error) {
	if mark.DeliveredRev != 0 || mark.DeliveredSeq <= 0 {
		return mark.DeliveredRev, nil
	}
	_, err = t.conn.first("SELECT first_rev FROM messages WHERE pos = ?", args(position(r.number, mark.DeliveredSeq)),
		func(row row) { rev = row.Int(0) })
	return rev, err
}

// standing is where a device stands in a room: its own mark, nil when it has none, and the highest of its user's, which
// is the position of joining when there is none at all.
type standing struct {
	known   bool
	seen    time.Time
	own     *domain.Mark
	highest domain.Mark
}

const standings = `SELECT d.seen, k.device, k.delivered_seq, k.delivered_rev FROM users u
	LEFT JOIN devices d ON d.user = u.number AND d.device = ? LEFT JOIN marks k ON k.user = u.number AND k.room = ?
	WHERE u.number = ? AND u.tenant = ?`

func (t *tx) standing(r *room, user int64, m domain.Member, device domain.DeviceID) (at standing, err error) {
	none := true
	err = t.conn.query(standings, args(string(device), r.number, user, t.tenant), func(row row) error {
		at.known, at.seen = !row.Null(0), sqlrows.Time(row, 0)
		if row.Null(1) {
			return nil
		}
		mark := domain.Mark{DeliveredSeq: row.Int(2), DeliveredRev: row.Int(3)}
		if domain.DeviceID(row.Text(1)) == device {
			at.own = &mark
		}
		at.highest, none = at.highest.Raise(mark), false
		return nil
	})
	if none {
		at.highest = domain.Mark{DeliveredSeq: m.JoinedSeq, DeliveredRev: m.JoinedRev}
	}
	return at, err
}

// keepPlaces writes down the place of the user's other known devices that had none of their own in the room: it was
// the user's highest, which is about to rise without them.
func (t *tx) keepPlaces(r *room, user int64, device domain.DeviceID, highest domain.Mark) error {
	return t.put(`INSERT INTO marks (user, room, device, delivered_seq, delivered_rev)
		SELECT d.user, ?, d.device, ?, ? FROM devices d WHERE d.user = ? AND d.device <> ?
		ON CONFLICT (user, room, device) DO NOTHING`,
		r.number, highest.DeliveredSeq, highest.DeliveredRev, user, string(device))
}

func (t *tx) putMark(r *room, user int64, device domain.DeviceID, mark domain.Mark) error {
	return t.put(`INSERT INTO marks (user, room, device, delivered_seq, delivered_rev) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (user, room, device) DO UPDATE SET delivered_seq = excluded.delivered_seq,
		delivered_rev = excluded.delivered_rev`,
		user, r.number, string(device), mark.DeliveredSeq, mark.DeliveredRev)
}

// RaiseRead implements ports.MarkWriter.
func (t *tx) RaiseRead(id domain.RoomID, user domain.UserID, seq int64) (int64, error) {
	if err := t.ready(); err != nil {
		return 0, err
	}
	r, member, err := t.access(id, user)
	if err != nil {
		return 0, err
	}
	if member == nil {
		return 0, domain.ErrMemberNotFound
	}
	if seq <= member.ReadSeq {
		return member.ReadSeq, nil
	}
	number, err := t.user(user)
	if err != nil {
		return 0, err
	}
	raised := *member
	raised.ReadSeq = seq
	if err := t.put("UPDATE members SET read_seq = ? WHERE room = ? AND user = ?", seq, r.number, number); err != nil {
		return 0, err
	}
	t.w.cache.members.put(memberKey{r.number, number}, &raised)
	return seq, nil
}
