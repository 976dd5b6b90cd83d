package storetest

import (
	"fmt"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var readingContracts = []contract{
	{"a read mark rises, never falls, and is read wherever the member is", readMarkRises},
	{"a read mark only rises under 16 parallel readers", readMarkRisesInParallel},
	{"only those with a membership have a read mark, active or left", readMarkNeedsMembership},
	{"a read mark survives leaving and returning", readMarkSurvivesReturning},
	{"a read mark survives the forgetting of devices", readMarkSurvivesDevices},
	{"read and delivered marks do not move each other, and take no rev", readAndDeliveredAreTwo},
	{"unread are the messages of others above the read mark that nobody has deleted", unreadAreOthersMessages},
	{"unread begin at joining", unreadBeginAtJoining},
	{"own messages are never unread, however many", ownMessagesAreNotUnread},
	{"unread are told to the user asked for alone", unreadAreTheUsers},
	{"unread are right after every deletion, whoever has sent and read what", unreadAfterEveryDeletion},
	{"unread are those of the view's own moment", unreadAreOfTheView},
	{"unread are counted to 10,000", unreadAreCountedToTheCap},
}

// read raises a user's read mark in a transaction of its own.
func (f *fixture) read(room domain.RoomID, user domain.UserID, seq int64) int64 {
	f.t.Helper()
	at, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (int64, error) {
		return tx.RaiseRead(room, user, seq)
	})
	if err != nil {
		f.t.Fatalf("RaiseRead: %v", err)
	}
	return at
}

// unread returns what a user has not read, by room.
func (f *fixture) unread(user domain.UserID) map[domain.RoomID]int64 {
	f.t.Helper()
	unread := map[domain.RoomID]int64{}
	for _, s := range f.rooms(domain.RoomQuery{User: user}) {
		unread[s.ID] = s.Unread
	}
	return unread
}

func readMarkRises(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	want := f.memberNow(room.ID, "bob")
	for _, seq := range []int64{3, 1, 0, -1, 3, 7, 9, 2} {
		want.ReadSeq = max(want.ReadSeq, seq)
		equal(f.t, fmt.Sprintf("RaiseRead to %d", seq), f.read(room.ID, "bob", seq), want.ReadSeq)
		f.memberIs(room.ID, want)
		equal(f.t, "the place's member", f.place(room.ID, "bob", "phone").Member, want)
	}
	f.update(func(tx ports.Tx) error {
		changed, err := tx.SetRole(room.ID, "bob", domain.RoleAdmin, f.now())
		equal(f.t, "the read mark after a new role", changed.ReadSeq, int64(9))
		return err
	})
	f.setRole(room.ID, "ann", domain.RoleMember)
	equal(f.t, "ann's read mark", f.memberNow(room.ID, "ann").ReadSeq, int64(0))
}

func readMarkRisesInParallel(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 48)
	parallel(f.t, 16, func(w int) error {
		for i := range int64(3) {
			seq := (int64(w)*3+i)*29%48 + 1 // 1 to 48, each once
			got, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (int64, error) {
				return tx.RaiseRead(room.ID, "bob", seq)
			})
			if err != nil || got < seq {
				return fmt.Errorf("RaiseRead to %d stands at %d: %w", seq, got, err)
			}
		}
		return nil
	})
	equal(f.t, "the mark in the end", f.memberNow(room.ID, "bob").ReadSeq, int64(48))
	equal(f.t, "unread in the end", f.unread("bob")[room.ID], int64(0))
}

func readMarkNeedsMembership(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 3)
	f.removeMember(room.ID, "bob")
	equal(f.t, "the read mark of one who left", f.read(room.ID, "bob", 2), int64(2))
	f.unchanged(room.ID, func() {
		f.update(func(tx ports.Tx) error {
			_, err := tx.RaiseRead(room.ID, "eve", 1)
			wantError(f.t, "RaiseRead of a stranger", err, domain.ErrMemberNotFound)
			return nil
		})
	})
}

func readMarkSurvivesReturning(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 5)
	f.read(room.ID, "bob", 4)
	equal(f.t, "the read mark of one who leaves", f.removeMember(room.ID, "bob").ReadSeq, int64(4))
	f.reopen()
	f.sendMany(room.ID, "ann", 3)
	back := f.addMember(room.ID, "bob", domain.RoleMember)
	equal(f.t, "the read mark of one who returns", back.ReadSeq, int64(4))
	f.memberIs(room.ID, back)
	f.logEndsWith(room.ID, back.JoinedRev+1, domain.EventMemberAdded, back)
	equal(f.t, "unread of one who returns", f.unread("bob")[room.ID], int64(0))
	f.send(room.ID, "ann", "after the return")
	equal(f.t, "unread since", f.unread("bob")[room.ID], int64(1))
	f.read(room.ID, "bob", 9)
	equal(f.t, "unread after reading", f.unread("bob")[room.ID], int64(0))
}

func readMarkSurvivesDevices(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 5)
	f.raise(room.ID, "bob", "first", domain.Mark{DeliveredSeq: 5})
	f.read(room.ID, "bob", 4)
	f.seeDevices(domain.MaxDevicesPerUser)
	equal(f.t, "the first device is known", f.places("bob", "first").Known, false)
	for range 2 {
		equal(f.t, "the read mark", f.memberNow(room.ID, "bob").ReadSeq, int64(4))
		equal(f.t, "unread", f.unread("bob")[room.ID], int64(1))
		f.reopen()
	}
}

func readAndDeliveredAreTwo(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 5)
	f.see("bob", "phone", 0)
	told, before := f.commits.total(), f.roomNow(room.ID)
	f.read(room.ID, "bob", 4)
	equal(f.t, "the delivered mark", f.place(room.ID, "bob", "phone").Mark, domain.Mark{})
	equal(f.t, "an ack after it", f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 2}),
		domain.Mark{DeliveredSeq: 2, DeliveredRev: 3})
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 5})
	equal(f.t, "the read mark", f.memberNow(room.ID, "bob").ReadSeq, int64(4))
	equal(f.t, "unread", f.unread("bob")[room.ID], int64(1))
	equal(f.t, "events told", f.commits.total(), told)
	equal(f.t, "the room", f.roomNow(room.ID), before)
}

func unreadAreOthersMessages(f *fixture) {
	room, other := f.group("ann", "bob", "cid"), f.group("ann", "bob")
	check := func(what string, want int64) {
		f.t.Helper()
		equal(f.t, "unread of bob "+what, f.unread("bob"), map[domain.RoomID]int64{room.ID: want, other.ID: 1})
	}
	f.send(other.ID, "ann", "x")
	f.sendMany(room.ID, "ann", 3)
	check("after three messages", 3)
	f.send(room.ID, "bob", "own")
	f.send(room.ID, "cid", "fifth")
	check("after one of the own and another", 4)
	f.delete(room.ID, 1)
	check("after one was deleted", 3)
	f.delete(room.ID, 4)
	check("after the own was deleted", 3)
	f.edit(room.ID, 2, "edited")
	check("after one was edited", 3)
	f.read(room.ID, "bob", 2)
	check("after two were read", 2)
	f.delete(room.ID, 2)
	check("after a read one was deleted", 2)
	f.reopen()
	check("after a restart", 2)
	f.read(room.ID, "bob", 5)
	check("after all were read", 0)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		if err := tx.RemoveRoom(other.ID, at); err != nil {
			return err
		}
		if _, err := tx.RaiseRead(room.ID, "ann", 4); err != nil {
			return err
		}
		list, err := tx.Rooms(domain.RoomQuery{User: "ann", Limit: page})
		equal(f.t, "rooms within the update", len(list), 1)
		equal(f.t, "unread within the update", list[0].Unread, int64(1))
		return err
	})
}

func unreadBeginAtJoining(f *fixture) {
	room := f.group("ann")
	f.sendMany(room.ID, "ann", 3)
	f.addMember(room.ID, "bob", domain.RoleMember)
	equal(f.t, "unread at joining", f.unread("bob")[room.ID], int64(0))
	f.sendMany(room.ID, "ann", 2)
	equal(f.t, "unread since", f.unread("bob")[room.ID], int64(2))
	f.read(room.ID, "bob", 2)
	equal(f.t, "unread after reading what was there before", f.unread("bob")[room.ID], int64(2))
	f.read(room.ID, "bob", 4)
	equal(f.t, "unread after reading", f.unread("bob")[room.ID], int64(1))
}

func ownMessagesAreNotUnread(f *fixture) {
	room := f.group("ann", "bob")
	f.send(room.ID, "bob", "the first")
	f.sendMany(room.ID, "ann", 150)
	f.send(room.ID, "bob", "in between")
	f.sendMany(room.ID, "ann", 50)
	equal(f.t, "unread of ann", f.unread("ann")[room.ID], int64(2))
	equal(f.t, "unread of bob", f.unread("bob")[room.ID], int64(200))
	f.delete(room.ID, 1)
	equal(f.t, "unread of ann after a deletion", f.unread("ann")[room.ID], int64(1))
	f.send(room.ID, "bob", "the last")
	equal(f.t, "unread of ann in the end", f.unread("ann")[room.ID], int64(2))
}

func unreadAreTheUsers(f *fixture) {
	room, members := f.newRoom(domain.RoomChannel, "ann", "bob")
	f.create(room, members)
	f.sendMany(room.ID, "ann", 3)
	for want, q := range map[int64]domain.RoomQuery{3: {User: "bob", Type: domain.RoomChannel}, 0: {User: "ann"}} {
		equal(f.t, "unread for "+show(q), f.rooms(q)[0].Unread, want)
	}
	for _, q := range []domain.RoomQuery{{}, {Open: true}, {User: "zoe", Open: true}} {
		equal(f.t, "unread for "+show(q), f.rooms(q)[0].Unread, int64(0))
	}
}

func unreadAfterEveryDeletion(f *fixture) {
	const messages = 24
	room, users := f.group("ann", "bob", "cid"), []domain.UserID{"ann", "bob", "cid"}
	for i := range messages {
		f.send(room.ID, users[i%2], "text")
	}
	for i := range int64(messages) {
		switch i {
		case messages / 3:
			f.read(room.ID, "bob", 5)
		case messages / 2:
			f.send(room.ID, "ann", "one more")
		}
		f.delete(room.ID, i*7%messages+1) // each once
		all := f.history(room.ID)
		for _, user := range users {
			read, want := f.memberNow(room.ID, user).ReadSeq, int64(0)
			for _, m := range all {
				if m.Seq > read && m.Sender != user && !m.IsDeleted() {
					want++
				}
			}
			equal(f.t, fmt.Sprintf("unread of %s after %d deletions", user, i+1), f.unread(user)[room.ID], want)
		}
	}
}

// unreadAreOfTheView lists in an older view what was listed in newer ones, beside it.
func unreadAreOfTheView(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 3)
	list := func(r ports.Reader) int64 {
		found, err := r.Rooms(domain.RoomQuery{User: "bob", Limit: page})
		if err != nil || len(found) != 1 {
			f.t.Errorf("Rooms: %s, %v", show(found), err)
			return -1
		}
		return found[0].Unread
	}
	f.view(func(older ports.Reader) error {
		equal(f.t, "unread at first", list(older), int64(3))
		for _, change := range []struct {
			do   func()
			want int64
		}{
			{func() { f.send(room.ID, "ann", "fourth") }, 4},
			{func() { f.delete(room.ID, 1); f.delete(room.ID, 2) }, 2},
			{func() { f.read(room.ID, "bob", 3) }, 1},
		} {
			change.do()
			equal(f.t, "unread in a newer view", f.unread("bob")[room.ID], change.want)
			equal(f.t, "unread in the older view", list(older), int64(3))
		}
		return nil
	})
	equal(f.t, "unread in the end", f.unread("bob")[room.ID], int64(1))
}

func unreadAreCountedToTheCap(f *fixture) {
	const over, senders = 5, 61
	room := f.group("ann", "bob")
	ids := make([]domain.MessageID, domain.MaxUnread+over)
	parallel(f.t, senders, func(w int) error {
		for i := w; i < len(ids); i += senders {
			send := f.newSend("ann", domain.Draft{Content: "x"})
			if _, err := f.trySend(room.ID, send, nil); err != nil {
				return err
			}
			ids[i] = send.ID
		}
		return nil
	})
	equal(f.t, "unread above the cap", f.unread("bob")[room.ID], int64(domain.MaxUnread))
	at := f.now()
	for deleted := range over + 2 {
		f.update(func(tx ports.Tx) error {
			_, err := tx.DeleteMessage(domain.Message{ID: ids[deleted*7], Room: room.ID, DeletedAt: at})
			return err
		})
		want := min(int64(len(ids)-deleted-1), domain.MaxUnread)
		equal(f.t, "unread around the cap", f.unread("bob")[room.ID], want)
	}
	f.read(room.ID, "bob", int64(len(ids))-20)
	last := f.unread("bob")[room.ID]
	if last < 20-(over+2) || last > 20 {
		f.t.Errorf("%d unread of the last 20, of which at most %d were deleted", last, over+2)
	}
}
