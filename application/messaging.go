package application

import (
	"context"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Messaging sends and reads messages.
type Messaging struct {
	log     ports.Appender
	store   ports.Store
	tenants CurrentTenants
	ids     ports.IDs
	clock   ports.Clock
	courier *Courier
	runner  *Runner
	busy    *inFlight
}

// CurrentTenants tells how a tenant is configured now: a socket's caller may have authenticated days ago. It is asked
// for every message, and Identity answers from memory. A tenant that is gone is a domain error.
type CurrentTenants interface {
	Tenant(ctx context.Context, id domain.TenantID) (domain.Tenant, error)
}

// NewMessaging wires the use case.
func NewMessaging(log ports.Appender, store ports.Store, tenants CurrentTenants, ids ports.IDs, clock ports.Clock, courier *Courier,
	runner *Runner) *Messaging {
	return &Messaging{
		log: log, store: store, tenants: tenants, ids: ids, clock: clock, courier: courier, runner: runner, busy: newInFlight(),
	}
}

// Send stores a message and returns once it is durable. A repeated client_id or Idempotency-Key with the same send
// returns the first message as a duplicate. Errors: validation, domain.ErrUserRequired, domain.ErrRoomNotFound,
// domain.ErrNotMember, domain.ErrClientIDReused, domain.ErrIdempotency, domain.ErrIdempotencyBusy,
// domain.ErrUnauthenticated when the caller's tenant is gone by now, and those of ports.Store.
func (m *Messaging) Send(ctx context.Context, c Caller, room domain.RoomID, draft domain.Draft, key *domain.Idempotency) (ports.Appended, error) {
	if c.User == "" {
		return ports.Appended{}, domain.ErrUserRequired
	}
	tenant, err := m.tenants.Tenant(ctx, c.Tenant.ID)
	if err != nil {
		return ports.Appended{}, err
	}
	if err := draft.Check(tenant.Config.MaxMessage()); err != nil {
		return ports.Appended{}, err
	}
	done, err := m.busy.enter(c.Tenant.ID, key)
	if err != nil {
		return ports.Appended{}, err
	}
	defer done()
	send, err := m.prepare(c, draft)
	if err != nil {
		return ports.Appended{}, err
	}
	send.Webhook = m.courier.Webhook(tenant) != ""
	in := domain.Intent{Room: room, Sender: c.User, ClientID: draft.ClientID, ReplyTo: send.ReplyTo, Idempotency: key}
	var answered bool
	sent, err := m.log.Append(ctx, c.Tenant.ID, in, func(s domain.Snapshot) (domain.Change, error) {
		change, err := send.Decide(s)
		answered = len(change.Runs) > 0
		return change, err
	})
	if err != nil || sent.Duplicate {
		return sent, err
	}
	if send.Webhook {
		m.courier.Wake(domain.LaneWebhook)
	}
	if answered {
		m.runner.Wake()
	}
	return sent, err
}

func (m *Messaging) prepare(c Caller, draft domain.Draft) (domain.Send, error) {
	send := domain.Send{
		Draft: draft, Sender: c.User, SenderType: domain.SenderUser,
		ID: domain.MessageID(m.ids.NewUUID()), Now: m.clock.Now(),
	}
	if draft.ClientID != "" {
		send.Fingerprint = draft.Fingerprint()
	}
	if draft.ReplyTo == "" {
		return send, nil
	}
	reply, ok := domain.ParseMessageID(draft.ReplyTo)
	if !ok {
		return send, domain.Invalid("reply_to", "reply_to must be a message of this room")
	}
	send.ReplyTo = reply
	return send, nil
}

// Page selects messages of a history: those after AfterSeq, or the newest below BeforeSeq when that is set.
type Page struct {
	AfterSeq  int64
	BeforeSeq int64 // 0 = not set
	Limit     int
}

// History returns a page of a room's messages in order of seq, tombstones included, and whether there are more in the
// page's direction.
func (m *Messaging) History(ctx context.Context, c Caller, room domain.RoomID, page Page) ([]domain.Message, bool, error) {
	var more bool
	messages, err := ports.View(ctx, m.store, c.Tenant.ID, func(r ports.Reader) ([]domain.Message, error) {
		if _, err := access(r, c, room, domain.ActRead); err != nil {
			return nil, err
		}
		if page.BeforeSeq > 0 {
			found, err := r.MessagesBefore(room, page.BeforeSeq, page.Limit+1)
			if more = len(found) > page.Limit; more {
				found = found[1:]
			}
			return found, err
		}
		found, err := r.MessagesAfter(room, page.AfterSeq, page.Limit+1)
		if more = len(found) > page.Limit; more {
			found = found[:page.Limit]
		}
		return found, err
	})
	return messages, more, err
}

// Message returns one message of a room.
func (m *Messaging) Message(ctx context.Context, c Caller, room domain.RoomID, id domain.MessageID) (domain.Message, error) {
	return ports.View(ctx, m.store, c.Tenant.ID, func(r ports.Reader) (domain.Message, error) {
		if _, err := access(r, c, room, domain.ActRead); err != nil {
			return domain.Message{}, err
		}
		return r.Message(room, id)
	})
}

// Edit replaces what a message says; its sender's alone. An edit that changes nothing takes no rev. Errors:
// domain.ErrUserRequired, domain.ErrRoomNotFound, domain.ErrNotMember, domain.ErrMessageNotFound, domain.ErrForbidden,
// domain.ErrMessageDeleted, validation, and those of ports.Store.
func (m *Messaging) Edit(ctx context.Context, c Caller, room domain.RoomID, id domain.MessageID, edit domain.Edit) (domain.Message, error) {
	if c.User == "" {
		return domain.Message{}, domain.ErrUserRequired
	}
	tenant, err := m.tenants.Tenant(ctx, c.Tenant.ID)
	if err != nil {
		return domain.Message{}, err
	}
	if err := edit.Check(tenant.Config.MaxMessage()); err != nil {
		return domain.Message{}, err
	}
	now := m.clock.Now()
	return ports.Update(ctx, m.store, c.Tenant.ID, func(tx ports.Tx) (domain.Message, error) {
		stored, err := accessMessage(tx, c, room, id, domain.ActEditOwn, domain.ActEditOthers)
		if err != nil {
			return stored, err
		}
		edited, changed, err := edit.Apply(stored, now)
		if err != nil || !changed {
			return edited, err
		}
		return tx.EditMessage(edited)
	})
}

// Delete leaves a tombstone of a message: its sender's, a room admin's or the backend's to do. Once more is no error.
func (m *Messaging) Delete(ctx context.Context, c Caller, room domain.RoomID, id domain.MessageID) error {
	now := m.clock.Now()
	return m.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		stored, err := accessMessage(tx, c, room, id, domain.ActDeleteOwn, domain.ActDeleteOthers)
		if err != nil || stored.IsDeleted() {
			return err
		}
		_, err = tx.DeleteMessage(stored.Tombstone(now))
		return err
	})
}

// accessMessage reads a message and asks the rights table: what the sender may do, and what others.
func accessMessage(r ports.Reader, c Caller, room domain.RoomID, id domain.MessageID, own, others domain.Action) (domain.Message, error) {
	_, member, err := r.Access(room, c.User)
	if err != nil {
		return domain.Message{}, err
	}
	if err := domain.Authorize(c.Actor, domain.ActRead, member); err != nil {
		return domain.Message{}, err
	}
	message, err := r.Message(room, id)
	if err != nil {
		return domain.Message{}, err
	}
	act := others
	if c.User != "" && message.Sender == c.User {
		act = own
	}
	return message, domain.Authorize(c.Actor, act, member)
}

// Changes returns the steps of a room's log above a position in order, each with its target's current state, and
// whether there are more.
func (m *Messaging) Changes(ctx context.Context, c Caller, room domain.RoomID, afterRev int64, limit int) ([]domain.Event, bool, error) {
	found, err := ports.View(ctx, m.store, c.Tenant.ID, func(r ports.Reader) ([]domain.Event, error) {
		if _, err := access(r, c, room, domain.ActRead); err != nil {
			return nil, err
		}
		return r.Events(ports.EventQuery{Room: room, After: afterRev, Limit: limit + 1})
	})
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// access reads a room and asks the rights table, in the snapshot that the data will come from.
func access(r ports.RoomReader, c Caller, id domain.RoomID, act domain.Action) (domain.Room, error) {
	room, member, err := r.Access(id, c.User)
	if err != nil {
		return domain.Room{}, err
	}
	return room, domain.Authorize(c.Actor, act, member)
}
