package postgres

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
	return t.noteDevice(number, device, userRev, at)
}

const sawDevice = `UPDATE devices SET seen = greatest(seen, $1), user_rev = greatest(user_rev, $2)
	WHERE user_no = $3 AND device = $4 AND tenant = $5`

// noteDevice notes that a device was seen. One that is new makes another go when the user has too many, and waits for those
// who raise marks of the user's: they must know of it, or be done. With the user's row locked no other device comes.
func (t *tx) noteDevice(user int64, device domain.DeviceID, userRev int64, at time.Time) error {
	n, err := t.remove(sawDevice, at.UnixMilli(), userRev, user, string(device), t.tenant)
	if err != nil || n > 0 {
		return err
	}
	var counter int64
	_, err = t.conn.first("SELECT user_rev FROM users WHERE number = $1 AND tenant = $2 FOR UPDATE", args(user, t.tenant),
		func(r row) { counter = r.Int(0) })
	if err != nil {
		return err
	}
	if userRev == 0 {
		userRev = counter
	}
	n, err = t.remove(sawDevice, at.UnixMilli(), userRev, user, string(device), t.tenant)
	if err != nil || n > 0 {
		return err // another was noting the same
	}
	if err := t.displaceDevices(user, at); err != nil {
		return err
	}
	return t.put("INSERT INTO devices (tenant, user_no, device, seen, user_rev) VALUES ($1, $2, $3, $4, $5)",
		t.tenant, user, string(device), at.UnixMilli(), userRev)
}

// displaceDevices makes room for a new device: it forgets those not seen for 90 days, and the longest unseen of 20.
func (t *tx) displaceDevices(user int64, at time.Time) error {
	oldest := sqlrows.UnseenSince(at)
	known := 0
	var displaced []string
	err := t.conn.query("SELECT device, seen FROM devices WHERE user_no = $1 AND tenant = $2 ORDER BY seen DESC, device",
		args(user, t.tenant), func(r row) error {
			if known++; known >= domain.MaxDevicesPerUser || r.Int(1) <= oldest {
				displaced = append(displaced, r.Text(0))
			}
			return nil
		})
	if err != nil || len(displaced) == 0 {
		return err
	}
	err = t.put("DELETE FROM marks WHERE user_no = $1 AND device = ANY($2::text[]) AND tenant = $3", user, displaced, t.tenant)
	if err != nil {
		return err
	}
	return t.put("DELETE FROM devices WHERE user_no = $1 AND device = ANY($2::text[]) AND tenant = $3", user, displaced, t.tenant)
}

// sweepDevices forgets devices unseen for 90 days, those longest unseen first, and reports whether there may be more.
// One that comes back between two steps has lost some of its marks: there it starts like a device first seen.
func (t *tx) sweepDevices(now time.Time) (more bool, err error) {
	p := purge{t: t, left: sqlrows.MaxSweep}
	for p.left > 0 {
		var user int64
		var device string
		found, err := t.conn.first("SELECT user_no, device FROM devices WHERE seen <= $1 ORDER BY seen LIMIT 1",
			args(sqlrows.UnseenSince(now)), func(r row) { user, device = r.Int(0), r.Text(1) })
		if err != nil || !found {
			return false, err
		}
		if err := p.device(user, device, sqlrows.UnseenSince(now)); err != nil {
			return false, err
		}
	}
	return true, nil
}
