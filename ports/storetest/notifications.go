package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var notificationContracts = []contract{
	{"a notification comes back whole, also after a restart", notificationComesBack},
	{"which notifications exist is told in the order of the question", knownNotifications},
	{"nobody has a notification before it is expanded", notExpandedIsNobodys},
	{"its recipients share a place and are told of by one event, before the caller is answered", oneEventOfAStep},
	{"an update sees its own notices", updateSeesItsNotices},
	{"what is rolled back is told to nobody and takes no place", rolledBackNotices},
	{"notices are read in the order of their places, in pages", noticesInPages},
	{"places only rise, also when all notices are gone and after a restart", placesOnlyRise},
	{"no lower place appears after a higher one has been read", placesAppearInOrder},
	{"an acknowledged notice is gone, and acknowledging it again is no error", acknowledgedOnce},
	{"a recipient made anew has it at a new place", recipientAnew},
	{"who has a notification unacknowledged is not told again", recipientAsIs},
	{"a payload is held while a recipient waits for it", payloadOfRecipients},
	{"a payload is held while a call is to be made", payloadOfCalls},
	{"a payload is held while a dead letter has it", payloadOfLetters},
	{"a payload is held until all targets are dealt with", payloadOfTargets},
	{"a payload stays when those who wait for it change within an update", payloadChangesHands},
	{"a rolled back acknowledgement clears no payload", rolledBackAck},
	{"tenants' places are their own", placesOfTenants},
	{"after 30 days a notification goes with all that hangs on it", oldNotificationGoes},
	{"a deleted tenant's notifications are gone, and are none of a tenant with its id", deletedTenantsNotifications},
}

func knownNotifications(f *fixture) {
	one, two := f.notify("ann"), f.notify("bob")
	var known []domain.NotificationID
	f.update(func(tx ports.Tx) (err error) {
		known, err = tx.KnownNotifications([]domain.NotificationID{two.ID, domain.NotificationID(f.newUUID()), one.ID, {}})
		return err
	})
	equalList(f.t, "those that exist", known, []domain.NotificationID{two.ID, one.ID})
}

func notificationComesBack(f *fixture) {
	n := f.newNotification()
	var made []domain.Notification
	for _, x := range []struct{ topic, payload string }{
		{"orders", `{}`},
		{strings.Repeat("🦊", domain.MaxTopic), `{"a":"` + strings.Repeat("x", domain.MaxObject-8) + `"}`},
		{`it's "quoted" 100% \ *`, `{ "b" : [1, 2, null], "ñ": "\u0000\ud83e\udd8a" }`},
	} {
		n.ID, n.Topic, n.Payload, n.CreatedAt = domain.NotificationID(f.newUUID()), x.topic, []byte(x.payload), f.now()
		f.update(func(tx ports.Tx) error { return notifyIn(tx, n, "ann", "ünï ✓") })
		made = append(made, n)
	}
	for range 2 {
		var want []domain.Notice
		for i, n := range made {
			f.isHeld("a notification", n, true)
			want = append(want, domain.Notice{Notification: n, Place: int64(i) + 1})
		}
		equalList(f.t, "the notices of ann", f.notices("ann"), want)
		equalList(f.t, "the notices of another", f.notices("ünï ✓"), want)
		equalList(f.t, "the notices of nobody", f.notices("nobody"), nil)
		_, err := f.tryNotification(domain.NotificationID(f.newUUID()))
		wantError(f.t, "Notification of no id", err, domain.ErrNoNotification)
		f.reopen()
	}
}

func notExpandedIsNobodys(f *fixture) {
	room := f.group("bob")
	n := f.addNotification(domain.Targets{Users: users("ann"), Room: room.ID})
	for range 2 {
		f.isHeld("the notification", n, true)
		equalList(f.t, "the notices of ann", f.notices("ann"), nil)
		equalList(f.t, "the notices of bob", f.notices("bob"), nil)
		equal(f.t, "the last notice", f.lastNotice(), int64(0))
		equal(f.t, "events told", len(f.commits.notices(f.tenant)), 0)
		f.reopen()
	}
}

func oneEventOfAStep(f *fixture) {
	n := f.addNotification(domain.Targets{Users: users("ann", "bob", "cid")})
	equal(f.t, "a step for two", f.expand(n.ID, 2), ports.Expansion{Recipients: 2, Total: 2})
	told := f.commits.notices(f.tenant)
	equal(f.t, "events told", len(told), 1)
	equal(f.t, "the rest", f.expand(n.ID, 2), ports.Expansion{Recipients: 1, Total: 3, Done: true})
	told = f.commits.notices(f.tenant)
	equal(f.t, "events told then", len(told), 2)
	had := map[domain.UserID]int{}
	for i, e := range told {
		notice := domain.Notice{Notification: n, Place: int64(i) + 1}
		equal(f.t, "the notice told", *e.Notice, notice)
		for _, user := range e.Users {
			had[user]++
			equalList(f.t, "the notices of "+string(user), f.notices(user), []domain.Notice{notice})
		}
	}
	equal(f.t, "those who are told", had, map[domain.UserID]int{"ann": 1, "bob": 1, "cid": 1})
	equal(f.t, "the last notice", f.lastNotice(), int64(2))
	f.expand(n.ID, 2)
	equal(f.t, "events told when nothing is left", len(f.commits.notices(f.tenant)), 2)
}

func updateSeesItsNotices(f *fixture) {
	n := f.newNotification()
	f.update(func(tx ports.Tx) error {
		err := notifyIn(tx, n, "ann", "bob")
		list, err2 := tx.Notices("ann", 0, page)
		equalList(f.t, "the notices of ann within the update", list, []domain.Notice{{Notification: n, Place: 1}})
		last, err3 := tx.LastNotice()
		equal(f.t, "the last notice", last, int64(1))
		_, err4 := tx.SettleNotice("ann", n.ID)
		list, err5 := tx.Notices("ann", 0, page)
		equalList(f.t, "the notices of ann once acknowledged", list, nil)
		user, err6 := tx.User("bob")
		equal(f.t, "a user by being named", user.ID, "bob")
		return errors.Join(err, err2, err3, err4, err5, err6)
	})
	equal(f.t, "those of bob", len(f.notices("bob")), 1)
}

func rolledBackNotices(f *fixture) {
	kept := f.notify("ann")
	n := f.addNotification(domain.Targets{Users: users("ann", "new")})
	before, told := f.dump("ann", "bob"), f.commits.total()
	for _, x := range failures {
		lost := f.newNotification()
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				_, err := tx.Expand(n.ID, page)
				_, err2 := tx.SettleNotice("ann", kept.ID)
				if err := errors.Join(err, err2, notifyIn(tx, lost, "ann", "bob"), tx.AddRecipient(kept.ID, "ann"), tx.AddRecipient(kept.ID, "bob")); err != nil {
					return fmt.Errorf("before the failure: %w", err)
				}
				return x.fail()
			})
		})
		if err := x.check(got); err != nil {
			f.t.Errorf("Update: %v", err)
		}
		_, err := f.tryNotification(lost.ID)
		wantError(f.t, "Notification of what was rolled back", err, domain.ErrNoNotification)
		_, known := f.userNow("new")
		equal(f.t, "a user who was named", known, false)
	}
	equal(f.t, "events told", f.commits.total(), told)
	equalList(f.t, "everything stored", f.dump("ann", "bob"), before)
	equal(f.t, "the step that was lost, again", f.expand(n.ID, page), ports.Expansion{Recipients: 2, Total: 2, Done: true})
	equal(f.t, "the last notice", f.lastNotice(), int64(2))
}

func noticesInPages(f *fixture) {
	const n = 25
	var all []domain.NotificationID
	for i := range n {
		made := f.notify("ann", domain.UserID(fmt.Sprint("other ", i)))
		if i%5 == 4 {
			f.settleNotice("ann", made.ID)
			continue
		}
		all = append(all, made.ID)
	}
	for _, limit := range []int{1, 3, 20, 100} {
		var got []domain.NotificationID
		for after := int64(0); ; {
			list := f.noticesAfter("ann", after, limit)
			if len(list) == 0 {
				break
			}
			if len(list) > limit {
				f.t.Fatalf("%d notices, asked for %d", len(list), limit)
			}
			for _, notice := range list {
				if notice.Place <= after {
					f.t.Fatalf("place %d comes after %d", notice.Place, after)
				}
				after = notice.Place
			}
			got = append(got, ofNotices(list)...)
		}
		equalList(f.t, fmt.Sprintf("notices by pages of %d", limit), got, all)
	}
	equalList(f.t, "a page of none", f.noticesAfter("ann", 0, 0), nil)
	equalList(f.t, "a page behind the end", f.noticesAfter("ann", f.lastNotice(), page), nil)
}

func placesOnlyRise(f *fixture) {
	for i := range int64(4) {
		n := f.notify("ann")
		equal(f.t, "the place", f.notices("ann")[0].Place, i+1)
		f.settleNotice("ann", n.ID)
		equal(f.t, "the last notice when all are gone", f.lastNotice(), i+1)
		f.reopen()
		equal(f.t, "and after a restart", f.lastNotice(), i+1)
	}
	f.times.pass(domain.NotificationMemory + time.Hour)
	f.purge()
	f.notify("ann")
	equal(f.t, "the place when the others are forgotten", f.notices("ann")[0].Place, int64(5))
}

// placesAppearInOrder has a reader look again and again while notifications are made and expanded in steps: what is new
// lies above what it has read to be the highest.
func placesAppearInOrder(f *fixture) {
	stop, watch := make(chan struct{}), make(chan error, 1)
	go func() { watch <- f.watchPlaces(stop) }()
	parallel(f.t, writers, func(w int) error {
		for i := range 12 {
			n := domain.Notification{ID: domain.NotificationID(f.newUUID()), Topic: "t", Payload: []byte(`{}`), CreatedAt: f.now()}
			if err := f.notifyInSteps(n, domain.UserID(fmt.Sprint("user ", w, i))); err != nil {
				return err
			}
		}
		return nil
	})
	close(stop)
	if err := <-watch; err != nil {
		f.t.Error(err)
	}
	equal(f.t, "notices of ann", len(f.notices("ann")), writers*12)
	events := f.commits.notices(f.tenant)
	for i, e := range events {
		if e.Notice.Place != int64(i)+1 {
			f.t.Fatalf("event %d tells of place %d", i, e.Notice.Place)
		}
	}
}

func (f *fixture) notifyInSteps(n domain.Notification, other domain.UserID) error {
	err := f.tryUpdate(func(tx ports.Tx) error { return tx.AddNotification(n, domain.Targets{Users: users(other, "ann")}) })
	for done := false; !done && err == nil; {
		err = f.tryUpdate(func(tx ports.Tx) error {
			step, err := tx.Expand(n.ID, 1)
			done = step.Done
			return err
		})
	}
	return err
}

func (f *fixture) watchPlaces(stop chan struct{}) error {
	seen, highest := map[int64]bool{}, int64(0)
	for ended := false; !ended; {
		select {
		case <-stop:
			ended = true
		default:
		}
		err := f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
			last, err := r.LastNotice()
			list, err2 := r.Notices("ann", 0, 10*page)
			for _, n := range list {
				if n.Place > last || !seen[n.Place] && n.Place <= highest {
					return fmt.Errorf("place %d has appeared: read to be the highest was %d, now %d", n.Place, highest, last)
				}
				seen[n.Place] = true
			}
			highest = last
			return errors.Join(err, err2)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func acknowledgedOnce(f *fixture) {
	n, other := f.notify("ann", "bob"), f.notify("ann")
	equal(f.t, "waiting of one who has none", f.settleNotice("cid", n.ID), false)
	equal(f.t, "waiting of a stranger", f.settleNotice("stranger", n.ID), false)
	_, known := f.userNow("stranger")
	equal(f.t, "a user by acknowledging", known, false)
	equal(f.t, "waiting", f.settleNotice("ann", n.ID), true)
	for range 2 {
		equal(f.t, "waiting again", f.settleNotice("ann", n.ID), false)
		equalList(f.t, "the notices of ann", ofNotices(f.notices("ann")), []domain.NotificationID{other.ID})
		equalList(f.t, "the notices of bob", ofNotices(f.notices("bob")), []domain.NotificationID{n.ID})
		f.reopen()
	}
	equal(f.t, "waiting of bob", f.settleNotice("bob", n.ID), true)
	equal(f.t, "waiting when it is settled for all", f.settleNotice("bob", n.ID), false)
	f.update(func(tx ports.Tx) error {
		_, err := tx.SettleNotice("ann", domain.NotificationID(f.newUUID()))
		wantError(f.t, "SettleNotice of no notification", err, domain.ErrNoNotification)
		return nil
	})
}

func recipientAnew(f *fixture) {
	n := f.notify("ann", "bob")
	later := f.notify("ann")
	f.settleNotice("ann", n.ID)
	add := func(user domain.UserID) {
		f.t.Helper()
		f.update(func(tx ports.Tx) error { return tx.AddRecipient(n.ID, user) })
	}
	add("ann")
	add("new")
	equalList(f.t, "the notices of ann", f.notices("ann"), []domain.Notice{{Notification: later, Place: 2}, {Notification: n, Place: 3}})
	equalList(f.t, "the notices of one who is new", f.notices("new"), []domain.Notice{{Notification: n, Place: 4}})
	told := f.commits.notices(f.tenant)[2:]
	equalList(f.t, "events told", told, []domain.Event{
		{Tenant: f.tenant, Kind: domain.EventNotification, Notice: &domain.Notice{Notification: n, Place: 3}, Users: users("ann")},
		{Tenant: f.tenant, Kind: domain.EventNotification, Notice: &domain.Notice{Notification: n, Place: 4}, Users: users("new")},
	})
	_, known := f.userNow("new")
	equal(f.t, "the user exists", known, true)
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "AddRecipient to no notification", tx.AddRecipient(domain.NotificationID(f.newUUID()), "ann"), domain.ErrNoNotification)
		return nil
	})
}

func recipientAsIs(f *fixture) {
	n := f.notify("ann")
	total := f.commits.total()
	f.update(func(tx ports.Tx) error { return tx.AddRecipient(n.ID, "ann") })
	equalList(f.t, "the notices of ann", f.notices("ann"), []domain.Notice{{Notification: n, Place: 1}})
	equal(f.t, "events told", f.commits.total(), total)
	late := f.addNotification(domain.Targets{Users: users("ann", "bob")})
	f.update(func(tx ports.Tx) error { return tx.AddRecipient(late.ID, "ann") })
	equal(f.t, "the step that finds ann with it", f.expand(late.ID, page), ports.Expansion{Recipients: 1, Total: 1, Done: true})
	equal(f.t, "the notices of ann then", len(f.notices("ann")), 2)
	empty := f.addNotification(domain.Targets{Users: users("ann")})
	f.update(func(tx ports.Tx) error { return tx.AddRecipient(empty.ID, "ann") })
	last := f.lastNotice()
	equal(f.t, "the step that finds nobody else", f.expand(empty.ID, page), ports.Expansion{Done: true})
	equal(f.t, "the last notice of a step without recipients", f.lastNotice(), last)
}

func rolledBackAck(f *fixture) {
	n := f.notify("ann")
	for _, x := range failures {
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				if _, err := tx.SettleNotice("ann", n.ID); err != nil {
					return err
				}
				return x.fail()
			})
		})
		if err := x.check(got); err != nil {
			f.t.Errorf("Update: %v", err)
		}
		f.isHeld("after an acknowledgement that failed", n, true)
		equalList(f.t, "the notices of ann", f.notices("ann"), []domain.Notice{{Notification: n, Place: 1}})
	}
	equal(f.t, "waiting", f.settleNotice("ann", n.ID), true)
}

func placesOfTenants(f *fixture) {
	other := f.newTenant("second")
	n, theirs := f.newNotification(), f.newNotification()
	theirs.ID = n.ID
	f.update(func(tx ports.Tx) error { return notifyIn(tx, n, "ann") })
	f.notify("ann")
	equal(f.t, "the other's last notice", other.lastNotice(), int64(0))
	other.update(func(tx ports.Tx) error { return notifyIn(tx, theirs, "ann") })
	equalList(f.t, "the other's notices", other.notices("ann"), []domain.Notice{{Notification: theirs, Place: 1}})
	other.settleNotice("ann", theirs.ID)
	other.isHeld("the other's, acknowledged", theirs, false)
	f.isHeld("the one of the same id", n, true)
	equal(f.t, "notices", len(f.notices("ann")), 2)
	equal(f.t, "the last notice", f.lastNotice(), int64(2))
}

func oldNotificationGoes(f *fixture) {
	old := f.notify("ann", "bob")
	unexpanded := f.addNotification(domain.Targets{Users: users("ann")})
	f.enqueue(f.tell(old))
	letter := f.newLetter(f.tell(old))
	f.keepLetters(*letter)
	f.times.pass(domain.NotificationMemory - time.Hour)
	kept := f.notify("ann")
	f.purge()
	f.isHeld("before its time", old, true)
	equal(f.t, "notices before that", len(f.notices("ann")), 2)
	f.times.pass(time.Hour + time.Minute)
	f.purge()
	for range 2 {
		for _, n := range []domain.Notification{old, unexpanded} {
			_, err := f.tryNotification(n.ID)
			wantError(f.t, "Notification of an old one", err, domain.ErrNoNotification)
		}
		equalList(f.t, "the notices of ann", ofNotices(f.notices("ann")), []domain.NotificationID{kept.ID})
		equalList(f.t, "the notices of bob", f.notices("bob"), nil)
		equalList(f.t, "what is left to be expanded", f.unexpanded(page), nil)
		_, err := f.take(letter.ID)
		wantError(f.t, "TakeDeadLetter of an old one's", err, domain.ErrLetterNotFound)
		claims, _ := f.claimBy(ports.ClaimQuery{Lane: domain.LaneNotification})
		equalList(f.t, "its calls", jobIDs(claims), nil)
		f.isHeld("the one that is not old", kept, true)
		f.reopen()
	}
	equal(f.t, "Expand of an old one", f.expand(unexpanded.ID, page), ports.Expansion{Done: true})
}

func deletedTenantsNotifications(f *fixture) {
	gone := f.newTenant("gone")
	n, unexpanded := gone.notify("ann"), gone.addNotification(domain.Targets{Users: users("ann")})
	gone.subscribe("ann", "orders")
	own := f.notify("ann")
	f.times.pass(time.Hour)
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	equalList(f.t, "what is left to be expanded", f.unexpanded(page), nil)
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), domain.Tenant{ID: gone.tenant, Name: "again", CreatedAt: f.now()}), nil)
	for range 2 {
		for _, id := range []domain.NotificationID{n.ID, unexpanded.ID} {
			_, err := gone.tryNotification(id)
			wantError(f.t, "Notification of the old tenant", err, domain.ErrNoNotification)
		}
		equalList(f.t, "the notices of ann", gone.notices("ann"), nil)
		equal(f.t, "the last notice", gone.lastNotice(), int64(0))
		equalList(f.t, "the subscriptions", gone.subscriptions(nil), nil)
		f.isHeld("the tenant's beside it", own, true)
		f.purge()
		f.reopen()
	}
	again := gone.notify("ann")
	equalList(f.t, "the notices of a new ann", gone.notices("ann"), []domain.Notice{{Notification: again, Place: 1}})
}
