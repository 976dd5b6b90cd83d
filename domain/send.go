package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Intent is a send before it is decided: what the store must look up for the rule.
type Intent struct {
	Room        RoomID
	Sender      UserID
	ClientID    string
	ReplyTo     MessageID
	Idempotency *Idempotency
	Hold        *Hold // of a bot's answer: its run ends with the message, or nothing is written (ErrLeaseLost, ErrHandedOff)
}

// Snapshot is what the store found for an Intent, read under the room's lock in the transaction that will write.
type Snapshot struct {
	Room      Room
	Member    *Member // the sender's membership; nil when there never was one
	Bots      []BotID // the active members who are bots, unless the intent has a Hold
	ReplyTo   bool    // the intent's ReplyTo is a message of this room
	Duplicate *Sent   // the message that this sender already sent to this room under the intent's ClientID
	Replayed  *Sent   // the message that the intent's Idempotency-Key already made
	KeyReused bool    // the intent's Idempotency-Key was used for another request
}

// Sent is a stored message and the fingerprint of its original send.
type Sent struct {
	Message     Message
	Fingerprint Fingerprint
}

// Fingerprint identifies the original send of a message, edits and deletion notwithstanding.
type Fingerprint [16]byte

// Fingerprint hashes what the client wrote, so that a retry is told from another message under the same client_id.
func (d Draft) Fingerprint() Fingerprint {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(d.Content), d.Meta, []byte(d.ReplyTo)} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write(part)
	}
	return Fingerprint(h.Sum(nil)[:16])
}

// Change is the outcome of a decision: a message to store, or the stored message that answers the send again.
type Change struct {
	Message     Message // without Seq and Rev: the store takes them under the room's lock
	Fingerprint Fingerprint
	Job         *Job     // set: stored with the message
	Runs        []Job    // of LaneBot: stored with the message, each in the place of one that waits already
	Duplicate   *Message // set: nothing is written, this is the answer
}

// Send is a valid draft with the id and time it will have when stored.
type Send struct {
	Draft       Draft
	Fingerprint Fingerprint // zero unless Draft.ClientID is set
	Sender      UserID
	SenderType  SenderType
	ID          MessageID
	ReplyTo     MessageID
	Webhook     bool // the tenant has one: absent members are told by it
	Now         time.Time
}

// Decide is the rule of sending: members only, a reply names a message of the room, and one client_id makes one
// message. It has no effects and may run again.
func (s Send) Decide(snap Snapshot) (Change, error) {
	if !snap.Member.IsActive() {
		return Change{}, ErrNotMember
	}
	if snap.KeyReused {
		return Change{}, ErrIdempotency
	}
	if snap.Replayed != nil {
		return Change{Duplicate: &snap.Replayed.Message}, nil
	}
	if dup := snap.Duplicate; dup != nil {
		if dup.Fingerprint != s.Fingerprint {
			return Change{}, ErrClientIDReused
		}
		return Change{Duplicate: &dup.Message}, nil
	}
	if !s.ReplyTo.IsZero() && !snap.ReplyTo {
		return Change{}, Invalid("reply_to", "reply_to must be a message of this room")
	}
	change := Change{Message: s.message(snap.Room.ID), Fingerprint: s.Fingerprint}
	if s.Webhook {
		job := OfflineJob(change.Message)
		change.Job = &job
	}
	if !snap.Room.Handoff.IsHuman() {
		for _, bot := range snap.Bots {
			change.Runs = append(change.Runs, RunJob(bot, change.Message))
		}
	}
	return change, nil
}

func (s Send) message(room RoomID) Message {
	return Message{
		ID: s.ID, Room: room, Sender: s.Sender, SenderType: s.SenderType,
		Content: s.Draft.Content, Meta: s.Draft.Meta, ClientID: s.Draft.ClientID,
		ReplyTo: s.ReplyTo, CreatedAt: s.Now,
	}
}
