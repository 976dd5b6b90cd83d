package sqlite

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Access implements ports.RoomReader.
func (r *reader) Access(id domain.RoomID, user domain.UserID) (domain.Room, *domain.Member, error) {
	if err := r.source.ready(); err != nil {
		return domain.Room{}, nil, err
	}
	found, member, err := r.source.access(id, user)
	if err != nil {
		return domain.Room{}, nil, err
	}
	if member == nil {
		return found.Room, nil, nil
	}
	own := *member
	return found.Room, &own, nil
}

// RoomByKey implements ports.RoomReader.
func (r *reader) RoomByKey(key string) (domain.Room, error) {
	if err := r.source.ready(); err != nil {
		return domain.Room{}, err
	}
	id, found, err := r.idByKey(key)
	if err != nil {
		return domain.Room{}, err
	}
	if !found {
		return domain.Room{}, domain.ErrRoomNotFound
	}
	room, err := r.source.room(id)
	if err != nil {
		return domain.Room{}, err
	}
	return room.Room, nil
}

func (r *reader) idByKey(key string) (id domain.RoomID, found bool, err error) {
	found, err = r.conn.first("SELECT id FROM rooms WHERE tenant = ? AND unique_key = ? AND deleted IS NULL",
		args(r.tenant, key), func(r row) { copy(id[:], r.Blob(0)) })
	return id, found, err
}

// The lists of rooms. A user's rooms are found by the user's memberships (CROSS JOIN: in this order) and sorted by two
// numbers each; whole rows are read of one page of them. A tenant's are found by the index of activity.
const (
	roomsOrder = " ORDER BY r.active DESC, r.number DESC LIMIT 0 + ? OFFSET ?"
	roomsOf    = `SELECT r.number, r.active FROM members m
		CROSS JOIN rooms r ON r.number = m.room AND +r.tenant = ? AND r.deleted IS NULL
		WHERE m.user = ? AND m.state = 1`
	pageOfRooms = "SELECT " + roomColumns + `, coalesce(
			(SELECT k.delivered_seq FROM marks k WHERE k.user = m.user AND k.room = m.room AND k.device = ?),
			(SELECT max(k.delivered_seq) FROM marks k WHERE k.user = m.user AND k.room = m.room),
			m.joined_seq), max(m.read_seq, m.joined_seq), m.user
		FROM (%s) p CROSS JOIN rooms r ON r.number = p.number CROSS JOIN members m ON m.room = r.number AND m.user = ?
		ORDER BY p.active DESC, p.number DESC`
	roomsAll  = "SELECT " + roomColumns + ", 0, 0, 0 FROM rooms r WHERE r.tenant = ? AND r.deleted IS NULL"
	roomsOpen = "SELECT " + roomColumns + `, 0, 0, 0 FROM rooms r WHERE r.tenant = ? AND r.deleted IS NULL AND r.type = 'channel' AND r.type <> 'chat'
		AND NOT EXISTS (SELECT 1 FROM members m WHERE m.room = r.number AND m.user = ? AND m.state = 1)`
	ofType = " AND r.type = ?"

	// Each has an index of a tenant's rooms by activity.
	noChats   = " AND r.type <> 'chat'"
	onlyChats = " AND r.type = 'chat'"
)

// The list by keys is a stretch of their index, and so is the count.
const (
	withKeys   = " FROM rooms r WHERE r.tenant = ? AND r.unique_key >= ? AND r.unique_key < ? AND r.deleted IS NULL"
	countKeys  = "SELECT count(*)" + withKeys
	listKeys   = "SELECT " + roomColumns + withKeys + " ORDER BY r.unique_key LIMIT 0 + ? OFFSET ?"
	listKeysUp = "SELECT " + roomColumns + withKeys + " ORDER BY r.unique_key DESC LIMIT 0 + ? OFFSET ?"
)

// RoomsByKey implements ports.RoomReader.
func (r *reader) RoomsByKey(q ports.KeyQuery) (out []domain.RoomSummary, total int, err error) {
	if err := r.prepareList(); err != nil {
		return nil, 0, err
	}
	from, to, some := q.Stretch()
	if !some {
		return nil, 0, nil
	}
	stretch := args(r.tenant, from, to)
	if _, err := r.conn.first(countKeys, stretch, func(row row) { total = int(row.Int(0)) }); err != nil || total <= q.Offset || q.Limit <= 0 {
		return nil, total, err
	}
	query := listKeys
	if q.Backwards {
		query = listKeysUp
	}
	var rooms []*room
	err = r.conn.query(query, append(stretch, int64(q.Limit), int64(max(q.Offset, 0))), func(row row) error {
		found := scanRoom(row)
		rooms, out = append(rooms, found), append(out, domain.RoomSummary{Room: found.Room})
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return out, total, r.addLastMessages(rooms, out)
}

// Rooms implements ports.RoomReader.
func (r *reader) Rooms(q domain.RoomQuery) ([]domain.RoomSummary, error) {
	if err := r.prepareList(); err != nil {
		return nil, err
	}
	if q.Limit <= 0 {
		return nil, nil
	}
	query, values, err := r.roomsQuery(q)
	if err != nil || query == "" {
		return nil, err
	}
	var rooms []*room
	var reads []sqlrows.Reading
	var out []domain.RoomSummary
	err = r.conn.query(query, values, func(row row) error {
		found := scanRoom(row)
		rooms = append(rooms, found)
		reads = append(reads, sqlrows.Reading{
			MemberKey: sqlrows.MemberKey{Room: found.number, User: row.Int(roomWidth + 2)}, Base: row.Int(roomWidth + 1),
			LastSeq: found.LastSeq, LastRev: found.LastRev,
		})
		out = append(out, domain.RoomSummary{Room: found.Room, LastAck: row.Int(roomWidth)})
		return nil
	})
	if err != nil || q.Open {
		return out, err
	}
	if err := r.addLastMessages(rooms, out); err != nil || q.User == "" {
		return out, err
	}
	for i, at := range reads {
		if out[i].Unread, err = r.source.unread(at); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// prepareList makes the rows say what memory knows, for statements that read counters from them.
func (r *reader) prepareList() error {
	if err := r.source.ready(); err != nil {
		return err
	}
	return r.source.sync()
}

func (r *reader) roomsQuery(q domain.RoomQuery) (string, []driver.Value, error) {
	if q.User == "" {
		if q.Open {
			q.Type = domain.RoomChannel
		}
		query, values := paged(roomsAll, args(r.tenant), q)
		return query, values, nil
	}
	user, err := r.source.user(q.User)
	if err != nil || user == 0 && !q.Open {
		return "", nil, err
	}
	if q.Open {
		query, values := paged(roomsOpen, args(r.tenant, user), q)
		return query, values, nil
	}
	numbers, values := paged(roomsOf, args(sqlrows.DeviceOrNull(q.Device), r.tenant, user), q)
	return fmt.Sprintf(pageOfRooms, numbers), append(values, user), nil
}

// paged ends a query for rooms r.
func paged(query string, values []driver.Value, q domain.RoomQuery) (string, []driver.Value) {
	switch {
	case q.Type == domain.RoomChat:
		query += onlyChats
	case q.Type != "":
		query, values = query+noChats+ofType, append(values, string(q.Type))
	case q.User == "" || !q.Chats:
		query += noChats
	}
	return query + roomsOrder, append(values, int64(q.Limit), int64(max(q.Offset, 0)))
}

// addLastMessages finds the last message of each room with one statement.
func (r *reader) addLastMessages(rooms []*room, out []domain.RoomSummary) error {
	places := make([]int64, 0, len(rooms))
	byNumber := make(map[int64]int, len(rooms))
	for i, room := range rooms {
		if room.LastSeq > 0 {
			places = append(places, position(room.number, room.LastSeq))
			byNumber[room.number] = i
		}
	}
	if len(places) == 0 {
		return nil
	}
	found, rows, err := r.messagesAt(places)
	if err != nil {
		return err
	}
	for i := range found {
		at := byNumber[rows[i].room]
		found[i].Room = rooms[at].ID
		out[at].LastMessage = &found[i]
	}
	return nil
}

// RemovedAt implements ports.LogReader.
func (r *reader) RemovedAt(room domain.RoomID) (rev int64, err error) {
	if err := r.source.ready(); err != nil {
		return 0, err
	}
	_, err = r.conn.first("SELECT last_rev FROM rooms WHERE id = ? AND tenant = ? AND deleted IS NOT NULL", args(room[:], r.tenant),
		func(row row) { rev = row.Int(0) })
	return rev, err
}

// maxPositions is how many rooms Positions answers for in one call.
const maxPositions = 500

// Positions implements ports.LogReader.
func (r *reader) Positions(rooms []domain.RoomID) (map[domain.RoomID]int64, error) {
	if err := r.prepareList(); err != nil {
		return nil, err
	}
	rooms = rooms[:min(len(rooms), maxPositions)]
	positions := make(map[domain.RoomID]int64, len(rooms))
	err := r.conn.query(`SELECT r.id, r.last_rev FROM json_each(?) j CROSS JOIN rooms r ON r.id = unhex(j.value)
		WHERE +r.tenant = ? AND r.deleted IS NULL`, args(hexList(rooms), r.tenant), func(row row) error {
		var id domain.RoomID
		copy(id[:], row.Blob(0))
		positions[id] = row.Int(1)
		return nil
	})
	return positions, err
}

// hexList is a JSON array of ids: one parameter for any number of them.
func hexList(ids []domain.RoomID) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(hex.EncodeToString(id[:]))
		b.WriteByte('"')
	}
	b.WriteByte(']')
	return b.String()
}
