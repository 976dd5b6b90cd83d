package storetest

import (
	"fmt"

	"github.com/chatapi/chatapi/domain"
)

var clientIDContracts = []contract{
	{"a client_id sent again answers the stored message", clientIDAnswersStored},
	{"parallel sends of one client_id make one message", parallelClientID},
	{"a client_id with another body is refused and leaves nothing", clientIDReused},
	{"the client_id of another sender or room is independent", clientIDIsPerSenderAndRoom},
	{"sends without a client_id are never duplicates", emptyClientIDIsNone},
	{"a client_id of a failed send is free", failedClientIDIsFree},
	{"client_ids are told apart byte for byte", clientIDsAreBytes},
}

func clientIDAnswersStored(f *fixture) {
	room := f.group("ann")
	d := domain.Draft{Content: "once", Meta: []byte(`{"a":1}`), ClientID: "c1"}
	first := f.sendDraft(room.ID, "ann", d)
	f.send(room.ID, "ann", "between")
	for range 2 {
		got, err := f.trySend(room.ID, f.newSend("ann", d), nil)
		equal(f.t, "the error of a repeated send", err, nil)
		equal(f.t, "the message of a repeated send", got.Message, first)
		equal(f.t, "duplicate", got.Duplicate, true)
		f.reopen()
	}
	messages, _ := f.dense(room.ID)
	equal(f.t, "messages stored", len(messages), 2)
	snap := f.snapshot(domain.Intent{Room: room.ID, Sender: "ann", ClientID: "c1"})
	equal(f.t, "the duplicate in the snapshot", snap.Duplicate, &domain.Sent{Message: first, Fingerprint: d.Fingerprint()})
}

func parallelClientID(f *fixture) {
	room := f.group("ann")
	const rounds, n = 4, 16
	for round := range rounds {
		d := domain.Draft{Content: "once", ClientID: fmt.Sprint("c", round)}
		answers := make([]domain.Message, n)
		originals := make([]bool, n)
		parallel(f.t, n, func(i int) error {
			out, err := f.trySend(room.ID, f.newSend("ann", d), nil)
			answers[i], originals[i] = out.Message, !out.Duplicate
			return err
		})
		f.oneMessage(room.ID, int64(round)+1, answers, originals)
	}
	f.dense(room.ID)
}

// oneMessage fails the case unless all answers are the one message stored, and one of them is its original.
func (f *fixture) oneMessage(room domain.RoomID, last int64, answers []domain.Message, originals []bool) {
	f.t.Helper()
	stored := f.history(room)
	if int64(len(stored)) != last {
		f.t.Fatalf("%d messages are stored, want %d", len(stored), last)
	}
	originally := 0
	for i := range answers {
		equal(f.t, "the message answered", answers[i], stored[last-1])
		if originals[i] {
			originally++
		}
	}
	equal(f.t, "answers that are no duplicates", originally, 1)
}

func clientIDReused(f *fixture) {
	room := f.group("ann", "bob")
	replied := f.send(room.ID, "ann", "before")
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "text", ClientID: "c1"})
	others := []domain.Draft{
		{Content: "another text"}, {Content: "text", Meta: []byte(`{}`)}, {Content: "text", ReplyTo: replied.ID.String()},
	}
	f.unchanged(room.ID, func() {
		for _, d := range others {
			d.ClientID = "c1"
			_, err := f.trySend(room.ID, f.newSend("ann", d), nil)
			wantError(f.t, "a send under a used client_id", err, domain.ErrClientIDReused)
		}
	})
	for _, d := range others {
		d.ClientID = "c1"
		_, err := f.trySend(room.ID, f.newSend("ann", d), nil)
		wantError(f.t, "a send under a used client_id, after a restart", err, domain.ErrClientIDReused)
	}
}

func clientIDIsPerSenderAndRoom(f *fixture) {
	other := f.newTenant("second")
	room, second, foreign := f.group("ann", "bob", "cid"), f.group("ann"), other.group("ann")
	f.send(room.ID, "cid", "without a client_id")
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "text", ClientID: "c1"})
	f.sendDraft(room.ID, "bob", domain.Draft{Content: "another", ClientID: "c1"})
	f.sendDraft(second.ID, "ann", domain.Draft{Content: "a third", ClientID: "c1"})
	other.sendDraft(foreign.ID, "ann", domain.Draft{Content: "a fourth", ClientID: "c1"})
	for _, x := range []struct {
		f    *fixture
		room domain.RoomID
		user domain.UserID
		want string
	}{
		{f, room.ID, "ann", "text"}, {f, room.ID, "bob", "another"}, {f, room.ID, "cid", ""}, {f, room.ID, "eve", ""},
		{f, second.ID, "ann", "a third"}, {f, second.ID, "bob", ""}, {other, foreign.ID, "ann", "a fourth"},
	} {
		got := ""
		if d := x.f.snapshot(domain.Intent{Room: x.room, Sender: x.user, ClientID: "c1"}).Duplicate; d != nil {
			got = d.Message.Content
		}
		equal(f.t, "what "+string(x.user)+" sent under the client_id", got, x.want)
	}
}

func emptyClientIDIsNone(f *fixture) {
	room := f.group("ann")
	for range 3 {
		f.send(room.ID, "ann", "the same")
	}
	equal(f.t, "messages stored", len(f.history(room.ID)), 3)
	snap := f.snapshot(domain.Intent{Room: room.ID, Sender: "ann"})
	equal(f.t, "a duplicate without a client_id", snap.Duplicate, nil)
}

func failedClientIDIsFree(f *fixture) {
	room := f.group("ann")
	send := f.newSend("ann", domain.Draft{Content: "text", ClientID: "c1"})
	in := domain.Intent{Room: room.ID, Sender: "ann", ClientID: "c1"}
	for _, x := range failures {
		got := endingOf(func() error {
			_, err := f.db.Append(f.t.Context(), f.tenant, in, func(s domain.Snapshot) (domain.Change, error) {
				c, _ := send.Decide(s)
				return c, x.fail()
			})
			return err
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
	}
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "another text", ClientID: "c1"})
	f.dense(room.ID)
}

func clientIDsAreBytes(f *fixture) {
	room := f.group("ann")
	ids := []string{"c", "C", "c~", "1", "01", "1.0", "'", `"`, "%", "_", `\`, "cc", "!"}
	for i, id := range ids {
		f.sendDraft(room.ID, "ann", domain.Draft{Content: fmt.Sprint(i), ClientID: id})
	}
	for i, id := range ids {
		snap := f.snapshot(domain.Intent{Room: room.ID, Sender: "ann", ClientID: id})
		if snap.Duplicate == nil {
			f.t.Errorf("client_id %q is not known", id)
			continue
		}
		equal(f.t, "the message sent under "+id, snap.Duplicate.Message.Content, fmt.Sprint(i))
	}
}
