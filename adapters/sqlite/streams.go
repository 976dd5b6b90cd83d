package sqlite

import (
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Stream implements ports.BotReader.
func (r *reader) Stream(room domain.RoomID, message domain.MessageID) (domain.Stream, error) {
	s, found, err := r.stream(room, "message = ? AND room = ?", message[:])
	if err == nil && !found {
		err = domain.ErrMessageNotFound
	}
	return s, err
}

// StreamOf implements ports.BotReader.
func (r *reader) StreamOf(room domain.RoomID, bot domain.BotID) (s domain.Stream, ok bool, err error) {
	return r.stream(room, "bot = ? AND room = ?", bot[:])
}

// stream finds the only one of a condition, whose last parameter is the room's number.
func (r *reader) stream(id domain.RoomID, where string, value []byte) (s domain.Stream, found bool, err error) {
	if err := r.source.ready(); err != nil {
		return domain.Stream{}, false, err
	}
	room, err := r.source.room(id)
	if err != nil {
		return domain.Stream{}, false, err
	}
	var broken error
	found, err = r.conn.first("SELECT "+sqlrows.StreamColumns+" FROM streams WHERE "+where, args(value, room.number),
		func(row row) { s, broken = sqlrows.ScanStream(row) })
	if err == nil {
		err = broken
	}
	if err != nil || !found {
		return domain.Stream{}, false, err
	}
	s.Room = id
	return s, true, nil
}

// errSecondStream is an answer that begins while the run has another one on its way.
var errSecondStream = errors.New("sqlite: a bot has one answer on its way in a room at most")

// OpenStream implements ports.StreamWriter. Of an answer that begins anew it stays noted that it is to be stopped.
func (t *tx) OpenStream(hold domain.Hold, s domain.Stream) (ports.StreamNote, error) {
	if err := t.ready(); err != nil {
		return ports.StreamNote{}, err
	}
	of, err := t.held(hold)
	if err == nil && of != (run{s.Room, s.Bot}) {
		err = domain.ErrLeaseLost
	}
	if err != nil {
		return ports.StreamNote{}, err
	}
	r, note, err := t.noteOf(of, hold)
	if err != nil || r == nil {
		return note, err
	}
	w := t.w
	w.body = domain.EncodeBody(w.body[:0], s.Text, nil)
	stored := false
	err = t.returning(`INSERT INTO streams (message, tenant, room, bot, job, reply_to, attempt, stopped, started, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (room, bot) DO UPDATE
		SET reply_to = excluded.reply_to, attempt = excluded.attempt, started = excluded.started, body = excluded.body
		WHERE message = excluded.message RETURNING stopped`,
		args(s.Message[:], t.tenant, r.number, of.bot[:], hold.Job[:], s.ReplyTo[:], int64(s.Attempt), s.StartedAt.UnixMilli(), w.body),
		func(row row) error {
			stored, note.Stopped = true, row.Int(0) != 0
			return nil
		})
	if err == nil && !stored {
		err = errSecondStream
	}
	return note, err
}

// KeepStream implements ports.StreamWriter.
func (t *tx) KeepStream(hold domain.Hold, message domain.MessageID, text string) (ports.StreamNote, error) {
	if err := t.ready(); err != nil {
		return ports.StreamNote{}, err
	}
	of, err := t.held(hold)
	if err != nil {
		return ports.StreamNote{}, err
	}
	r, note, err := t.noteOf(of, hold)
	if err != nil || r == nil {
		return note, err
	}
	w := t.w
	w.body = domain.EncodeBody(w.body[:0], text, nil)
	found := false
	err = t.returning("UPDATE streams SET body = ? WHERE message = ? AND tenant = ? AND job = ? RETURNING stopped",
		args(w.body, message[:], t.tenant, hold.Job[:]), func(row row) error {
			found, note.Stopped = true, row.Int(0) != 0
			return nil
		})
	if err == nil && !found {
		err = domain.ErrMessageNotFound
	}
	return note, err
}

// noteOf is what a run must know of its room, which is nil when it is gone.
func (t *tx) noteOf(of run, hold domain.Hold) (*room, ports.StreamNote, error) {
	r, member, err := t.access(of.room, of.bot.User())
	if errors.Is(err, domain.ErrRoomNotFound) {
		return nil, ports.StreamNote{Removed: true}, nil
	}
	if err != nil {
		return nil, ports.StreamNote{}, err
	}
	human, err := t.handedOff(r, hold)
	return r, ports.StreamNote{Human: human, Removed: !member.IsActive()}, err
}

// handedOff reports whether a run's room has been handed off since it last saw that it may speak.
func (t *tx) handedOff(r *room, hold domain.Hold) (bool, error) {
	if r.Handoff.IsHuman() || hold.Since == 0 {
		return r.Handoff.IsHuman(), nil
	}
	return t.conn.first("SELECT 1 FROM room_changes WHERE room = ? AND kind = 9 AND rev > ? LIMIT 1",
		args(r.number, hold.Since), func(row) {})
}

// checkHandoff refuses a message of a run whose room has been handed off.
func (t *tx) checkHandoff(r *room, hold domain.Hold) error {
	human, err := t.handedOff(r, hold)
	if err == nil && human {
		err = domain.ErrHandedOff
	}
	return err
}

// EndStream implements ports.StreamWriter.
func (t *tx) EndStream(hold domain.Hold, message domain.MessageID) error {
	if err := t.ready(); err != nil {
		return err
	}
	if _, err := t.held(hold); err != nil {
		return err
	}
	return t.answered(hold, message)
}

// StopStream implements ports.StreamWriter.
func (t *tx) StopStream(id domain.RoomID, message domain.MessageID) error {
	if err := t.ready(); err != nil {
		return err
	}
	r, err := t.room(id)
	if err != nil {
		return err
	}
	n, err := t.remove("UPDATE streams SET stopped = 1 WHERE message = ? AND room = ?", message[:], r.number)
	if err == nil && n == 0 {
		err = domain.ErrMessageNotFound
	}
	return err
}
