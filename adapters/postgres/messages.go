package postgres

import (
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// messageColumns name the sender by a look-up for each row, which no plan can turn into a walk over the users.
const messageColumns = `x.room, x.seq, x.id, x.sender_type, x.first_rev, x.rev, x.created, x.edited, x.deleted,
	x.client_id, x.reply_to, x.body, (SELECT s.id FROM users s WHERE s.number = x.sender)`

// messageWidth is the number of messageColumns.
const messageWidth = 13

// errMessageRow is a row that no version of this store writes.
var errMessageRow = errors.New("postgres: a message has no sender")

// scanMessage reads a message, but for the id of its room, whose number it returns.
func scanMessage(r row, m *domain.Message) (room int64, err error) {
	kind, ok := sqlrows.SenderType(r.Int(3))
	if !ok || r.Null(12) {
		return 0, errMessageRow
	}
	content, meta, err := domain.DecodeBody(r.Text(11))
	if err != nil {
		return 0, err
	}
	*m = domain.Message{
		Sender: domain.UserID(r.Text(12)), SenderType: kind, Seq: r.Int(1), FirstRev: r.Int(4), Rev: r.Int(4), ClientID: r.Text(9),
		Content: content, Meta: meta, CreatedAt: sqlrows.FromMillis(r.Int(6)), EditedAt: sqlrows.Time(r, 7), DeletedAt: sqlrows.Time(r, 8),
	}
	copy(m.ID[:], r.Blob(2))
	copy(m.ReplyTo[:], r.Blob(10))
	if !r.Null(5) {
		m.Rev = r.Int(5)
	}
	return r.Int(0), nil
}

// messages runs a query for messageColumns. rooms are the numbers of each message's room.
func (r *reader) messages(query string, values []any, capacity int) (found []domain.Message, rooms []int64, err error) {
	capacity = min(capacity, 128)
	err = r.conn.query(query, values, func(row row) error {
		if found == nil {
			found, rooms = make([]domain.Message, 0, capacity), make([]int64, 0, capacity)
		}
		found = append(found, domain.Message{})
		room, err := scanMessage(row, &found[len(found)-1])
		rooms = append(rooms, room)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return found, rooms, nil
}

// messagesOf is messages for a query within one room.
func (r *reader) messagesOf(room domain.RoomID, query string, values []any, capacity int) ([]domain.Message, error) {
	found, _, err := r.messages(query, values, capacity)
	for i := range found {
		found[i].Room = room
	}
	return found, err
}

// places are positions of messages: a room's number and a seq each.
type places struct{ rooms, seqs []int64 }

func (p *places) add(room, seq int64) { p.rooms, p.seqs = append(p.rooms, room), append(p.seqs, seq) }

const messagesAt = "SELECT " + messageColumns + ` FROM (SELECT DISTINCT * FROM unnest($1::bigint[], $2::bigint[])) p (room, seq)
	CROSS JOIN LATERAL (SELECT * FROM messages l WHERE l.room = p.room AND l.seq = p.seq AND l.tenant = $3 OFFSET 0) x`

// messagesAt finds messages by their places with one statement; each comes once.
func (r *reader) messagesAt(at places) (found []domain.Message, rooms []int64, err error) {
	if len(at.rooms) == 0 {
		return nil, nil, nil
	}
	return r.messages(messagesAt, args(at.rooms, at.seqs, r.tenant), len(at.rooms))
}

const (
	messageByID    = "SELECT " + messageColumns + " FROM messages x WHERE x.id = $1 AND x.room = $2 AND x.tenant = $3"
	pageOfMessages = "SELECT " + messageColumns + ` FROM messages x
		WHERE x.room = $1 AND x.tenant = $2 AND x.seq > $3 AND x.seq <= $4 ORDER BY x.seq`
)

// Message implements ports.MessageReader.
func (r *reader) Message(id domain.RoomID, message domain.MessageID) (domain.Message, error) {
	if err := r.source.ready(); err != nil {
		return domain.Message{}, err
	}
	room, err := r.source.room(id)
	if err != nil {
		return domain.Message{}, err
	}
	found, err := r.messagesOf(id, messageByID, args(message[:], room.number, r.tenant), 1)
	if err != nil {
		return domain.Message{}, err
	}
	if len(found) == 0 {
		return domain.Message{}, domain.ErrMessageNotFound
	}
	return found[0], nil
}

// A room's seqs have no gap, so that a page is a range of so many: however long the room is, no plan can read more of it.

// MessagesAfter implements ports.MessageReader.
func (r *reader) MessagesAfter(id domain.RoomID, after int64, limit int) ([]domain.Message, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(id)
	if err != nil || limit <= 0 {
		return nil, err
	}
	return r.after(room, after, room.LastSeq, limit)
}

// after returns the first limit messages with after < seq <= through.
func (r *reader) after(room *room, after, through int64, limit int) ([]domain.Message, error) {
	after = max(after, room.FirstSeq-1)
	if after >= min(through, room.LastSeq) {
		return nil, nil
	}
	through = min(through, after+int64(limit))
	return r.messagesOf(room.ID, pageOfMessages, args(room.number, r.tenant, after, through), limit)
}

// MessagesBefore implements ports.MessageReader.
func (r *reader) MessagesBefore(id domain.RoomID, before int64, limit int) ([]domain.Message, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(id)
	if err != nil || limit <= 0 {
		return nil, err
	}
	through := min(max(before, 1)-1, room.LastSeq)
	return r.after(room, through-int64(limit), through, limit)
}
