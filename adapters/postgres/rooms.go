package postgres

import (
	"fmt"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// room is a row of the table rooms. In a unit of work there is one of each room, whose row is locked and says the same.
type room struct {
	domain.Room
	number, tenant  int64
	changes, active int64
	bots            int64 // how many of its members are bots now
}

const roomColumns = `r.number, r.tenant, r.id, r.type, r.first_seq, r.last_seq, r.last_rev, r.changes, r.active, r.created,
	r.unique_key, r.name, r.metadata, r.members, r.handoff, r.bots,
	CASE WHEN r.assignee IS NOT NULL THEN (SELECT a.id FROM users a WHERE a.number = r.assignee) END`

// roomWidth is the number of roomColumns.
const roomWidth = 17

func scanRoom(r row) *room {
	out := &room{number: r.Int(0), tenant: r.Int(1), changes: r.Int(7), active: r.Int(8), bots: r.Int(15)}
	out.Room = domain.Room{
		Type: domain.RoomType(r.Text(3)), FirstSeq: r.Int(4), LastSeq: r.Int(5), LastRev: r.Int(6),
		CreatedAt: sqlrows.FromMillis(r.Int(9)), UniqueKey: r.Text(10), Metadata: r.Bytes(12), Members: r.Int(13), Name: sqlrows.Pointer(r, 11),
		Handoff: sqlrows.ScanHandoff(r.Int(14), r.Text(16)),
	}
	copy(out.ID[:], r.Blob(2))
	return out
}

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
	var id domain.RoomID
	found, err := r.conn.first("SELECT id FROM rooms WHERE tenant = $1 AND unique_key = $2 AND deleted IS NULL",
		args(r.tenant, key), func(r row) { copy(id[:], r.Blob(0)) })
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

// The lists of rooms. A user's rooms are found by the user's memberships and sorted by two numbers each; whole rows are
// read of one page of them. A tenant's are found by the index of activity. Here and elsewhere LATERAL with OFFSET 0 keeps
// Postgres to an order of tables: a plan made once for all values must not walk all rooms of a tenant by activity to save
// the sorting of a few.
const (
	roomsOrder = " ORDER BY r.active DESC, r.number DESC LIMIT $%d OFFSET $%d"
	roomsOf    = `SELECT r.number, r.active FROM members m CROSS JOIN LATERAL (SELECT l.number, l.active, l.type FROM rooms l
			WHERE l.number = m.room AND l.tenant = $1 AND l.deleted IS NULL OFFSET 0) r
		WHERE m.user_no = $2 AND m.state = 1`
	pageOfRooms = "SELECT " + roomColumns + `, coalesce(
			(SELECT k.delivered_seq FROM marks k WHERE k.user_no = $2 AND k.room = p.number AND k.device = $3),
			(SELECT max(k.delivered_seq) FROM marks k WHERE k.user_no = $2 AND k.room = p.number),
			m.joined_seq), greatest(m.read_seq, m.joined_seq), m.user_no
		FROM (%s) p CROSS JOIN LATERAL (SELECT * FROM rooms l WHERE l.number = p.number OFFSET 0) r
		CROSS JOIN LATERAL (SELECT * FROM members l WHERE l.room = p.number AND l.user_no = $2 OFFSET 0) m
		ORDER BY p.active DESC, p.number DESC`
	roomsAll  = "SELECT " + roomColumns + ", 0, 0, 0 FROM rooms r WHERE r.tenant = $1 AND r.deleted IS NULL"
	roomsOpen = "SELECT " + roomColumns + `, 0, 0, 0 FROM rooms r WHERE r.tenant = $1 AND r.deleted IS NULL AND r.type = 'channel' AND r.type <> 'chat'
		AND NOT EXISTS (SELECT 1 FROM members m WHERE m.room = r.number AND m.user_no = $2 AND m.state = 1 OFFSET 0)`
	ofType = " AND r.type = $%d"

	// Each has an index of a tenant's rooms by activity.
	noChats   = " AND r.type <> 'chat'"
	onlyChats = " AND r.type = 'chat'"
)

// The list by keys is a stretch of their index, and so is the count.
const (
	withKeys   = " FROM rooms r WHERE r.tenant = $1 AND r.unique_key >= $2 AND r.unique_key < $3 AND r.deleted IS NULL"
	countKeys  = "SELECT count(*)" + withKeys
	listKeys   = "SELECT " + roomColumns + withKeys + " ORDER BY r.unique_key LIMIT $4 OFFSET $5"
	listKeysUp = "SELECT " + roomColumns + withKeys + " ORDER BY r.unique_key DESC LIMIT $4 OFFSET $5"
)

// RoomsByKey implements ports.RoomReader.
func (r *reader) RoomsByKey(q ports.KeyQuery) (out []domain.RoomSummary, total int, err error) {
	if err := r.source.ready(); err != nil {
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
	if err := r.source.ready(); err != nil {
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
	unread, err := r.unread(reads)
	for i, n := range unread {
		out[i].Unread = n
	}
	return out, err
}

func (r *reader) roomsQuery(q domain.RoomQuery) (string, []any, error) {
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
	numbers, values := paged(roomsOf, args(r.tenant, user, sqlrows.DeviceOrNull(q.Device)), q)
	return fmt.Sprintf(pageOfRooms, numbers), values, nil
}

// paged ends a query for rooms r.
func paged(query string, values []any, q domain.RoomQuery) (string, []any) {
	switch {
	case q.Type == domain.RoomChat:
		query += onlyChats
	case q.Type != "":
		values = append(values, string(q.Type))
		query += noChats + fmt.Sprintf(ofType, len(values))
	case q.User == "" || !q.Chats:
		query += noChats
	}
	query += fmt.Sprintf(roomsOrder, len(values)+1, len(values)+2)
	return query, append(values, int64(q.Limit), int64(max(q.Offset, 0)))
}

// addLastMessages finds the last message of each room with one statement.
func (r *reader) addLastMessages(rooms []*room, out []domain.RoomSummary) error {
	var at places
	byNumber := make(map[int64]int, len(rooms))
	for i, room := range rooms {
		if room.LastSeq > 0 {
			at.add(room.number, room.LastSeq)
			byNumber[room.number] = i
		}
	}
	found, numbers, err := r.messagesAt(at)
	for i := range found {
		of := byNumber[numbers[i]]
		found[i].Room = rooms[of].ID
		out[of].LastMessage = &found[i]
	}
	return err
}

// RemovedAt implements ports.LogReader.
func (r *reader) RemovedAt(room domain.RoomID) (rev int64, err error) {
	if err := r.source.ready(); err != nil {
		return 0, err
	}
	_, err = r.conn.first("SELECT last_rev FROM rooms WHERE id = $1 AND tenant + 0 = $2 AND deleted IS NOT NULL", args(room[:], r.tenant),
		func(row row) { rev = row.Int(0) })
	return rev, err
}

// maxPositions is how many rooms Positions answers for in one call.
const maxPositions = 500

// Positions implements ports.LogReader.
func (r *reader) Positions(rooms []domain.RoomID) (map[domain.RoomID]int64, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	rooms = rooms[:min(len(rooms), maxPositions)]
	positions := make(map[domain.RoomID]int64, len(rooms))
	if len(rooms) == 0 {
		return positions, nil
	}
	err := r.conn.query("SELECT id, last_rev FROM rooms WHERE id = ANY($1::uuid[]) AND tenant = $2 AND deleted IS NULL",
		args(uuids(rooms), r.tenant), func(row row) error {
			var id domain.RoomID
			copy(id[:], row.Blob(0))
			positions[id] = row.Int(1)
			return nil
		})
	return positions, err
}

// uuids is one parameter for any number of ids.
func uuids[ID ~[16]byte](ids []ID) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		id := [16]byte(ids[i])
		out[i] = id[:]
	}
	return out
}
