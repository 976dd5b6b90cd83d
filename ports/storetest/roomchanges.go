package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var roomChangeContracts = []contract{
	{"a change of a room is its next step and is told as it is stored", roomChangeIsAStep},
	{"names and metadata are replaced and cleared, absent and empty told apart", roomIsChangedWhole},
	{"a change of a room changes nothing but name and metadata", roomChangeLeavesTheRest},
	{"changes of a room and messages share one rev under 8 writers", roomChangesUnderWriters},
	{"a room counts its members, wherever the count is told", roomCountsItsMembers},
	{"a room's count is right under 8 writers with a quarter rolled back", countUnderWriters},
}

func roomChangeIsAStep(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 2)
	want := f.roomNow(room.ID)
	want.Name, want.Metadata = ptr("new"), []byte(`{"a":1}`)
	at := f.now()
	got := f.updateRoom(want, at)
	want.LastRev = 4
	equal(f.t, "UpdateRoom", got, want)
	event := domain.Event{
		Tenant: f.tenant, Room: room.ID, Rev: 4, Kind: domain.EventRoomUpdated, At: at, State: &want,
	}
	equal(f.t, "the event told", f.commits.of(room.ID)[3], event)
	for range 2 {
		equal(f.t, "Access", f.roomNow(room.ID), want)
		equal(f.t, "the room in a send's snapshot", f.snapshot(domain.Intent{Room: room.ID}).Room, want)
		equal(f.t, "the event in the log", f.log(room.ID)[3], event)
		f.dense(room.ID)
		f.reopen()
	}
}

func roomIsChangedWhole(f *fixture) {
	room := f.group("ann")
	for i, text := range append(append([]string{""}, awkward...), "the last") {
		room.Name, room.Metadata = &text, [][]byte{nil, []byte(`{}`), []byte(`{ "n" : 1e400 }`)}[i%3]
		if i%4 == 3 {
			room.Name = nil
		}
		room.LastRev++
		equal(f.t, "UpdateRoom", f.updateRoom(room, f.now()), room)
		equal(f.t, "Access", f.roomNow(room.ID), room)
	}
	f.reopen()
	equal(f.t, "Access after a restart", f.roomNow(room.ID), room)
	f.dense(room.ID)
}

func roomChangeLeavesTheRest(f *fixture) {
	dm, members := f.newDM("ann", "bob")
	f.create(dm, members)
	f.send(dm.ID, "ann", "hello")
	latest := f.group("ann")
	before := f.roomNow(dm.ID)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.UpdateRoom(domain.Room{ID: dm.ID, Name: ptr("new"), UniqueKey: "another", LastSeq: 9, Members: 7}, at)
		return err
	})
	want := before
	want.Name, want.LastRev = ptr("new"), before.LastRev+1
	for range 2 {
		equal(f.t, "the room", f.roomNow(dm.ID), want)
		equal(f.t, "the room by its key", f.roomByKey(dm.UniqueKey), want)
		equal(f.t, "rooms by activity", roomIDs(f.rooms(domain.RoomQuery{User: "ann"})), []domain.RoomID{latest.ID, dm.ID})
		equalList(f.t, "members", f.membersNow(dm.ID), members)
		f.reopen()
	}
}

func roomChangesUnderWriters(f *fixture) {
	f.underWriters(func(tx ports.Tx, now domain.Room, step string, at time.Time) error {
		now.Name = &step
		after, err := tx.UpdateRoom(now, at)
		if err == nil && after.LastRev != now.LastRev+1 {
			err = fmt.Errorf("rev %d after %d", after.LastRev, now.LastRev)
		}
		return err
	})
}

// underWriters has half of the writers change a new room and half send to it, eight times each; every fourth change
// fails at its end and must leave nothing. The room's log is without a gap afterwards.
func (f *fixture) underWriters(change func(tx ports.Tx, now domain.Room, step string, at time.Time) error) domain.Room {
	f.t.Helper()
	room := f.group("ann", "bob")
	parallel(f.t, writers, func(w int) error {
		for i := range 8 {
			if w%2 == 0 {
				if err := f.sendAnswered(room.ID, fmt.Sprint(w, i)); err != nil {
					return err
				}
				continue
			}
			at, fail := f.now(), i%4 == 3
			err := f.tryUpdate(func(tx ports.Tx) error {
				now, _, err := tx.Access(room.ID, "")
				if err != nil {
					return err
				}
				err = change(tx, now, fmt.Sprintf("%d/%d", w, i), at)
				if err == nil && fail {
					err = errSentinel
				}
				return err
			})
			if fail != errors.Is(err, errSentinel) || !fail && err != nil {
				return fmt.Errorf("step %d of writer %d: %w", i, w, err)
			}
		}
		return nil
	})
	_, events := f.dense(room.ID)
	equal(f.t, "steps of the log", len(events), 1+writers/2*8+writers/2*6)
	return f.roomNow(room.ID)
}

func roomCountsItsMembers(f *fixture) {
	room := f.group("ann", "bob", "cid")
	counted := func(what string, want int64) {
		f.t.Helper()
		equal(f.t, "members "+what, f.roomNow(room.ID).Members, want)
		equal(f.t, "members in a send's snapshot "+what, f.snapshot(domain.Intent{Room: room.ID}).Room.Members, want)
		equal(f.t, "members in the list "+what, f.rooms(domain.RoomQuery{User: "ann"})[0].Members, want)
		equal(f.t, "members of the place "+what, f.place(room.ID, "ann", "phone").Members, want)
		told := f.commits.of(room.ID)
		equal(f.t, "members told "+what, told[len(told)-1].Members, want)
		for _, e := range f.log(room.ID) {
			equal(f.t, "members in the log "+what, e.Members, want)
		}
	}
	counted("at first", 3)
	f.addMember(room.ID, "dan", domain.RoleMember)
	counted("after one was added", 4)
	f.addMember(room.ID, "dan", domain.RoleAdmin)
	counted("after the same was added again", 4)
	f.setRole(room.ID, "dan", domain.RoleAdmin)
	counted("after a new role", 4)
	f.removeMember(room.ID, "bob")
	f.removeMember(room.ID, "cid")
	counted("after two were removed", 2)
	f.reopen()
	f.addMember(room.ID, "bob", domain.RoleMember)
	counted("after one came back", 3)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		if _, err := tx.AddMember(room.ID, "eve", domain.RoleMember, at); err != nil {
			return err
		}
		now, _, err := tx.Access(room.ID, "")
		equal(f.t, "members within an update", now.Members, int64(4))
		return err
	})
	counted("after the update", 4)
}

func countUnderWriters(f *fixture) {
	room := f.group("ann", "bob")
	parallel(f.t, writers, func(w int) error {
		user := domain.UserID(fmt.Sprint("user ", w))
		for step := range 8 {
			if err := f.churn(room.ID, user, step); err != nil {
				return err
			}
			if step%2 == 0 {
				continue
			}
			if err := f.failSomehow(room.ID, w+step); err != nil {
				return err
			}
		}
		return nil
	})
	for range 2 {
		equal(f.t, "the count", f.roomNow(room.ID).Members, int64(len(f.membersNow(room.ID))))
		f.dense(room.ID)
		f.reopen()
	}
}
