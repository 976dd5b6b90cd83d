package sqlite

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// placesOf finds the mark of each room: the device's own, else the user's highest, else the position of joining. CROSS
// JOIN keeps SQLite to this order: left alone it walks all rooms of the tenant by activity to save the sorting.
const placesOf = `SELECT r.id, r.last_seq, r.last_rev,
		coalesce(k.delivered_seq, (SELECT max(delivered_seq) FROM marks WHERE user = m.user AND room = m.room), m.joined_seq),
		coalesce(k.delivered_rev, (SELECT max(delivered_rev) FROM marks WHERE user = m.user AND room = m.room), m.joined_rev),
		r.members, r.deleted IS NOT NULL, ` + sqlrows.MemberColumns + `
	FROM members m CROSS JOIN rooms r ON r.number = m.room AND +r.tenant = ?
	LEFT JOIN marks k ON k.user = m.user AND k.room = m.room AND k.device = ?
	WHERE m.user = ? AND m.state = 1 ORDER BY r.active DESC, r.number DESC`

// Places implements ports.LogReader.
func (r *reader) Places(user domain.UserID, device domain.DeviceID) (ports.Places, error) {
	if err := r.prepareList(); err != nil {
		return ports.Places{}, err
	}
	number, err := r.source.user(user)
	if err != nil || number == 0 {
		return ports.Places{}, err
	}
	places, learned, err := r.counters(number, device)
	if err != nil {
		return ports.Places{}, err
	}
	var waiting []ports.Removal
	err = r.conn.query(placesOf, args(r.tenant, string(device), number), func(row row) error {
		p, removed := sqlrows.ScanPlace(row, user)
		if removed {
			waiting = append(waiting, ports.Removal{Room: p.Room, LeftRev: p.LastRev})
			return nil
		}
		places.Rooms = append(places.Rooms, p)
		return nil
	})
	if err != nil || !places.Known {
		return places, err
	}
	if err := r.addRemovals(&places, number, learned); err != nil {
		return places, err
	}
	sqlrows.AddWaiting(&places, waiting)
	return places, nil
}

// counters are the user's counter, and what the device has learned of it.
func (r *reader) counters(user int64, device domain.DeviceID) (places ports.Places, learned int64, err error) {
	_, err = r.conn.first(`SELECT u.user_rev, d.user_rev, d.seen FROM users u
		LEFT JOIN devices d ON d.user = u.number AND d.device = ? WHERE u.number = ? AND u.tenant = ?`,
		args(string(device), user, r.tenant), func(row row) {
			places = ports.Places{UserRev: row.Int(0), Known: !row.Null(1), SeenAt: sqlrows.Time(row, 2)}
			learned = row.Int(1)
		})
	return places, learned, err
}

// addRemovals adds the rooms a user lost after a position of the user's counter, oldest first. When there are too many to
// tell, the counter stops at the last one told, so that confirming it leaves the others to be told.
func (r *reader) addRemovals(places *ports.Places, user, after int64) error {
	var told int64
	return r.conn.query(`SELECT r.id, m.left_rev, m.user_rev FROM members m
		CROSS JOIN rooms r ON r.number = m.room AND +r.tenant = ?
		WHERE m.user = ? AND m.state = 2 AND m.user_rev > ? ORDER BY m.user_rev LIMIT 0 + ?`,
		args(r.tenant, user, after, int64(ports.MaxRemovals+1)), func(row row) error {
			if len(places.Removed) == ports.MaxRemovals {
				places.UserRev = told
				return nil
			}
			removal := ports.Removal{LeftRev: row.Int(1)}
			copy(removal.Room[:], row.Blob(0))
			places.Removed, told = append(places.Removed, removal), row.Int(2)
			return nil
		})
}
