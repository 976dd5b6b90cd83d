package storetest

import (
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var memberContracts = []contract{
	{"a new member joins at the room's position before the change", memberJoinsBefore},
	{"adding a member twice changes nothing and takes no rev", addingTwiceChangesNothing},
	{"a removed member has left at the removal's own rev", memberLeavesAtOwnRev},
	{"only active members can be removed or given a role", onlyActiveMembersChange},
	{"a member added again joins anew", memberJoinsAnew},
	{"a new role takes a rev, the same role none", roleTakesARev},
	{"members are listed by join time, then by order of joining", membersAreListedInOrder},
	{"the succession is the longest other member, and whether another is admin", successionLooksAtOthers},
	{"pages of members fit together", memberPagesFit},
	{"several changes of one update are as many steps of the log", manyChangesOfOneUpdate},
	{"many members at once are all there", manyMembers},
}

func memberJoinsBefore(f *fixture) {
	room := f.group("ann")
	f.sendMany(room.ID, "ann", 3)
	at := f.now()
	got := f.member("AddMember", func(tx ports.Tx) (domain.Member, error) {
		return tx.AddMember(room.ID, "bob", domain.RoleAdmin, at)
	})
	want := domain.Member{
		User: "bob", Role: domain.RoleAdmin, State: domain.Active, JoinedAt: at, JoinedSeq: 3, JoinedRev: 4,
	}
	equal(f.t, "AddMember", got, want)
	f.memberIs(room.ID, want)
	events := f.log(room.ID)
	equal(f.t, "the event", events[len(events)-1], domain.Event{
		Tenant: f.tenant, Room: room.ID, Rev: 5, Kind: domain.EventMemberAdded, At: at, Member: &want, Members: 2,
	})
	equal(f.t, "the event told", f.commits.of(room.ID)[4], events[len(events)-1])
	equal(f.t, "last_seq and last_rev", []int64{f.roomNow(room.ID).LastSeq, f.roomNow(room.ID).LastRev}, []int64{3, 5})
}

// memberIs fails the case unless a membership is want, wherever it can be read, before and after a restart.
func (f *fixture) memberIs(room domain.RoomID, want domain.Member) {
	f.t.Helper()
	for range 2 {
		equal(f.t, "Member", f.memberNow(room, want.User), want)
		f.access(room, want.User, &want)
		snap := f.snapshot(domain.Intent{Room: room, Sender: want.User})
		equal(f.t, "the membership in a send's snapshot", snap.Member, &want)
		listed := false
		for _, m := range f.membersNow(room) {
			if m.User == want.User {
				listed = true
				equal(f.t, "the membership in the list", m, want)
			}
		}
		equal(f.t, "listed", listed, want.State == domain.Active)
		f.reopen()
	}
}

func successionLooksAtOthers(f *fixture) {
	room := f.group("ann")
	succession := func(but domain.UserID) []any {
		f.t.Helper()
		var longest domain.UserID
		var admin bool
		f.view(func(r ports.Reader) (err error) {
			longest, admin, err = r.Succession(room.ID, but)
			return err
		})
		return []any{longest, admin}
	}
	equal(f.t, "alone, but ann", succession("ann"), []any{domain.UserID(""), false})
	f.addMember(room.ID, "bob", domain.RoleMember)
	f.addMember(room.ID, "cat", domain.RoleAdmin)
	equal(f.t, "but ann", succession("ann"), []any{domain.UserID("bob"), true})
	equal(f.t, "but cat", succession("cat"), []any{domain.UserID("ann"), true})
	equal(f.t, "but nobody", succession(""), []any{domain.UserID("ann"), true})
	equal(f.t, "but somebody unknown", succession("zoe"), []any{domain.UserID("ann"), true})
	for _, user := range []domain.UserID{"cat", "bob"} {
		f.member("RemoveMember", func(tx ports.Tx) (domain.Member, error) { return tx.RemoveMember(room.ID, user, f.now()) })
	}
	equal(f.t, "but ann again", succession("ann"), []any{domain.UserID(""), false})
	equal(f.t, "but one who has left", succession("bob"), []any{domain.UserID("ann"), true})
}

func addingTwiceChangesNothing(f *fixture) {
	room := f.group("ann", "bob")
	before := f.memberNow(room.ID, "bob")
	f.unchanged(room.ID, func() {
		equal(f.t, "AddMember of a member", f.addMember(room.ID, "bob", domain.RoleAdmin), before)
	})
	at := f.now()
	f.update(func(tx ports.Tx) error {
		first, err := tx.AddMember(room.ID, "cid", domain.RoleMember, at)
		if err != nil {
			return err
		}
		second, err := tx.AddMember(room.ID, "cid", domain.RoleAdmin, at.Add(time.Second))
		equal(f.t, "AddMember twice in one update", second, first)
		return err
	})
	equal(f.t, "last_rev", f.roomNow(room.ID).LastRev, int64(2))
	f.dense(room.ID)
}

func memberLeavesAtOwnRev(f *fixture) {
	room := f.group("ann", "bob")
	f.sendMany(room.ID, "ann", 2)
	want := f.memberNow(room.ID, "bob")
	got := f.removeMember(room.ID, "bob")
	want.State, want.LeftSeq, want.LeftRev = domain.Left, 2, 4
	equal(f.t, "RemoveMember", got, want)
	f.send(room.ID, "ann", "after")
	f.memberIs(room.ID, want)
	f.logEndsWith(room.ID, 4, domain.EventMemberRemoved, want)
}

// logEndsWith fails the case unless the change at a position is told as kind, with the membership as it is now.
func (f *fixture) logEndsWith(room domain.RoomID, rev int64, kind domain.EventKind, want domain.Member) {
	f.t.Helper()
	for name, events := range map[string][]domain.Event{"logged": f.log(room), "told": f.commits.of(room)} {
		got := events[rev-1]
		equal(f.t, "the kind "+name, got.Kind, kind)
		equal(f.t, "the member "+name, got.Member, &want)
	}
}

func onlyActiveMembersChange(f *fixture) {
	room := f.group("ann", "bob")
	f.removeMember(room.ID, "bob")
	at := f.now()
	f.unchanged(room.ID, func() {
		for _, user := range []domain.UserID{"bob", "eve", ""} {
			err := f.tryUpdate(func(tx ports.Tx) error {
				_, err := tx.RemoveMember(room.ID, user, at)
				wantError(f.t, fmt.Sprintf("RemoveMember of %q", user), err, domain.ErrMemberNotFound)
				_, err = tx.SetRole(room.ID, user, domain.RoleAdmin, at)
				wantError(f.t, fmt.Sprintf("SetRole of %q", user), err, domain.ErrMemberNotFound)
				return nil
			})
			equal(f.t, "the error of the update", err, nil)
		}
		f.view(func(r ports.Reader) error {
			_, err := r.Member(room.ID, "eve")
			wantError(f.t, "Member of a stranger", err, domain.ErrMemberNotFound)
			return nil
		})
	})
}

func memberJoinsAnew(f *fixture) {
	room := f.group("ann", "bob")
	f.setRole(room.ID, "bob", domain.RoleAdmin)
	f.removeMember(room.ID, "bob")
	f.sendMany(room.ID, "ann", 2)
	at := f.now()
	got := f.member("AddMember", func(tx ports.Tx) (domain.Member, error) {
		return tx.AddMember(room.ID, "bob", domain.RoleMember, at)
	})
	want := domain.Member{
		User: "bob", Role: domain.RoleMember, State: domain.Active, JoinedAt: at, JoinedSeq: 2, JoinedRev: 5,
	}
	equal(f.t, "AddMember of one who had left", got, want)
	f.memberIs(room.ID, want)
	f.logEndsWith(room.ID, 6, domain.EventMemberAdded, want)
	f.send(room.ID, "bob", "back again")
	f.dense(room.ID)
}

func roleTakesARev(f *fixture) {
	room := f.group("ann", "bob")
	want := f.memberNow(room.ID, "bob")
	want.Role = domain.RoleAdmin
	equal(f.t, "SetRole", f.setRole(room.ID, "bob", domain.RoleAdmin), want)
	f.memberIs(room.ID, want)
	f.logEndsWith(room.ID, 2, domain.EventMemberUpdated, want)
	f.unchanged(room.ID, func() {
		equal(f.t, "SetRole to the same", f.setRole(room.ID, "bob", domain.RoleAdmin), want)
	})
	want.Role = domain.RoleMember
	equal(f.t, "SetRole back", f.setRole(room.ID, "bob", domain.RoleMember), want)
	equal(f.t, "last_rev", f.roomNow(room.ID).LastRev, int64(3))
}

func membersAreListedInOrder(f *fixture) {
	room, members := f.newRoom(domain.RoomGroup, "zoe", "ann", "mia")
	f.create(room, members)
	early, late := members[0].JoinedAt.Add(-time.Hour), members[0].JoinedAt.Add(time.Hour)
	for _, x := range []struct {
		user domain.UserID
		at   time.Time
	}{{"yan", late}, {"bob", late}, {"xia", early}, {"cid", early}} {
		f.update(func(tx ports.Tx) error {
			_, err := tx.AddMember(room.ID, x.user, domain.RoleMember, x.at)
			return err
		})
	}
	want := []domain.UserID{"xia", "cid", "zoe", "ann", "mia", "yan", "bob"}
	equal(f.t, "users in order", usersOf(f.membersNow(room.ID)), want)
	f.update(func(tx ports.Tx) error {
		if _, err := tx.RemoveMember(room.ID, "zoe", late); err != nil {
			return err
		}
		_, err := tx.AddMember(room.ID, "zoe", domain.RoleMember, late)
		return err
	})
	want = []domain.UserID{"xia", "cid", "ann", "mia", "yan", "bob", "zoe"}
	equal(f.t, "users in order after one joined anew", usersOf(f.membersNow(room.ID)), want)
	f.reopen()
	equal(f.t, "users in order after a restart", usersOf(f.membersNow(room.ID)), want)
}

func memberPagesFit(f *fixture) {
	var users []domain.UserID
	for i := range 7 {
		users = append(users, domain.UserID(fmt.Sprint("user ", 9-i)))
	}
	room := f.group(users...)
	f.view(func(r ports.Reader) error {
		for offset := 0; offset <= 9; offset += 3 {
			got, err := r.Members(room.ID, offset, 3)
			if err != nil {
				return err
			}
			from, to := min(offset, len(users)), min(offset+3, len(users))
			equalList(f.t, fmt.Sprintf("members from %d", offset), usersOf(got), users[from:to])
		}
		return nil
	})
}

func manyChangesOfOneUpdate(f *fixture) {
	room := f.group("ann")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for i := range 10 {
			user := domain.UserID(fmt.Sprint("user ", i))
			if _, err := tx.AddMember(room.ID, user, domain.RoleMember, at); err != nil {
				return err
			}
			if _, err := tx.SetRole(room.ID, user, domain.RoleAdmin, at); err != nil {
				return err
			}
			if left, err := tx.RemoveMember(room.ID, user, at); err != nil || left.LeftRev != int64(4+3*i) {
				return fmt.Errorf("RemoveMember %d: %s, %w", i, show(left), err)
			}
		}
		return nil
	})
	_, events := f.dense(room.ID)
	equal(f.t, "events", len(events), 31)
	equal(f.t, "members left", usersOf(f.membersNow(room.ID)), []domain.UserID{"ann"})
}

func manyMembers(f *fixture) {
	users := make([]domain.UserID, domain.MaxRoomMembersAtOnce)
	for i := range users {
		users[i] = domain.UserID(fmt.Sprintf("user %d", (i*37)%100))
	}
	room := f.group(users...)
	equal(f.t, "users of the room", usersOf(f.membersNow(room.ID)), users)
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for i := range 90 {
			if _, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprintf("late %d", i)), domain.RoleMember, at); err != nil {
				return err
			}
		}
		return nil
	})
	equal(f.t, "members", len(f.membersNow(room.ID)), 190)
	f.dense(room.ID)
}
