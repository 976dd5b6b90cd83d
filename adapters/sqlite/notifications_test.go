package sqlite_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func newNotification() domain.Notification {
	return domain.Notification{ID: domain.NotificationID(uuid()), Topic: "orders", Payload: []byte(`{"n":1}`), CreatedAt: now}
}

func newSubscription(user domain.UserID, endpoint string) domain.Subscription {
	return domain.Subscription{ID: domain.SubscriptionID(uuid()), User: user, Topic: "orders", Endpoint: endpoint, CreatedAt: now}
}

// useNotifications makes the store prepare every statement about notifications, subscriptions and marks of devices.
func useNotifications(t *testing.T, s *sqlite.Store, room domain.RoomID) {
	t.Helper()
	n := newNotification()
	own, backends := newSubscription("alice", ""), newSubscription("", "https://a.example")
	user := domain.UserID("alice")
	reading := func(r ports.Reader) error {
		_, e1 := r.Notification(n.ID)
		_, e2 := r.Notices("alice", 0, 10)
		_, e3 := r.LastNotice()
		_, e4 := r.Subscription(backends.ID)
		_, e5 := r.Subscriptions(nil, 0, 10)
		_, e6 := r.Subscriptions(&user, 0, 10)
		_, e7 := r.Marks(room, []ports.UserDevice{{User: "alice", Device: "phone"}})
		return firstError(e1, e2, e3, e4, e5, e6, e7)
	}
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, _, e1 := tx.AddSubscription(own)
		_, _, e2 := tx.AddSubscription(own)
		_, _, e3 := tx.AddSubscription(backends)
		e4 := tx.AddNotification(n, domain.Targets{Users: []domain.UserID{"alice"}, Room: room, Subscribers: true})
		_, e5 := tx.Expand(n.ID, 1)
		_, e6 := tx.Expand(n.ID, 10)
		_, e7 := tx.SettleNotice("alice", n.ID)
		e8 := tx.AddRecipient(n.ID, "alice")
		return firstError(e1, e2, e3, e4, e5, e6, e7, e8, reading(tx), tx.RemoveSubscription(own.ID))
	})
	_, e1 := s.Unexpanded(t.Context(), now, 10)
	if err := firstError(err, e1, s.View(t.Context(), tenant, reading)); err != nil {
		t.Fatal(err)
	}
}

// TestStatementsOfNotificationsUseTheIndexMadeForThem names the ones that could walk along another one.
func TestStatementsOfNotificationsUseTheIndexMadeForThem(t *testing.T) {
	t.Parallel()
	plans := useEverything(t).Plans()
	for _, of := range []struct{ part, want string }{
		{"x.place > ? ORDER", "SEARCH x USING COVERING INDEX notices_user (user=? AND place>?)"},
		{"FROM expansions e CROSS", "SEARCH e USING INDEX expansions_created (created<?)"},
		{"s.topic = n.topic", "SEARCH s USING INDEX subscriptions_topic (tenant=? AND topic=? AND rowid>? AND rowid<?)"},
		{"s.user = ? ORDER", "SEARCH s USING INDEX subscriptions_user (tenant=? AND user=?)"},
		{"s.tenant = ? ORDER", "SEARCH s USING INDEX subscriptions_all (tenant=?)"},
		{"count(*) FROM subscriptions WHERE", "SEARCH subscriptions USING COVERING INDEX subscriptions_user (tenant=? AND user=?)"},
		{"count(*) FROM subscriptions INDEXED", "SEARCH subscriptions USING INDEX subscriptions_endpoints (tenant=?)"},
		{"SET body = NULL", "SEARCH o USING COVERING INDEX outbox_notification (tenant=? AND notification=?)"},
		{"SET body = NULL", "SEARCH d USING COVERING INDEX dead_letters_notification (tenant=? AND notification=?)"},
		{"k.device = j.value ->> 1", "SEARCH k USING PRIMARY KEY (user=? AND room=? AND device=?) LEFT-JOIN"},
		{"u.id = j.value ->> 0", "SEARCH u USING COVERING INDEX sqlite_autoindex_users_1 (tenant=? AND id=?)"},
		{"FROM notifications WHERE created <=", "SEARCH notifications USING INDEX notifications_created (created<?)"},
	} {
		found := false
		for query, plan := range plans {
			if !strings.Contains(query, of.part) {
				continue
			}
			if found = true; !slices.Contains(plan, of.want) {
				t.Errorf("%q goes by %q, want %q", query, plan, of.want)
			}
		}
		if !found {
			t.Errorf("no statement has %q", of.part)
		}
	}
}

func TestWhoSubscribesLaterIsNoTarget(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	n := newNotification()
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, _, e1 := tx.AddSubscription(newSubscription("alice", ""))
		e2 := tx.AddNotification(n, domain.Targets{Subscribers: true})
		_, _, e3 := tx.AddSubscription(newSubscription("bob", ""))
		_, _, e4 := tx.AddSubscription(newSubscription("", "https://a.example"))
		return firstError(e1, e2, e3, e4)
	})
	if err != nil {
		t.Fatal(err)
	}
	step, err := ports.Update(t.Context(), s, tenant, func(tx ports.Tx) (ports.Expansion, error) { return tx.Expand(n.ID, 10) })
	if err != nil || step.Total != 1 || !step.Done || len(step.Endpoints) > 0 {
		t.Errorf("the step has done %+v, %v", step, err)
	}
}

// TestPayloadsThatNobodyWaitsForAreGoneFromTheFile acknowledges some of them and lets the others grow old.
func TestPayloadsThatNobodyWaitsForAreGoneFromTheFile(t *testing.T) {
	t.Parallel()
	at := &clock{now}
	dsn := t.TempDir() + "/chat.db"
	e := &erasure{s: openStore(t, sqlite.Config{DSN: dsn, Clock: at}), dsn: dsn}
	makeTenant(t, e.s)
	for i := range 400 {
		mark := fmt.Sprintf("SECRET%05d", i)
		e.marks = append(e.marks, mark)
		n := newNotification()
		n.Payload = []byte(`{"a":"` + strings.Repeat(mark, 1+i*35/len(mark)) + `"}`)
		err := e.s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			e1 := tx.AddNotification(n, domain.Targets{Users: []domain.UserID{"alice", "bob"}})
			_, e2 := tx.Expand(n.ID, 10)
			return firstError(e1, e2)
		})
		if err != nil {
			t.Fatal(err)
		}
		if i%2 > 0 {
			continue
		}
		err = e.s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			_, e1 := tx.SettleNotice("alice", n.ID)
			_, e2 := tx.SettleNotice("bob", n.ID)
			return firstError(e1, e2)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	release := hold(t, e.s)
	at.now = now.Add(domain.NotificationMemory)
	release()
	if held := count(t, e.s, "SELECT count(*) FROM notifications WHERE body IS NOT NULL"); held != 200 {
		t.Errorf("%d payloads are held, want 200", held)
	}
	purgeAll(t, e.s)
	for _, table := range []string{"notifications", "notices", "expansions"} {
		if left := count(t, e.s, "SELECT count(*) FROM "+table); left != 0 {
			t.Errorf("%s has %d rows after the purge", table, left)
		}
	}
	e.check(t)
}

// TestPurgeOfNotificationsIsBounded has one with many recipients, some with calls and dead letters, and ones with long
// payloads, of a tenant that stays and of one that is deleted.
func TestPurgeOfNotificationsIsBounded(t *testing.T) {
	t.Parallel()
	for _, deleted := range []bool{false, true} {
		t.Run(fmt.Sprintf("deleted=%v", deleted), func(t *testing.T) {
			t.Parallel()
			at := &clock{now}
			s := openStore(t, sqlite.Config{Clock: at})
			makeTenant(t, s)
			crowd := makeCrowd(t, s, 1200)
			for i := range 40 {
				n := newNotification()
				n.Payload = []byte(`{"a":"` + strings.Repeat("x", i*400) + `"}`)
				targets := domain.Targets{Users: []domain.UserID{"alice"}}
				if i == 7 {
					targets.Room = crowd
				}
				addCalled(t, s, n, targets, i%5)
			}
			release := hold(t, s)
			if !deleted {
				at.now = now.Add(domain.NotificationMemory)
			}
			release()
			if deleted {
				if err := s.DeleteTenant(t.Context(), tenant, now); err != nil {
					t.Fatal(err)
				}
			}
			if steps := purgeAll(t, s); steps < 4 {
				t.Errorf("%d steps", steps)
			}
			for _, table := range []string{"notifications", "notices", "expansions", "outbox", "dead_letters"} {
				if left := count(t, s, "SELECT count(*) FROM "+table); left != 0 {
					t.Errorf("%s has %d rows after the purge", table, left)
				}
			}
			if left := count(t, s, "SELECT coalesce(sum(dead_letters), 0) FROM tenants"); left != 0 {
				t.Errorf("%d dead letters are counted", left)
			}
		})
	}
}

// addCalled makes a notification, with so many jobs and as many dead letters.
func addCalled(t *testing.T, s *sqlite.Store, n domain.Notification, targets domain.Targets, calls int) {
	t.Helper()
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		if err := tx.AddNotification(n, targets); err != nil {
			return err
		}
		for range calls {
			job := domain.NotificationJob(domain.JobID(uuid()), n, newSubscription("", "https://a.example"))
			letter := domain.DeadLetter{ID: domain.DeadLetterID(uuid()), Job: job, At: now.Add(time.Hour)}
			if err := firstError(tx.Enqueue(job), tx.AddDeadLetter(letter)); err != nil {
				return err
			}
		}
		_, err := tx.Expand(n.ID, 2000)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// makeCrowd makes a room of so many members.
func makeCrowd(tb testing.TB, s *sqlite.Store, members int) domain.RoomID {
	tb.Helper()
	room := makeRoom(tb, s, "alice")
	for from := 1; from < members; from += 1000 {
		err := s.Update(tb.Context(), tenant, func(tx ports.Tx) error {
			for i := from; i < min(from+1000, members); i++ {
				if _, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprint("user ", i)), domain.RoleMember, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return room.ID
}
