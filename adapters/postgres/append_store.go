package postgres

import (
	"net/http"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// take decides a send, and takes down what is to be stored of it. Nothing is written yet.
func (a *appending) take(s *send) (ports.Appended, error) {
	r := a.t.rooms[s.in.Room]
	if r == nil {
		return ports.Appended{}, domain.ErrRoomNotFound
	}
	snap := a.snapshot(r, s.in)
	change, err := s.decide(snap)
	if err != nil {
		return ports.Appended{}, err
	}
	if change.Duplicate != nil {
		if snap.Replayed == nil {
			a.keep(s.in, change.Duplicate.ID)
		}
		return ports.Appended{Message: *change.Duplicate, Duplicate: true}, nil
	}
	message, err := a.add(r, s, change)
	return ports.Appended{Message: message}, err
}

func (a *appending) snapshot(r *room, in domain.Intent) domain.Snapshot {
	who := membership{in.Room, in.Sender}
	snap := domain.Snapshot{Room: r.Room, ReplyTo: a.replies[reply{in.Room, in.ReplyTo}]}
	if member := a.members[who]; member != nil {
		own := *member
		snap.Member = &own
	}
	if in.Hold == nil {
		snap.Bots = slices.Clone(a.bots[in.Room])
	}
	if in.ClientID != "" {
		snap.Duplicate = cloneSent(a.sent[clientSend{who, in.ClientID}])
	}
	if in.Idempotency != nil {
		a.replayed(*in.Idempotency, in.Room, &snap)
	}
	return snap
}

// cloneSent is for decide to keep.
func cloneSent(s *domain.Sent) *domain.Sent {
	if s == nil {
		return nil
	}
	own := *s
	return &own
}

// replayed finds what an Idempotency-Key was used for.
func (a *appending) replayed(key domain.Idempotency, room domain.RoomID, snap *domain.Snapshot) {
	record := a.keys[userKey{key.User, key.Key}]
	if record == nil {
		return
	}
	if id, ok := domain.ParseMessageID(record.Resource); ok && record.Request == key.Request {
		if sent := a.byID[id]; sent != nil && sent.Message.Room == room {
			snap.Replayed = cloneSent(sent)
		}
	}
	snap.KeyReused = snap.Replayed == nil
}

// keep keeps the intent's Idempotency-Key, if it has one, for the message that answers it.
func (a *appending) keep(in domain.Intent, id domain.MessageID) {
	key := in.Idempotency
	if key == nil {
		return
	}
	at := userKey{key.User, key.Key}
	a.keys[at] = &domain.IdempotencyRecord{Request: key.Request, Status: http.StatusCreated, Resource: id.String()}
	a.rows.keys = append(a.rows.keys, at)
}

// rows are what is to be written.
type rows struct {
	messages []stored
	rooms    []*room
	keys     []userKey
	jobs     []enqueued
}

type stored struct {
	domain.Message
	room        *room
	kind        int64
	fingerprint domain.Fingerprint
}

// enqueued is a job and whose it is.
type enqueued struct {
	domain.Job
	by *send
}

// add gives the message its place in the room. The room's activity moves to the message's time even when that is earlier:
// after a clock that jumped ahead the room would stay on top of every list until time has caught up.
func (a *appending) add(r *room, s *send, change domain.Change) (domain.Message, error) {
	m := change.Message
	kind, err := sqlrows.SenderNumber(m.SenderType)
	if err != nil {
		return domain.Message{}, err
	}
	m.Room, m.Seq, m.FirstRev = r.ID, r.LastSeq+1, r.LastRev+1
	m.Rev = m.FirstRev
	r.LastSeq, r.LastRev, r.active = m.Seq, m.Rev, m.CreatedAt.UnixMilli()
	if !a.touched[r] {
		a.touched[r] = true
		a.rows.rooms = append(a.rows.rooms, r)
	}
	a.rows.messages = append(a.rows.messages, stored{m, r, kind, change.Fingerprint})
	sent := &domain.Sent{Message: m, Fingerprint: change.Fingerprint}
	a.byID[m.ID], a.replies[reply{m.Room, m.ID}] = sent, true
	if m.ClientID != "" {
		a.sent[clientSend{membership{m.Room, m.Sender}, m.ClientID}] = sent
	}
	a.keep(s.in, m.ID)
	if change.Job != nil {
		a.rows.jobs = append(a.rows.jobs, enqueued{*change.Job, s})
	}
	for _, run := range change.Runs {
		a.rows.jobs = append(a.rows.jobs, enqueued{run, s})
	}
	told := m
	a.t.emit(domain.Event{Room: m.Room, Rev: m.Rev, Kind: domain.EventMessage, At: m.CreatedAt, Message: &told})
	return m, nil
}

// prepare makes the users who send for the first time.
func (a *appending) prepare() error {
	var unknown []domain.UserID
	for _, m := range a.rows.messages {
		if a.t.users[m.Sender] == 0 && !slices.Contains(unknown, m.Sender) {
			unknown = append(unknown, m.Sender)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if err := a.t.ensureUsers(unknown); err != nil {
		return err
	}
	for _, user := range unknown {
		if _, err := a.t.user(user); err != nil {
			return err
		}
	}
	return nil
}

// final reports whether what is written can be committed without a look at what came of it.
func (a *appending) final() bool { return len(a.rows.jobs) == 0 }

// store writes all, before the commit.
func (a *appending) store() error {
	if err := a.prepare(); err != nil {
		return err
	}
	var refused *send
	steps := a.steps()
	for _, job := range a.rows.jobs {
		query, values := a.t.jobStatement(job.Job)
		steps = append(steps, step{query: query, args: values, done: func(tag pgconn.CommandTag) {
			if tag.RowsAffected() == 0 && refused == nil {
				refused = job.by
			}
		}})
	}
	a.rows = rows{}
	if err := a.t.conn.together(steps...); err != nil {
		return err
	}
	if refused != nil {
		return sendError{domain.ErrIdempotency}
	}
	return nil
}

// sendError is the fault of one send of several.
type sendError struct{ error }

func (e sendError) Unwrap() error { return e.error }

// steps write messages, rooms and keys, each kind at once.
func (a *appending) steps() (steps []step) {
	if len(a.rows.messages) > 0 {
		steps = append(steps, a.insertMessages(), a.updateRooms())
	}
	if len(a.rows.keys) > 0 {
		steps = append(steps, a.insertKeys())
	}
	return steps
}

const insertAllMessages = `INSERT INTO messages (tenant, room, seq, id, sender, sender_type, first_rev, client_id, fingerprint,
	reply_to, body, created) SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bigint[],
	$7::bigint[], $8::text[], $9::bytea[], $10::uuid[], $11::bytea[], $12::bigint[])`

func (a *appending) insertMessages() step {
	n := len(a.rows.messages)
	rooms, seqs, senders := make([]int64, n), make([]int64, n), make([]int64, n)
	kinds, revs, times := make([]int64, n), make([]int64, n), make([]int64, n)
	ids, prints, replies, bodies := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
	clients := make([]*string, n)
	for i := range a.rows.messages {
		m := &a.rows.messages[i]
		rooms[i], seqs[i], senders[i], kinds[i] = m.room.number, m.Seq, a.t.users[m.Sender], m.kind
		revs[i], times[i], ids[i] = m.FirstRev, m.CreatedAt.UnixMilli(), m.ID[:]
		bodies[i] = domain.EncodeBody(nil, m.Content, m.Meta)
		if m.ClientID != "" {
			clients[i], prints[i] = &m.ClientID, m.fingerprint[:]
		}
		if !m.ReplyTo.IsZero() {
			replies[i] = m.ReplyTo[:]
		}
	}
	return step{query: insertAllMessages, args: args(a.t.tenant, rooms, seqs, ids, senders, kinds, revs, clients, prints, replies,
		bodies, times)}
}

const updateAllRooms = `UPDATE rooms r SET last_seq = i.seq, last_rev = i.rev, active = i.active
	FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) i (number, seq, rev, active)
	WHERE r.number = i.number AND r.tenant = $5`

func (a *appending) updateRooms() step {
	n := len(a.rows.rooms)
	numbers, seqs, revs, active := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, r := range a.rows.rooms {
		numbers[i], seqs[i], revs[i], active[i] = r.number, r.LastSeq, r.LastRev, r.active
	}
	return step{query: updateAllRooms, args: args(numbers, seqs, revs, active, a.t.tenant)}
}

const insertAllKeys = `INSERT INTO idempotency (tenant, user_id, key, request, status, resource, created)
	SELECT $1, i.user_id, i.key, i.request, $5, i.resource, $6 FROM unnest($2::text[], $3::bytea[], $4::bytea[], $7::text[])
		i (user_id, key, request, resource)
	ON CONFLICT (tenant, user_id, key) DO UPDATE SET request = excluded.request,
	status = excluded.status, resource = excluded.resource, created = excluded.created`

func (a *appending) insertKeys() step {
	var users, resources []string
	var keys, requests [][]byte
	seen := map[userKey]bool{}
	for _, at := range a.rows.keys {
		if seen[at] {
			continue
		}
		seen[at] = true
		record := a.keys[at]
		users, resources = append(users, string(at.user)), append(resources, record.Resource)
		keys, requests = append(keys, at.key[:]), append(requests, record.Request[:])
	}
	return step{query: insertAllKeys, args: args(a.t.tenant, users, keys, requests, int64(http.StatusCreated),
		a.t.store.cfg.Clock.Now().UnixMilli(), resources)}
}
