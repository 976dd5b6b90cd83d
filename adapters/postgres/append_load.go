package postgres

import (
	"bytes"
	"slices"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// appending is what some sends of a tenant find and leave in one transaction. What one of them stores the next of them
// finds, though it is written at the end, all at once.
type appending struct {
	t     *tx
	sends []*send

	locked  map[domain.RoomID]bool
	bots    map[domain.RoomID][]domain.BotID
	members map[membership]*domain.Member
	replies map[reply]bool                    // messages of their room
	sent    map[clientSend]*domain.Sent       // under client ids
	byID    map[domain.MessageID]*domain.Sent // that Idempotency-Keys name, and those of this batch
	keys    map[userKey]*domain.IdempotencyRecord

	touched map[*room]bool
	rows    rows
}

type (
	membership struct {
		room domain.RoomID
		user domain.UserID
	}
	reply struct {
		room domain.RoomID
		to   domain.MessageID
	}
	clientSend struct {
		membership
		id string
	}
	userKey struct {
		user domain.UserID
		key  [32]byte
	}
)

func newAppending(t *tx, sends []*send) *appending {
	return &appending{
		t: t, sends: sends, locked: map[domain.RoomID]bool{}, bots: map[domain.RoomID][]domain.BotID{},
		members: map[membership]*domain.Member{}, replies: map[reply]bool{}, sent: map[clientSend]*domain.Sent{},
		byID: map[domain.MessageID]*domain.Sent{}, keys: map[userKey]*domain.IdempotencyRecord{},
		touched: map[*room]bool{},
	}
}

// load locks the rooms and then reads, each statement with a snapshot that includes what was committed before the locks
// were to be had. before is run first, in the same exchange.
func (a *appending) load(before ...step) error {
	steps := append(before, a.lockKeys()...)
	steps = append(steps, a.lockRooms()...)
	steps = append(steps, a.readMembers())
	steps = append(steps, a.readKeys()...)
	steps = append(steps, a.readSent()...)
	steps = append(steps, a.readReplies()...)
	if err := a.t.conn.together(steps...); err != nil {
		return err
	}
	for id := range a.t.rooms {
		if !a.locked[id] {
			delete(a.t.rooms, id) // it came between two statements, and so after this transaction
		}
	}
	return a.t.conn.together(append(a.readBots(), a.readReplayed()...)...)
}

// lockKeys is first, as in all units of work, which take these locks in the order of their numbers.
func (a *appending) lockKeys() []step {
	var locks []int64
	for _, s := range a.sends {
		if key := s.in.Idempotency; key != nil {
			locks = append(locks, keyLock(a.t.tenant, key.User, key.Key))
		}
	}
	if len(locks) == 0 {
		return nil
	}
	slices.Sort(locks)
	return []step{{query: "SELECT pg_advisory_xact_lock(k) FROM unnest($1::bigint[]) k", args: args(locks)}}
}

// The queries look up row by row, in the order of what they are given, whatever the planner knows of the tables: a plan made
// while a tenant was small would read all its rooms or users when it is large; a sum of tenant takes its index out of the
// choice. The ids of rooms are sorted, so that batches
// lock them in one order, on all nodes.
const (
	lockAllRooms = `SELECT r.id FROM unnest($1::uuid[]) i (id) CROSS JOIN LATERAL (SELECT r.id FROM rooms r
		WHERE r.id = i.id AND r.tenant + 0 = $2 AND r.deleted IS NULL FOR NO KEY UPDATE) r`
	readAllRooms = `SELECT r.* FROM unnest($1::uuid[]) i (id) CROSS JOIN LATERAL (SELECT ` + roomColumns + ` FROM rooms r
		WHERE r.id = i.id AND r.tenant + 0 = $2 AND r.deleted IS NULL OFFSET 0) r`
)

func (a *appending) lockRooms() []step {
	var ids [][]byte
	seen := map[domain.RoomID]bool{}
	for _, s := range a.sends {
		if id := s.in.Room; !seen[id] {
			seen[id] = true
			ids = append(ids, id[:])
		}
	}
	slices.SortFunc(ids, bytes.Compare)
	values := args(ids, a.t.tenant)
	return []step{
		{query: lockAllRooms, args: values, each: func(r row) error {
			a.locked[domain.RoomID(r.Blob(0))] = true
			return nil
		}},
		{query: readAllRooms, args: values, each: func(r row) error {
			found := scanRoom(r)
			a.t.rooms[found.ID] = found
			return nil
		}},
	}
}

// senderOf and roomOf find the numbers of what the parameters name.
const (
	senderOf = " CROSS JOIN LATERAL (SELECT number FROM users WHERE tenant = $1 AND id = i.sender OFFSET 0) u"
	roomOf   = " CROSS JOIN LATERAL (SELECT number, id FROM rooms WHERE id = i.room AND tenant + 0 = $1 OFFSET 0) r"
)

const readAllMembers = "SELECT i.room, i.sender, u.number, " + sqlrows.MemberColumns + " FROM unnest($2::uuid[], $3::text[]) i (room, sender)" +
	senderOf + roomOf + " LEFT JOIN LATERAL (SELECT * FROM members WHERE room = r.number AND user_no = u.number OFFSET 0) m ON true"

func (a *appending) readMembers() step {
	var rooms [][]byte
	var senders []string
	seen := map[membership]bool{}
	for _, s := range a.sends {
		who := membership{s.in.Room, s.in.Sender}
		if !seen[who] {
			seen[who] = true
			rooms, senders = append(rooms, s.in.Room[:]), append(senders, string(s.in.Sender))
		}
	}
	return step{query: readAllMembers, args: args(a.t.tenant, rooms, senders), each: func(r row) error {
		user := domain.UserID(r.Text(1))
		a.t.users[user] = r.Int(2)
		if !r.Null(3) {
			a.members[membership{domain.RoomID(r.Blob(0)), user}] = sqlrows.ScanMember(r[3:], user)
		}
		return nil
	}}
}

const readAllKeys = `SELECT i.user_id, i.key, k.request, k.status, k.resource FROM unnest($2::text[], $3::bytea[]) i (user_id, key)
	CROSS JOIN LATERAL (SELECT * FROM idempotency k WHERE k.tenant = $1 AND k.user_id = i.user_id AND k.key = i.key
	AND k.created > $4 OFFSET 0) k`

func (a *appending) readKeys() []step {
	var users []string
	var keys [][]byte
	for _, s := range a.sends {
		if key := s.in.Idempotency; key != nil {
			users, keys = append(users, string(key.User)), append(keys, key.Key[:])
		}
	}
	if len(users) == 0 {
		return nil
	}
	since := a.t.store.cfg.Clock.Now().Add(-domain.IdempotencyMemory)
	return []step{{query: readAllKeys, args: args(a.t.tenant, users, keys, since.UnixMilli()), each: func(r row) error {
		record := &domain.IdempotencyRecord{Status: int(r.Int(3)), Resource: r.Text(4)}
		copy(record.Request[:], r.Blob(2))
		a.keys[userKey{domain.UserID(r.Text(0)), [32]byte(r.Blob(1))}] = record
		return nil
	}}}
}

const readAllSent = "SELECT " + messageColumns + `, x.fingerprint, i.room, i.sender
	FROM unnest($2::uuid[], $3::text[], $4::text[]) i (room, sender, client_id)` + senderOf + roomOf +
	` CROSS JOIN LATERAL (SELECT * FROM messages x WHERE x.room = r.number AND x.sender = u.number AND x.client_id = i.client_id
	OFFSET 0) x`

func (a *appending) readSent() []step {
	var rooms [][]byte
	var senders, ids []string
	for _, s := range a.sends {
		if s.in.ClientID != "" {
			rooms, senders = append(rooms, s.in.Room[:]), append(senders, string(s.in.Sender))
			ids = append(ids, s.in.ClientID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return []step{{query: readAllSent, args: args(a.t.tenant, rooms, senders, ids), each: func(r row) error {
		room := domain.RoomID(r.Blob(messageWidth + 1))
		sent, err := scanSent(r, room)
		if err == nil {
			a.sent[clientSend{membership{room, domain.UserID(r.Text(messageWidth + 2))}, sent.Message.ClientID}] = sent
		}
		return err
	}}}
}

// scanSent reads messageColumns and the fingerprint.
func scanSent(r row, room domain.RoomID) (*domain.Sent, error) {
	sent := &domain.Sent{}
	copy(sent.Fingerprint[:], r.Blob(messageWidth))
	_, err := scanMessage(r, &sent.Message)
	sent.Message.Room = room
	return sent, err
}

const readAllReplies = "SELECT i.room, i.id FROM unnest($2::uuid[], $3::uuid[]) i (room, id)" + roomOf +
	" CROSS JOIN LATERAL (SELECT 1 FROM messages x WHERE x.id = i.id AND x.room = r.number OFFSET 0) x"

func (a *appending) readReplies() []step {
	var rooms, ids [][]byte
	for _, s := range a.sends {
		if !s.in.ReplyTo.IsZero() {
			rooms, ids = append(rooms, s.in.Room[:]), append(ids, s.in.ReplyTo[:])
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return []step{{query: readAllReplies, args: args(a.t.tenant, rooms, ids), each: func(r row) error {
		a.replies[reply{domain.RoomID(r.Blob(0)), domain.MessageID(r.Blob(1))}] = true
		return nil
	}}}
}

// readBots is for rooms that have any.
func (a *appending) readBots() (steps []step) {
	for id, found := range a.t.rooms {
		if found != nil && found.bots > 0 {
			steps = append(steps, step{query: botsByRoom, args: args(found.number, a.t.tenant, int64(domain.MaxBotsPerRoom)),
				each: func(r row) error {
					a.bots[id] = append(a.bots[id], domain.BotID(r.Blob(0)))
					return nil
				}})
		}
	}
	return steps
}

const readByID = "SELECT " + messageColumns + `, x.fingerprint, r.id FROM messages x JOIN rooms r ON r.number = x.room AND r.tenant = $2
	WHERE x.id = ANY($1::uuid[]) AND x.tenant = $2`

// readReplayed finds the messages that Idempotency-Keys have made.
func (a *appending) readReplayed() []step {
	var ids [][]byte
	for _, record := range a.keys {
		if id, ok := domain.ParseMessageID(record.Resource); ok {
			ids = append(ids, id[:])
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return []step{{query: readByID, args: args(ids, a.t.tenant), each: func(r row) error {
		sent, err := scanSent(r, domain.RoomID(r.Blob(messageWidth+1)))
		if err == nil {
			a.byID[sent.Message.ID] = sent
		}
		return err
	}}}
}
