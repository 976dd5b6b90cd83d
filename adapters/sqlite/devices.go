package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

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
	return t.noteDevice(number, device, known, userRev, at)
}

// noteDevice notes that a device was seen. One that is new makes another go when the user has too many.
func (t *tx) noteDevice(user int64, device domain.DeviceID, known bool, userRev int64, at time.Time) (err error) {
	if !known {
		if err := t.displaceDevices(user, at); err != nil {
			return err
		}
	}
	if !known && userRev == 0 {
		if userRev, err = t.userRev(user); err != nil {
			return err
		}
	}
	return t.put(`INSERT INTO devices (user, device, seen, user_rev) VALUES (?, ?, ?, ?)
		ON CONFLICT (user, device) DO UPDATE SET seen = max(seen, excluded.seen), user_rev = max(user_rev, excluded.user_rev)`,
		user, string(device), at.UnixMilli(), userRev)
}

// displaceDevices makes room for a new device: it forgets those not seen for 90 days, and the longest unseen of 20.
func (t *tx) displaceDevices(user int64, at time.Time) error {
	oldest := sqlrows.UnseenSince(at)
	known := 0
	var displaced []string
	err := t.conn.query("SELECT device, seen FROM devices WHERE user = ? ORDER BY seen DESC, device", args(user),
		func(r row) error {
			if known++; known >= domain.MaxDevicesPerUser || r.Int(1) <= oldest {
				displaced = append(displaced, r.Text(0))
			}
			return nil
		})
	for _, device := range displaced {
		if err == nil {
			err = t.put("DELETE FROM marks INDEXED BY marks_device WHERE user = ? AND device = ?", user, device)
		}
		if err == nil {
			err = t.put("DELETE FROM devices WHERE user = ? AND device = ?", user, device)
		}
	}
	return err
}

// sweepDevices forgets devices unseen for 90 days, those longest unseen first, and reports whether there may be more.
// One that comes back between two steps has lost some of its marks: there it starts like a device first seen.
func (t *tx) sweepDevices(now time.Time) (more bool, err error) {
	p := purge{t: t, left: sqlrows.MaxSweep}
	for p.left > 0 {
		var user int64
		var device string
		found, err := t.conn.first("SELECT user, device FROM devices WHERE seen <= ? ORDER BY seen LIMIT 1",
			args(sqlrows.UnseenSince(now)), func(r row) { user, device = r.Int(0), r.Text(1) })
		if err != nil || !found {
			return false, err
		}
		if err := p.device(user, device); err != nil {
			return false, err
		}
	}
	return true, nil
}
