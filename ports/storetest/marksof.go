package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var marksOfContracts = []contract{
	{"marks of devices are what their places tell", marksArePlaces},
	{"an update sees its own marks of devices", marksWithinAnUpdate},
	{"as many marks are told as there are devices, up to 500", marksAreLimited},
	{"a room that does not exist has no marks", marksOfNoRoom},
}

func (f *fixture) marks(room domain.RoomID, devices ...ports.UserDevice) (marks []ports.DeviceMark) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		marks, err = r.Marks(room, devices)
		return err
	})
	return marks
}

// markByPlaces is what Places tells of a device in a room.
func markByPlaces(r ports.Reader, room domain.RoomID, of ports.UserDevice) (ports.DeviceMark, error) {
	places, err := r.Places(of.User, of.Device)
	for _, p := range places.Rooms {
		if p.Room == room {
			return ports.DeviceMark{Mark: p.Mark, OK: true}, err
		}
	}
	return ports.DeviceMark{}, err
}

// marksArePlaces has users of every kind, with devices that have marks of their own, some that were only seen, and some
// that never were.
func marksArePlaces(f *fixture) {
	const devicesEach, people = 6, 20
	random := rand.New(rand.NewPCG(1, 2))
	rooms := []domain.RoomID{f.group("ann").ID, f.group("ann").ID}
	var devices []ports.UserDevice
	for i := range people {
		user := domain.UserID(fmt.Sprintf("user \"%d\" ✓", i))
		for _, room := range rooms {
			f.send(room, "ann", "hello")
			if random.IntN(5) > 0 {
				f.addMember(room, user, domain.RoleMember)
			}
		}
		for j := range devicesEach {
			of := ports.UserDevice{User: user, Device: domain.DeviceID(fmt.Sprint("dev'ice ", j))}
			if j == 0 {
				of.Device = ""
			}
			devices = append(devices, of)
		}
	}
	for _, room := range rooms {
		f.sendMany(room, "ann", people)
	}
	f.update(func(tx ports.Tx) error {
		for _, of := range devices {
			if err := f.drawMarks(tx, random, of, rooms...); err != nil {
				return err
			}
		}
		return nil
	})
	for _, m := range f.membersNow(rooms[0])[10:] {
		f.removeMember(rooms[0], m.User)
	}
	devices = append(devices, ports.UserDevice{User: "ann", Device: "phone"}, ports.UserDevice{User: "stranger"}, ports.UserDevice{})
	random.Shuffle(len(devices), func(i, j int) { devices[i], devices[j] = devices[j], devices[i] })
	devices = append(devices, devices[:10]...)
	for range 2 {
		f.sameAsPlaces(rooms[0], devices)
		f.sameAsPlaces(rooms[1], devices)
		f.reopen()
	}
}

// drawMarks notes a device as seen, or raises its mark in one of the rooms, or does nothing.
func (f *fixture) drawMarks(tx ports.Tx, random *rand.Rand, of ports.UserDevice, rooms ...domain.RoomID) error {
	for _, room := range rooms {
		switch random.IntN(3) {
		case 0:
			if err := tx.SeeDevice(of.User, of.Device, 0, f.times.Now()); err != nil {
				return err
			}
		case 1:
			seq := int64(random.IntN(40))
			_, err := tx.RaiseMark(room, of.User, of.Device, domain.Mark{DeliveredSeq: seq, DeliveredRev: seq + 1})
			if err != nil && !errors.Is(err, domain.ErrMemberNotFound) {
				return err
			}
		}
	}
	return nil
}

func (f *fixture) sameAsPlaces(room domain.RoomID, devices []ports.UserDevice) {
	f.t.Helper()
	f.view(func(r ports.Reader) error {
		var want []ports.DeviceMark
		known := map[domain.Mark]int{}
		for _, of := range devices {
			mark, err := markByPlaces(r, room, of)
			if err != nil {
				return err
			}
			if mark.OK {
				known[mark.Mark]++
			}
			want = append(want, mark)
		}
		if len(known) < 10 {
			f.t.Errorf("%d devices have %d different marks: nothing is shown", len(devices), len(known))
		}
		got, err := r.Marks(room, devices)
		equalList(f.t, "marks", got, want)
		return err
	})
}

func marksWithinAnUpdate(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 3)
	phone, laptop := ports.UserDevice{User: "bob", Device: "phone"}, ports.UserDevice{User: "bob", Device: "laptop"}
	at := f.now()
	f.update(func(tx ports.Tx) error {
		raised, err := tx.RaiseMark(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 2})
		_, err2 := tx.AddMember(room.ID, "cid", domain.RoleMember, at)
		got, err3 := tx.Marks(room.ID, []ports.UserDevice{phone, laptop, {User: "cid", Device: "phone"}})
		equalList(f.t, "marks", got, []ports.DeviceMark{
			{Mark: raised, OK: true}, {Mark: raised, OK: true}, {Mark: domain.Mark{DeliveredSeq: 3, DeliveredRev: 4}, OK: true},
		})
		_, err4 := tx.RemoveMember(room.ID, "bob", at)
		got, err5 := tx.Marks(room.ID, []ports.UserDevice{phone})
		equalList(f.t, "marks of one who has left", got, []ports.DeviceMark{{}})
		return errors.Join(err, err2, err3, err4, err5)
	})
}

func marksAreLimited(f *fixture) {
	room := f.group("ann")
	devices := make([]ports.UserDevice, ports.MaxMarks)
	want := make([]ports.DeviceMark, ports.MaxMarks)
	for i := range devices {
		devices[i] = ports.UserDevice{User: "ann", Device: domain.DeviceID(fmt.Sprint(i))}
		if want[i].OK = i%3 > 0; i%3 == 0 {
			devices[i].User = "stranger"
		}
	}
	equalList(f.t, "marks", f.marks(room.ID, devices...), want)
	equalList(f.t, "marks of one device", f.marks(room.ID, devices[1]), want[1:2])
	equalList(f.t, "marks of none", f.marks(room.ID), nil)
}

func marksOfNoRoom(f *fixture) {
	gone := f.group("ann")
	f.removeRoom(gone.ID)
	theirs := f.newTenant("second").group("ann")
	for _, id := range []domain.RoomID{gone.ID, theirs.ID, f.newRoomID()} {
		for _, devices := range [][]ports.UserDevice{nil, {{User: "ann", Device: "phone"}}} {
			err := f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
				_, err := r.Marks(id, devices)
				return err
			})
			wantError(f.t, "Marks", err, domain.ErrRoomNotFound)
		}
	}
}
