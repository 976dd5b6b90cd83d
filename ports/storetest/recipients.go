package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var recipientContracts = []contract{
	{"those are told who joined before a message and have not confirmed it", tellsThoseWhoMissIt},
	{"the sender, bots and the system are not told", tellsNoSender},
	{"each membership is looked at once, however many at a time", everyMembershipOnce},
	{"a call is for the same memberships while members leave and join", placesStay},
	{"memberships up to a place are looked at whatever the limit says", upToAPlace},
	{"an update sees its own changes of who is told", recipientsWithinAnUpdate},
	{"a room that does not exist has no recipients", recipientsOfNoRoom},
}

// told is one call of Recipients.
type told struct {
	users   []domain.UserID
	through string
}

func (f *fixture) recipients(m domain.Message, after, upTo string, limit int) (got told) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		got.users, got.through, err = r.Recipients(m.Room, m, after, upTo, limit)
		return err
	})
	return got
}

// allTold are the recipients of a message, without order.
func (f *fixture) allTold(m domain.Message) []domain.UserID {
	f.t.Helper()
	users := f.recipients(m, "", "", page).users
	slices.Sort(users)
	return users
}

func tellsThoseWhoMissIt(f *fixture) {
	room := f.group("ann", "bob", "cid", "dan", "eve", "fay", "gus")
	first := f.send(room.ID, "ann", "first")
	f.addMember(room.ID, "late", domain.RoleMember)
	second := f.send(room.ID, "ann", "second")
	equalList(f.t, "who is told of the first", f.allTold(first), users("bob", "cid", "dan", "eve", "fay", "gus"))
	equalList(f.t, "who is told of the second", f.allTold(second), users("bob", "cid", "dan", "eve", "fay", "gus", "late"))
	f.raise(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 1})
	f.see("cid", "laptop", 0)
	f.raise(room.ID, "cid", "phone", domain.Mark{DeliveredSeq: 2})
	f.raise(room.ID, "cid", "", domain.Mark{DeliveredSeq: 1})
	f.update(func(tx ports.Tx) error {
		_, err := tx.RaiseRead(room.ID, "dan", 1)
		_, err2 := tx.RaiseRead(room.ID, "eve", 2)
		return errors.Join(err, err2)
	})
	f.removeMember(room.ID, "fay")
	f.removeMember(room.ID, "gus")
	f.addMember(room.ID, "gus", domain.RoleMember)
	third := f.send(room.ID, "gus", "third")
	for range 2 {
		equalList(f.t, "who is told of the first, later", f.allTold(first), nil)
		equalList(f.t, "who is told of the second, later", f.allTold(second), users("bob", "dan", "late"))
		equalList(f.t, "who is told of the third", f.allTold(third), users("ann", "bob", "cid", "dan", "eve", "late"))
		f.reopen()
	}
	f.raise(room.ID, "late", "tablet", domain.Mark{DeliveredSeq: 3})
	equalList(f.t, "who is told of the third in the end", f.allTold(third), users("ann", "bob", "cid", "dan", "eve"))
}

func users(ids ...domain.UserID) []domain.UserID { return ids }

func tellsNoSender(f *fixture) {
	room := f.group("ann", "bob", "bot_helper", "botany", "system", "System")
	elsewhere := f.group("bob", "cid")
	f.raise(elsewhere.ID, "bob", "phone", domain.Mark{DeliveredSeq: 1})
	equalList(f.t, "who is told", f.allTold(f.send(room.ID, "ann", "x")), users("System", "bob", "botany"))
	equalList(f.t, "who is told of another's", f.allTold(f.send(room.ID, "botany", "x")), users("System", "ann", "bob"))
	m := f.send(room.ID, "ann", "by a bot")
	m.Sender, m.SenderType = "bot_helper", domain.SenderBot
	equalList(f.t, "who is told of a bot's", f.allTold(m), users("System", "ann", "bob", "botany"))
}

// crowd is a room of n members besides ann, some of whom have left, and a message.
func (f *fixture) crowd(n int) (domain.Room, domain.Message) {
	f.t.Helper()
	room := f.group("ann")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for i := range n {
			if _, err := tx.AddMember(room.ID, member(i), domain.RoleMember, at); err != nil {
				return err
			}
			if i%7 != 3 {
				continue
			}
			if _, err := tx.RemoveMember(room.ID, member(i), at); err != nil {
				return err
			}
		}
		return nil
	})
	return room, f.send(room.ID, "ann", "hello")
}

func member(i int) domain.UserID { return domain.UserID(fmt.Sprintf("user %03d", i)) }

// walkRecipients asks call by call until there is no further membership.
func (f *fixture) walkRecipients(m domain.Message, limit int) (calls []told) {
	f.t.Helper()
	for after := ""; ; {
		got := f.recipients(m, after, "", limit)
		if got.through == "" {
			equal(f.t, "users told behind the last place", len(got.users), 0)
			return calls
		}
		if len(got.users) > limit {
			f.t.Fatalf("a call of %d memberships tells %d users", limit, len(got.users))
		}
		if len(calls) > 500 {
			f.t.Fatal("the places do not come to an end")
		}
		calls = append(calls, got)
		after = got.through
	}
}

func everyMembershipOnce(f *fixture) {
	const n = 120
	_, m := f.crowd(n)
	want := f.allTold(m)
	equal(f.t, "who is told", len(want), n-n/7)
	for _, limit := range []int{1, 7, 100, n, n + 1, 1000} {
		var all []domain.UserID
		calls := f.walkRecipients(m, limit)
		for _, c := range calls {
			all = append(all, c.users...)
		}
		slices.Sort(all)
		equalList(f.t, fmt.Sprintf("who is told, %d at a time", limit), all, want)
		equal(f.t, fmt.Sprintf("calls of %d", limit), len(calls), (n+1+limit-1)/limit)
	}
	equal(f.t, "a call for none", f.recipients(m, "", "", 0), told{})
}

func placesStay(f *fixture) {
	const n, limit = 60, 10
	room, m := f.crowd(n)
	newcomers := []domain.UserID{"a newcomer", "user 005 and a half", "zoe"}
	f.group(newcomers...) // known before they join
	before := f.walkRecipients(m, limit)
	gone := map[domain.UserID]bool{}
	for i := range n {
		if i%7 != 3 && i%4 == 0 {
			f.removeMember(room.ID, member(i))
			gone[member(i)] = true
		}
	}
	for _, user := range append(newcomers, member(3), member(4)) {
		f.addMember(room.ID, user, domain.RoleMember) // some come back, too: they join after the message
	}
	after := ""
	for i, c := range before {
		got := f.recipients(m, after, c.through, limit)
		equal(f.t, "the end of a call", got.through, c.through)
		equalList(f.t, fmt.Sprintf("who is told by call %d", i),
			got.users, slices.DeleteFunc(slices.Clone(c.users), func(u domain.UserID) bool { return gone[u] }))
		after = c.through
	}
	f.reopen()
	equal(f.t, "the first call after a restart", f.recipients(m, "", before[0].through, limit).through, before[0].through)
}

func upToAPlace(f *fixture) {
	_, m := f.crowd(50)
	calls := f.walkRecipients(m, 10)
	var want []domain.UserID
	for i, c := range calls {
		want = append(want, c.users...)
		for _, limit := range []int{0, 1, 1000} {
			equal(f.t, fmt.Sprintf("calls up to %d with limit %d", i, limit), f.recipients(m, "", c.through, limit), told{want, c.through})
		}
	}
	last := calls[len(calls)-1].through
	equal(f.t, "a call from the end to the end", f.recipients(m, last, last, 10), told{})
}

func recipientsWithinAnUpdate(f *fixture) {
	room := f.group("ann", "bob", "cid", "dan")
	m := f.send(room.ID, "ann", "hello")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.RemoveMember(room.ID, "bob", at)
		_, err2 := tx.RaiseMark(room.ID, "cid", "phone", domain.Mark{DeliveredSeq: 1})
		_, err3 := tx.AddMember(room.ID, "late", domain.RoleMember, at)
		got, _, err4 := tx.Recipients(room.ID, m, "", "", page)
		equalList(f.t, "who is told within the update", got, users("dan"))
		return errors.Join(err, err2, err3, err4)
	})
	equalList(f.t, "who is told after it", f.allTold(m), users("dan"))
}

func recipientsOfNoRoom(f *fixture) {
	room := f.group("ann", "bob")
	m := f.send(room.ID, "ann", "hello")
	f.removeRoom(room.ID)
	for _, id := range []domain.RoomID{room.ID, f.newRoomID()} {
		err := f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
			_, _, err := r.Recipients(id, m, "", "", page)
			return err
		})
		wantError(f.t, "Recipients", err, domain.ErrRoomNotFound)
	}
}
