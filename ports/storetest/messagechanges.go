package storetest

import (
	"fmt"
	"strings"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var messageChangeContracts = []contract{
	{"an edit replaces content and meta and is the room's next step", editIsAStep},
	{"a deletion leaves a tombstone and is the room's next step", deletionLeavesATombstone},
	{"edited contents come back byte for byte, however long before", editedContentsComeBack},
	{"times of edits and deletions keep their milliseconds", changeTimesComeBack},
	{"a client_id stays taken, edits and deletion notwithstanding", clientIDStaysTaken},
	{"an Idempotency-Key answers with the message as it is now", idempotencyAnswersChanged},
	{"a deleted message can still be replied to", deletedCanBeRepliedTo},
	{"a changed message is read within its own update", changeIsReadWithin},
	{"messages are sent, edited and deleted under 8 writers", changesUnderWriters},
	{"a change that is rolled back leaves nothing", rolledBackChange},
}

// changedTo compares a message that has changed with want, wherever it can be read, and the event that told of it.
func (f *fixture) changedTo(room domain.RoomID, want domain.Message, told domain.Event) {
	f.t.Helper()
	equal(f.t, "the event told", f.commits.of(room)[told.Rev-1], told)
	for range 2 {
		equal(f.t, "Message", f.messageNow(room, want.ID), want)
		equal(f.t, "the message in the history", f.history(room)[want.Seq-1], want)
		_, events := f.dense(room)
		equal(f.t, "the change in the log", events[told.Rev-1], told)
		first := events[want.FirstRev-1]
		equal(f.t, "the kind of the message's first position", first.Kind, domain.EventMessage)
		equal(f.t, "the message at its first position", *first.Message, want)
		f.reopen()
	}
}

func editIsAStep(f *fixture) {
	room := f.group("ann", "bob")
	first := f.send(room.ID, "bob", "first")
	d := domain.Draft{Content: "before", Meta: []byte(`{"a":1}`), ClientID: "c1", ReplyTo: first.ID.String()}
	want := f.sendDraft(room.ID, "ann", d)
	f.send(room.ID, "bob", "third")
	at := f.now()
	edited := want
	edited.Content, edited.Meta, edited.EditedAt = "after", nil, at
	got := f.changed("EditMessage", func(tx ports.Tx) (domain.Message, error) { return tx.EditMessage(edited) })
	want = edited
	want.Rev = 5
	equal(f.t, "EditMessage", got, want)
	f.changedTo(room.ID, want, domain.Event{
		Tenant: f.tenant, Room: room.ID, Rev: 5, Kind: domain.EventMessageEdited, At: at, Message: &want,
	})
	equal(f.t, "last_seq and last_rev", []int64{f.roomNow(room.ID).LastSeq, f.roomNow(room.ID).LastRev}, []int64{3, 5})
	again := f.edit(room.ID, 2, "once more")
	equal(f.t, "the rev of the next edit", again.Rev, int64(6))
	equal(f.t, "the next message", f.send(room.ID, "ann", "fourth").Seq, int64(4))
	last := f.edit(room.ID, 4, "the last, edited")
	equal(f.t, "the last message in the list", f.rooms(domain.RoomQuery{User: "bob"})[0].LastMessage, &last)
	f.dense(room.ID)
}

func deletionLeavesATombstone(f *fixture) {
	room := f.group("ann", "bob")
	want := f.sendDraft(room.ID, "ann", domain.Draft{Content: "secret", Meta: []byte(`{"a":1}`), ClientID: "c1"})
	edited := f.edit(room.ID, 1, "secret, edited")
	at := f.now()
	got := f.changed("DeleteMessage", func(tx ports.Tx) (domain.Message, error) {
		return tx.DeleteMessage(domain.Message{ID: want.ID, Room: room.ID, Content: "ignored", DeletedAt: at})
	})
	want.Content, want.Meta, want.Rev, want.EditedAt, want.DeletedAt = "", nil, 4, edited.EditedAt, at
	equal(f.t, "DeleteMessage", got, want)
	f.changedTo(room.ID, want, domain.Event{
		Tenant: f.tenant, Room: room.ID, Rev: 4, Kind: domain.EventMessageDeleted, At: at, Message: &want,
	})
	equal(f.t, "the last message in the list", f.rooms(domain.RoomQuery{User: "bob"})[0].LastMessage, &want)
	for _, e := range f.log(room.ID) {
		if e.Message != nil && strings.Contains(show(*e.Message), "secret") {
			f.t.Errorf("rev %d still tells what was deleted: %s", e.Rev, show(*e.Message))
		}
	}
	equal(f.t, "the next message", f.send(room.ID, "ann", "next").Seq, int64(2))
}

func editedContentsComeBack(f *fixture) {
	room := f.group("ann")
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "short", Meta: []byte(`{}`)})
	f.send(room.ID, "ann", strings.Repeat("x", domain.MaxMessageCeiling))
	contents := append([]string{strings.Repeat("🦊", domain.MaxMessageCeiling/4), "short again"}, awkward...)
	for i, content := range contents {
		seq := int64(i%2) + 1
		edited := f.edit(room.ID, seq, content)
		equal(f.t, "content as answered", edited.Content, content)
		equal(f.t, "Message", f.messageNow(room.ID, edited.ID), edited)
	}
	f.storedAs(room.ID, f.history(room.ID))
}

func changeTimesComeBack(f *fixture) {
	room := f.group("ann")
	var want []domain.Message
	for i, at := range moments {
		m := f.send(room.ID, "ann", at.String())
		m.EditedAt = at
		f.changed("EditMessage", func(tx ports.Tx) (domain.Message, error) { return tx.EditMessage(m) })
		m.DeletedAt = moments[len(moments)-1-i]
		got := f.changed("DeleteMessage", func(tx ports.Tx) (domain.Message, error) { return tx.DeleteMessage(m) })
		equal(f.t, "edited_at", got.EditedAt, at)
		equal(f.t, "deleted_at", got.DeletedAt, m.DeletedAt)
		want = append(want, got)
	}
	f.storedAs(room.ID, want)
}

func clientIDStaysTaken(f *fixture) {
	room := f.group("ann")
	original := domain.Draft{Content: "original", Meta: []byte(`{"a":1}`), ClientID: "c1"}
	f.sendDraft(room.ID, "ann", original)
	for _, change := range []func() domain.Message{
		func() domain.Message { return f.edit(room.ID, 1, "edited") },
		func() domain.Message { return f.delete(room.ID, 1) },
	} {
		want := change()
		for range 2 {
			got, err := f.trySend(room.ID, f.newSend("ann", original), nil)
			equal(f.t, "the error of the original send, repeated", err, nil)
			equal(f.t, "its answer", got, ports.Appended{Message: want, Duplicate: true})
			_, err = f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: want.Content + "!", ClientID: "c1"}), nil)
			wantError(f.t, "another send under the client_id", err, domain.ErrClientIDReused)
			_, err = f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "edited", ClientID: "c1"}), nil)
			wantError(f.t, "a send of the edited text", err, domain.ErrClientIDReused)
			f.reopen()
		}
	}
	equal(f.t, "messages stored", len(f.history(room.ID)), 1)
	f.dense(room.ID)
}

func idempotencyAnswersChanged(f *fixture) {
	room := f.group("ann")
	key := &domain.Idempotency{User: "ann", Key: [32]byte{7}, Request: [32]byte{8}}
	send := f.newSend("ann", domain.Draft{Content: "original"})
	if _, err := f.trySend(room.ID, send, key); err != nil {
		f.t.Fatal(err)
	}
	for _, want := range []domain.Message{f.edit(room.ID, 1, "edited"), f.delete(room.ID, 1)} {
		got, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "original"}), key)
		equal(f.t, "the error of a repeated request", err, nil)
		equal(f.t, "the message that answers it", got.Message.ID, want.ID)
	}
	got, _ := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "original"}), key)
	equal(f.t, "the message as it is now", got, ports.Appended{Message: f.messageNow(room.ID, send.ID), Duplicate: true})
}

func deletedCanBeRepliedTo(f *fixture) {
	room := f.group("ann")
	m := f.send(room.ID, "ann", "first")
	f.delete(room.ID, 1)
	reply := f.sendDraft(room.ID, "ann", domain.Draft{Content: "reply", ReplyTo: m.ID.String()})
	equal(f.t, "reply_to", f.messageNow(room.ID, reply.ID).ReplyTo, m.ID)
}

func changeIsReadWithin(f *fixture) {
	room := f.group("ann", "bob")
	sent := f.sendMany(room.ID, "ann", 2)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		m := sent[1]
		m.Content, m.EditedAt = "edited", at
		edited, err := tx.EditMessage(m)
		if err != nil {
			return err
		}
		equal(f.t, "the rev within the update", edited.Rev, int64(4))
		if err := f.readsWithin(tx, edited, domain.EventMessageEdited); err != nil {
			return err
		}
		deleted, err := tx.DeleteMessage(edited.Tombstone(at))
		if err != nil {
			return err
		}
		equal(f.t, "the rev of the next change", deleted.Rev, int64(5))
		return f.readsWithin(tx, deleted, domain.EventMessageDeleted)
	})
	f.dense(room.ID)
}

// readsWithin reads a message that the running update has just changed, in all ways.
func (f *fixture) readsWithin(tx ports.Tx, want domain.Message, kind domain.EventKind) error {
	f.t.Helper()
	got, err := tx.Message(want.Room, want.ID)
	equal(f.t, "Message within the update", got, want)
	if err != nil {
		return err
	}
	page, err := tx.MessagesAfter(want.Room, want.Seq-1, 1)
	equalList(f.t, "MessagesAfter within the update", page, []domain.Message{want})
	if err != nil {
		return err
	}
	events, err := tx.Events(ports.EventQuery{Room: want.Room, After: want.Rev - 1, Limit: 5})
	if err != nil {
		return err
	}
	equal(f.t, "the kind of the event within the update", events[0].Kind, kind)
	equal(f.t, "the event's message within the update", *events[0].Message, want)
	list, err := tx.Rooms(domain.RoomQuery{User: "bob", Limit: 1})
	if err != nil {
		return err
	}
	equal(f.t, "the last message within the update", list[0].LastMessage, &want)
	equal(f.t, "last_rev in the list within the update", list[0].LastRev, want.Rev)
	return nil
}

// changesUnderWriters has each writer send, edit and delete messages of its own, so that a store that batches has all
// three in one batch.
func changesUnderWriters(f *fixture) {
	room := f.group("ann", "bob")
	parallel(f.t, writers, func(w int) error {
		for i := range 6 {
			out, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: fmt.Sprint(w, i)}), nil)
			if err != nil {
				return err
			}
			if err := f.changeBoth(out.Message, i); err != nil {
				return err
			}
		}
		return nil
	})
	for range 2 {
		messages, _ := f.dense(room.ID)
		deleted := 0
		for _, m := range messages {
			if m.IsDeleted() {
				deleted++
			}
		}
		equal(f.t, "messages, and deleted ones", [2]int{len(messages), deleted}, [2]int{writers * 6, writers * 3})
		f.reopen()
	}
}

// changeBoth edits a message twice, once for nothing, and deletes every other one.
func (f *fixture) changeBoth(m domain.Message, i int) error {
	for _, fail := range []error{errSentinel, nil} {
		at := f.now()
		err := f.tryUpdate(func(tx ports.Tx) error {
			m.Content, m.EditedAt = m.Content+"!", at
			if _, err := tx.EditMessage(m); err != nil {
				return err
			}
			return fail
		})
		if (err != nil) != (fail != nil) {
			return fmt.Errorf("an edit that ends with %w: %w", fail, err)
		}
	}
	if i%2 == 0 {
		return nil
	}
	at := f.now()
	return f.tryUpdate(func(tx ports.Tx) error {
		_, err := tx.DeleteMessage(m.Tombstone(at))
		return err
	})
}

func rolledBackChange(f *fixture) {
	room := f.group("ann", "bob")
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "text", ClientID: "c1"})
	f.sendMany(room.ID, "bob", 3)
	f.edit(room.ID, 2, "edited")
	f.delete(room.ID, 3)
	for _, x := range failures {
		at := f.now()
		f.unchanged(room.ID, func() {
			got := endingOf(func() error {
				return f.tryUpdate(func(tx ports.Tx) error {
					if err := changeMessages(tx, room.ID, at); err != nil {
						return err
					}
					return x.fail()
				})
			})
			if err := x.check(got); err != nil {
				f.t.Error(err)
			}
		})
	}
	equal(f.t, "the rev of the next change", f.edit(room.ID, 1, "again").Rev, int64(8))
	f.dense(room.ID)
}
