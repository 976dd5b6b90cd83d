package storetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var deadLetterListContracts = []contract{
	{"dead letters of notifications and of messages are two lists", twoLists},
	{"a dead letter of a notification tells its topic", letterTellsTopic},
	{"of a tenant's dead letters the newest 10,000 are kept, of both lists together", newestAreKept},
	{"dead letters of 30 days are purged, in steps, and no others", oldLettersArePurged},
	{"a run of messages grows the dead letter of its user and room", runGrows},
	{"runs of other users, rooms and tenants are dead letters of their own", otherRunsAreApart},
	{"a dead letter that has grown is the newest", grownIsNewest},
	{"a dead letter that was taken grows no more", takenGrowsNoMore},
	{"parallel runs of one user and room are one dead letter", parallelRuns},
	{"a run that is rolled back has grown nothing", rolledBackRun},
	{"a notification keeps its payload as long as a job or a dead letter holds it", payloadIsHeld},
	{"a dead letter may be replayed or moved within one unit of work without losing its payload", payloadOutlivesAMove},
}

// bothLists are all dead letters of messages and of notifications.
func (f *fixture) bothLists() (messages, notifications []domain.DeadLetter) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		var err2 error
		messages, err = r.DeadLetters(false, 2*domain.DeadLettersKept)
		notifications, err2 = r.DeadLetters(true, 2*domain.DeadLettersKept)
		return errors.Join(err, err2)
	})
	return messages, notifications
}

// newTold is a dead letter of a notification that there need not be.
func (f *fixture) newTold() domain.DeadLetter {
	letter := f.newLetter(domain.Job{Lane: domain.LaneNotification, Notification: domain.NotificationID(f.newUUID()), Due: f.now(), CreatedAt: f.now()})
	letter.FromSeq, letter.ToSeq = 0, 0
	return *letter
}

func twoLists(f *fixture) {
	var messages, notifications []domain.DeadLetter
	for i := range 12 {
		letter := *f.newLetter(f.newJob(0))
		if i%3 == 0 {
			letter = f.newTold()
		}
		f.keepLetters(letter)
		if letter.IsNotification() {
			notifications = slices.Insert(notifications, 0, letter)
		} else {
			messages = slices.Insert(messages, 0, letter)
		}
	}
	for range 2 {
		f.view(func(r ports.Reader) error {
			for _, limit := range []int{0, 1, 4, page} {
				got, err := r.DeadLetters(false, limit)
				equalList(f.t, "of messages", got, messages[:min(limit, len(messages))])
				told, err2 := r.DeadLetters(true, limit)
				equalList(f.t, "of notifications", told, notifications[:min(limit, len(notifications))])
				if err := errors.Join(err, err2); err != nil {
					return err
				}
			}
			return nil
		})
		f.reopen()
	}
}

// tellsOf makes a notification to a user, who acknowledges it when a job of it is there.
func (f *fixture) tellsOf(topic string) (domain.Notification, domain.Job) {
	f.t.Helper()
	n := domain.Notification{ID: domain.NotificationID(f.newUUID()), Topic: topic, Payload: []byte(`{"a":1}`), CreatedAt: f.times.Now()}
	job := domain.NotificationJob(domain.JobID(f.newUUID()), n, domain.Subscription{ID: domain.SubscriptionID(f.newUUID())})
	f.update(func(tx ports.Tx) error {
		err := tx.AddNotification(n, domain.Targets{Users: []domain.UserID{"ann"}})
		for done := false; err == nil && !done; {
			var step ports.Expansion
			step, err = tx.Expand(n.ID, page)
			done = step.Done
		}
		_, err2 := tx.SettleNotice("ann", n.ID)
		return errors.Join(err, err2, tx.Enqueue(job))
	})
	return n, job
}

func letterTellsTopic(f *fixture) {
	const topic = "it's \"100%\" 🦊"
	_, job := f.tellsOf(topic)
	letter, unknown := *f.newLetter(job), f.newTold()
	letter.Topic = "of no matter"
	f.keepLetters(letter, unknown)
	letter.Topic = topic
	for range 2 {
		_, got := f.bothLists()
		equalList(f.t, "dead letters", got, []domain.DeadLetter{unknown, letter})
		f.reopen()
	}
	got, err := f.take(letter.ID)
	equal(f.t, "the error of TakeDeadLetter", err, nil)
	equal(f.t, "the letter taken", got, letter)
}

func newestAreKept(f *fixture) {
	const few, more = 20, 7
	other := f.newTenant("second")
	theirs := *other.newLetter(other.newJob(0))
	other.keepLetters(theirs)
	var all []domain.DeadLetter
	for range domain.DeadLettersKept/1000 + 1 {
		batch := make([]domain.DeadLetter, 1000)
		for i := range batch {
			if batch[i] = f.newTold(); i%5 > 0 {
				batch[i] = *f.newLetter(f.newJob(0))
			}
		}
		f.keepLetters(batch...)
		all = append(all, batch...)
	}
	f.areKept("when there were more", all[len(all)-domain.DeadLettersKept:])
	f.grow(f.newRun("ann", domain.RoomID(f.newUUID()), 1, 2)) // of messages that are in their room goes first
	f.areKept("when a run came", all[len(all)-domain.DeadLettersKept:])
	for _, letter := range all[len(all)-few:] {
		if _, err := f.take(letter.ID); err != nil {
			f.t.Fatal(err)
		}
	}
	all = all[:len(all)-few]
	for range few + more {
		letter := f.newTold()
		f.keepLetters(letter)
		all = append(all, letter)
	}
	f.reopen()
	f.areKept("when some were taken and more came", all[len(all)-domain.DeadLettersKept:])
	equalList(f.t, "the other tenant's", other.letters(), []domain.DeadLetter{theirs})
}

// areKept compares both lists with want, which has the oldest first.
func (f *fixture) areKept(when string, want []domain.DeadLetter) {
	f.t.Helper()
	want = slices.Clone(want)
	slices.Reverse(want)
	messages, notifications := f.bothLists()
	equalList(f.t, "of messages "+when, messages, slices.DeleteFunc(slices.Clone(want), domain.DeadLetter.IsNotification))
	equalList(f.t, "of notifications "+when, notifications, slices.DeleteFunc(want, func(l domain.DeadLetter) bool { return !l.IsNotification() }))
}

func oldLettersArePurged(f *fixture) {
	const each = 300
	other := f.newTenant("second")
	var kept []domain.DeadLetter
	for i := range each {
		old, young := f.newTold(), *f.newLetter(f.newJob(0))
		old.At = f.times.Now().Add(-domain.DeadLetterMemory)
		young.At = old.At.Add(time.Millisecond)
		if i%2 == 0 {
			old.Job.Notification = domain.NotificationID{}
		}
		f.keepLetters(old, young)
		other.keepLetters(old)
		kept = append(kept, young)
	}
	if steps := f.purge(); steps < 2*each/500 {
		f.t.Errorf("%d dead letters were purged in %d steps of at most 500", 2*each, steps)
	}
	for range 2 {
		f.areKept("after a purge", kept)
		other.areKept("of the other tenant after a purge", nil)
		f.reopen()
	}
	f.times.pass(time.Millisecond)
	f.purge()
	f.areKept("in the end", nil)
}

// newRun is a run of messages that a user has not acknowledged.
func (f *fixture) newRun(user domain.UserID, room domain.RoomID, from, to int64) domain.DeadLetter {
	job := domain.Job{
		ID: domain.JobID(f.newUUID()), Event: domain.JobID(f.newUUID()), Lane: domain.LaneSocket, Room: room,
		Message: f.newMessageID(), Due: f.now(), CreatedAt: f.now(),
	}
	letter := f.newLetter(job)
	letter.User, letter.FromSeq, letter.ToSeq, letter.Error = user, from, to, domain.NotAcknowledged
	return *letter
}

func (f *fixture) grow(letters ...domain.DeadLetter) {
	f.t.Helper()
	f.update(func(tx ports.Tx) error {
		for _, letter := range letters {
			if err := tx.GrowDeadLetter(letter); err != nil {
				return err
			}
		}
		return nil
	})
}

func runGrows(f *fixture) {
	room := f.newRoomID()
	first := f.newRun("ann", room, 5, 9)
	f.grow(first)
	equalList(f.t, "the first run", f.letters(), []domain.DeadLetter{first})
	want := first
	for _, step := range []struct {
		from, to int64
		passes   time.Duration
	}{{10, 12, time.Second}, {2, 3, time.Second}, {4, 8, -time.Hour}, {1, 99, 2 * time.Hour}} {
		if step.passes > 0 {
			f.times.pass(step.passes)
		} else {
			f.times.turn(step.passes)
		}
		run := f.newRun("ann", room, step.from, step.to)
		run.Attempts, run.Error = int(step.to), "another cause"
		f.grow(run)
		want.FromSeq, want.ToSeq = min(want.FromSeq, step.from), max(want.ToSeq, step.to)
		want.Attempts, want.Error = run.Attempts, run.Error
		if run.At.After(want.At) {
			want.At = run.At
		}
		if run.LastAttemptAt.After(want.LastAttemptAt) {
			want.LastAttemptAt = run.LastAttemptAt
		}
		f.reopen()
		equalList(f.t, "the run that has grown", f.letters(), []domain.DeadLetter{want})
	}
	got, err := f.take(first.ID)
	equal(f.t, "the error of TakeDeadLetter", err, nil)
	equal(f.t, "the letter taken", got, want)
}

func otherRunsAreApart(f *fixture) {
	room := f.newRoomID()
	other := f.newTenant("second")
	called := *f.newLetter(f.newJob(0)) // the same user and room, of another lane
	called.Job.Lane, called.Job.Room, called.Job.Message, called.User = domain.LaneWebhook, room, f.newMessageID(), "ann"
	f.keepLetters(called)
	runs := []domain.DeadLetter{
		f.newRun("ann", room, 1, 2), f.newRun("Ann", room, 1, 2), f.newRun("ann", f.newRoomID(), 1, 2),
	}
	f.grow(runs...)
	theirs := other.newRun("ann", room, 3, 4)
	other.grow(theirs)
	equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{runs[2], runs[1], runs[0], called})
	equalList(f.t, "the other tenant's", other.letters(), []domain.DeadLetter{theirs})
}

func grownIsNewest(f *fixture) {
	room := f.newRoomID()
	run, later := f.newRun("ann", room, 1, 1), *f.newLetter(f.newJob(0))
	f.grow(run)
	f.keepLetters(later)
	more := f.newRun("ann", room, 2, 2)
	f.grow(more)
	run.ToSeq, run.At, run.LastAttemptAt = 2, more.At, more.LastAttemptAt
	equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{run, later})
}

func takenGrowsNoMore(f *fixture) {
	room := f.newRoomID()
	first := f.newRun("ann", room, 1, 5)
	f.grow(first)
	if _, err := f.take(first.ID); err != nil {
		f.t.Fatal(err)
	}
	second := f.newRun("ann", room, 3, 7)
	f.grow(second)
	equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{second})
}

func parallelRuns(f *fixture) {
	room := f.newRoomID()
	var seq atomic.Int64
	parallel(f.t, writers, func(int) error {
		for range 5 {
			n := seq.Add(1)
			run := f.newRun("ann", room, n, n)
			if err := f.tryUpdate(func(tx ports.Tx) error { return tx.GrowDeadLetter(run) }); err != nil {
				return err
			}
		}
		return nil
	})
	letters := f.letters()
	if len(letters) != 1 || letters[0].FromSeq != 1 || letters[0].ToSeq != seq.Load() {
		f.t.Errorf("%d runs of one message each are %s", seq.Load(), show(letters))
	}
}

func rolledBackRun(f *fixture) {
	room := f.newRoomID()
	kept := f.newRun("ann", room, 3, 4)
	f.grow(kept)
	for _, x := range failures {
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				return errors.Join(tx.GrowDeadLetter(f.newRun("ann", room, 1, 9)), tx.GrowDeadLetter(f.newRun("bob", room, 1, 9)), x.fail())
			})
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
		equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{kept})
		f.reopen()
	}
}

// holds says whether a notification still has its payload.
func (f *fixture) holds(when string, n domain.Notification, want bool) {
	f.t.Helper()
	f.view(func(r ports.Reader) error {
		got, err := r.Notification(n.ID)
		equal(f.t, "the notification has its payload "+when, got.Payload != nil, want)
		return err
	})
}

func payloadIsHeld(f *fixture) {
	f.about = domain.LaneNotification
	n, job := f.tellsOf("topic")
	f.holds("while a job waits", n, true)
	claim := f.theOnly()
	again := claim.Job
	f.settle(ports.Settlement{Claim: claim, Again: &again})
	f.holds("when the job goes on", n, true)
	letters := []domain.DeadLetter{*f.newLetter(job), *f.newLetter(job)}
	f.settle(ports.Settlement{Claim: f.theOnly(), Dead: &letters[0]})
	f.keepLetters(letters[1])
	f.purge()
	f.holds("while there are dead letters", n, true)
	for i, letter := range letters {
		if _, err := f.take(letter.ID); err != nil {
			f.t.Fatal(err)
		}
		f.holds("when a dead letter was deleted", n, i == 0)
	}
	n, _ = f.tellsOf("topic")
	f.done(f.theOnly())
	f.holds("when the call was made", n, false)
	n, job = f.tellsOf("topic")
	old := f.newLetter(job)
	old.At = f.times.Now().Add(-domain.DeadLetterMemory)
	f.settle(ports.Settlement{Claim: f.theOnly(), Dead: old})
	f.holds("with an old dead letter", n, true)
	f.purge()
	f.holds("when that was purged", n, false)
	n, job = f.tellsOf("topic")
	f.settle(ports.Settlement{Claim: f.theOnly(), Dead: f.newLetter(job)})
	for range domain.DeadLettersKept / 1000 {
		f.holds("before it is displaced", n, true)
		batch := make([]domain.DeadLetter, 1000)
		for i := range batch {
			batch[i] = *f.newLetter(domain.Job{Lane: domain.LaneWebhook, Room: f.newRoomID(), Due: f.now(), CreatedAt: f.now()})
		}
		f.keepLetters(batch...)
	}
	f.holds("when newer ones have displaced it", n, false)
}

func payloadOutlivesAMove(f *fixture) {
	f.about = domain.LaneNotification
	n, job := f.tellsOf("topic")
	letter := f.newLetter(job)
	f.settle(ports.Settlement{Claim: f.theOnly(), Dead: letter})
	f.update(func(tx ports.Tx) error {
		taken, err := tx.TakeDeadLetter(letter.ID)
		return errors.Join(err, tx.Enqueue(taken.Job))
	})
	f.holds("when a dead letter was replayed", n, true)
	f.settle(ports.Settlement{Claim: f.theOnly(), Dead: letter})
	f.update(func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(letter.ID)
		return errors.Join(err, tx.AddRecipient(n.ID, "bob"))
	})
	f.holds("when its user has become a recipient again", n, true)
	f.update(func(tx ports.Tx) error {
		_, err := tx.SettleNotice("bob", n.ID)
		return errors.Join(err, tx.AddDeadLetter(*letter))
	})
	f.holds("when the recipient was given up", n, true)
	if _, err := f.take(letter.ID); err != nil {
		f.t.Fatal(err)
	}
	f.holds("in the end", n, false)
}
