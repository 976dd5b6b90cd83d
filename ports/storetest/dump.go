package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// everyKey is the Idempotency-Key that writeEverything keeps and dump looks for.
var everyKey = [32]byte{'e', 'v', 'e', 'r', 'y'}

// everyLetter is a dead letter, and everyJob a job, of the same ids in every tenant.
var everyLetter = domain.DeadLetterID{'e', 'v', 'e', 'r', 'y', 15: 1}

func everyJob(room domain.RoomID, at time.Time) domain.Job {
	return domain.Job{ID: domain.JobID(everyLetter), Lane: domain.LaneWebhook, Room: room, Due: at, CreatedAt: at}
}

// everyNotification and everySubscription are of the same ids in every tenant too.
var (
	everyNotification = domain.NotificationID(everyLetter)
	everySubscription = domain.SubscriptionID(everyLetter)
)

// notifyEverything makes a notification that is not expanded yet and that ann has, and subscribes her.
func notifyEverything(tx ports.Tx, room domain.RoomID, at time.Time) error {
	n := domain.Notification{ID: everyNotification, Topic: "every", Payload: []byte(`{"every":1}`), CreatedAt: at}
	_, _, err := tx.AddSubscription(domain.Subscription{ID: everySubscription, User: "ann", Topic: "every", CreatedAt: at})
	return errors.Join(err, tx.AddNotification(n, domain.Targets{Users: []domain.UserID{"bob"}, Room: room}),
		tx.AddRecipient(everyNotification, "ann"))
}

// writeEverything writes with every writing method of a Tx: it makes a room, and in another one removes bob, adds a
// ghost, changes ann, raises her marks, changes what was said, and then removes it.
func writeEverything(tx ports.Tx, room domain.RoomID, made domain.Room, members []domain.Member, at time.Time) error {
	_, err := tx.CreateRoom(made, members)
	errs := []error{err}
	_, err = tx.AddMember(room, "ghost", domain.RoleMember, at)
	errs = append(errs, err)
	_, err = tx.RemoveMember(room, "bob", at)
	errs = append(errs, err)
	_, err = tx.SetRole(room, "ann", domain.RoleMember, at)
	errs = append(errs, err)
	_, err = tx.RaiseMark(room, "ann", "phone", domain.Mark{DeliveredSeq: 1, DeliveredRev: 2})
	errs = append(errs, err, tx.SeeDevice("ann", "phone", 1, at))
	_, err = tx.RaiseRead(room, "ann", 1)
	errs = append(errs, err, tx.PutUser(domain.User{ID: "ann", Name: ptr("Ann"), Metadata: []byte(`{}`)}))
	errs = append(errs, tx.PutUser(domain.User{ID: "ghost", AvatarURL: ptr("https://ghost.example")}))
	errs = append(errs, tx.SawUsers([]domain.UserID{"ann", "bob"}, at), changeMessages(tx, room, at))
	key := domain.Idempotency{User: "ann", Key: everyKey}
	errs = append(errs, tx.KeepIdempotency(key, 201, "resource", at))
	errs = append(errs, tx.Enqueue(everyJob(room, at)), tx.AddDeadLetter(domain.DeadLetter{ID: everyLetter, Job: everyJob(room, at), At: at}))
	errs = append(errs, notifyEverything(tx, room, at))
	_, err = tx.Expand(everyNotification, page)
	errs = append(errs, err)
	_, err = tx.SettleNotice("ann", everyNotification)
	errs = append(errs, err, tx.RemoveSubscription(everySubscription), botsOfEverything(tx, room, at))
	_, err = tx.UpdateRoom(domain.Room{ID: room, Name: ptr("ghosts"), Metadata: []byte(`{"g":1}`)}, at)
	return errors.Join(append(errs, err, tx.RemoveRoom(room, at))...)
}

// changeMessages edits and deletes every message of a room.
func changeMessages(tx ports.Tx, room domain.RoomID, at time.Time) error {
	messages, err := readHistory(tx, room)
	for _, m := range messages {
		m.Content, m.EditedAt = "ghost "+m.Content, at
		if _, editErr := tx.EditMessage(m); editErr != nil {
			return editErr
		}
		if _, err = tx.DeleteMessage(m.Tombstone(at)); err != nil {
			return err
		}
	}
	return err
}

// dump is everything a tenant's readers tell, one line a row, with these users' own rows.
func (f *fixture) dump(users ...domain.UserID) []string {
	f.t.Helper()
	var lines []string
	f.view(func(r ports.Reader) error {
		d := dumper{r: r}
		d.rooms()
		for _, user := range users {
			d.user(user, f.now())
		}
		letters, err := r.DeadLetters(false, page)
		d.errs = append(d.errs, err)
		for _, letter := range letters {
			d.line("dead letter", letter)
		}
		d.notifications()
		d.bots()
		lines = d.lines
		return errors.Join(d.errs...)
	})
	return lines
}

// dumper collects lines and errors of one view.
type dumper struct {
	r     ports.Reader
	lines []string
	errs  []error
}

func (d *dumper) line(what string, v any) { d.lines = append(d.lines, what+" "+show(v)) }

func (d *dumper) notifications() {
	n, err := d.r.Notification(everyNotification)
	if !errors.Is(err, domain.ErrNoNotification) {
		d.errs = append(d.errs, err)
	}
	d.line("notification", n)
	last, err := d.r.LastNotice()
	d.errs = append(d.errs, err)
	d.line("last notice", last)
	subscriptions, err := d.r.Subscriptions(nil, 0, page)
	d.errs = append(d.errs, err)
	for _, s := range subscriptions {
		d.line("subscription", s)
	}
}

func (d *dumper) rooms() {
	for offset := 0; ; offset += page {
		list, err := d.r.Rooms(domain.RoomQuery{Offset: offset, Limit: page})
		d.errs = append(d.errs, err)
		for _, s := range list {
			d.line("room", s)
			d.room(s.ID)
		}
		if len(list) < page {
			return
		}
	}
}

func (d *dumper) room(id domain.RoomID) {
	members, err := d.r.Members(id, 0, page)
	d.errs = append(d.errs, err)
	for _, m := range members {
		d.line("member", m)
	}
	messages, err := readHistory(d.r, id)
	d.errs = append(d.errs, err)
	for _, m := range messages {
		d.line("message", m)
	}
	events, err := readLog(d.r, id)
	d.errs = append(d.errs, err)
	for _, e := range events {
		d.line("event", e)
	}
	d.botsOf(id)
}

func (d *dumper) user(user domain.UserID, now time.Time) {
	for _, device := range []domain.DeviceID{"", "phone", "laptop"} {
		p, err := d.r.Places(user, device)
		d.errs = append(d.errs, err)
		d.line(fmt.Sprintf("places of %s at %q", user, device), p)
	}
	list, err := d.r.Rooms(domain.RoomQuery{User: user, Limit: page})
	d.errs = append(d.errs, err)
	for _, s := range list {
		d.line(fmt.Sprintf("unread of %s in %s:", user, s.ID), s.Unread)
	}
	small, err := d.r.SmallRooms(user, 2)
	d.errs = append(d.errs, err)
	d.line("small rooms of "+string(user), sorted(small))
	mates, err := d.r.RoomMates(user, everybody)
	d.errs = append(d.errs, err)
	d.line("room mates of "+string(user), byID(mates))
	profile, err := d.r.User(user)
	if !errors.Is(err, domain.ErrUserNotFound) {
		d.errs = append(d.errs, err)
	}
	d.line("profile of "+string(user), profile)
	notices, err := d.r.Notices(user, 0, page)
	d.errs = append(d.errs, err)
	d.line("notices of "+string(user), notices)
	kept, err := d.r.Idempotency(user, everyKey, now)
	d.errs = append(d.errs, err)
	d.line("idempotency of "+string(user), kept)
}
