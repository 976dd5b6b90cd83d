package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var userContracts = []contract{
	{"a user exists from first sight, with nothing said", userExistsFromFirstSight},
	{"a profile comes back whole, is replaced and cleared", profileComesBack},
	{"users are last seen at the latest time noted, and unknown ones stay unknown", usersAreSeen},
	{"room mates are those who share a room now", roomMatesShareARoom},
	{"everybody asked for is a room mate once, however many rooms are shared", everyRoomMateOnce},
	{"small rooms are those with so few members now", smallRoomsByTheCount},
	{"an update reads what it wrote of users, and a failed one leaves nothing", userWritesAreReadWithin},
}

// everybody are the users that the suite's dumps ask for.
var everybody = []domain.UserID{"ann", "bob", "cid", "dan", "eve", "ghost", "zoe"}

func byID(users []domain.User) []domain.User {
	slices.SortFunc(users, func(a, b domain.User) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return users
}

// userNow returns a profile as a fresh view shows it, and whether there is one.
func (f *fixture) userNow(id domain.UserID) (domain.User, bool) {
	f.t.Helper()
	var user domain.User
	var err error
	f.view(func(r ports.Reader) error {
		user, err = r.User(id)
		return nil
	})
	if err != nil {
		wantError(f.t, "User of nobody", err, domain.ErrUserNotFound)
	}
	return user, err == nil
}

// mates returns who of others shares a room with a user, in order of their ids.
func (f *fixture) mates(user domain.UserID, others ...domain.UserID) []domain.UserID {
	f.t.Helper()
	ids := []domain.UserID{}
	f.view(func(r ports.Reader) error {
		found, err := r.RoomMates(user, others)
		for _, u := range byID(found) {
			ids = append(ids, u.ID)
		}
		return err
	})
	return ids
}

func (f *fixture) smallRooms(user domain.UserID, atMost int) []domain.RoomID {
	f.t.Helper()
	var found []domain.RoomID
	f.view(func(r ports.Reader) (err error) {
		found, err = r.SmallRooms(user, atMost)
		return err
	})
	return sorted(found)
}

func userExistsFromFirstSight(f *fixture) {
	room := f.group("ann", "bob")
	f.addMember(room.ID, "cid", domain.RoleMember)
	f.see("dan", "phone", 0)
	f.update(func(tx ports.Tx) error { return tx.PutUser(domain.User{ID: "eve"}) })
	for range 2 {
		for _, id := range []domain.UserID{"ann", "bob", "cid", "dan", "eve"} {
			got, known := f.userNow(id)
			equal(f.t, string(id)+" is known", known, true)
			equal(f.t, "the profile of one of whom nothing was said", got, domain.User{ID: id})
		}
		for _, id := range []domain.UserID{"zoe", "Ann", "ann ", ""} {
			_, known := f.userNow(id)
			equal(f.t, fmt.Sprintf("%q is known", id), known, false)
		}
		f.reopen()
	}
}

func profileComesBack(f *fixture) {
	f.group("known before", "another")
	at := f.now()
	f.update(func(tx ports.Tx) error { return tx.SawUsers([]domain.UserID{"known before"}, at) })
	large := []byte(`{"k":"` + strings.Repeat("v", domain.MaxObject-8) + `"}`)
	ids := append(awkwardIDs(), "known before")
	want := make([]domain.User, len(ids))
	for round := range 3 {
		for i, id := range ids {
			text := awkward[(i+round)%len(awkward)]
			want[i] = domain.User{
				ID: id, Name: []*string{nil, &text, ptr("")}[(i+round)%3], AvatarURL: []*string{&text, ptr(""), nil}[(i+round)%3],
				Metadata: [][]byte{[]byte(`{}`), nil, large}[(i+round)%3],
			}
			f.update(func(tx ports.Tx) error { return tx.PutUser(want[i]) })
		}
		want[len(ids)-1].LastSeen = at
		for i, id := range ids {
			got, _ := f.userNow(id)
			equal(f.t, "User", got, want[i])
		}
		f.reopen()
	}
	f.view(func(r ports.Reader) error {
		got, err := r.RoomMates("", ids)
		equalList(f.t, "users that exist", byID(got), byID(want))
		return err
	})
	equal(f.t, "who knows the other", f.mates("known before", "another", "ann"), []domain.UserID{"another"})
}

func usersAreSeen(f *fixture) {
	f.group("ann", "bob", "cid")
	at := f.now()
	saw := func(at time.Time, users ...domain.UserID) {
		f.t.Helper()
		f.update(func(tx ports.Tx) error { return tx.SawUsers(users, at) })
	}
	saw(at, "ann", "bob", "nobody", "bob")
	saw(at.Add(time.Hour), "ann")
	saw(at.Add(time.Minute), "ann")
	saw(at.Add(time.Minute))
	for range 2 {
		for id, want := range map[domain.UserID]time.Time{"ann": at.Add(time.Hour), "bob": at, "cid": {}} {
			got, _ := f.userNow(id)
			equal(f.t, string(id)+" was last seen", got.LastSeen, want)
		}
		_, known := f.userNow("nobody")
		equal(f.t, "an unknown user is known since", known, false)
		f.reopen()
	}
}

func roomMatesShareARoom(f *fixture) {
	other := f.newTenant("second")
	other.group("ann", "zoe")
	room, second := f.group("ann", "bob", "cid"), f.group("dan", "bob")
	gone, alone := f.group("ann", "eve"), f.group("ann")
	f.update(func(tx ports.Tx) error { return tx.PutUser(domain.User{ID: "finn"}) })
	check := func(user domain.UserID, want ...domain.UserID) {
		f.t.Helper()
		got := f.mates(user, "ann", "bob", "cid", "dan", "eve", "finn", "zoe", "nobody", "ann")
		equal(f.t, fmt.Sprintf("room mates of %q", user), got, append([]domain.UserID{}, want...))
	}
	check("ann", "ann", "bob", "cid", "eve")
	check("bob", "ann", "bob", "cid", "dan")
	check("finn", "finn")
	check("", "ann", "bob", "cid", "dan", "eve", "finn")
	check("zoe")
	check("nobody")
	f.removeRoom(gone.ID)
	f.removeMember(room.ID, "cid")
	f.addMember(alone.ID, "dan", domain.RoleMember)
	for range 2 {
		check("ann", "ann", "bob", "dan")
		check("cid", "cid")
		check("eve", "eve")
		check("bob", "ann", "bob", "dan")
		f.reopen()
		f.purge()
	}
	f.removeMember(second.ID, "bob")
	check("bob", "ann", "bob")
	f.busy("bob", "ann")
	check("bob", "ann", "bob")
	again := f.group("bob", "eve")
	check("bob", "ann", "bob", "eve")
	f.removeRoom(again.ID)
	check("bob", "ann", "bob")
	check("ann", "ann", "bob", "dan")
	check("cid", "cid")
	equal(f.t, "the user is not named", f.mates("ann", "bob"), []domain.UserID{"bob"})
	equal(f.t, "nobody is named", f.mates("ann"), []domain.UserID{})
	at := f.now()
	f.update(func(tx ports.Tx) error { return tx.SawUsers([]domain.UserID{"bob"}, at) })
	f.view(func(r ports.Reader) error {
		got, err := r.RoomMates("ann", []domain.UserID{"bob"})
		equalList(f.t, "the room mate", got, []domain.User{{ID: "bob", LastSeen: at}})
		return err
	})
}

// busy gives users many rooms that they are in alone.
func (f *fixture) busy(users ...domain.UserID) {
	f.t.Helper()
	const many = 120
	f.update(func(tx ports.Tx) error {
		for i := range many * len(users) {
			if _, err := tx.CreateRoom(f.newRoom(domain.RoomGroup, users[i%len(users)])); err != nil {
				return err
			}
		}
		return nil
	})
}

func everyRoomMateOnce(f *fixture) {
	users := make([]domain.UserID, domain.MaxPresenceUsers)
	for i := range users {
		users[i] = domain.UserID(fmt.Sprintf("user %02d", i))
	}
	for range 3 {
		f.group(users...)
	}
	want := slices.Sorted(slices.Values(users))
	equal(f.t, "room mates", f.mates(users[7], users...), want)
	equal(f.t, "users", f.mates("", users...), want)
}

func smallRoomsByTheCount(f *fixture) {
	one, two, three := f.group("ann"), f.group("ann", "bob"), f.group("ann", "bob", "cid")
	left, gone := f.group("bob", "ann"), f.group("ann", "dan")
	f.removeMember(left.ID, "ann")
	f.removeRoom(gone.ID)
	check := func(user domain.UserID, atMost int, want ...domain.RoomID) {
		f.t.Helper()
		equalList(f.t, fmt.Sprintf("rooms of %s with at most %d", user, atMost), f.smallRooms(user, atMost), sorted(want))
	}
	check("ann", 0)
	check("ann", 1, one.ID)
	check("ann", 2, one.ID, two.ID)
	check("ann", 3, one.ID, two.ID, three.ID)
	check("bob", 1, left.ID)
	check("dan", 9)
	check("nobody", 9)
	f.removeMember(three.ID, "cid")
	f.addMember(one.ID, "cid", domain.RoleMember)
	f.reopen()
	check("ann", 2, one.ID, two.ID, three.ID)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		if _, err := tx.AddMember(two.ID, "cid", domain.RoleMember, at); err != nil {
			return err
		}
		got, err := tx.SmallRooms("ann", 2)
		equalList(f.t, "small rooms within an update", sorted(got), sorted([]domain.RoomID{one.ID, three.ID}))
		return err
	})
}

func userWritesAreReadWithin(f *fixture) {
	room := f.group("ann", "bob")
	at := f.now()
	write := func(tx ports.Tx) error {
		err := errors.Join(
			tx.PutUser(domain.User{ID: "ann", Name: ptr("Ann")}), tx.PutUser(domain.User{ID: "ghost", Name: ptr("Boo")}),
			tx.SawUsers([]domain.UserID{"ann", "ghost"}, at))
		if err != nil {
			return err
		}
		got, err := tx.RoomMates("", []domain.UserID{"ann", "ghost"})
		equalList(f.t, "users within the update", byID(got), []domain.User{
			{ID: "ann", Name: ptr("Ann"), LastSeen: at}, {ID: "ghost", Name: ptr("Boo"), LastSeen: at},
		})
		if err != nil {
			return err
		}
		user, err := tx.User("ghost")
		equal(f.t, "User within the update", user, domain.User{ID: "ghost", Name: ptr("Boo"), LastSeen: at})
		return err
	}
	f.unchanged(room.ID, func() {
		err := f.tryUpdate(func(tx ports.Tx) error { return errors.Join(write(tx), errSentinel) })
		wantError(f.t, "an update that fails", err, errSentinel)
	})
	f.update(write)
	got, _ := f.userNow("ghost")
	equal(f.t, "User", got, domain.User{ID: "ghost", Name: ptr("Boo"), LastSeen: at})
}
