package postgres

import (
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// marksOf finds of each device asked for, by its place in the list, what placesOf finds of each room.
const marksOf = `SELECT j.at,
		coalesce(k.delivered_seq, (SELECT max(delivered_seq) FROM marks WHERE user_no = u.number AND room = $3), m.joined_seq),
		coalesce(k.delivered_rev, (SELECT max(delivered_rev) FROM marks WHERE user_no = u.number AND room = $3), m.joined_rev)
	FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS j (member, device, at)
	CROSS JOIN LATERAL (SELECT l.number FROM users l WHERE l.tenant = $4 AND l.id = j.member OFFSET 0) u
	CROSS JOIN LATERAL (SELECT l.joined_seq, l.joined_rev FROM members l
		WHERE l.room = $3 AND l.user_no = u.number AND l.state = 1 OFFSET 0) m
	LEFT JOIN LATERAL (SELECT l.delivered_seq, l.delivered_rev FROM marks l
		WHERE l.user_no = u.number AND l.room = $3 AND l.device = j.device OFFSET 0) k ON true`

// Marks implements ports.MarkReader.
func (r *reader) Marks(id domain.RoomID, devices []ports.UserDevice) ([]ports.DeviceMark, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(id)
	if err != nil || len(devices) == 0 {
		return nil, err
	}
	devices = devices[:min(len(devices), ports.MaxMarks)]
	users, names := make([]string, len(devices)), make([]string, len(devices))
	for i, d := range devices {
		users[i], names[i] = string(d.User), string(d.Device)
	}
	marks := make([]ports.DeviceMark, len(devices))
	err = r.conn.query(marksOf, args(users, names, room.number, r.tenant), func(row row) error {
		marks[row.Int(0)-1] = ports.DeviceMark{Mark: domain.Mark{DeliveredSeq: row.Int(1), DeliveredRev: row.Int(2)}, OK: true}
		return nil
	})
	return marks, err
}
