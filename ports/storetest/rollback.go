package storetest

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var rollbackContracts = []contract{
	{"an error of decide comes back unchanged and leaves nothing", decideErrorLeavesNothing},
	{"an error of an update comes back unchanged and leaves nothing", updateErrorLeavesNothing},
	{"a panic is raised again in its caller and leaves nothing", panicLeavesNothing},
	{"a Goexit ends its caller and leaves nothing", goexitLeavesNothing},
	{"failing jobs damage nobody beside them", failingJobsDamageNobody},
	{"the number of a failed attempt is taken by the next", failedNumberIsReused},
	{"a view's error, panic and Goexit go to its caller", viewFailuresGoToTheCaller},
	{"an update goes on after an error that its closure handled", handledErrorGoesOn},
	{"a room made by a rolled back update can be made again", rolledBackRoomCanBeMade},
}

// ending is how a call ended.
type ending struct {
	returned bool
	err      error
	panicked any
}

func (e ending) String() string {
	return fmt.Sprintf("{returned: %t, error: %v, panic: %v}", e.returned, e.err, e.panicked)
}

// endingOf runs fn in a goroutine of its own and waits for its end. A Goexit neither returns nor panics.
func endingOf(fn func() error) (e ending) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { e.panicked = recover() }()
		e.err = fn()
		e.returned = true
	}()
	<-done
	return e
}

var errSentinel = errors.New("sentinel of the suite")

// failure is one way for a closure to fail, and how its caller must end.
type failure struct {
	name string
	fail func() error
	want ending
}

var failures = []failure{
	{"error", func() error { return fmt.Errorf("wrapped: %w", errSentinel) }, ending{returned: true, err: errSentinel}},
	{"panic", func() error { panic("out of order") }, ending{panicked: "out of order"}},
	{"Goexit", func() error { runtime.Goexit(); return nil }, ending{}},
}

// check says how got differs from the ending that is due.
func (x failure) check(got ending) error {
	if got.returned != x.want.returned || got.panicked != x.want.panicked || !errors.Is(got.err, x.want.err) {
		return fmt.Errorf("%s ended as %s, want %s", x.name, got, x.want)
	}
	return nil
}

// failSomehow runs a failing job, its kind chosen by n: half of them sends, half updates that had written before.
func (f *fixture) failSomehow(room domain.RoomID, n int) error {
	x := failures[n%len(failures)]
	if n/len(failures)%2 == 0 {
		return x.check(f.failSend(room, x.fail))
	}
	return x.check(f.failUpdate(room, fmt.Sprintf("ghost %d", n), x.fail))
}

func (f *fixture) failSend(room domain.RoomID, fail func() error) ending {
	send := f.newSend("ann", domain.Draft{Content: "never stored"})
	return endingOf(func() error {
		in := domain.Intent{Room: room, Sender: "ann"}
		_, err := f.db.Append(f.t.Context(), f.tenant, in, func(s domain.Snapshot) (domain.Change, error) {
			c, err := send.Decide(s)
			if err != nil {
				return c, err
			}
			return c, fail()
		})
		return err
	})
}

// failUpdate fails after having written a bit of everything.
func (f *fixture) failUpdate(room domain.RoomID, ghost string, fail func() error) ending {
	made, members := f.newRoom(domain.RoomDM, domain.UserID(ghost), "ann")
	made.UniqueKey = domain.DMKey(domain.UserID(ghost), "ann")
	at := f.now()
	return endingOf(func() error {
		return f.tryUpdate(func(tx ports.Tx) error {
			if err := writeEverything(tx, room, made, members, at); err != nil {
				return fmt.Errorf("before the failure: %w", err)
			}
			return fail()
		})
	})
}

func decideErrorLeavesNothing(f *fixture) { sendLeavesNothing(f, failures[0]) }

func updateErrorLeavesNothing(f *fixture) { updateLeavesNothing(f, failures[0]) }

func panicLeavesNothing(f *fixture) {
	sendLeavesNothing(f, failures[1])
	updateLeavesNothing(f, failures[1])
}

func goexitLeavesNothing(f *fixture) {
	sendLeavesNothing(f, failures[2])
	updateLeavesNothing(f, failures[2])
}

func sendLeavesNothing(f *fixture, x failure) {
	room := f.group("ann", "bob")
	f.send(room.ID, "ann", "before")
	f.unchanged(room.ID, func() {
		if err := x.check(f.failSend(room.ID, x.fail)); err != nil {
			f.t.Errorf("Append: %v", err)
		}
	})
}

func updateLeavesNothing(f *fixture, x failure) {
	room := f.group("ann", "bob")
	f.send(room.ID, "ann", "before")
	f.unchanged(room.ID, func() {
		if err := x.check(f.failUpdate(room.ID, "ghost", x.fail)); err != nil {
			f.t.Errorf("Update: %v", err)
		}
	})
}

// unchanged fails the case when fn changes anything, in the rows, the numbers, the events, or what the store keeps in
// memory: what a send decides on is read too, and all of it once more after a restart.
func (f *fixture) unchanged(room domain.RoomID, fn func()) {
	f.t.Helper()
	told, before := f.commits.total(), f.dump("ann", "bob", "ghost")
	snapshot := f.snapshot(domain.Intent{Room: room, Sender: "bob"})
	fn()
	equal(f.t, "events told", f.commits.total(), told)
	equalList(f.t, "everything stored", f.dump("ann", "bob", "ghost"), before)
	equal(f.t, "the snapshot of a send", f.snapshot(domain.Intent{Room: room, Sender: "bob"}), snapshot)
	f.reopen()
	equalList(f.t, "everything stored, after a restart", f.dump("ann", "bob", "ghost"), before)
}

func failingJobsDamageNobody(f *fixture) {
	room := f.group("ann", "bob")
	parallel(f.t, writers, func(w int) error {
		for i := range 6 {
			if w%2 == 0 {
				if err := f.failSomehow(room.ID, w+i); err != nil {
					return err
				}
			} else if err := f.sendAnswered(room.ID, fmt.Sprint(w, i)); err != nil {
				return fmt.Errorf("a send beside failing jobs: %w", err)
			}
		}
		return nil
	})
	messages, _ := f.dense(room.ID)
	equal(f.t, "messages stored", len(messages), writers/2*6)
	equal(f.t, "members", len(f.membersNow(room.ID)), 2)
}

func failedNumberIsReused(f *fixture) {
	room := f.group("ann", "bob")
	for n := range 2 * len(failures) {
		if err := f.failSomehow(room.ID, n); err != nil {
			f.t.Error(err)
		}
		m := f.send(room.ID, "ann", "a message")
		equal(f.t, "seq and rev after a failure", [2]int64{m.Seq, m.Rev}, [2]int64{int64(n) + 1, int64(n) + 2})
	}
	f.dense(room.ID)
}

func viewFailuresGoToTheCaller(f *fixture) {
	for _, x := range failures {
		got := endingOf(func() error {
			return f.db.View(f.t.Context(), f.tenant, func(ports.Reader) error { return x.fail() })
		})
		if err := x.check(got); err != nil {
			f.t.Errorf("View: %v", err)
		}
	}
	f.send(f.group("ann").ID, "ann", "and all goes on")
}

func handledErrorGoesOn(f *fixture) {
	room := f.group("ann")
	dm, members := f.newDM("ann", "bob")
	f.create(dm, members)
	again, members := f.newDM("ann", "bob")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		if _, err := tx.AddMember(room.ID, "bob", domain.RoleMember, at); err != nil {
			return err
		}
		_, err := tx.CreateRoom(again, members)
		wantError(f.t, "CreateRoom with a key that exists", err, domain.ErrDMExists)
		_, err = tx.RemoveMember(room.ID, "eve", at)
		wantError(f.t, "RemoveMember of a stranger", err, domain.ErrMemberNotFound)
		_, err = tx.AddMember(f.newRoomID(), "bob", domain.RoleMember, at)
		wantError(f.t, "AddMember to an unknown room", err, domain.ErrRoomNotFound)
		_, err = tx.AddMember(room.ID, "cid", domain.RoleMember, at)
		return err
	})
	equal(f.t, "members", len(f.membersNow(room.ID)), 3)
	equal(f.t, "rooms", len(f.rooms(domain.RoomQuery{})), 2)
	f.dense(room.ID)
}

func rolledBackRoomCanBeMade(f *fixture) {
	room, members := f.newDM("ann", "bob")
	err := f.tryUpdate(func(tx ports.Tx) error {
		if _, err := tx.CreateRoom(room, members); err != nil {
			return err
		}
		return errSentinel
	})
	wantError(f.t, "Update", err, errSentinel)
	f.view(func(r ports.Reader) error {
		_, _, err := r.Access(room.ID, "ann")
		wantError(f.t, "Access to the room of a failed update", err, domain.ErrRoomNotFound)
		return nil
	})
	made := f.create(room, members)
	equal(f.t, "last_rev of the room", made.LastRev, int64(1))
	f.send(room.ID, "ann", "hello")
	f.dense(room.ID)
}
