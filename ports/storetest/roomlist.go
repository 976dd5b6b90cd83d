package storetest

import (
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var roomListContracts = []contract{
	{"rooms are listed by latest activity first", latestActivityFirst},
	{"rooms made at one time are listed newest first", tiesAreNewestFirst},
	{"a room's activity is its latest message's time, also when clocks went back", activityFollowsTheClock},
	{"pages of a list fit together", listPagesFit},
	{"a list shows each room whole with its last message", listShowsWholeRooms},
	{"a user's list has the rooms the user is in, the backend's has all", listIsTheUsers},
	{"a list can be of one type", listOfOneType},
	{"chats are listed only when asked for", listWithoutChats},
	{"rooms are listed and counted by what their unique keys begin with", listByKey},
	{"open channels are those the user may join and is not in", openChannels},
	{"a list tells the user's highest delivered seq, or a device's own", listTellsLastAck},
}

func latestActivityFirst(f *fixture) {
	a, b, c := f.group("ann"), f.group("ann"), f.group("ann")
	check := func(what string, want ...domain.RoomID) {
		f.t.Helper()
		for _, user := range []domain.UserID{"ann", ""} {
			equal(f.t, what, roomIDs(f.rooms(domain.RoomQuery{User: user})), want)
		}
	}
	check("rooms without messages", c.ID, b.ID, a.ID)
	f.send(a.ID, "ann", "x")
	check("after a message", a.ID, c.ID, b.ID)
	f.send(b.ID, "ann", "x")
	check("after another", b.ID, a.ID, c.ID)
	d := f.group("ann")
	check("after a new room", d.ID, b.ID, a.ID, c.ID)
	f.reopen()
	f.send(c.ID, "ann", "x")
	check("after a restart", c.ID, d.ID, b.ID, a.ID)
}

func activityFollowsTheClock(f *fixture) {
	a, b := f.group("ann"), f.group("ann")
	check := func(what string, want ...domain.RoomID) {
		f.t.Helper()
		for _, user := range []domain.UserID{"ann", ""} {
			equal(f.t, what, roomIDs(f.rooms(domain.RoomQuery{User: user})), want)
		}
	}
	ahead := f.newSend("ann", domain.Draft{Content: "from a clock that runs ahead"})
	ahead.Now = ahead.Now.AddDate(1, 0, 0)
	_, err := f.trySend(a.ID, ahead, nil)
	equal(f.t, "the error of Append", err, nil)
	f.send(b.ID, "ann", "x")
	check("after a message from the future", a.ID, b.ID)
	f.send(a.ID, "ann", "x")
	check("after its next message", a.ID, b.ID)
	f.send(b.ID, "ann", "x")
	check("after one elsewhere", b.ID, a.ID)
}

func listWithoutChats(f *fixture) {
	group, chat := f.group("ann"), f.chat("ann", 1)
	for _, user := range []domain.UserID{"ann", ""} {
		equal(f.t, "rooms", roomIDs(f.rooms(domain.RoomQuery{User: user})), []domain.RoomID{group.ID})
		equal(f.t, "groups", roomIDs(f.rooms(domain.RoomQuery{User: user, Type: domain.RoomGroup})), []domain.RoomID{group.ID})
		equal(f.t, "chats alone", roomIDs(f.rooms(domain.RoomQuery{User: user, Type: domain.RoomChat})), []domain.RoomID{chat.ID})
	}
	equal(f.t, "chats too", roomIDs(f.rooms(domain.RoomQuery{User: "ann", Chats: true})), []domain.RoomID{chat.ID, group.ID})
}

// chat stores a chat of a user's, whose key ends in n.
func (f *fixture) chat(owner domain.UserID, n int) domain.Room {
	f.t.Helper()
	room, members := f.newRoom(domain.RoomChat, owner)
	room.UniqueKey = domain.ChatKeys(owner) + fmt.Sprintf("%04d", n)
	return f.create(room, members)
}

func listByKey(f *fixture) {
	theirs := f.newTenant("second")
	theirs.chat("ann", 1)
	for _, other := range []domain.UserID{"an", "anna", "ann:", "Ann", "\U0010FFFF"} {
		f.chat(other, 1)
	}
	third, first, second := f.chat("ann", 3), f.chat("ann", 1), f.chat("ann", 2)
	f.group("ann")
	f.send(second.ID, "ann", "hello")
	last := f.send(second.ID, "ann", "again")
	want := []domain.RoomSummary{{Room: first}, {Room: f.rooms(domain.RoomQuery{User: "ann", Type: domain.RoomChat})[0].Room, LastMessage: &last}, {Room: third}}
	page := func(q ports.KeyQuery) (rooms []domain.RoomSummary, total int) {
		f.t.Helper()
		q.Prefix = domain.ChatKeys("ann")
		f.view(func(r ports.Reader) (err error) {
			rooms, total, err = r.RoomsByKey(q)
			return err
		})
		return rooms, total
	}
	check := func(what string, q ports.KeyQuery, want []domain.RoomSummary, wantTotal int) {
		f.t.Helper()
		got, total := page(q)
		equalList(f.t, what, got, want)
		equal(f.t, what+": the total", total, wantTotal)
	}
	for range 2 {
		check("forwards", ports.KeyQuery{Limit: 9}, want, 3)
		check("backwards", ports.KeyQuery{Limit: 9, Backwards: true}, []domain.RoomSummary{want[2], want[1], want[0]}, 3)
		check("a page", ports.KeyQuery{Offset: 1, Limit: 1}, want[1:2], 3)
		check("a page backwards", ports.KeyQuery{Offset: 2, Limit: 5, Backwards: true}, want[:1], 3)
		check("behind the end", ports.KeyQuery{Offset: 3, Limit: 5}, nil, 3)
		check("no page", ports.KeyQuery{}, nil, 3)
		f.reopen()
	}
	f.update(func(tx ports.Tx) error {
		if err := tx.RemoveRoom(first.ID, f.now()); err != nil {
			return err
		}
		rooms, total, err := tx.RoomsByKey(ports.KeyQuery{Prefix: domain.ChatKeys("ann"), Limit: 9})
		equal(f.t, "within the removal", []int{len(rooms), total}, []int{2, 2})
		return err
	})
	check("after a removal", ports.KeyQuery{Limit: 9}, want[1:], 2)
}

func tiesAreNewestFirst(f *fixture) {
	at := f.now()
	var want []domain.RoomID
	for range 8 {
		room, members := f.newRoom(domain.RoomGroup, "ann")
		room.CreatedAt, members[0].JoinedAt = at, at
		want = append(want, f.create(room, members).ID)
	}
	slices.Reverse(want)
	equal(f.t, "ann's rooms", roomIDs(f.rooms(domain.RoomQuery{User: "ann"})), want)
	equal(f.t, "all rooms", roomIDs(f.rooms(domain.RoomQuery{})), want)
}

func listPagesFit(f *fixture) {
	for range 7 {
		f.group("ann")
	}
	for _, user := range []domain.UserID{"ann", ""} {
		all := f.rooms(domain.RoomQuery{User: user})
		var paged []domain.RoomSummary
		for offset := 0; offset < 9; offset += 3 {
			paged = append(paged, f.rooms(domain.RoomQuery{User: user, Offset: offset, Limit: 3})...)
		}
		equalList(f.t, "pages of 3 together", paged, all)
		equalList(f.t, "a page behind the end", f.rooms(domain.RoomQuery{User: user, Offset: 7}), nil)
	}
}

func listShowsWholeRooms(f *fixture) {
	room, members := f.newRoom(domain.RoomChannel, "ann", "bob")
	room.Name, room.Metadata = ptr("name"), []byte(`{"a":1}`)
	f.create(room, members)
	want := domain.RoomSummary{Room: f.roomNow(room.ID)}
	equalList(f.t, "the list without messages", f.rooms(domain.RoomQuery{User: "ann"}), []domain.RoomSummary{want})
	f.send(room.ID, "bob", "first")
	d := domain.Draft{Content: "second", Meta: []byte(`{}`), ClientID: "c1"}
	last := f.sendDraft(room.ID, "bob", d)
	f.addMember(room.ID, "cid", domain.RoleMember)
	want = domain.RoomSummary{Room: f.roomNow(room.ID), LastMessage: &last}
	for range 2 {
		want.Unread = 0
		equalList(f.t, "the backend's list", f.rooms(domain.RoomQuery{}), []domain.RoomSummary{want})
		want.Unread = 2
		equalList(f.t, "ann's list", f.rooms(domain.RoomQuery{User: "ann"}), []domain.RoomSummary{want})
		open := domain.RoomSummary{Room: want.Room} // reading needs joining
		for _, q := range []domain.RoomQuery{{Open: true}, {User: "zoe", Open: true}} {
			equalList(f.t, "the list for "+show(q), f.rooms(q), []domain.RoomSummary{open})
		}
		f.reopen()
	}
}

func listIsTheUsers(f *fixture) {
	both, anns, bobs := f.group("ann", "bob"), f.group("ann"), f.group("bob")
	left := f.group("bob", "ann")
	f.removeMember(left.ID, "ann")
	for user, want := range map[domain.UserID][]domain.RoomID{
		"ann": {anns.ID, both.ID}, "bob": {left.ID, bobs.ID, both.ID}, "eve": {},
	} {
		equal(f.t, "rooms of "+string(user), sorted(roomIDs(f.rooms(domain.RoomQuery{User: user}))), sorted(want))
	}
	equal(f.t, "all rooms", len(f.rooms(domain.RoomQuery{})), 4)
}

// sorted orders ids where the order is not what a case is about.
func sorted(ids []domain.RoomID) []domain.RoomID {
	slices.SortFunc(ids, func(a, b domain.RoomID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

func listOfOneType(f *fixture) {
	var want [3]domain.RoomID
	types := []domain.RoomType{domain.RoomDM, domain.RoomGroup, domain.RoomChannel}
	for i, kind := range types {
		room, members := f.newRoom(kind, "ann", "bob")
		want[i] = f.create(room, members).ID
	}
	for i, kind := range types {
		for _, user := range []domain.UserID{"ann", ""} {
			got := roomIDs(f.rooms(domain.RoomQuery{User: user, Type: kind}))
			equal(f.t, "rooms of type "+string(kind), got, want[i:i+1])
		}
	}
}

func openChannels(f *fixture) {
	mine := f.create(f.newRoom(domain.RoomChannel, "ann"))
	theirs := f.create(f.newRoom(domain.RoomChannel, "bob"))
	left := f.create(f.newRoom(domain.RoomChannel, "bob", "ann"))
	f.group("bob")
	f.removeMember(left.ID, "ann")
	check := func(user domain.UserID, want ...domain.RoomID) {
		f.t.Helper()
		got := roomIDs(f.rooms(domain.RoomQuery{User: user, Open: true}))
		equal(f.t, "channels open to "+string(user), sorted(got), sorted(want))
	}
	check("ann", theirs.ID, left.ID)
	check("bob", mine.ID)
	check("eve", mine.ID, theirs.ID, left.ID)
	f.addMember(left.ID, "ann", domain.RoleMember)
	check("ann", theirs.ID)
}

func listTellsLastAck(f *fixture) {
	room, other := f.group("ann", "bob"), f.group("ann")
	f.sendMany(room.ID, "bob", 5)
	lastAck := func(user domain.UserID) map[domain.RoomID]int64 {
		acks := map[domain.RoomID]int64{}
		for _, s := range f.rooms(domain.RoomQuery{User: user}) {
			acks[s.ID] = s.LastAck
		}
		return acks
	}
	equal(f.t, "ann's acks at first", lastAck("ann"), map[domain.RoomID]int64{room.ID: 0, other.ID: 0})
	f.see("ann", "laptop", 0)
	f.raise(room.ID, "ann", "phone", domain.Mark{DeliveredSeq: 4})
	f.raise(room.ID, "ann", "laptop", domain.Mark{DeliveredSeq: 2})
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 5})
	equal(f.t, "ann's acks", lastAck("ann"), map[domain.RoomID]int64{room.ID: 4, other.ID: 0})
	for device, want := range map[domain.DeviceID]int64{"phone": 4, "laptop": 2, "new": 4} {
		listed := f.rooms(domain.RoomQuery{User: "ann", Device: &device})
		equal(f.t, "the acks of ann's "+string(device), []int64{listed[0].LastAck, listed[1].LastAck}, []int64{want, 0})
	}
	equal(f.t, "bob's acks", lastAck("bob"), map[domain.RoomID]int64{room.ID: 5})
	equal(f.t, "the backend's acks", lastAck(""), map[domain.RoomID]int64{room.ID: 0, other.ID: 0})
}
