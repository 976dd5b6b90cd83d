package storetest

import (
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var markContracts = []contract{
	{"a mark rises number by number and never falls", markOnlyRises},
	{"a mark only rises under 16 parallel raisers", markRisesInParallel},
	{"a delivered rev of 0 stands for the message's position", zeroRevIsTheMessages},
	{"marks are per room, user and device", marksArePerDevice},
	{"only those with a membership have marks, active or left", marksNeedMembership},
	{"a first ack below the starting place does not lower it", firstAckNeverLowers},
	{"places tell each room whole, most active first", placesAreWhole},
}

func markOnlyRises(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	f.see("bob", "phone", 0)
	var want domain.Mark
	for _, m := range []domain.Mark{
		{DeliveredSeq: 3, DeliveredRev: 4},
		{DeliveredSeq: 5, DeliveredRev: 4},
		{DeliveredSeq: 1, DeliveredRev: 8},
		{DeliveredSeq: 0, DeliveredRev: 0},
		{DeliveredSeq: 9, DeliveredRev: 2},
		{DeliveredSeq: -1, DeliveredRev: -1},
		{DeliveredSeq: 9, DeliveredRev: 10},
	} {
		want = want.Raise(m)
		equal(f.t, "RaiseMark by "+show(m), f.raise(room.ID, "bob", "phone", m), want)
		equal(f.t, "the mark, read", f.place(room.ID, "bob", "phone").Mark, want)
	}
	f.reopen()
	equal(f.t, "the mark after a restart", f.place(room.ID, "bob", "phone").Mark, want)
}

func markRisesInParallel(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 48)
	f.see("bob", "phone", 0)
	parallel(f.t, 16, func(w int) error {
		for i := range int64(3) {
			seq := (int64(w)*3+i)*29%48 + 1 // 1 to 48, each once
			m := domain.Mark{DeliveredSeq: seq, DeliveredRev: 49 - seq}
			got, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (domain.Mark, error) {
				return tx.RaiseMark(room.ID, "bob", "phone", m)
			})
			if err != nil || got.Raise(m) != got {
				return fmt.Errorf("RaiseMark by %s stands at %s: %w", show(m), show(got), err)
			}
			if err := f.notBelow(got); err != nil {
				return err
			}
		}
		return nil
	})
	want := domain.Mark{DeliveredSeq: 48, DeliveredRev: 48}
	equal(f.t, "the mark in the end", f.place(room.ID, "bob", "phone").Mark, want)
}

// notBelow says whether bob's phone stands at least where it was answered to stand.
func (f *fixture) notBelow(answered domain.Mark) error {
	return f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
		p, err := r.Places("bob", "phone")
		if err != nil {
			return err
		}
		if got := p.Rooms[0].Mark; got.Raise(answered) != got {
			return fmt.Errorf("the mark stands at %s after it was answered as %s", show(got), show(answered))
		}
		return nil
	})
}

func zeroRevIsTheMessages(f *fixture) {
	room := f.story()
	f.see("ann", "phone", 0)
	for _, m := range f.history(room.ID) {
		got := f.raise(room.ID, "ann", "phone", domain.Mark{DeliveredSeq: m.Seq})
		equal(f.t, "the mark", got, domain.Mark{DeliveredSeq: m.Seq, DeliveredRev: m.FirstRev})
	}
}

func marksArePerDevice(f *fixture) {
	room, other := f.group("ann", "bob"), f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 9)
	f.sendMany(other.ID, "ann", 9)
	want := map[string]domain.Mark{}
	n := int64(0)
	users, devices := []domain.UserID{"ann", "bob"}, []domain.DeviceID{"", "phone", "Phone"}
	for _, user := range users {
		for _, device := range devices {
			f.see(user, device, 0)
		}
		for _, device := range devices {
			n++
			m := domain.Mark{DeliveredSeq: n, DeliveredRev: n + 1}
			want[string(user)+"/"+string(device)] = f.raise(room.ID, user, device, m)
		}
	}
	for _, user := range users {
		for _, device := range devices {
			got := f.place(room.ID, user, device).Mark
			equal(f.t, fmt.Sprintf("the mark of %s at %q", user, device), got, want[string(user)+"/"+string(device)])
			equal(f.t, "the mark in the other room", f.place(other.ID, user, device).Mark, domain.Mark{})
		}
	}
	equal(f.t, "the last mark", want["bob/Phone"], domain.Mark{DeliveredSeq: 6, DeliveredRev: 7})
}

func marksNeedMembership(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 3)
	f.removeMember(room.ID, "bob")
	f.see("bob", "phone", 0)
	left := f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 2})
	equal(f.t, "the mark of one who left", left.DeliveredSeq, int64(2))
	f.unchanged(room.ID, func() {
		f.update(func(tx ports.Tx) error {
			_, err := tx.RaiseMark(room.ID, "eve", "phone", domain.Mark{DeliveredSeq: 1})
			wantError(f.t, "RaiseMark of a stranger", err, domain.ErrMemberNotFound)
			return nil
		})
	})
}

func firstAckNeverLowers(f *fixture) {
	room := f.group("ann")
	f.sendMany(room.ID, "ann", 5)
	f.addMember(room.ID, "bob", domain.RoleMember)
	f.sendMany(room.ID, "ann", 5)
	start := f.place(room.ID, "bob", "phone").Mark
	equal(f.t, "the place of joining", start, domain.Mark{DeliveredSeq: 5, DeliveredRev: 6})
	equal(f.t, "an ack below it", f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 2}), start)
	high := f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 9})
	equal(f.t, "the place of a device first seen", f.place(room.ID, "bob", "laptop").Mark, high)
	equal(f.t, "an ack below that", f.raise(room.ID, "bob", "laptop", domain.Mark{DeliveredSeq: 3}), high)
}

func placesAreWhole(f *fixture) {
	a, b := f.group("ann", "bob"), f.group("ann", "bob")
	left := f.group("ann", "bob")
	f.group("ann")
	f.sendMany(a.ID, "ann", 3)
	f.removeMember(left.ID, "bob")
	at := Clock.Now().Add(time.Second)
	f.update(func(tx ports.Tx) error { return tx.SeeDevice("bob", "phone", 0, at) })
	mark := f.raise(a.ID, "bob", "phone", domain.Mark{DeliveredSeq: 2})
	got := f.places("bob", "phone")
	equal(f.t, "known", got.Known, true)
	equal(f.t, "seen at", got.SeenAt, at)
	equalList(f.t, "rooms", got.Rooms, []ports.Place{
		{Room: a.ID, LastSeq: 3, LastRev: 4, Members: 2, Member: f.memberNow(a.ID, "bob"), Mark: mark},
		{Room: b.ID, LastSeq: 0, LastRev: 1, Members: 2, Member: f.memberNow(b.ID, "bob")},
	})
	f.send(b.ID, "ann", "now the most active")
	equal(f.t, "the most active room", f.places("bob", "phone").Rooms[0].Room, b.ID)
}
