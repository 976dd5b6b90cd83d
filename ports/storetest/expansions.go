package storetest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var expansionContracts = []contract{
	{"every target is dealt with once, by as many calls as it takes", everyTargetOnce},
	{"a notification that is done, or of no tenant's, is done with nothing", doneWithNothing},
	{"bots and those who have left are passed over", botsArePassedOver},
	{"members are those of the time when it was made", membersOfItsTime},
	{"a room that is gone in the middle has no members left", roomGoneInTheMiddle},
	{"a room of another tenant has no members", roomOfAnotherTenant},
	{"who is a target twice has it once, also acknowledged in between", twiceATarget},
	{"subscribers with an endpoint are handed to the caller", endpointsAreHandedOver},
	{"a topic is taken literally", topicIsLiteral},
	{"a step that is rolled back is taken again", stepTakenAgain},
	{"what is not done is found after a restart, oldest first", unexpandedIsFound},
	{"parallel calls deal with each target once", parallelExpansion},
	{"a room of 10,000 is dealt with by steps of 500", largeRoomBySteps},
}

// expansion is what all calls for a notification have done together.
type expansion struct {
	calls      int
	recipients int
	endpoints  []domain.Subscription
	total      int
}

// expandAll calls until it is done. No call may deal with more than it was asked for, nor its total be any but the sum.
func (f *fixture) expandAll(id domain.NotificationID, limit int) (all expansion) {
	f.t.Helper()
	for {
		step := f.expand(id, limit)
		all.calls++
		all.recipients += step.Recipients
		all.endpoints = append(all.endpoints, step.Endpoints...)
		if step.Recipients+len(step.Endpoints) > limit {
			f.t.Fatalf("a call for %d targets has done %s", limit, show(step))
		}
		equal(f.t, "the total so far", step.Total, all.recipients+len(all.endpoints))
		if all.total = step.Total; step.Done {
			return all
		}
		if all.calls > 10_000 {
			f.t.Fatal("the expansion does not come to an end")
		}
	}
}

func (w *world) unexpanded(limit int) []ports.TenantNotification {
	w.t.Helper()
	left, err := w.db.Unexpanded(w.t.Context(), w.times.Now().Add(time.Minute), limit)
	if err != nil {
		w.t.Fatalf("Unexpanded: %v", err)
	}
	return left
}

// holders counts how often each user was told of a notification.
func (f *fixture) holders(id domain.NotificationID) map[domain.UserID]int {
	had := map[domain.UserID]int{}
	for _, e := range f.commits.notices(f.tenant) {
		if e.Notice.ID == id {
			for _, user := range e.Users {
				had[user]++
			}
		}
	}
	return had
}

// haveIt fails the case unless these users, and no others, have become recipients of a notification, each once, and each
// has it.
func (f *fixture) haveIt(n domain.Notification, want ...domain.UserID) {
	f.t.Helper()
	once := map[domain.UserID]int{}
	for _, user := range want {
		once[user] = 1
		if !slices.Contains(ofNotices(f.notices(user)), n.ID) {
			f.t.Errorf("%s does not have the notification", user)
		}
	}
	if got := f.holders(n.ID); !maps.Equal(got, once) {
		f.t.Errorf("told of the notification were %v, want %v", got, once)
	}
}

func everyTargetOnce(f *fixture) {
	var members, named, want []domain.UserID
	for i := range 40 {
		members = append(members, domain.UserID(fmt.Sprint("member ", i)))
	}
	for i := range 15 {
		named = append(named, domain.UserID(fmt.Sprint("named ", i)))
	}
	room := f.group(members...)
	named = append(named, members[7], members[39])
	subscribers := append(slices.Clone(members[20:25]), named[3], "subscriber 1", "subscriber 2", "ünï")
	for _, user := range subscribers {
		f.subscribe(user, "orders")
		f.subscribe(user, "other topic")
	}
	endpoints := []domain.Subscription{f.subscribeAt("", "orders", "https://a.example"), f.subscribeAt(members[0], "orders", "https://a.example")}
	want = slices.Concat(named, members, subscribers)
	slices.Sort(want)
	want = slices.Compact(want)
	for _, limit := range []int{1, 2, 7, 60, page} {
		n := f.addNotification(domain.Targets{Users: named, Room: room.ID, Subscribers: true})
		all := f.expandAll(n.ID, limit)
		equal(f.t, fmt.Sprintf("recipients, %d at a time", limit), all.recipients, len(want))
		equalList(f.t, "endpoints", all.endpoints, endpoints)
		equal(f.t, "the total", all.total, len(want)+2)
		f.haveIt(n, want...)
	}
}

func doneWithNothing(f *fixture) {
	n := f.addNotification(domain.Targets{Users: users("ann", "bob")})
	equal(f.t, "the step", f.expand(n.ID, page), ports.Expansion{Recipients: 2, Total: 2, Done: true})
	told, last := f.commits.total(), f.lastNotice()
	for range 2 {
		f.settleNotice("ann", n.ID)
		equal(f.t, "a further step", f.expand(n.ID, page), ports.Expansion{Total: 2, Done: true})
		equal(f.t, "a step of no notification", f.expand(domain.NotificationID(f.newUUID()), page), ports.Expansion{Done: true})
		equalList(f.t, "the notices of ann", f.notices("ann"), nil)
		f.reopen()
	}
	equal(f.t, "events told", f.commits.total(), told)
	equal(f.t, "the last notice", f.lastNotice(), last)
}

func botsArePassedOver(f *fixture) {
	room := f.group("ann", "bot_helper", "botany", "system", "System", "left", "back")
	f.removeMember(room.ID, "left")
	f.removeMember(room.ID, "back")
	f.addMember(room.ID, "back", domain.RoleMember)
	n := f.addNotification(domain.Targets{Room: room.ID})
	equal(f.t, "what was done", f.expandAll(n.ID, 2).total, 4)
	f.haveIt(n, "ann", "botany", "System", "back")
	equalList(f.t, "the notices of a bot", f.notices("bot_helper"), nil)
}

func membersOfItsTime(f *fixture) {
	f.group("late", "zoe") // they exist before
	room := f.group("ann", "bob", "cid")
	n := f.addNotification(domain.Targets{Room: room.ID})
	f.addMember(room.ID, "late", domain.RoleMember)
	f.removeMember(room.ID, "bob")
	f.setRole(room.ID, "cid", domain.RoleAdmin)
	f.expand(n.ID, 1)
	f.addMember(room.ID, "zoe", domain.RoleMember)
	f.expandAll(n.ID, page)
	f.haveIt(n, "ann", "bob", "cid")
	second := f.addNotification(domain.Targets{Room: room.ID})
	f.expandAll(second.ID, page)
	f.haveIt(second, "ann", "cid", "late", "zoe")
}

func roomGoneInTheMiddle(f *fixture) {
	room := f.group("ann", "bob", "cid", "dan")
	f.subscribe("eve", "orders")
	f.subscribe("dan", "orders")
	for i, gone := range []func(){func() { f.removeRoom(room.ID) }, func() {}, func() { f.purge() }} {
		n := f.addNotification(domain.Targets{Room: room.ID, Subscribers: true})
		begun := 0
		if i == 0 {
			begun = f.expand(n.ID, 2).Recipients
			equal(f.t, "recipients of the first step", begun, 2)
		}
		gone()
		f.expandAllFrom(begun, n.ID)
		had := f.holders(n.ID)
		equal(f.t, "who is told as a subscriber", [2]int{had["eve"], had["dan"]}, [2]int{1, 1})
		delete(had, "eve")
		delete(had, "dan")
		if len(had) > begun {
			f.t.Errorf("members of a room that is gone are told: %v", had)
		}
	}
}

// expandAllFrom goes on until it is done with one that has so many recipients.
func (f *fixture) expandAllFrom(recipients int, id domain.NotificationID) {
	f.t.Helper()
	for range 100 {
		step := f.expand(id, 2)
		recipients += step.Recipients
		equal(f.t, "the total so far", step.Total, recipients)
		if step.Done {
			return
		}
	}
	f.t.Fatal("the expansion does not come to an end")
}

func roomOfAnotherTenant(f *fixture) {
	theirs := f.newTenant("second")
	room := theirs.group("ann", "bob")
	theirs.subscribe("ann", "orders")
	for _, id := range []domain.RoomID{room.ID, f.newRoomID()} {
		n := f.addNotification(domain.Targets{Users: users("zoe"), Room: id, Subscribers: true})
		equal(f.t, "what was done", f.expandAll(n.ID, page).total, 1)
		f.haveIt(n, "zoe")
	}
	_, known := f.userNow("ann")
	equal(f.t, "their member is known here", known, false)
	equal(f.t, "events told to them", len(theirs.commits.notices(theirs.tenant)), 0)
}

func twiceATarget(f *fixture) {
	room := f.group("ann", "bob", "cid")
	for _, user := range users("ann", "bob", "dan", "zoe") {
		f.subscribe(user, "orders")
	}
	n := f.addNotification(domain.Targets{Users: users("ann", "zoe"), Room: room.ID, Subscribers: true})
	steps := 0
	for done := false; !done; steps++ {
		done = f.expand(n.ID, 1).Done
		for _, user := range users("ann", "bob", "cid", "dan", "zoe") {
			f.settleNotice(user, n.ID)
		}
		if steps == 2 {
			f.reopen()
		}
	}
	equal(f.t, "told, and how often", f.holders(n.ID), map[domain.UserID]int{"ann": 1, "bob": 1, "cid": 1, "dan": 1, "zoe": 1})
	equal(f.t, "the total", f.expand(n.ID, 1).Total, 5)
	f.isHeld("when all have acknowledged", n, false)
}

func endpointsAreHandedOver(f *fixture) {
	for _, user := range users("ann", "bob") {
		f.subscribe(user, "news")
	}
	own := f.newSubscription("ann", "orders")
	own.Endpoint, own.Metadata = "https://hooks.example/x?y=1&z=<2>", []byte(`{"k":"v"}`)
	f.addSubscription(own)
	second := f.subscribeAt("ann", "orders", "https://second.example")
	gone := f.subscribeAt("bob", "orders", "https://gone.example")
	f.subscribeAt("bob", "news", "https://news.example")
	backend := f.subscribeAt("", "orders", own.Endpoint)
	equal(f.t, "RemoveSubscription", f.removeSubscription(gone.ID), nil)
	n := f.addNotification(domain.Targets{Users: users("bob"), Subscribers: true})
	all := f.expandAll(n.ID, 2)
	equalList(f.t, "endpoints", all.endpoints, []domain.Subscription{own, second, backend})
	equal(f.t, "the total", all.total, 4)
	f.haveIt(n, "bob")
	equalList(f.t, "the notices of a subscriber with an endpoint", f.notices("ann"), nil)
	both := f.addNotification(domain.Targets{Users: users("ann"), Subscribers: true})
	equal(f.t, "the total with one who is named too", f.expandAll(both.ID, page).total, 4)
	f.haveIt(both, "ann")
}

func topicIsLiteral(f *fixture) {
	topics := []string{"orders", "Orders", "orders ", "*", "order%", "e\u0301", "\u00e9", "orders\u200b"}
	for i, topic := range topics {
		f.subscribe(domain.UserID(fmt.Sprint("user ", i)), topic)
	}
	for i, topic := range topics {
		n := f.newNotification()
		n.Topic = topic
		f.update(func(tx ports.Tx) error { return tx.AddNotification(n, domain.Targets{Subscribers: true}) })
		f.expandAll(n.ID, page)
		f.haveIt(n, domain.UserID(fmt.Sprint("user ", i)))
	}
}

func stepTakenAgain(f *fixture) {
	room := f.group("ann", "bob", "cid", "dan", "eve")
	f.subscribe("fay", "orders")
	endpoint := f.subscribeAt("", "orders", "https://a.example")
	n := f.addNotification(domain.Targets{Users: users("zoe"), Room: room.ID, Subscribers: true})
	var all expansion
	for done := false; !done; all.calls++ {
		before, told := f.dump("ann", "bob"), f.commits.total()
		for _, x := range failures {
			got := endingOf(func() error {
				return f.tryUpdate(func(tx ports.Tx) error {
					if _, err := tx.Expand(n.ID, 2); err != nil {
						return err
					}
					return x.fail()
				})
			})
			if err := x.check(got); err != nil {
				f.t.Errorf("Update: %v", err)
			}
		}
		equal(f.t, "events told of steps that failed", f.commits.total(), told)
		equalList(f.t, "what they leave", f.dump("ann", "bob"), before)
		if all.calls == 1 {
			f.reopen()
		}
		step := f.expand(n.ID, 2)
		all.endpoints = append(all.endpoints, step.Endpoints...)
		all.total, done = step.Total, step.Done
	}
	equalList(f.t, "endpoints", all.endpoints, []domain.Subscription{endpoint})
	equal(f.t, "the total", all.total, 8)
	f.haveIt(n, "ann", "bob", "cid", "dan", "eve", "fay", "zoe")
}

func unexpandedIsFound(f *fixture) {
	other := f.newTenant("second")
	room := f.group("ann", "bob", "cid")
	late, early := f.newNotification(), other.newNotification()
	early.CreatedAt = late.CreatedAt.Add(-time.Hour)
	f.update(func(tx ports.Tx) error {
		return tx.AddNotification(late, domain.Targets{Users: users("zoe"), Room: room.ID})
	})
	other.update(func(tx ports.Tx) error { return tx.AddNotification(early, domain.Targets{Users: users("ann")}) })
	f.notify("ann") // done
	f.expand(late.ID, 2)
	want := []ports.TenantNotification{{Tenant: other.tenant, ID: early.ID}, {Tenant: f.tenant, ID: late.ID}}
	for range 2 {
		f.reopen()
		equalList(f.t, "what is left", f.unexpanded(page), want)
		equalList(f.t, "the first of it", f.unexpanded(1), want[:1])
		equalList(f.t, "none of it", f.unexpanded(0), nil)
		before, err := f.db.Unexpanded(f.t.Context(), late.CreatedAt, page)
		equal(f.t, "the error of Unexpanded", err, nil)
		equalList(f.t, "what was made before", before, want[:1])
	}
	equal(f.t, "the step for what is left", f.expand(late.ID, page), ports.Expansion{Recipients: 2, Total: 4, Done: true})
	f.haveIt(late, "ann", "bob", "cid", "zoe")
	equalList(f.t, "what is left then", f.unexpanded(page), want[:1])
	other.expandAll(early.ID, page)
	equalList(f.t, "what is left in the end", f.unexpanded(page), nil)
	closed := f.db
	f.reopen()
	_, err := closed.Unexpanded(f.t.Context(), f.times.Now(), page)
	wantError(f.t, "Unexpanded of a closed store", err, domain.ErrClosing)
}

func parallelExpansion(f *fixture) {
	var members []domain.UserID
	for i := range 60 {
		members = append(members, domain.UserID(fmt.Sprint("member ", i)))
	}
	room := f.group(members...)
	n := f.addNotification(domain.Targets{Room: room.ID})
	parallel(f.t, writers, func(w int) error {
		for {
			step, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (ports.Expansion, error) {
				return tx.Expand(n.ID, 1+w%4)
			})
			if err != nil || step.Done {
				return err
			}
		}
	})
	f.haveIt(n, members...)
}

func largeRoomBySteps(f *fixture) {
	const members, limit = 10_000, 500
	room := f.group("user 0")
	for from := 1; from < members; from += 1000 {
		at := f.now()
		f.update(func(tx ports.Tx) error {
			for i := from; i < min(from+1000, members); i++ {
				if _, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprint("user ", i)), domain.RoleMember, at); err != nil {
					return err
				}
			}
			return nil
		})
	}
	n := f.addNotification(domain.Targets{Users: users("user 17", "guest"), Room: room.ID})
	all := f.expandAll(n.ID, limit)
	equal(f.t, "recipients", all.recipients, members+1)
	if all.calls < members/limit || all.calls > members/limit+2 {
		f.t.Errorf("%d calls for %d recipients", all.calls, members)
	}
	had := f.holders(n.ID)
	equal(f.t, "users told", len(had), members+1)
	for user, times := range had {
		if times != 1 {
			f.t.Fatalf("%s was told %d times", user, times)
		}
	}
	equal(f.t, "the last notice", f.lastNotice(), int64(len(f.commits.notices(f.tenant))))
}
