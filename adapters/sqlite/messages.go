package sqlite

import (
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
)

// A message's place in the table is its room's number and its seq in one integer, so that a room's messages are
// neighbours.
const (
	seqBits = 36
	maxSeq  = 1<<seqBits - 1
)

func position(room, seq int64) int64 { return room<<seqBits | min(max(seq, 0), maxSeq) }

const messageColumns = `x.pos, x.id, x.sender, x.sender_type, x.first_rev, x.rev, x.client_id, x.reply_to, x.body,
	x.created, x.edited, x.deleted`

// messageWidth is the number of messageColumns.
const messageWidth = 12

// stored is a message as its row has it: the room and the sender are numbers yet.
type stored struct {
	message      domain.Message
	room, sender int64
}

// The numbers of sender types in the store.
var senderTypes = [...]domain.SenderType{1: domain.SenderUser, 2: domain.SenderBot, 3: domain.SenderSystem}

func senderNumber(t domain.SenderType) (int64, error) {
	if i := slices.Index(senderTypes[:], t); i > 0 {
		return int64(i), nil
	}
	return 0, fmt.Errorf("sqlite: unknown sender type %q", t)
}

func scanMessage(r row, s *stored) error {
	pos, kind := r.int(0), r.int(3)
	if kind < 1 || kind >= int64(len(senderTypes)) {
		return fmt.Errorf("sqlite: unknown sender type %d", kind)
	}
	content, meta, err := domain.DecodeBody(r.blob(8))
	if err != nil {
		return err
	}
	s.room, s.sender = pos>>seqBits, r.int(2)
	s.message = domain.Message{
		SenderType: senderTypes[kind], Seq: pos & maxSeq, FirstRev: r.int(4), Rev: r.int(5), ClientID: r.text(6),
		Content: content, Meta: meta, CreatedAt: fromMillis(r.int(9)), EditedAt: r.time(10), DeletedAt: r.time(11),
	}
	copy(s.message.ID[:], r.blob(1))
	copy(s.message.ReplyTo[:], r.blob(7))
	return nil
}

// messages runs a query for messageColumns and names the senders.
func (r *reader) messages(query string, values []driver.Value, capacity int) ([]stored, error) {
	var found []stored
	err := r.conn.query(query, values, func(row row) error {
		if found == nil {
			found = make([]stored, 0, min(capacity, 512))
		}
		found = append(found, stored{})
		return scanMessage(row, &found[len(found)-1])
	})
	if err != nil {
		return nil, err
	}
	for i := range found {
		if i > 0 && found[i].sender == found[i-1].sender {
			found[i].message.Sender = found[i-1].message.Sender
			continue
		}
		if found[i].message.Sender, err = r.source.name(found[i].sender); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// messagesOf is messages for a query within one room.
func (r *reader) messagesOf(room domain.RoomID, query string, values []driver.Value, capacity int) ([]domain.Message, error) {
	found, err := r.messages(query, values, capacity)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	out := make([]domain.Message, len(found))
	for i := range found {
		out[i] = found[i].message
		out[i].Room = room
	}
	return out, nil
}

const (
	messageByID = "SELECT " + messageColumns + " FROM messages x WHERE x.id = ? AND x.pos BETWEEN ? AND ?"
	messageAt   = "SELECT " + messageColumns + " FROM messages x WHERE x.pos = ?"
	pageAfter   = "SELECT " + messageColumns + " FROM messages x WHERE x.pos > ? AND x.pos <= ? ORDER BY x.pos LIMIT ?"
	pageBefore  = "SELECT " + messageColumns + " FROM messages x WHERE x.pos < ? AND x.pos > ? ORDER BY x.pos DESC LIMIT ?"
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
