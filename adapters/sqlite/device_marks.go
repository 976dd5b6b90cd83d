package sqlite

import (
	"encoding/json"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// marksOf finds of each device asked for, by its place in the list, what placesOf finds of each room.
const marksOf = `SELECT j.key,
		coalesce(k.delivered_seq, (SELECT max(delivered_seq) FROM marks WHERE user = m.user AND room = m.room), m.joined_seq),
		coalesce(k.delivered_rev, (SELECT max(delivered_rev) FROM marks WHERE user = m.user AND room = m.room), m.joined_rev)
	FROM json_each(?) j CROSS JOIN users u ON u.tenant = ? AND u.id = j.value ->> 0
	CROSS JOIN members m ON m.room = ? AND m.user = u.number AND m.state = 1
	LEFT JOIN marks k ON k.user = m.user AND k.room = m.room AND k.device = j.value ->> 1`

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
	pairs := make([][2]string, len(devices))
	for i, d := range devices {
		pairs[i] = [2]string{string(d.User), string(d.Device)}
	}
	list, err := json.Marshal(pairs)
	if err != nil {
		return nil, err
	}
	marks := make([]ports.DeviceMark, len(devices))
	err = r.conn.query(marksOf, args(string(list), r.tenant, room.number), func(row row) error {
		marks[row.Int(0)] = ports.DeviceMark{Mark: domain.Mark{DeliveredSeq: row.Int(1), DeliveredRev: row.Int(2)}, OK: true}
		return nil
	})
	return marks, err
}
