package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var removedRoomContracts = []contract{
	{"a removed room is found by nobody, at once, after a restart and after its purge", removedRoomIsNotFound},
	{"the removal is the room's last step, and tells nothing of what it held", removalIsTheLastStep},
	{"a removed room's key is free at once", removedKeyIsFree},
	{"sends beside a removal are before it or find no room", sendsBesideARemoval},
	{"a removal that is rolled back leaves nothing", rolledBackRemoval},
	{"members learn of a removed room, before its purge and after, until they have confirmed it", membersLearnOfRemovedRoom},
	{"who had left a removed room before is told of the leaving alone", leftBeforeRemoval},
	{"a device first seen has lost no removed room", newDeviceLostNoRoom},
	{"every member of a large room is told its removal throughout the purge", removalIsToldThroughoutThePurge},
	{"removed rooms are told 5,000 at a time and none is left out", removedRoomsAreToldInParts},
	{"a purge leaves all other rooms as they are", purgeLeavesOtherRooms},
	{"removed rooms of a deleted tenant are purged with it", removedRoomsOfDeletedTenant},
}

// aboutRooms are the methods that name a room: a removed one is not found by any of them.
func aboutRooms() []trespass {
	return slices.DeleteFunc(slices.Clone(trespasses), func(x trespass) bool {
		return slices.Contains([]string{
			"RoomByKey", "Rooms", "RoomsByKey", "Places", "Positions", "RemovedAt", "Idempotency", "User", "RoomMates", "SmallRooms", "SawUsers",
			"DeadLetters", "TakeDeadLetter", "WaitingJobs", "Notification", "KnownNotifications", "Notices", "LastNotice", "Expand", "AddRecipient", "SettleNotice",
			"Subscription", "Subscriptions", "RemoveSubscription", "Bot", "Bots", "UpdateBot", "RemoveBot", "OpenStream", "KeepStream",
			"EndStream",
		}, x.method)
	})
}

func removedRoomIsNotFound(f *fixture) {
	to := f.furnish()
	kept := f.group("ann", "bob")
	dm := f.roomByKey(to.unique)
	at := f.now()
	var last int64
	f.update(func(tx ports.Tx) error {
		stands, _, err := tx.Access(to.room, "")
		if err != nil {
			return err
		}
		last = stands.LastRev + 1
		if err := errors.Join(tx.RemoveRoom(to.room, at), tx.RemoveRoom(dm.ID, at)); err != nil {
			return err
		}
		f.isNoRoom(tx, to)
		return f.isInNoList(tx, kept.ID, to)
	})
	for range 3 {
		f.update(func(tx ports.Tx) error {
			f.isNoRoom(tx, to)
			return f.isInNoList(tx, kept.ID, to)
		})
		f.view(func(r ports.Reader) error {
			ended, err := r.RemovedAt(to.room)
			stands, err2 := r.RemovedAt(kept.ID)
			equal(f.t, "where the removed room ended, and the other", [2]int64{ended, stands}, [2]int64{last, 0})
			return errors.Join(err, err2, f.isInNoList(r, kept.ID, to))
		})
		_, err := f.trySend(to.room, f.newSend("ann", domain.Draft{Content: "never"}), nil)
		wantError(f.t, "Append to a removed room", err, domain.ErrRoomNotFound)
		f.reopen()
		f.purge()
	}
	f.dense(kept.ID)
}

func (f *fixture) isNoRoom(tx ports.Tx, to aim) {
	f.t.Helper()
	for _, x := range aboutRooms() {
		_, err := x.call(f, tx, to)
		wantError(f.t, x.method+" of a removed room", err, domain.ErrRoomNotFound)
	}
	_, err := tx.RoomByKey(to.unique)
	wantError(f.t, "RoomByKey of a removed room", err, domain.ErrRoomNotFound)
	rooms, total, err := tx.RoomsByKey(ports.KeyQuery{Prefix: to.unique, Limit: page})
	wantError(f.t, "RoomsByKey of a removed room", err, nil)
	equal(f.t, "removed rooms by their key", len(rooms)+total, 0)
}

// isInNoList reads the lists of ann and bob, who have one other room.
func (f *fixture) isInNoList(r ports.Reader, kept domain.RoomID, removed aim) error {
	f.t.Helper()
	want := []domain.RoomID{kept}
	for _, q := range []domain.RoomQuery{{}, {User: "ann"}, {User: "bob", Type: domain.RoomGroup}} {
		q.Limit = page
		list, err := r.Rooms(q)
		equal(f.t, "rooms listed for "+show(q), roomIDs(list), want)
		if err != nil {
			return err
		}
	}
	places, err := r.Places("ann", "phone")
	equal(f.t, "places", len(places.Rooms), 1)
	small, err2 := r.SmallRooms("ann", page)
	equal(f.t, "SmallRooms", small, want)
	positions, err3 := r.Positions([]domain.RoomID{removed.room, kept})
	equal(f.t, "Positions", positions, map[domain.RoomID]int64{kept: 1})
	return errors.Join(err, err2, err3)
}

func removalIsTheLastStep(f *fixture) {
	dm, members := f.newDM("ann", "bob")
	dm.Name, dm.Metadata = ptr("name"), []byte(`{"a":1}`)
	f.create(dm, members)
	f.sendMany(dm.ID, "ann", 2)
	f.setRole(dm.ID, "bob", domain.RoleAdmin)
	at := f.now()
	f.update(func(tx ports.Tx) error { return tx.RemoveRoom(dm.ID, at) })
	told := f.commits.of(dm.ID)
	equal(f.t, "events told", len(told), 5)
	equal(f.t, "the last event told", told[4], domain.Event{
		Tenant: f.tenant, Room: dm.ID, Rev: 5, Kind: domain.EventRoomRemoved, At: at, State: &domain.Room{
			ID: dm.ID, Type: domain.RoomDM, FirstSeq: 1, LastSeq: 2, LastRev: 5, CreatedAt: dm.CreatedAt,
		},
	})
	f.purge()
	equal(f.t, "events told after the purge", len(f.commits.of(dm.ID)), 5)
}

func removedKeyIsFree(f *fixture) {
	dm, members := f.newDM("ann", "bob")
	f.create(dm, members)
	for range 3 {
		again, members := f.newDM("ann", "bob")
		at := f.now()
		f.update(func(tx ports.Tx) error {
			if err := tx.RemoveRoom(dm.ID, at); err != nil {
				return err
			}
			_, err := tx.CreateRoom(again, members)
			return err
		})
		equal(f.t, "the room by its key", f.roomByKey(dm.UniqueKey).ID, again.ID)
		f.onlyRoom([]domain.RoomID{dm.ID, again.ID}, again.ID)
		dm = again
		f.reopen()
	}
	f.purge()
	f.send(dm.ID, "ann", "in the last one")
	f.dense(dm.ID)
}

// sendsBesideARemoval relies on the recorder, which notes an event that is not the next of its room.
func sendsBesideARemoval(f *fixture) {
	for round := range 6 {
		room := f.group("ann", "bob")
		var sent atomic.Int64
		parallel(f.t, writers, func(w int) error {
			for i := range 8 {
				if w == 0 && i == round {
					at := f.now()
					return f.tryUpdate(func(tx ports.Tx) error { return tx.RemoveRoom(room.ID, at) })
				}
				err := f.sendAnswered(room.ID, fmt.Sprint(w, i))
				switch {
				case err == nil:
					sent.Add(1)
				case !errors.Is(err, domain.ErrRoomNotFound):
					return err
				}
			}
			return nil
		})
		told := f.commits.of(room.ID)
		last := told[len(told)-1]
		equal(f.t, "the last event's kind", last.Kind, domain.EventRoomRemoved)
		equal(f.t, "its rev", last.Rev, sent.Load()+2)
		f.see("bob", "phone", 0)
		removed := f.places("ann", "phone")
		equal(f.t, "ann's phone is known", removed.Known, false)
	}
}

func rolledBackRemoval(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 3)
	f.see("bob", "phone", 0)
	for _, x := range failures {
		at := f.now()
		f.unchanged(room.ID, func() {
			got := endingOf(func() error {
				return f.tryUpdate(func(tx ports.Tx) error {
					if err := tx.RemoveRoom(room.ID, at); err != nil {
						return err
					}
					list, err := tx.Rooms(domain.RoomQuery{User: "ann", Limit: page})
					equal(f.t, "ann's rooms within the update", len(list), 0)
					return errors.Join(err, x.fail())
				})
			})
			if err := x.check(got); err != nil {
				f.t.Error(err)
			}
		})
	}
	f.send(room.ID, "bob", "still there")
	f.dense(room.ID)
}

func membersLearnOfRemovedRoom(f *fixture) {
	room, kept := f.group("ann", "bob"), f.group("bob")
	for _, device := range []domain.DeviceID{"phone", "laptop"} {
		f.confirm("bob", device)
	}
	f.sendMany(room.ID, "ann", 2)
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 1})
	want := []ports.Removal{{Room: room.ID, LeftRev: f.removeRoom(room.ID)}}
	for range 2 {
		for _, device := range []domain.DeviceID{"phone", "laptop"} {
			got := f.places("bob", device)
			equalList(f.t, "removals", got.Removed, want)
			equal(f.t, "rooms that are left", len(got.Rooms), 1)
			equal(f.t, "the room that is left", got.Rooms[0].Room, kept.ID)
		}
		f.reopen()
		f.purge()
	}
	f.confirm("bob", "phone")
	equalList(f.t, "removals, confirmed", f.lost("bob", "phone"), nil)
	equalList(f.t, "removals for the other device", f.lost("bob", "laptop"), want)
	f.purge()
	f.confirm("bob", "laptop")
	f.reopen()
	equalList(f.t, "removals in the end", f.lost("bob", "laptop"), nil)
}

func leftBeforeRemoval(f *fixture) {
	room := f.group("ann", "bob", "cid")
	f.confirm("bob", "phone")
	f.confirm("cid", "phone")
	left := f.removeMember(room.ID, "bob")
	f.removeMember(room.ID, "cid")
	f.confirm("cid", "phone")
	f.send(room.ID, "ann", "not theirs to see")
	f.removeRoom(room.ID)
	for range 2 {
		want := []ports.Removal{{Room: room.ID, LeftRev: left.LeftRev}}
		equalList(f.t, "removals", f.lost("bob", "phone"), want)
		equalList(f.t, "removals of one who had confirmed", f.lost("cid", "phone"), nil)
		f.purge()
	}
}

func newDeviceLostNoRoom(f *fixture) {
	room := f.group("ann", "bob")
	f.confirm("bob", "phone")
	f.removeRoom(room.ID)
	for range 2 {
		got := f.places("bob", "tablet")
		equal(f.t, "known", got.Known, false)
		equalList(f.t, "removals for a device first seen", got.Removed, nil)
		equal(f.t, "rooms", len(got.Rooms), 0)
		f.purge()
	}
}

func removalIsToldThroughoutThePurge(f *fixture) {
	const members = 700
	room := f.group("ann")
	f.sendMany(room.ID, "ann", 3)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for i := range members {
			user := domain.UserID(fmt.Sprint("user ", i))
			if _, err := tx.AddMember(room.ID, user, domain.RoleMember, at); err != nil {
				return err
			}
			if err := tx.SeeDevice(user, "phone", 0, at); err != nil {
				return err
			}
			if _, err := tx.RaiseMark(room.ID, user, "phone", domain.Mark{DeliveredSeq: 1}); err != nil {
				return err
			}
		}
		return nil
	})
	want := []ports.Removal{{Room: room.ID, LeftRev: f.removeRoom(room.ID)}}
	steps := 0
	for more := true; more; steps++ {
		f.toldToEach(members, want)
		var err error
		if more, err = f.db.Purge(f.t.Context()); err != nil {
			f.t.Fatalf("Purge: %v", err)
		}
	}
	f.toldToEach(members, want)
	if steps < 3 {
		f.t.Errorf("%d memberships and their marks were purged in %d steps of at most 500 rows", members, steps)
	}
}

func (f *fixture) toldToEach(members int, want []ports.Removal) {
	f.t.Helper()
	f.view(func(r ports.Reader) error {
		for i := range members {
			user := domain.UserID(fmt.Sprint("user ", i))
			got, err := r.Places(user, "phone")
			if err != nil || len(got.Rooms) > 0 || !slices.Equal(got.Removed, want) {
				return fmt.Errorf("places of %s: %s, %w, want the removals %s", user, show(got), err, show(want))
			}
		}
		return nil
	})
}

func removedRoomsAreToldInParts(f *fixture) {
	const rest = 3
	want := map[ports.Removal]bool{}
	f.update(func(tx ports.Tx) error {
		clear(want)
		for range ports.MaxRemovals + rest {
			room, err := tx.CreateRoom(f.newRoom(domain.RoomGroup, "bob"))
			if err != nil {
				return err
			}
			want[ports.Removal{Room: room.ID, LeftRev: 2}] = true
		}
		return nil
	})
	f.confirm("bob", "phone")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for removal := range want {
			if err := tx.RemoveRoom(removal.Room, at); err != nil {
				return err
			}
		}
		return nil
	})
	equal(f.t, "removals told at once, before the purge", len(f.lost("bob", "phone")), ports.MaxRemovals)
	for more := true; more; {
		var err error
		if more, err = f.db.Purge(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
	for rounds := 0; len(want) > 0; rounds++ {
		lost := f.lost("bob", "phone")
		if len(lost) == 0 || rounds > 2 {
			f.t.Fatalf("%d removals were never told", len(want))
		}
		for _, removal := range lost {
			delete(want, removal)
		}
		f.confirm("bob", "phone")
	}
	equalList(f.t, "removals in the end", f.lost("bob", "phone"), nil)
}

func purgeLeavesOtherRooms(f *fixture) {
	other := f.newTenant("second")
	other.furnish()
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 30)
	f.raise(room.ID, "ann", "phone", domain.Mark{DeliveredSeq: 2})
	f.furnish()
	f.story()
	gone := f.story()
	f.raise(gone.ID, "ann", "phone", domain.Mark{DeliveredSeq: 2})
	f.removeRoom(gone.ID)
	before, beforeOther := f.dump("dan", "zoe"), other.dump("ann", "bob")
	ann := f.places("ann", "phone").Rooms
	if steps := f.purge(); steps < 1 {
		f.t.Errorf("%d steps", steps)
	}
	for range 2 {
		equalList(f.t, "all that is left", f.dump("dan", "zoe"), before)
		equalList(f.t, "where ann stands", f.places("ann", "phone").Rooms, ann)
		equalList(f.t, "the other tenant", other.dump("ann", "bob"), beforeOther)
		f.reopen()
	}
	equal(f.t, "steps of a second purge", f.purge(), 1)
}

func removedRoomsOfDeletedTenant(f *fixture) {
	gone := f.newTenant("gone")
	to := gone.furnish()
	gone.removeRoom(to.room)
	dm := gone.roomByKey(to.unique)
	gone.removeRoom(dm.ID)
	if _, err := f.db.Purge(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	gone.removeRoom(gone.group("ann", "bob").ID)
	before := f.dump("ann")
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	f.purge()
	f.isNoTenant(gone.tenant, to.room)
	equalList(f.t, "the tenant beside it", f.dump("ann"), before)
}
