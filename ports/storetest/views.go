package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var viewContracts = []contract{
	{"a view does not move while others write", viewDoesNotMove},
	{"views never show half an update", viewsShowWholeUpdates},
	{"an update reads its own writes", updateReadsItsWrites},
	{"values stay valid after the closure", valuesStayValid},
	{"two views run side by side", viewsRunSideBySide},
}

func viewDoesNotMove(f *fixture) {
	room := f.group("ann")
	f.send(room.ID, "ann", "before")
	f.view(func(r ports.Reader) error {
		before, err := readAll(r, room.ID)
		if err != nil {
			return err
		}
		beside := make(chan error)
		go func() {
			err := f.sendAnswered(room.ID, "beside the view")
			if err == nil {
				err = f.churn(room.ID, "bob", 0)
			}
			beside <- err
		}()
		if err := <-beside; err != nil {
			return err
		}
		after, err := readAll(r, room.ID)
		equalList(f.t, "the view after a write beside it", after, before)
		return err
	})
	f.view(func(r ports.Reader) error {
		now, _, err := r.Access(room.ID, "")
		equal(f.t, "last_rev in the next view", now.LastRev, int64(4))
		return err
	})
}

// readAll is what a view tells of one room.
func readAll(r ports.Reader, room domain.RoomID) ([]string, error) {
	d := dumper{r: r}
	d.rooms()
	for _, err := range d.errs {
		if err != nil {
			return nil, err
		}
	}
	row, member, err := r.Access(room, "bob")
	d.line("access", []any{row, member})
	return d.lines, err
}

func viewsShowWholeUpdates(f *fixture) {
	room := f.group("ann")
	stop := make(chan struct{})
	watch := make(chan error, 1)
	go func() { watch <- f.watchPairs(room.ID, stop) }()
	for i := range 30 {
		at := f.now()
		f.update(func(tx ports.Tx) error {
			for _, user := range []string{"left", "right"} {
				if _, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprintf("%s %d", user, i)), domain.RoleMember, at); err != nil {
					return err
				}
			}
			return nil
		})
	}
	close(stop)
	if err := <-watch; err != nil {
		f.t.Error(err)
	}
}

// watchPairs reads until stopped; members come in pairs, and the room's position says how many.
func (f *fixture) watchPairs(room domain.RoomID, stop chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		err := f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
			row, _, err := r.Access(room, "")
			if err != nil {
				return err
			}
			members, err := r.Members(room, 0, page)
			if len(members)%2 != 1 || row.LastRev != int64(len(members)) {
				return fmt.Errorf("a view shows %d members at rev %d", len(members), row.LastRev)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
}

func updateReadsItsWrites(f *fixture) {
	made, members := f.newRoom(domain.RoomGroup, "ann", "bob")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		if _, err := tx.CreateRoom(made, members); err != nil {
			return err
		}
		added, err := tx.AddMember(made.ID, "cid", domain.RoleMember, at)
		if err != nil {
			return err
		}
		room, member, err := tx.Access(made.ID, "cid")
		equal(f.t, "Access within the update", member, &added)
		equal(f.t, "last_rev within the update", room.LastRev, int64(2))
		if err != nil {
			return err
		}
		if _, err := tx.RemoveMember(made.ID, "bob", at); err != nil {
			return err
		}
		found, err := tx.Members(made.ID, 0, page)
		equal(f.t, "users within the update", usersOf(found), []domain.UserID{"ann", "cid"})
		if err != nil {
			return err
		}
		return f.listsOwnWrites(tx, made.ID)
	})
	equal(f.t, "users after it", usersOf(f.membersNow(made.ID)), []domain.UserID{"ann", "cid"})
}

// listsOwnWrites reads the lists within the update that made the room and took it to rev 3.
func (f *fixture) listsOwnWrites(tx ports.Tx, room domain.RoomID) error {
	f.t.Helper()
	events, err := tx.Events(ports.EventQuery{Room: room, Limit: page})
	equal(f.t, "events within the update", len(events), 3)
	positions, err2 := tx.Positions([]domain.RoomID{room})
	equal(f.t, "positions within the update", positions, map[domain.RoomID]int64{room: 3})
	list, err3 := tx.Rooms(domain.RoomQuery{User: "ann", Limit: page})
	equal(f.t, "last_rev in the list within the update", list[0].LastRev, int64(3))
	places, err4 := tx.Places("ann", "phone")
	equal(f.t, "last_rev in the places within the update", places.Rooms[0].LastRev, int64(3))
	return errors.Join(err, err2, err3, err4)
}

func usersOf(members []domain.Member) []domain.UserID {
	users := make([]domain.UserID, len(members))
	for i, m := range members {
		users[i] = m.User
	}
	return users
}

func valuesStayValid(f *fixture) {
	room := f.group("ann")
	for i := range 20 {
		f.sendDraft(room.ID, "ann", domain.Draft{Content: fmt.Sprintf("text %d", i), Meta: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	kept := f.history(room.ID)
	copied := slices.Clone(kept)
	for i := range copied {
		copied[i].Meta = slices.Clone(copied[i].Meta)
	}
	for range 5 {
		other := f.group("ann")
		f.sendDraft(other.ID, "ann", domain.Draft{Content: "something else entirely", Meta: []byte(`{"x":"yyyyyyyyyyyy"}`)})
		f.history(other.ID)
	}
	equalList(f.t, "messages kept after their view", kept, copied)
	for i, m := range kept {
		m.Meta[0] = '!' // what a reader does with its values is its own business
		equal(f.t, "content", m.Content, fmt.Sprintf("text %d", i))
	}
	equal(f.t, "meta read again", string(f.history(room.ID)[3].Meta), `{"n":3}`)
}

// viewsRunSideBySide would hang if the second view waited for the first.
func viewsRunSideBySide(f *fixture) {
	room := f.group("ann")
	f.view(func(ports.Reader) error {
		inner := make(chan int64)
		go func() { inner <- f.lastRev(room.ID) }()
		equal(f.t, "last_rev in a second view", <-inner, int64(1))
		return nil
	})
}
