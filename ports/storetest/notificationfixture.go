package storetest

import (
	"errors"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func (f *fixture) newNotification() domain.Notification {
	return domain.Notification{
		ID: domain.NotificationID(f.newUUID()), Topic: "orders", Payload: []byte(`{"order":17}`), CreatedAt: f.now(),
	}
}

// addNotification stores a new notification.
func (f *fixture) addNotification(targets domain.Targets) domain.Notification {
	f.t.Helper()
	n := f.newNotification()
	f.update(func(tx ports.Tx) error { return tx.AddNotification(n, targets) })
	return n
}

// notify stores a notification and expands it in the same update, as far as one call does.
func (f *fixture) notify(users ...domain.UserID) domain.Notification {
	f.t.Helper()
	n := f.newNotification()
	f.update(func(tx ports.Tx) error { return notifyIn(tx, n, users...) })
	return n
}

func notifyIn(tx ports.Tx, n domain.Notification, users ...domain.UserID) error {
	err := tx.AddNotification(n, domain.Targets{Users: users})
	_, err2 := tx.Expand(n.ID, page)
	return errors.Join(err, err2)
}

// expand is one call in an update of its own.
func (f *fixture) expand(id domain.NotificationID, limit int) ports.Expansion {
	f.t.Helper()
	step, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (ports.Expansion, error) {
		return tx.Expand(id, limit)
	})
	if err != nil {
		f.t.Fatalf("Expand: %v", err)
	}
	return step
}

func (f *fixture) notices(user domain.UserID) []domain.Notice {
	f.t.Helper()
	return f.noticesAfter(user, 0, 10*page)
}

func (f *fixture) noticesAfter(user domain.UserID, after int64, limit int) (found []domain.Notice) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		found, err = r.Notices(user, after, limit)
		return err
	})
	return found
}

func (f *fixture) lastNotice() (last int64) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		last, err = r.LastNotice()
		return err
	})
	return last
}

// settleNotice acknowledges for a user and says whether that ended anything.
func (f *fixture) settleNotice(user domain.UserID, id domain.NotificationID) bool {
	f.t.Helper()
	waiting, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (bool, error) { return tx.SettleNotice(user, id) })
	if err != nil {
		f.t.Fatalf("SettleNotice: %v", err)
	}
	return waiting
}

func (f *fixture) tryNotification(id domain.NotificationID) (n domain.Notification, err error) {
	return ports.View(f.t.Context(), f.db, f.tenant, func(r ports.Reader) (domain.Notification, error) { return r.Notification(id) })
}

// isHeld fails the case unless a notification is there as it was made, with its payload or without.
func (f *fixture) isHeld(what string, n domain.Notification, held bool) {
	f.t.Helper()
	if !held {
		n.Payload = nil
	}
	got, err := f.tryNotification(n.ID)
	if err != nil {
		f.t.Errorf("%s: Notification: %v", what, err)
	}
	equal(f.t, what, got, n)
}

// ofNotices are the ids of notices.
func ofNotices(list []domain.Notice) (ids []domain.NotificationID) {
	for _, n := range list {
		ids = append(ids, n.ID)
	}
	return ids
}

// tell is a job for a notification.
func (f *fixture) tell(n domain.Notification) domain.Job {
	id := domain.JobID(f.newUUID())
	now := f.times.Now()
	return domain.Job{
		ID: id, Event: id, Lane: domain.LaneNotification, Notification: n.ID, Subscription: domain.SubscriptionID(f.newUUID()), Due: now, CreatedAt: now,
	}
}

// toTell claims the only job of a notification.
func (f *fixture) toTell() ports.Claim {
	f.t.Helper()
	claims, _ := f.claimBy(ports.ClaimQuery{Lane: domain.LaneNotification})
	if len(claims) != 1 {
		f.t.Fatalf("%d jobs for notifications, want 1", len(claims))
	}
	return claims[0]
}
