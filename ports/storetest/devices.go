package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var deviceContracts = []contract{
	{"a device is known once it was seen", deviceIsKnownOnceSeen},
	{"a device first seen starts at the user's highest mark", newDeviceStartsAtHighest},
	{"a device first seen without marks starts at joining", newDeviceStartsAtJoining},
	{"an absent device without a mark keeps its place when another acks", absentDeviceKeepsPlace},
	{"an absent device keeps the highest mark it started at", absentDeviceKeepsHighest},
	{"every absent device keeps its own place", everyAbsentDeviceKeepsPlace},
	{"a 21st device displaces the one longest unseen with its marks", deviceIsDisplaced},
	{"a device seen again is not the one displaced", deviceSeenAgainStays},
	{"a device that confirms before it was seen is noted", confirmingDeviceIsNoted},
	{"devices that only confirm displace each other beyond the 20th", confirmingDevicesAreBounded},
	{"a device seen after 90 days has been forgotten with its marks", absentDeviceIsForgotten},
}

func deviceIsKnownOnceSeen(f *fixture) {
	f.group("ann")
	equal(f.t, "known at first", f.places("ann", "phone").Known, false)
	at := f.now()
	f.update(func(tx ports.Tx) error { return tx.SeeDevice("ann", "phone", 0, at) })
	for _, x := range []struct {
		user   domain.UserID
		device domain.DeviceID
		want   bool
	}{{"ann", "phone", true}, {"ann", "", false}, {"ann", "Phone", false}, {"bob", "phone", false}} {
		got := f.places(x.user, x.device)
		equal(f.t, fmt.Sprintf("known: %s at %q", x.user, x.device), got.Known, x.want)
	}
	later := f.now()
	f.update(func(tx ports.Tx) error { return tx.SeeDevice("ann", "phone", 0, later) })
	f.reopen()
	equal(f.t, "seen at", f.places("ann", "phone").SeenAt, later)
}

func newDeviceStartsAtHighest(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	f.see("bob", "phone", 0)
	f.see("bob", "laptop", 0)
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 7})
	f.raise(room.ID, "bob", "laptop", domain.Mark{DeliveredSeq: 3})
	want := domain.Mark{DeliveredSeq: 7, DeliveredRev: 8}
	equal(f.t, "the place of a device first seen", f.place(room.ID, "bob", "tablet").Mark, want)
	f.see("bob", "tablet", 0)
	equal(f.t, "its place once it was seen", f.place(room.ID, "bob", "tablet").Mark, want)
	equal(f.t, "ann's place", f.place(room.ID, "ann", "tablet").Mark, domain.Mark{})
}

func newDeviceStartsAtJoining(f *fixture) {
	room := f.group("ann")
	f.sendMany(room.ID, "ann", 4)
	f.addMember(room.ID, "bob", domain.RoleMember)
	f.sendMany(room.ID, "ann", 2)
	want := domain.Mark{DeliveredSeq: 4, DeliveredRev: 5}
	equal(f.t, "the place of a device first seen", f.place(room.ID, "bob", "phone").Mark, want)
	equal(f.t, "ann's place", f.place(room.ID, "ann", "phone").Mark, domain.Mark{})
}

func absentDeviceKeepsPlace(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	f.see("bob", "phone", 0)
	f.see("bob", "laptop", 0)
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 8})
	for range 2 {
		equal(f.t, "the absent laptop's place", f.place(room.ID, "bob", "laptop").Mark, domain.Mark{})
		f.reopen()
	}
	equal(f.t, "the phone's place", f.place(room.ID, "bob", "phone").Mark.DeliveredSeq, int64(8))
}

func absentDeviceKeepsHighest(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	f.see("bob", "phone", 0)
	start := f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 4})
	f.see("bob", "laptop", 0)
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 9})
	equal(f.t, "the laptop's place", f.place(room.ID, "bob", "laptop").Mark, start)
	f.raise(room.ID, "bob", "laptop", domain.Mark{DeliveredSeq: 6})
	equal(f.t, "the phone's place", f.place(room.ID, "bob", "phone").Mark.DeliveredSeq, int64(9))
}

func everyAbsentDeviceKeepsPlace(f *fixture) {
	room, second := f.group("ann", "bob"), f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 6)
	f.sendMany(second.ID, "ann", 6)
	devices := []domain.DeviceID{"a", "b", "c", "d"}
	for _, d := range devices {
		f.see("bob", d, 0)
	}
	for i, d := range devices {
		f.raise(room.ID, "bob", d, domain.Mark{DeliveredSeq: int64(6 - i)})
	}
	f.raise(second.ID, "bob", "b", domain.Mark{DeliveredSeq: 5})
	for i, d := range devices {
		equal(f.t, "the place of "+string(d), f.place(room.ID, "bob", d).Mark.DeliveredSeq, int64(6-i))
		want := int64(0)
		if d == "b" {
			want = 5
		}
		equal(f.t, "the place in the second room of "+string(d), f.place(second.ID, "bob", d).Mark.DeliveredSeq, want)
	}
}

// seeDevices notes n devices of bob as seen, the first longest ago.
func (f *fixture) seeDevices(n int) []domain.DeviceID {
	f.t.Helper()
	start := f.now()
	devices := make([]domain.DeviceID, n)
	f.update(func(tx ports.Tx) error {
		for i := range devices {
			devices[i] = domain.DeviceID(fmt.Sprintf("device %d", (i*7)%n))
			if err := tx.SeeDevice("bob", devices[i], 0, start.Add(time.Duration(i)*time.Second)); err != nil {
				return err
			}
		}
		return nil
	})
	return devices
}

func deviceIsDisplaced(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	devices := f.seeDevices(domain.MaxDevicesPerUser)
	f.raise(room.ID, "bob", devices[0], domain.Mark{DeliveredSeq: 9})
	f.raise(room.ID, "bob", devices[1], domain.Mark{DeliveredSeq: 3})
	f.update(func(tx ports.Tx) error { return tx.SeeDevice("bob", "one more", 0, f.now().Add(time.Hour)) })
	for range 2 {
		gone := f.places("bob", devices[0])
		equal(f.t, "the device longest unseen is known", gone.Known, false)
		for _, d := range append(devices[1:], "one more") {
			equal(f.t, string(d)+" is known", f.places("bob", d).Known, true)
		}
		want := domain.Mark{DeliveredSeq: 3, DeliveredRev: 4}
		equal(f.t, "the displaced device's place is the highest left", f.place(room.ID, "bob", devices[0]).Mark, want)
		equal(f.t, "the second device's mark", f.place(room.ID, "bob", devices[1]).Mark.DeliveredSeq, int64(3))
		f.reopen()
	}
	equal(f.t, "ann's devices", f.places("ann", devices[0]).Known, false)
}

func deviceSeenAgainStays(f *fixture) {
	f.group("ann", "bob")
	devices := f.seeDevices(domain.MaxDevicesPerUser)
	later := f.now().Add(time.Hour)
	f.update(func(tx ports.Tx) error {
		if err := tx.SeeDevice("bob", devices[0], 0, later); err != nil {
			return err
		}
		return tx.SeeDevice("bob", "one more", 0, later.Add(time.Second))
	})
	equal(f.t, "the device seen again is known", f.places("bob", devices[0]).Known, true)
	equal(f.t, "the next one is known", f.places("bob", devices[1]).Known, false)
	f.see("ann", "phone", 0)
	equal(f.t, "devices of others are known", f.places("ann", "phone").Known, true)
}

func confirmingDeviceIsNoted(f *fixture) {
	room, lost := f.group("ann", "bob"), f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	f.removeMember(lost.ID, "bob")
	mark := f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 5})
	f.raise(room.ID, "bob", "laptop", domain.Mark{DeliveredSeq: 8})
	for range 2 {
		got := f.places("bob", "phone")
		equal(f.t, "known", got.Known, true)
		equal(f.t, "seen at", got.SeenAt, Clock.Now())
		equalList(f.t, "removals before it was noted", got.Removed, nil)
		equal(f.t, "its place", f.place(room.ID, "bob", "phone").Mark, mark)
		f.reopen()
	}
	left := f.removeMember(room.ID, "bob")
	want := []ports.Removal{{Room: room.ID, LeftRev: left.LeftRev}}
	equalList(f.t, "removals since it was noted", f.places("bob", "phone").Removed, want)
}

func confirmingDevicesAreBounded(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 50)
	f.see("ann", "phone", 0)
	known := func() (n int) {
		for i := range 50 {
			if f.places("bob", domain.DeviceID(fmt.Sprint("device ", i))).Known {
				n++
			}
		}
		return n
	}
	for i := range 50 {
		device := domain.DeviceID(fmt.Sprint("device ", i))
		f.raise(room.ID, "bob", device, domain.Mark{DeliveredSeq: int64(i) + 1})
		equal(f.t, "the device that confirmed last is known", f.places("bob", device).Known, true)
	}
	equal(f.t, "known devices", known(), domain.MaxDevicesPerUser)
	f.reopen()
	equal(f.t, "known devices after a restart", known(), domain.MaxDevicesPerUser)
	equal(f.t, "ann's phone is known", f.places("ann", "phone").Known, true)
}

func absentDeviceIsForgotten(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	start, memory := f.now(), domain.DeviceMemory*time.Hour
	f.update(func(tx ports.Tx) error {
		return errors.Join(tx.SeeDevice("bob", "old", 0, start), tx.SeeDevice("bob", "young", 0, start.Add(time.Hour)))
	})
	f.raise(room.ID, "bob", "old", domain.Mark{DeliveredSeq: 9})
	f.raise(room.ID, "bob", "young", domain.Mark{DeliveredSeq: 4})
	f.update(func(tx ports.Tx) error { return tx.SeeDevice("bob", "new", 0, start.Add(memory)) })
	equal(f.t, "the device unseen for 90 days is known", f.places("bob", "old").Known, false)
	equal(f.t, "the device unseen for less is known", f.places("bob", "young").Known, true)
	equal(f.t, "the highest mark left", f.place(room.ID, "bob", "old").Mark.DeliveredSeq, int64(4))
}
