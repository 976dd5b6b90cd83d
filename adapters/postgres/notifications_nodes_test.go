package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestNodesThatExpandANotificationTogetherReachEachTargetOnce(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	const named, members = 50, 60
	var users, people []domain.UserID
	for i := range members {
		people = append(people, domain.UserID(fmt.Sprint("member", i)))
	}
	for i := range named {
		users = append(users, domain.UserID(fmt.Sprint("named", i)))
	}
	room := n.room(people...)
	note := domain.Notification{ID: domain.NotificationID(fresh()), Topic: "orders", Payload: []byte(`{"n":1}`), CreatedAt: n.clock.Now()}
	subscribed := map[domain.SubscriptionID]int{}
	n.update(0, func(tx ports.Tx) error {
		for i := range 10 {
			s := domain.Subscription{ID: domain.SubscriptionID(fresh()), Topic: "orders", Endpoint: fmt.Sprint("https://a.example/", i), CreatedAt: note.CreatedAt}
			subscribed[s.ID] = 0
			if _, _, err := tx.AddSubscription(s); err != nil {
				return err
			}
		}
		return tx.AddNotification(note, domain.Targets{Users: users, Room: room.ID, Subscribers: true})
	})
	var mu sync.Mutex
	reached, total := 0, 0
	n.each(func(_ int, s *postgres.Store) error {
		for done := false; !done; {
			next, err := ports.Update(t.Context(), s, n.tenant, func(tx ports.Tx) (ports.Expansion, error) { return tx.Expand(note.ID, 7) })
			if err != nil {
				return err
			}
			mu.Lock()
			reached += next.Recipients
			for _, e := range next.Endpoints {
				subscribed[e.ID]++
			}
			total = max(total, next.Total)
			mu.Unlock()
			done = next.Done
		}
		return nil
	})
	if reached != named+members || total != named+members+10 {
		t.Errorf("%d users were reached, %d in all; want %d and %d", reached, total, named+members, named+members+10)
	}
	for id, times := range subscribed {
		if times != 1 {
			t.Errorf("endpoint %s was reached %d times", id, times)
		}
	}
	for _, user := range slices.Concat(users, people) {
		n.view(1, func(r ports.Reader) error {
			waiting, err := r.Notices(user, 0, 10)
			if len(waiting) != 1 {
				t.Errorf("%s has %d notices, want one", user, len(waiting))
			}
			return err
		})
	}
}

// TestPlacesOfNoticesBecomeVisibleInTheirOrder has nodes make recipients while others look: what was not there at a place up
// to the last never comes.
func TestPlacesOfNoticesBecomeVisibleInTheirOrder(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 3)
	const rounds = 40
	var writers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	notify := func(s *postgres.Store) error {
		note := domain.Notification{ID: domain.NotificationID(fresh()), Topic: "t", Payload: []byte(`{}`), CreatedAt: n.clock.Now()}
		return s.Update(t.Context(), n.tenant, func(tx ports.Tx) error {
			if err := tx.AddNotification(note, domain.Targets{Users: []domain.UserID{"ann", "bob"}}); err != nil {
				return err
			}
			_, err := tx.Expand(note.ID, 10)
			return err
		})
	}
	for range 2 {
		for _, s := range n.stores[:2] {
			writers.Go(func() {
				for range rounds {
					if err := notify(s); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	go func() {
		writers.Wait()
		cancel()
	}()
	known := map[int64]bool{}
	var last int64
	for looking := true; looking; {
		looking = ctx.Err() == nil
		var visible []domain.Notice
		var place int64
		n.view(2, func(r ports.Reader) (err error) {
			if place, err = r.LastNotice(); err != nil {
				return err
			}
			visible, err = r.Notices("ann", 0, 10*rounds)
			return err
		})
		now := map[int64]bool{}
		for _, notice := range visible {
			if now[notice.Place] = true; notice.Place > place {
				t.Errorf("a notice has the place %d, and the last is %d", notice.Place, place)
			}
			if notice.Place <= last && !known[notice.Place] {
				t.Errorf("the notice at %d became visible after the last had been %d", notice.Place, last)
			}
		}
		maps.Copy(known, now)
		last = place
	}
	if len(known) != 4*rounds {
		t.Errorf("%d notices were seen, want %d", len(known), 4*rounds)
	}
}

func TestThePayloadIsGoneHoweverTheLastWhoWaitEndTogether(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	users := []domain.UserID{"ann", "bob"}
	for range 30 {
		note := domain.Notification{ID: domain.NotificationID(fresh()), Topic: "t", Payload: []byte(`{"n":1}`), CreatedAt: n.clock.Now()}
		n.update(0, func(tx ports.Tx) error {
			if err := tx.AddNotification(note, domain.Targets{Users: users}); err != nil {
				return err
			}
			_, err := tx.Expand(note.ID, 10)
			return err
		})
		var settled sync.WaitGroup // both end their units of work when neither waits, and none of that is committed
		settled.Add(2)
		var first [2]sync.Once
		errs := n.atOnce(func(node int, tx ports.Tx) error {
			_, err := tx.SettleNotice(users[node], note.ID)
			first[node].Do(settled.Done)
			settled.Wait()
			return err
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		n.view(0, func(r ports.Reader) error {
			found, err := r.Notification(note.ID)
			if found.Payload != nil {
				t.Errorf("nobody waits for it, and the payload is %s", found.Payload)
			}
			return err
		})
	}
}

func TestADeadLetterIsTakenOnceAndARunHasOne(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	for range 15 {
		room := domain.RoomID(fresh())
		n.each(func(node int, s *postgres.Store) error {
			run := domain.DeadLetter{
				ID: domain.DeadLetterID(fresh()), Job: domain.Job{ID: domain.JobID(fresh()), Lane: domain.LaneSocket, Room: room},
				User: "bob", FromSeq: int64(10 - node), ToSeq: int64(10 + node), Attempts: 5, At: n.clock.Now(), Error: "not acknowledged",
			}
			return s.Update(t.Context(), n.tenant, func(tx ports.Tx) error { return tx.GrowDeadLetter(run) })
		})
		var letters []domain.DeadLetter
		n.view(0, func(r ports.Reader) (err error) {
			letters, err = r.DeadLetters(false, 10)
			return err
		})
		if len(letters) != 1 || letters[0].FromSeq != 7 || letters[0].ToSeq != 13 {
			t.Fatalf("the letters of one run are %+v, want one of 7 to 13", letters)
		}
		var taken atomic.Int64
		n.each(func(_ int, s *postgres.Store) error {
			err := s.Update(t.Context(), n.tenant, func(tx ports.Tx) error {
				_, err := tx.TakeDeadLetter(letters[0].ID)
				return err
			})
			if errors.Is(err, domain.ErrLetterNotFound) {
				return nil
			}
			taken.Add(1)
			return err
		})
		if taken.Load() != 1 {
			t.Errorf("a dead letter was taken %d times", taken.Load())
		}
	}
}
