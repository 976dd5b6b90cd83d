package sqlite

import (
	"context"
	"database/sql/driver"
	"net/http"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Append implements ports.Appender.
func (s *Store) Append(ctx context.Context, tenant domain.TenantID, in domain.Intent,
	decide func(domain.Snapshot) (domain.Change, error),
) (ports.Appended, error) {
	var out ports.Appended
	err := s.submit(ctx, tenant, func(t *tx) (err error) {
		if err = t.bind(tenant); err == nil {
			out, err = t.append(in, decide)
		}
		return err
	})
	if err != nil {
		return ports.Appended{}, err
	}
	return out, nil
}

// append is the hot path. What the sender already sent under the client_id is looked up only when it matters: the
// unique index finds a repetition anyway, and then decide runs once more with it.
func (t *tx) append(in domain.Intent, decide func(domain.Snapshot) (domain.Change, error)) (ports.Appended, error) {
	if err := t.checkHold(in); err != nil {
		return ports.Appended{}, err
	}
	r, snap, err := t.snapshot(in)
	if err != nil {
		return ports.Appended{}, err
	}
	change, refusal := decide(snap)
	if refusal == nil && change.Duplicate == nil {
		message, err := t.store(r, in, change)
		if err == nil || in.ClientID == "" || !isUnique(err) {
			return ports.Appended{Message: message}, err
		}
		refusal = err
	}
	if in.ClientID != "" {
		if snap.Duplicate, err = t.duplicate(r, in); err != nil {
			return ports.Appended{}, err
		}
		if snap.Duplicate != nil {
			change, refusal = decide(snap)
		}
	}
	if refusal != nil {
		return ports.Appended{}, refusal
	}
	if snap.Replayed == nil {
		err = t.keepKey(in, change.Duplicate.ID)
	}
	return ports.Appended{Message: *change.Duplicate, Duplicate: true}, err
}

// keepKey keeps the intent's Idempotency-Key, if it has one, for the message that answers it.
func (t *tx) keepKey(in domain.Intent, id domain.MessageID) error {
	if in.Idempotency == nil {
		return nil
	}
	return t.KeepIdempotency(*in.Idempotency, http.StatusCreated, id.String(), t.w.store.cfg.Clock.Now())
}

// snapshot reads what decide needs, but the duplicate.
func (t *tx) snapshot(in domain.Intent) (*room, domain.Snapshot, error) {
	r, member, err := t.access(in.Room, in.Sender)
	if err != nil {
		return nil, domain.Snapshot{}, err
	}
	snap := domain.Snapshot{Room: r.Room}
	if member != nil {
		own := *member
		snap.Member = &own
	}
	if in.Hold == nil {
		if snap.Bots, err = t.botsOf(r); err != nil {
			return nil, domain.Snapshot{}, err
		}
	}
	if in.Idempotency != nil {
		if err := t.replayed(r, *in.Idempotency, &snap); err != nil {
			return nil, domain.Snapshot{}, err
		}
	}
	if !in.ReplyTo.IsZero() {
		snap.ReplyTo, err = t.conn.first("SELECT 1 FROM messages WHERE id = ? AND pos BETWEEN ? AND ?",
			args(in.ReplyTo[:], position(r.number, 0), position(r.number, maxSeq)), func(row) {})
	}
	return r, snap, err
}

// replayed finds what the intent's Idempotency-Key was used for.
func (t *tx) replayed(r *room, key domain.Idempotency, snap *domain.Snapshot) error {
	record, err := t.Idempotency(key.User, key.Key, t.w.store.cfg.Clock.Now())
	if err != nil || record == nil {
		return err
	}
	id, ok := domain.ParseMessageID(record.Resource)
	if !ok || record.Request != key.Request {
		snap.KeyReused = true
		return nil
	}
	snap.Replayed, err = t.sent(r, sentByID, id[:], position(r.number, 0), position(r.number, maxSeq))
	snap.KeyReused = snap.Replayed == nil
	return err
}

const (
	sentByID       = "SELECT " + messageColumns + ", x.fingerprint FROM messages x WHERE x.id = ? AND x.pos BETWEEN ? AND ?"
	sentByClientID = "SELECT " + messageColumns + ", x.fingerprint FROM messages x" +
		" WHERE x.pos >> 36 = ? AND x.sender = ? AND x.client_id = ?"
)

// duplicate finds the message that the sender sent to the room under the intent's client_id.
func (t *tx) duplicate(r *room, in domain.Intent) (*domain.Sent, error) {
	sender, err := t.user(in.Sender)
	if err != nil || sender == 0 {
		return nil, err
	}
	return t.sent(r, sentByClientID, r.number, sender, in.ClientID)
}

func (t *tx) sent(r *room, query string, values ...driver.Value) (*domain.Sent, error) {
	var found *domain.Sent
	var sender int64
	var broken error
	_, err := t.conn.first(query, values, func(row row) {
		found = &domain.Sent{}
		copy(found.Fingerprint[:], row.Blob(messageWidth))
		var n numbers
		n, broken = scanMessage(row, &found.Message)
		sender = n.sender
	})
	if err == nil {
		err = broken
	}
	if err != nil || found == nil {
		return nil, err
	}
	found.Message.Room = r.ID
	found.Message.Sender, err = t.name(sender)
	return found, err
}

// store gives the message its place in the room and writes it. When nothing else is written with it, it is one statement,
// which undoes itself when it fails and needs no savepoint.
func (t *tx) store(found *room, in domain.Intent, change domain.Change) (domain.Message, error) {
	m := change.Message
	sender, err := t.ensureUser(m.Sender)
	if err != nil {
		return domain.Message{}, err
	}
	if in.Idempotency != nil || in.Hold != nil || change.Job != nil || len(change.Runs) > 0 {
		if err := t.save(); err != nil {
			return domain.Message{}, err
		}
	}
	m.Room, m.Seq, m.FirstRev = found.ID, found.LastSeq+1, found.LastRev+1
	m.Rev = m.FirstRev
	if err := t.insertMessage(found, sender, m, change.Fingerprint); err != nil {
		return domain.Message{}, err
	}
	r := t.advance(found, m)
	if err := t.keepKey(in, m.ID); err != nil {
		return domain.Message{}, err
	}
	if change.Job != nil {
		if err := t.Enqueue(*change.Job); err != nil {
			return domain.Message{}, err
		}
	}
	if err := t.enqueueRuns(change.Runs); err != nil {
		return domain.Message{}, err
	}
	if in.Hold != nil {
		if err := t.answered(*in.Hold, m.ID); err != nil {
			return domain.Message{}, err
		}
	}
	t.emit(domain.Event{Room: r.ID, Rev: m.Rev, Kind: domain.EventMessage, At: m.CreatedAt, Message: &m})
	return m, nil
}

// advance moves the room's counters to the message just stored, and its activity to that message's time even when that
// is earlier: after a clock that jumped ahead the room would stay on top of every list until time has caught up. A room that the batch has changed already is changed
// in place when nothing of the job can fail any more: it has no savepoint to go back to.
func (t *tx) advance(r *room, m domain.Message) *room {
	if t.saved || !r.dirty {
		r = t.change(r)
	}
	r.LastSeq, r.LastRev, r.active = m.Seq, m.Rev, m.CreatedAt.UnixMilli()
	return r
}

func (t *tx) insertMessage(r *room, sender int64, m domain.Message, fingerprint domain.Fingerprint) error {
	kind, err := sqlrows.SenderNumber(m.SenderType)
	if err != nil {
		return err
	}
	var client, print, reply any
	if m.ClientID != "" {
		client, print = m.ClientID, fingerprint[:]
	}
	if !m.ReplyTo.IsZero() {
		reply = m.ReplyTo[:]
	}
	w := t.w
	w.body = domain.EncodeBody(w.body[:0], m.Content, m.Meta)
	return w.conn.run(`INSERT INTO messages (pos, id, sender, sender_type, first_rev, client_id, fingerprint, reply_to,
		body, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		position(r.number, m.Seq), m.ID[:], sender, kind, m.FirstRev, client, print, reply,
		w.body, m.CreatedAt.UnixMilli())
}
