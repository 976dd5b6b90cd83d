package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var appendContracts = []contract{
	{"a message gets the next seq and rev and is returned as stored", messageIsReturnedAsStored},
	{"decide sees the room, the membership and the reply target", decideSeesTheSnapshot},
	{"seq and rev are dense under 8 writers with a quarter rolled back", denseUnderWriters},
	{"seq and rev are dense in several rooms of two tenants at once", denseInSeveralRooms},
	{"members and messages share one rev under 8 writers", membersAndMessagesShareRev},
	{"a room that does not exist is not found and decide is not called", unknownRoomIsNotDecided},
	{"a message sent after another was answered has the higher seq", answeredSendsAreOrdered},
	{"a written message can be read at once", readYourMessages},
	{"a written membership can be read at once", readYourMembers},
}

func messageIsReturnedAsStored(f *fixture) {
	room := f.group("ann", "bob")
	send := f.newSend("bob", domain.Draft{Content: "hello", Meta: []byte(`{"a":1}`), ClientID: "c1"})
	got, err := f.trySend(room.ID, send, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	want := domain.Message{
		ID: send.ID, Room: room.ID, Sender: "bob", SenderType: domain.SenderUser, Seq: 1, FirstRev: 2, Rev: 2,
		Content: "hello", Meta: []byte(`{"a":1}`), ClientID: "c1", CreatedAt: send.Now,
	}
	equal(f.t, "Append", got, ports.Appended{Message: want})
	equalList(f.t, "MessagesAfter", f.history(room.ID), []domain.Message{want})
	f.view(func(r ports.Reader) error {
		stored, err := r.Message(room.ID, send.ID)
		equal(f.t, "Message", stored, want)
		return err
	})
	told := f.commits.of(room.ID)
	equal(f.t, "the event told", told[len(told)-1], domain.Event{
		Tenant: f.tenant, Room: room.ID, Rev: 2, Kind: domain.EventMessage, At: send.Now, Message: &want,
	})
}

func decideSeesTheSnapshot(f *fixture) {
	room, elsewhere := f.group("ann", "bob"), f.group("ann")
	first := f.send(room.ID, "ann", "first")
	foreign := f.send(elsewhere.ID, "ann", "elsewhere")
	f.removeMember(room.ID, "bob")
	now, bob := f.roomNow(room.ID), f.memberNow(room.ID, "bob")
	ann := f.memberNow(room.ID, "ann")
	for _, c := range []struct {
		name string
		in   domain.Intent
		want domain.Snapshot
	}{
		{"a member", domain.Intent{Sender: "ann"}, domain.Snapshot{Room: now, Member: &ann}},
		{"a member that left", domain.Intent{Sender: "bob"}, domain.Snapshot{Room: now, Member: &bob}},
		{"a stranger", domain.Intent{Sender: "eve"}, domain.Snapshot{Room: now}},
		{"a reply", domain.Intent{Sender: "ann", ReplyTo: first.ID}, domain.Snapshot{Room: now, Member: &ann, ReplyTo: true}},
		{"a reply into another room", domain.Intent{Sender: "ann", ReplyTo: foreign.ID}, domain.Snapshot{Room: now, Member: &ann}},
		{"a reply to nothing", domain.Intent{Sender: "ann", ReplyTo: f.newMessageID()}, domain.Snapshot{Room: now, Member: &ann}},
	} {
		c.in.Room = room.ID
		equal(f.t, "snapshot of "+c.name, f.snapshot(c.in), c.want)
	}
}

var errLooked = errors.New("only looking")

// snapshot returns what decide is given for an intent, and stores nothing.
func (f *fixture) snapshot(in domain.Intent) (got domain.Snapshot) {
	f.t.Helper()
	_, err := f.db.Append(f.t.Context(), f.tenant, in, func(s domain.Snapshot) (domain.Change, error) {
		got = s
		return domain.Change{}, errLooked
	})
	if !errors.Is(err, errLooked) {
		f.t.Fatalf("Append: error %v, want the error of decide", err)
	}
	return got
}

const (
	writers       = 8
	jobsPerWriter = 24
)

func denseUnderWriters(f *fixture) {
	room := f.group("ann", "bob")
	var good atomic.Int64
	parallel(f.t, writers, func(w int) error {
		for i := range jobsPerWriter {
			if (w+i)%4 == 0 {
				if err := f.failSomehow(room.ID, i/4); err != nil {
					return err
				}
				continue
			}
			if err := f.sendAnswered(room.ID, fmt.Sprintf("%d/%d", w, i)); err != nil {
				return err
			}
			good.Add(1)
		}
		return nil
	})
	for range 2 {
		messages, events := f.dense(room.ID)
		equal(f.t, "messages stored", int64(len(messages)), good.Load())
		equal(f.t, "events stored", int64(len(events)), good.Load()+1)
		distinctContents(f, messages)
		f.reopen()
	}
	next := f.send(room.ID, "ann", "after the restart")
	equal(f.t, "the seq after a restart", next.Seq, good.Load()+1)
	equal(f.t, "the rev after a restart", next.Rev, good.Load()+2)
}

// sendAnswered sends as ann, and tells the recorder when the answer is there.
func (f *fixture) sendAnswered(room domain.RoomID, content string) error {
	out, err := f.trySend(room, f.newSend("ann", domain.Draft{Content: content}), nil)
	if err != nil {
		return err
	}
	f.commits.answered(out.Message.ID)
	if out.Message.Content != content {
		return fmt.Errorf("sent %q, was answered with %q", content, out.Message.Content)
	}
	return nil
}

func distinctContents(f *fixture, messages []domain.Message) {
	f.t.Helper()
	seen := map[string]bool{}
	for _, m := range messages {
		if seen[m.Content] {
			f.t.Errorf("%q is stored twice", m.Content)
		}
		seen[m.Content] = true
	}
}

func denseInSeveralRooms(f *fixture) {
	const rooms = 5
	sides := []*fixture{f, f.newTenant("second")}
	var ids [2][rooms]domain.RoomID
	for s, side := range sides {
		for r := range rooms {
			ids[s][r] = side.group("ann", "bob").ID
		}
	}
	parallel(f.t, writers, func(w int) error {
		for i := range jobsPerWriter {
			side, room := w%2, (w*3+i)%rooms
			if i%4 == 1 {
				if err := sides[side].failSomehow(ids[side][room], w+i); err != nil {
					return err
				}
			} else if err := sides[side].sendAnswered(ids[side][room], fmt.Sprintf("%d/%d", w, i)); err != nil {
				return err
			}
		}
		return nil
	})
	total := 0
	for s, side := range sides {
		for _, room := range ids[s] {
			messages, _ := side.dense(room)
			total += len(messages)
		}
	}
	equal(f.t, "messages stored in all", total, writers*jobsPerWriter*3/4)
}

func membersAndMessagesShareRev(f *fixture) {
	room := f.group("ann")
	parallel(f.t, writers, func(w int) error {
		user, at := domain.UserID(fmt.Sprintf("user %d", w)), f.now()
		for i := range jobsPerWriter / 2 {
			if err := f.churn(room.ID, user, i); err != nil {
				return err
			}
			if err := f.sendAnswered(room.ID, fmt.Sprintf("%d/%d %s", w, i, at)); err != nil {
				return err
			}
		}
		return nil
	})
	messages, events := f.dense(room.ID)
	equal(f.t, "messages stored", len(messages), writers*jobsPerWriter/2)
	equal(f.t, "events stored", len(events), 1+writers*jobsPerWriter)
}

// churn adds a user, makes it an admin and removes it, one step a call.
func (f *fixture) churn(room domain.RoomID, user domain.UserID, step int) error {
	at := f.now()
	return f.tryUpdate(func(tx ports.Tx) (err error) {
		switch step % 3 {
		case 0:
			_, err = tx.AddMember(room, user, domain.RoleMember, at)
		case 1:
			_, err = tx.SetRole(room, user, domain.RoleAdmin, at)
		case 2:
			_, err = tx.RemoveMember(room, user, at)
		}
		return err
	})
}

func unknownRoomIsNotDecided(f *fixture) {
	f.group("ann")
	in := domain.Intent{Room: f.newRoomID(), Sender: "ann"}
	_, err := f.db.Append(f.t.Context(), f.tenant, in, func(domain.Snapshot) (domain.Change, error) {
		f.t.Error("decide was called for a room that does not exist")
		return domain.Change{}, errLooked
	})
	wantError(f.t, "Append to an unknown room", err, domain.ErrRoomNotFound)
}

func answeredSendsAreOrdered(f *fixture) {
	room := f.group("ann")
	var last atomic.Int64 // the highest seq answered so far
	parallel(f.t, writers, func(w int) error {
		for i := range 10 {
			before := last.Load()
			out, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: fmt.Sprint(w, i)}), nil)
			if err != nil {
				return err
			}
			if out.Message.Seq <= before {
				return fmt.Errorf("seq %d was given after %d had been answered", out.Message.Seq, before)
			}
			for now := last.Load(); now < out.Message.Seq && !last.CompareAndSwap(now, out.Message.Seq); now = last.Load() {
			}
		}
		return nil
	})
}

func readYourMessages(f *fixture) {
	room := f.group("ann")
	parallel(f.t, 4, func(w int) error {
		for i := range 25 {
			out, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: fmt.Sprint(w, i)}), nil)
			if err != nil {
				return err
			}
			if !f.commits.told(room.ID, out.Message.Rev) {
				return fmt.Errorf("rev %d was answered before it was told", out.Message.Rev)
			}
			if err := f.reads(room.ID, out.Message); err != nil {
				return err
			}
		}
		return nil
	})
}

// reads says whether a fresh view shows a message, by its id, by its seq and in the room's row.
func (f *fixture) reads(id domain.RoomID, want domain.Message) error {
	return f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
		room, _, err := r.Access(id, "")
		if err != nil || room.LastSeq < want.Seq || room.LastRev < want.Rev {
			return fmt.Errorf("after the answer the room is %s (%v), want at least seq %d", show(room), err, want.Seq)
		}
		if _, err := r.Message(id, want.ID); err != nil {
			return fmt.Errorf("the answered message %d is not found: %w", want.Seq, err)
		}
		found, err := r.MessagesAfter(id, want.Seq-1, 1)
		if err != nil || len(found) != 1 || found[0].ID != want.ID {
			return fmt.Errorf("after the answer seq %d is %s (%v)", want.Seq, show(found), err)
		}
		return nil
	})
}

func readYourMembers(f *fixture) {
	room := f.group("ann")
	parallel(f.t, 4, func(w int) error {
		user := domain.UserID(fmt.Sprintf("user %d", w))
		for i := range 12 {
			if err := f.churn(room.ID, user, i); err != nil {
				return err
			}
			if err := f.seesChurn(room.ID, user, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *fixture) seesChurn(room domain.RoomID, user domain.UserID, step int) error {
	return f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
		m, err := r.Member(room, user)
		if err != nil {
			return fmt.Errorf("member after step %d: %w", step, err)
		}
		want := domain.Member{State: domain.Active, Role: domain.RoleMember}
		switch step % 3 {
		case 1:
			want.Role = domain.RoleAdmin
		case 2:
			want = domain.Member{State: domain.Left, Role: domain.RoleAdmin}
		}
		if m.State != want.State || m.Role != want.Role {
			return fmt.Errorf("after step %d the membership is %s, want %s", step, show(m), show(want))
		}
		return nil
	})
}
