package sqlite

import (
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// placesOf finds the mark of each room: the device's own, else the user's highest, else the position of joining. CROSS
// JOIN keeps SQLite to this order: left alone it walks all rooms of the tenant by activity to save the sorting.
const placesOf = `SELECT r.id, r.last_seq, r.last_rev,
		coalesce(k.delivered_seq, (SELECT max(delivered_seq) FROM marks WHERE user = m.user AND room = m.room), m.joined_seq),
		coalesce(k.delivered_rev, (SELECT max(delivered_rev) FROM marks WHERE user = m.user AND room = m.room), m.joined_rev),
		coalesce(k.read_seq, (SELECT max(read_seq) FROM marks WHERE user = m.user AND room = m.room), 0), ` + memberColumns + `
	FROM members m CROSS JOIN rooms r ON r.number = m.room AND +r.tenant = ? AND r.deleted IS NULL
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
	err = r.conn.query(placesOf, args(r.tenant, string(device), number), func(row row) error {
		places.Rooms = append(places.Rooms, scanPlace(row, user))
		return nil
	})
	if err != nil || !places.Known {
		return places, err
	}
	err = r.addRemovals(&places, number, learned)
	return places, err
}

func scanPlace(row row, user domain.UserID) ports.Place {
	p := ports.Place{
		LastSeq: row.int(1), LastRev: row.int(2), Member: *scanMember(row[6:], user),
		Mark: domain.Mark{DeliveredSeq: row.int(3), DeliveredRev: row.int(4), ReadSeq: row.int(5)},
	}
	copy(p.Room[:], row.blob(0))
	return p
}

// counters are the user's counter, and what the device has learned of it.
func (r *reader) counters(user int64, device domain.DeviceID) (places ports.Places, learned int64, err error) {
	_, err = r.conn.first(`SELECT u.user_rev, d.user_rev, d.seen FROM users u
		LEFT JOIN devices d ON d.user = u.number AND d.device = ? WHERE u.number = ? AND u.tenant = ?`,
		args(string(device), user, r.tenant), func(row row) {
			places = ports.Places{UserRev: row.int(0), Known: !row.null(1), SeenAt: row.time(2)}
			learned = row.int(1)
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
			removal := ports.Removal{LeftRev: row.int(1)}
			copy(removal.Room[:], row.blob(0))
			places.Removed, told = append(places.Removed, removal), row.int(2)
			return nil
		})
}
