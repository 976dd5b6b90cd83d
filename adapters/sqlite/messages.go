package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// A message's place in the table is its room's number and its seq in one integer, so that a room's messages are
// neighbours.
const (
	seqBits = 36
	maxSeq  = 1<<seqBits - 1
)

func position(room, seq int64) int64 { return room<<seqBits | min(max(seq, 0), maxSeq) }

// messageColumns joins what can be joined: each column of each row of a page is two or three calls into SQLite. The
// sender's number comes with the type, the id with the body, and what a change of the message has left, which few
// have, as one text.
const messageColumns = `x.pos, x.sender << 2 | x.sender_type, x.first_rev, x.created, x.id || x.body,
	x.client_id, x.reply_to,
	CASE WHEN x.rev IS NOT NULL THEN x.rev || ' ' || coalesce(x.edited, '') || ' ' || coalesce(x.deleted, '') END`

// messageWidth is the number of messageColumns.
const messageWidth = 8

// numbers are what a message's row says of its room and sender.
type numbers struct{ room, sender int64 }

func scanMessage(r row, m *domain.Message) (numbers, error) {
	pos, raw := r.Int(0), r.Text(4)
	kind, ok := sqlrows.SenderType(r.Int(1) & 3)
	if !ok || len(raw) < len(m.ID) {
		return numbers{}, errors.New("sqlite: a message has no sender type or no id")
	}
	content, meta, err := domain.DecodeBody(raw[len(m.ID):])
	if err != nil {
		return numbers{}, err
	}
	*m = domain.Message{
		SenderType: kind, Seq: pos & maxSeq, FirstRev: r.Int(2), Rev: r.Int(2), ClientID: r.Text(5),
		Content: content, Meta: meta, CreatedAt: sqlrows.FromMillis(r.Int(3)),
	}
	copy(m.ID[:], raw)
	copy(m.ReplyTo[:], r.Blob(6))
	if !r.Null(7) {
		err = scanChanged(r.Text(7), m)
	}
	return numbers{pos >> seqBits, r.Int(1) >> 2}, err
}

// scanChanged reads what a change has left: the position of the latest, and the times of an edit and of the deletion.
func scanChanged(text string, m *domain.Message) error {
	rev, times, _ := strings.Cut(text, " ")
	edited, deleted, _ := strings.Cut(times, " ")
	var err, err2, err3 error
	m.Rev, err = strconv.ParseInt(rev, 10, 64)
	m.EditedAt, err2 = parseMillis(edited)
	m.DeletedAt, err3 = parseMillis(deleted)
	return errors.Join(err, err2, err3)
}

func parseMillis(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	return sqlrows.FromMillis(ms), err
}

// messages runs a query for messageColumns and names the senders. rows are the numbers beside each message.
func (r *reader) messages(query string, values []driver.Value, capacity int) (
	found []domain.Message, rows []numbers, err error,
) {
	capacity = min(capacity, 128)
	err = r.conn.query(query, values, func(row row) error {
		if found == nil {
			found, rows = make([]domain.Message, 0, capacity), make([]numbers, 0, capacity)
		}
		found = append(found, domain.Message{})
		n, err := scanMessage(row, &found[len(found)-1])
		rows = append(rows, n)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for i := range found {
		if found[i].Sender, err = r.source.name(rows[i].sender); err != nil {
			return nil, nil, err
		}
	}
	return found, rows, nil
}

// messagesOf is messages for a query within one room.
func (r *reader) messagesOf(room domain.RoomID, query string, values []driver.Value, capacity int) (
	[]domain.Message, error,
) {
	found, _, err := r.messages(query, values, capacity)
	for i := range found {
		found[i].Room = room
	}
	return found, err
}

// messagesAt finds messages by their places with one statement; each comes once.
func (r *reader) messagesAt(places []int64) (found []domain.Message, rows []numbers, err error) {
	list, err := json.Marshal(places)
	if err != nil {
		return nil, nil, err
	}
	return r.messages("SELECT "+messageColumns+" FROM messages x WHERE x.pos IN (SELECT value FROM json_each(?))",
		args(string(list)), len(places))
}

const (
	messageByID = "SELECT " + messageColumns + " FROM messages x WHERE x.id = ? AND x.pos BETWEEN ? AND ?"
	pageAfter   = "SELECT " + messageColumns + " FROM messages x WHERE x.pos > ? AND x.pos <= ? ORDER BY x.pos LIMIT 0 + ?"
	pageBefore  = "SELECT " + messageColumns + " FROM messages x WHERE x.pos < ? AND x.pos > ? ORDER BY x.pos DESC LIMIT 0 + ?"
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
	found, err := r.messagesOf(id, messageByID, args(message[:], position(room.number, 0), position(room.number, maxSeq)), 1)
	if err != nil {
		return domain.Message{}, err
	}
	if len(found) == 0 {
		return domain.Message{}, domain.ErrMessageNotFound
	}
	return found[0], nil
}

// MessagesAfter implements ports.MessageReader.
func (r *reader) MessagesAfter(id domain.RoomID, after int64, limit int) ([]domain.Message, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(id)
	if err != nil || limit <= 0 {
		return nil, err
	}
	return r.after(room, after, maxSeq, limit)
}

// after returns the first limit messages with after < seq <= through.
func (r *reader) after(room *room, after, through int64, limit int) ([]domain.Message, error) {
	return r.messagesOf(room.ID, pageAfter,
		args(position(room.number, after), position(room.number, through), int64(limit)), limit)
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
	found, err := r.messagesOf(id, pageBefore,
		args(position(room.number, before), position(room.number, 0), int64(limit)), limit)
	slices.Reverse(found)
	return found, err
}
