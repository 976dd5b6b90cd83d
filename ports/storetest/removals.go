package storetest

import (
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var removalContracts = []contract{
	{"an absent device learns of a removal until it has confirmed it", removalUntilConfirmed},
	{"what a device has confirmed only rises", confirmedOnlyRises},
	{"every device learns for itself", everyDeviceLearns},
	{"a device first seen has lost nothing", newDeviceLostNothing},
	{"a device noted without a counter has lost nothing", notedDeviceLostNothing},
	{"no room is left out, and removals are told 5,000 at a time", removalsAreToldInParts},
	{"a user added again has not lost the room", addedAgainIsNotLost},
	{"a second removal is told with its own rev", secondRemoval},
	{"removals of others and other tenants are not told", onlyOwnRemovals},
}

// lost returns the removals a device has yet to learn of.
func (f *fixture) lost(user domain.UserID, device domain.DeviceID) []ports.Removal {
	f.t.Helper()
	return f.places(user, device).Removed
}

// confirm lets a device learn of all there is to know.
func (f *fixture) confirm(user domain.UserID, device domain.DeviceID) {
	f.t.Helper()
	f.see(user, device, f.places(user, device).UserRev)
}

func removalUntilConfirmed(f *fixture) {
	room, other := f.group("ann", "bob"), f.group("ann", "bob")
	f.confirm("bob", "phone")
	equalList(f.t, "removals at first", f.lost("bob", "phone"), nil)
	f.sendMany(room.ID, "ann", 2)
	left := f.removeMember(room.ID, "bob")
	f.send(room.ID, "ann", "after")
	want := []ports.Removal{{Room: room.ID, LeftRev: left.LeftRev}}
	for range 2 {
		equalList(f.t, "removals, not confirmed", f.lost("bob", "phone"), want)
		f.see("bob", "phone", 0)
		f.reopen()
	}
	got := f.places("bob", "phone")
	equal(f.t, "rooms that are left", len(got.Rooms), 1)
	equal(f.t, "the room that is left", got.Rooms[0].Room, other.ID)
	f.confirm("bob", "phone")
	for range 2 {
		equalList(f.t, "removals, confirmed", f.lost("bob", "phone"), nil)
		f.reopen()
	}
	left = f.removeMember(other.ID, "bob")
	want = []ports.Removal{{Room: other.ID, LeftRev: left.LeftRev}}
	equalList(f.t, "the next removal", f.lost("bob", "phone"), want)
}

func confirmedOnlyRises(f *fixture) {
	room := f.group("ann", "bob")
	f.removeMember(room.ID, "bob")
	f.confirm("bob", "phone")
	for _, lower := range []int64{1, 0, -1} {
		f.see("bob", "phone", lower)
		equalList(f.t, "removals after a lower userRev", f.lost("bob", "phone"), nil)
	}
}

func everyDeviceLearns(f *fixture) {
	room := f.group("ann", "bob")
	f.confirm("bob", "phone")
	f.confirm("bob", "laptop")
	left := f.removeMember(room.ID, "bob")
	want := []ports.Removal{{Room: room.ID, LeftRev: left.LeftRev}}
	f.confirm("bob", "phone")
	equalList(f.t, "removals for the phone", f.lost("bob", "phone"), nil)
	equalList(f.t, "removals for the laptop", f.lost("bob", "laptop"), want)
}

func newDeviceLostNothing(f *fixture) {
	room := f.group("ann", "bob")
	f.confirm("bob", "phone")
	f.removeMember(room.ID, "bob")
	got := f.places("bob", "tablet")
	equal(f.t, "known", got.Known, false)
	equalList(f.t, "removals for a device first seen", got.Removed, nil)
	equal(f.t, "the user's counter", got.UserRev, f.places("bob", "phone").UserRev)
	equalList(f.t, "removals for a user first seen", f.lost("eve", "phone"), nil)
}

func notedDeviceLostNothing(f *fixture) {
	room, second := f.group("ann", "bob"), f.group("ann", "bob")
	f.removeMember(room.ID, "bob")
	f.see("bob", "tablet", 0)
	for range 2 {
		equalList(f.t, "removals before it was first seen", f.lost("bob", "tablet"), nil)
		f.see("bob", "tablet", 0)
		f.reopen()
	}
	left := f.removeMember(second.ID, "bob")
	want := []ports.Removal{{Room: second.ID, LeftRev: left.LeftRev}}
	equalList(f.t, "removals since", f.lost("bob", "tablet"), want)
}

// aUnitOfWork is how many changes the cases make in one.
const aUnitOfWork = 250

// removalsAreToldInParts gives bob more rooms than are told at once when they are lost.
func removalsAreToldInParts(f *fixture) {
	const rest = 3
	rooms := make([]domain.Room, ports.MaxRemovals+rest)
	for part := range slices.Chunk(rooms, aUnitOfWork) {
		f.update(func(tx ports.Tx) (err error) {
			for i := range part {
				if part[i], err = tx.CreateRoom(f.newRoom(domain.RoomGroup, "bob")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	equal(f.t, "rooms", len(f.places("bob", "phone").Rooms), len(rooms))
	f.confirm("bob", "phone")
	var want []ports.Removal
	for part := range slices.Chunk(rooms, aUnitOfWork) {
		var lost []ports.Removal
		f.update(func(tx ports.Tx) error {
			lost = lost[:0]
			for _, room := range part {
				left, err := tx.RemoveMember(room.ID, "bob", f.now())
				if err != nil {
					return err
				}
				lost = append(lost, ports.Removal{Room: room.ID, LeftRev: left.LeftRev})
			}
			return nil
		})
		want = append(want, lost...)
	}
	f.confirm("bob", "laptop")
	equalList(f.t, "the removals told first", f.lost("bob", "phone"), want[:ports.MaxRemovals])
	f.confirm("bob", "phone")
	equalList(f.t, "the removals told then", f.lost("bob", "phone"), want[ports.MaxRemovals:])
	f.confirm("bob", "phone")
	equalList(f.t, "removals in the end", f.lost("bob", "phone"), nil)
	equal(f.t, "the user's counter", f.places("bob", "phone").UserRev, f.places("bob", "laptop").UserRev)
}

func addedAgainIsNotLost(f *fixture) {
	room := f.group("ann", "bob")
	f.confirm("bob", "phone")
	f.removeMember(room.ID, "bob")
	f.addMember(room.ID, "bob", domain.RoleMember)
	got := f.places("bob", "phone")
	equalList(f.t, "removals", got.Removed, nil)
	equal(f.t, "rooms", len(got.Rooms), 1)
}

func secondRemoval(f *fixture) {
	room := f.group("ann", "bob")
	f.removeMember(room.ID, "bob")
	f.confirm("bob", "phone")
	f.addMember(room.ID, "bob", domain.RoleMember)
	before := f.places("bob", "phone").UserRev
	left := f.removeMember(room.ID, "bob")
	want := []ports.Removal{{Room: room.ID, LeftRev: left.LeftRev}}
	equalList(f.t, "removals", f.lost("bob", "phone"), want)
	if after := f.places("bob", "phone").UserRev; after <= before {
		f.t.Errorf("the user's counter went from %d to %d with a removal", before, after)
	}
}

func onlyOwnRemovals(f *fixture) {
	other := f.newTenant("second")
	room, foreign := f.group("ann", "bob"), other.group("ann", "bob")
	f.confirm("ann", "phone")
	other.confirm("bob", "phone")
	other.confirm("ann", "phone")
	f.removeMember(room.ID, "bob")
	equalList(f.t, "removals for ann", f.lost("ann", "phone"), nil)
	equalList(f.t, "removals in the other tenant", other.lost("bob", "phone"), nil)
	other.removeMember(foreign.ID, "ann")
	equalList(f.t, "removals for ann after the other tenant's", f.lost("ann", "phone"), nil)
	equal(f.t, "removals in the other tenant for ann", len(other.lost("ann", "phone")), 1)
}
