package sqlite

import (
	"time"

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
	own, highest, err := t.marks(r, user, m, device)
	if err != nil {
		return domain.Mark{}, err
	}
	raised := highest.Raise(mark)
	if own != nil {
		raised = own.Raise(mark)
	}
	if own != nil && raised == *own {
		return raised, nil
	}
	if highest.Raise(raised) != highest {
		if err := t.keepPlaces(r, user, device, highest); err != nil {
			return domain.Mark{}, err
		}
	}
	return raised, t.putMark(r, user, device, raised)
}

// deliveredRev is the position of a mark: when only the message is named, that message's.
func (t *tx) deliveredRev(r *room, mark domain.Mark) (rev int64, err error) {
	if mark.DeliveredRev != 0 || mark.DeliveredSeq <= 0 {
		return mark.DeliveredRev, nil
	}
	_, err = t.conn.first("SELECT first_rev FROM messages WHERE pos = ?", args(position(r.number, mark.DeliveredSeq)),
		func(row row) { rev = row.int(0) })
	return rev, err
}

// marks returns the device's own mark, nil when it has none, and the highest of the user's, which is the position of
// joining when there is none at all.
func (t *tx) marks(r *room, user int64, m domain.Member, device domain.DeviceID) (
	own *domain.Mark, highest domain.Mark, err error,
) {
	found := false
	err = t.conn.query("SELECT device, delivered_seq, delivered_rev, read_seq FROM marks WHERE user = ? AND room = ?",
		args(user, r.number), func(row row) error {
			mark := domain.Mark{DeliveredSeq: row.int(1), DeliveredRev: row.int(2), ReadSeq: row.int(3)}
			if domain.DeviceID(row.text(0)) == device {
				own = &mark
			}
			highest, found = highest.Raise(mark), true
			return nil
		})
	if !found {
		highest = domain.Mark{DeliveredSeq: m.JoinedSeq, DeliveredRev: m.JoinedRev}
	}
	return own, highest, err
}

// keepPlaces writes down the place of the user's other known devices that had none of their own in the room: it was
// the user's highest, which is about to rise without them.
func (t *tx) keepPlaces(r *room, user int64, device domain.DeviceID, highest domain.Mark) error {
	return t.put(`INSERT INTO marks (user, room, device, delivered_seq, delivered_rev, read_seq)
		SELECT d.user, ?, d.device, ?, ?, ? FROM devices d WHERE d.user = ? AND d.device <> ?
		ON CONFLICT (user, room, device) DO NOTHING`,
		r.number, highest.DeliveredSeq, highest.DeliveredRev, highest.ReadSeq, user, string(device))
}

func (t *tx) putMark(r *room, user int64, device domain.DeviceID, mark domain.Mark) error {
	return t.put(`INSERT INTO marks (user, room, device, delivered_seq, delivered_rev, read_seq) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (user, room, device) DO UPDATE SET delivered_seq = excluded.delivered_seq,
		delivered_rev = excluded.delivered_rev, read_seq = excluded.read_seq`,
		user, r.number, string(device), mark.DeliveredSeq, mark.DeliveredRev, mark.ReadSeq)
}

// SeeDevice implements ports.MarkWriter.
func (t *tx) SeeDevice(user domain.UserID, device domain.DeviceID, userRev int64, at time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	number, err := t.ensureUser(user)
	if err != nil {
		return err
	}
	known, err := t.conn.first("SELECT 1 FROM devices WHERE user = ? AND device = ?", args(number, string(device)),
		func(row) {})
	if err != nil {
		return err
	}
	if !known {
		if err := t.displaceDevices(number, at); err != nil {
			return err
		}
	}
	return t.put(`INSERT INTO devices (user, device, seen, user_rev) VALUES (?, ?, ?, ?)
		ON CONFLICT (user, device) DO UPDATE SET seen = max(seen, excluded.seen), user_rev = max(user_rev, excluded.user_rev)`,
		number, string(device), millis(at), userRev)
}

// displaceDevices makes room for a new device: it forgets those not seen for 90 days, and the longest unseen of 20.
func (t *tx) displaceDevices(user int64, at time.Time) error {
	oldest := millis(at.Add(-domain.DeviceMemory * time.Hour))
	known := 0
	var displaced []string
	err := t.conn.query("SELECT device, seen FROM devices WHERE user = ? ORDER BY seen DESC, device", args(user),
		func(r row) error {
			if known++; known >= domain.MaxDevicesPerUser || r.int(1) <= oldest {
				displaced = append(displaced, r.text(0))
			}
			return nil
		})
	for _, device := range displaced {
		if err == nil {
			err = t.put("DELETE FROM marks WHERE user = ? AND device = ?", user, device)
		}
		if err == nil {
			err = t.put("DELETE FROM devices WHERE user = ? AND device = ?", user, device)
		}
	}
	return err
}
