package storetest

import (
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var commitContracts = []contract{
	{"events are told before their caller is answered", toldBeforeAnswered},
	{"the events of one update come in the order of its changes", updateEventsInOrder},
	{"an event can be read from the log once it is told", toldEventsAreCommitted},
	{"a duplicate, a view and an update without change tell nothing", nothingToTell},
	{"every tenant's events are told", everyTenantIsTold},
}

// toldBeforeAnswered relies on the recorder, which notes an event that comes after its sender's answer.
func toldBeforeAnswered(f *fixture) {
	room := f.group("ann")
	parallel(f.t, writers, func(w int) error {
		for i := range 10 {
			if err := f.sendAnswered(room.ID, fmt.Sprint(w, i)); err != nil {
				return err
			}
		}
		return nil
	})
	equal(f.t, "events told", len(f.commits.of(room.ID)), 1+writers*10)
	f.dense(room.ID)
}

func updateEventsInOrder(f *fixture) {
	a, b := f.group("ann"), f.group("ann")
	made, members := f.newRoom(domain.RoomGroup, "ann", "bob")
	at := f.now()
	start := f.commits.total()
	f.update(func(tx ports.Tx) error {
		for _, room := range []domain.RoomID{a.ID, b.ID, a.ID} {
			user := domain.UserID(fmt.Sprintf("user %d", room[0]))
			if _, err := tx.AddMember(room, user, domain.RoleMember, at); err != nil {
				return err
			}
		}
		if _, err := tx.SetRole(a.ID, "ann", domain.RoleMember, at); err != nil {
			return err
		}
		_, err := tx.CreateRoom(made, members)
		return err
	})
	got := f.commits.since(start)
	equal(f.t, "kinds of events told for "+a.ID.String(), kindsOf(got, a.ID), []string{"2 member.added", "3 member.updated"})
	equal(f.t, "kinds of events told for "+b.ID.String(), kindsOf(got, b.ID), []string{"2 member.added"})
	equal(f.t, "kinds of events told for a new room", kindsOf(got, made.ID), []string{"1 room.created"})
	f.toldWhole(got, made, at)
}

// toldWhole checks the values of a created room and of a changed member as they are told.
func (f *fixture) toldWhole(got []domain.Event, made domain.Room, at any) {
	f.t.Helper()
	made.LastRev = 1
	for _, e := range got {
		switch e.Kind {
		case domain.EventRoomCreated:
			equal(f.t, "the room told", *e.State, made)
		case domain.EventMemberUpdated:
			equal(f.t, "the member told", *e.Member, f.memberNow(e.Room, e.Member.User))
			equal[any](f.t, "the time told", e.At, at)
		}
	}
}

func kindsOf(events []domain.Event, room domain.RoomID) []string {
	var kinds []string
	for _, e := range events {
		if e.Room == room {
			kinds = append(kinds, fmt.Sprintf("%d %s", e.Rev, e.Kind))
		}
	}
	return kinds
}

// since returns the events after the first n.
func (r *recorder) since(n int) []domain.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order[n:])
}

// toldEventsAreCommitted reads the room beside its writers, as soon as the recorder has something new.
func toldEventsAreCommitted(f *fixture) {
	room := f.group("ann")
	stop, watch := make(chan struct{}), make(chan error, 1)
	go func() { watch <- f.watchTold(room.ID, stop) }()
	parallel(f.t, 4, func(w int) error {
		defer func() {
			if w == 0 {
				close(stop)
			}
		}()
		for i := range 30 {
			if err := f.sendAnswered(room.ID, fmt.Sprint(w, i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := <-watch; err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) watchTold(room domain.RoomID, stop chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		told := int64(len(f.commits.of(room)))
		if now := f.lastRev(room); now < told {
			return fmt.Errorf("rev %d was told while a fresh view ends at %d", told, now)
		}
	}
}

// lastRev is roomNow for goroutines beside the test's own; -1 on an error.
func (f *fixture) lastRev(id domain.RoomID) int64 {
	room, err := ports.View(f.t.Context(), f.db, f.tenant, func(r ports.Reader) (domain.Room, error) {
		room, _, err := r.Access(id, "")
		return room, err
	})
	if err != nil {
		return -1
	}
	return room.LastRev
}

func nothingToTell(f *fixture) {
	room := f.group("ann")
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "once", ClientID: "c"})
	before := f.commits.total()
	out, err := f.trySend(room.ID, f.newSend("ann", domain.Draft{Content: "once", ClientID: "c"}), nil)
	if err != nil || !out.Duplicate {
		f.t.Errorf("the repeated send: %s, %v, want a duplicate", show(out), err)
	}
	f.update(func(ports.Tx) error { return nil })
	f.addMember(room.ID, "ann", domain.RoleAdmin)
	f.setRole(room.ID, "ann", domain.RoleAdmin)
	f.raise(room.ID, "ann", "phone", domain.Mark{DeliveredSeq: 1})
	f.see("ann", "phone", 0)
	f.membersNow(room.ID)
	equal(f.t, "events told", f.commits.total(), before)
	f.dense(room.ID)
}

func everyTenantIsTold(f *fixture) {
	other := f.newTenant("second")
	a, b := f.group("ann"), other.group("ann")
	f.send(a.ID, "ann", "here")
	other.send(b.ID, "ann", "there")
	for _, side := range []struct {
		f    *fixture
		room domain.RoomID
	}{{f, a.ID}, {other, b.ID}} {
		for _, e := range f.commits.of(side.room) {
			equal(f.t, "the tenant of an event", e.Tenant, side.f.tenant)
		}
		equal(f.t, "events told", len(f.commits.of(side.room)), 2)
	}
}
