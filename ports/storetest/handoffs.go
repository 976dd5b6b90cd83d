package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var handoffContracts = []contract{
	{"a room begins with its bots", roomBeginsWithBots},
	{"a handoff is the room's next step and is told as it is stored", handoffIsAStep},
	{"a handoff changes nothing else of a room, and no other change a handoff", handoffLeavesTheRest},
	{"an assignee is kept as named, until another handoff", assigneeIsKept},
	{"of handoffs the latest alone is told to who asks for that", latestHandoffIsTold},
	{"a handoff that is rolled back leaves nothing", rolledBackHandoff},
	{"handoffs and messages share one rev under 8 writers", handoffsUnderWriters},
	{"a room that does not exist cannot be handed over", handoffOfNoRoom},
}

// byBots is a room's handoff at first.
var byBots = domain.Handoff{Mode: domain.HandoffBot}

func byHuman(assignee domain.UserID) domain.Handoff {
	return domain.Handoff{Mode: domain.HandoffHuman, Assignee: assignee}
}

func (f *fixture) setHandoff(room domain.RoomID, h domain.Handoff, at time.Time) domain.Room {
	f.t.Helper()
	after, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (domain.Room, error) { return tx.SetHandoff(room, h, at) })
	if err != nil {
		f.t.Fatalf("SetHandoff: %v", err)
	}
	return after
}

// handOver hands a room to people, handBack to its bots.
func (f *fixture) handOver(room domain.RoomID, assignee domain.UserID) domain.Room {
	f.t.Helper()
	return f.setHandoff(room, byHuman(assignee), f.now())
}

func (f *fixture) handBack(room domain.RoomID) domain.Room {
	f.t.Helper()
	return f.setHandoff(room, byBots, f.now())
}

// stands fails the case unless a room is read like this wherever it is read.
func (f *fixture) stands(want domain.Room) {
	f.t.Helper()
	equal(f.t, "Access", f.roomNow(want.ID), want)
	equal(f.t, "the room in a send's snapshot", f.snapshot(domain.Intent{Room: want.ID}).Room, want)
	equal(f.t, "the room in ann's list", f.rooms(domain.RoomQuery{User: "ann"})[0].Room, want)
	equal(f.t, "the room in the tenant's list", f.rooms(domain.RoomQuery{})[0].Room, want)
	equal(f.t, "the room by its key", f.roomByKey(want.UniqueKey), want)
	f.update(func(tx ports.Tx) error {
		room, _, err := tx.Access(want.ID, "bob")
		equal(f.t, "Access within an update", room, want)
		return err
	})
	for _, e := range f.log(want.ID) {
		if e.State != nil {
			equal(f.t, "the room in the log", *e.State, want)
		}
	}
}

func roomBeginsWithBots(f *fixture) {
	dm, members := f.newDM("ann", "bob")
	dm.Handoff = byHuman("ann")
	made := f.create(dm, members)
	equal(f.t, "the handoff", made.Handoff, byBots)
	equal(f.t, "the room told", *f.commits.of(dm.ID)[0].State, made)
	for range 2 {
		f.stands(made)
		f.reopen()
	}
}

func handoffIsAStep(f *fixture) {
	dm, members := f.newDM("ann", "bob")
	dm.Name = ptr("name")
	f.create(dm, members)
	f.sendMany(dm.ID, "ann", 2)
	want := f.roomNow(dm.ID)
	for i, h := range []domain.Handoff{byHuman("bob"), byHuman(""), byHuman(""), byBots, byBots} {
		at := f.now()
		want.Handoff, want.LastRev = h, want.LastRev+1
		equal(f.t, "SetHandoff", f.setHandoff(dm.ID, h, at), want)
		told, event := f.commits.of(dm.ID), domain.Event{
			Tenant: f.tenant, Room: dm.ID, Rev: want.LastRev, Kind: domain.EventHandoff, At: at, State: ptr(want),
		}
		equal(f.t, "the event told", told[len(told)-1], event)
		equal(f.t, "the event in the log", f.log(dm.ID)[3+i], event)
		for range 2 {
			f.stands(want)
			f.dense(dm.ID)
			f.reopen()
		}
	}
}

func handoffLeavesTheRest(f *fixture) {
	dm, members := f.newDM("ann", "bob")
	dm.Name, dm.Metadata = ptr("name"), []byte(`{"a":1}`)
	f.create(dm, members)
	f.send(dm.ID, "ann", "hello")
	latest := f.group("ann")
	want := f.roomNow(dm.ID)
	f.handOver(dm.ID, "ann")
	want.Handoff, want.LastRev = byHuman("ann"), want.LastRev+1
	equal(f.t, "the room", f.roomNow(dm.ID), want)
	equal(f.t, "rooms by activity", roomIDs(f.rooms(domain.RoomQuery{User: "ann"})), []domain.RoomID{latest.ID, dm.ID})
	equalList(f.t, "members", f.membersNow(dm.ID), members)
	renamed := want
	renamed.Name, renamed.Handoff = nil, byBots
	f.updateRoom(renamed, f.now())
	f.setRole(dm.ID, "bob", domain.RoleAdmin)
	f.send(dm.ID, "bob", "hello")
	f.removeMember(dm.ID, "ann")
	for range 2 {
		equal(f.t, "the handoff after other changes", f.roomNow(dm.ID).Handoff, want.Handoff)
		f.dense(dm.ID)
		f.reopen()
	}
}

func assigneeIsKept(f *fixture) {
	room, other := f.group("ann"), f.group("ann")
	f.newTenant("second").group("zoe")
	for _, name := range []domain.UserID{"ann", "zoe", "ünï 🦊", "it's \"quoted\" 100%", "ANN"} {
		h := byHuman(name)
		equal(f.t, "SetHandoff", f.handOver(room.ID, name).Handoff, h)
		f.reopen()
		equal(f.t, "the handoff", f.roomNow(room.ID).Handoff, h)
		_, known := f.userNow(name)
		equal(f.t, "the assignee exists", known, true)
		equal(f.t, "without an assignee", f.handOver(room.ID, "").Handoff, byHuman(""))
	}
	f.handOver(room.ID, "ann")
	equal(f.t, "handed back", f.handBack(room.ID).Handoff, byBots)
	equal(f.t, "another room's", f.roomNow(other.ID).Handoff, byBots)
}

func latestHandoffIsTold(f *fixture) {
	room := f.group("ann")
	f.handOver(room.ID, "ann")     // 2
	f.send(room.ID, "ann", "one")  // 3
	f.rename(room.ID, "renamed")   // 4
	f.handBack(room.ID)            // 5
	f.handOver(room.ID, "")        // 6
	f.send(room.ID, "ann", "two")  // 7
	f.rename(room.ID, "once more") // 8
	ask := func(q ports.EventQuery) []string {
		f.t.Helper()
		var events []domain.Event
		q.Room, q.Latest, q.Limit = room.ID, true, page
		f.view(func(r ports.Reader) (err error) {
			events, err = r.Events(q)
			return err
		})
		for _, e := range events {
			if e.Kind == domain.EventHandoff {
				equal(f.t, "the handoff told", e.State.Handoff, byHuman(""))
			}
		}
		return outlineOf(events)
	}
	want := []string{"1 room.created", "3 message 1", "6 room.handoff", "7 message 2", "8 room.updated"}
	for range 2 {
		equalList(f.t, "all", ask(ports.EventQuery{}), want)
		equalList(f.t, "those after the latest but one", ask(ports.EventQuery{After: 5}), want[2:])
		equalList(f.t, "those after the latest", ask(ports.EventQuery{After: 6}), want[3:])
		equalList(f.t, "those up to the latest but one", ask(ports.EventQuery{Through: 5}), want[:2])
		f.reopen()
	}
}

func rolledBackHandoff(f *fixture) {
	room := f.botRoom(f.newBotID())
	for i, x := range failures {
		at := f.now()
		f.unchanged(room.ID, func() {
			got := endingOf(func() error {
				return f.tryUpdate(func(tx ports.Tx) error {
					now, err := tx.SetHandoff(room.ID, byHuman("ghost"), at)
					equal(f.t, "the handoff within the update", now.Handoff, byHuman("ghost"))
					return errors.Join(err, x.fail())
				})
			})
			if err := x.check(got); err != nil {
				f.t.Error(err)
			}
		})
		if f.ask(room.ID, "ann"); i == 0 {
			equal(f.t, "runs", len(f.claimRuns()), 1)
		}
	}
}

func handoffsUnderWriters(f *fixture) {
	room := f.underWriters(func(tx ports.Tx, now domain.Room, _ string, at time.Time) error {
		h := byBots
		if !now.Handoff.IsHuman() {
			h = byHuman("ann")
		}
		after, err := tx.SetHandoff(now.ID, h, at)
		if err == nil && (after.LastRev != now.LastRev+1 || after.Handoff != h) {
			err = fmt.Errorf("%s after %s", show(after), show(now))
		}
		return err
	})
	equal(f.t, "the handoff after an even number", room.Handoff, byBots)
}

func handoffOfNoRoom(f *fixture) {
	gone := f.group("ann")
	f.handOver(gone.ID, "ann")
	f.removeRoom(gone.ID)
	told := f.commits.of(gone.ID)
	equal(f.t, "the handoff told with the removal", told[len(told)-1].State.Handoff, domain.Handoff{})
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for _, id := range []domain.RoomID{gone.ID, f.newRoomID()} {
			_, err := tx.SetHandoff(id, byHuman(""), at)
			wantError(f.t, "SetHandoff of no room", err, domain.ErrRoomNotFound)
		}
		return nil
	})
}
