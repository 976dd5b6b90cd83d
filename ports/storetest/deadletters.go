package storetest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var deadLetterContracts = []contract{
	{"a dead letter comes back whole, also after a restart", letterComesBack},
	{"dead letters are listed newest first, at most as many as asked for", lettersAreListed},
	{"a dead letter is taken once, by whoever comes first", letterIsTakenOnce},
	{"a dead letter and its replay are one unit of work", replayIsOneUnit},
	{"another tenant's dead letter is not found", foreignLetter},
	{"what a rolled back update does to dead letters is undone", rolledBackLetters},
	{"dead letters keep their order whatever the clock says", lettersKeepTheirOrder},
}

// newLetter is a dead letter of a job.
func (f *fixture) newLetter(job domain.Job) *domain.DeadLetter {
	return &domain.DeadLetter{
		ID: domain.DeadLetterID(f.newUUID()), Job: job, FromSeq: 1, ToSeq: 1, Attempts: 5, LastAttemptAt: f.now(), Error: "http 500", At: f.now(),
	}
}

func (f *fixture) keepLetters(letters ...domain.DeadLetter) {
	f.t.Helper()
	f.update(func(tx ports.Tx) error {
		for _, letter := range letters {
			if err := tx.AddDeadLetter(letter); err != nil {
				return err
			}
		}
		return nil
	})
}

// letters are all of the tenant's.
func (f *fixture) letters() []domain.DeadLetter {
	f.t.Helper()
	return f.lettersUpTo(domain.MaxDeadLetters)
}

func (f *fixture) lettersUpTo(limit int) (letters []domain.DeadLetter) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		letters, err = r.DeadLetters(f.lane() == domain.LaneNotification, limit)
		return err
	})
	return letters
}

func (f *fixture) take(id domain.DeadLetterID) (domain.DeadLetter, error) {
	return ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (domain.DeadLetter, error) { return tx.TakeDeadLetter(id) })
}

func letterComesBack(f *fixture) {
	job := f.newJob(3 * time.Millisecond)
	job.Step, job.From, job.Through, job.Attempts, job.Once = 90, awkward[7], "it's a \"place\" 100% 🦊", 4, true
	job.Subscription, job.LastAttemptAt, job.LastError = domain.SubscriptionID(f.newUUID()), f.now(), "it's http 500 🦊"
	full := domain.DeadLetter{
		ID: domain.DeadLetterID(f.newUUID()), Job: job, User: "Ærø's \"100%\" 🦊", FromSeq: 1 << 35, ToSeq: 1<<36 - 1, Attempts: 3,
		LastAttemptAt: time.Date(1970, 1, 1, 0, 0, 0, 1e6, time.UTC), Error: "connection timeout", At: job.CreatedAt.Add(-day),
	}
	job.ID, job.Event = domain.JobID(f.newUUID()), job.ID
	bare := domain.DeadLetter{
		ID: domain.DeadLetterID(f.newUUID()), Job: domain.Job{ID: job.ID, Due: job.Due, CreatedAt: job.CreatedAt}, At: job.CreatedAt,
	}
	f.keepLetters(full, bare)
	for range 2 {
		equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{bare, full})
		f.times.turn(-day)
		f.reopen()
	}
	for _, want := range []domain.DeadLetter{full, bare} {
		got, err := f.take(want.ID)
		equal(f.t, "the error of TakeDeadLetter", err, nil)
		equal(f.t, "the letter taken", got, want)
	}
	equalList(f.t, "dead letters in the end", f.letters(), nil)
}

func lettersAreListed(f *fixture) {
	const all = 70
	var want []domain.DeadLetter
	for range all {
		letter := *f.newLetter(f.newJob(0))
		f.keepLetters(letter)
		want = append([]domain.DeadLetter{letter}, want...)
	}
	f.newTenant("second").keepLetters(*f.newLetter(f.newJob(0)))
	for _, limit := range []int{1, domain.DefaultDeadLetters, all, domain.MaxDeadLetters} {
		equalList(f.t, "dead letters", f.lettersUpTo(limit), want[:min(limit, all)])
	}
	equalList(f.t, "no dead letters", f.lettersUpTo(0), nil)
	if _, err := f.take(want[1].ID); err != nil {
		f.t.Fatal(err)
	}
	equalList(f.t, "dead letters after one was taken", f.lettersUpTo(2), []domain.DeadLetter{want[0], want[2]})
}

func letterIsTakenOnce(f *fixture) {
	letter := *f.newLetter(f.newJob(0))
	f.keepLetters(letter)
	var taken atomic.Int64
	parallel(f.t, writers, func(int) error {
		_, err := f.take(letter.ID)
		if err == nil {
			taken.Add(1)
		}
		if errors.Is(err, domain.ErrLetterNotFound) {
			return nil
		}
		return err
	})
	equal(f.t, "how often it was taken", taken.Load(), 1)
	f.reopen()
	_, err := f.take(letter.ID)
	wantError(f.t, "TakeDeadLetter once more", err, domain.ErrLetterNotFound)
	_, err = f.take(domain.DeadLetterID(f.newUUID()))
	wantError(f.t, "TakeDeadLetter of none", err, domain.ErrLetterNotFound)
}

func replayIsOneUnit(f *fixture) {
	letter := *f.newLetter(f.newJob(0))
	f.keepLetters(letter)
	job := letter.Job
	job.Once = true
	for _, fail := range []error{errSentinel, nil} {
		err := f.tryUpdate(func(tx ports.Tx) error {
			taken, err := tx.TakeDeadLetter(letter.ID)
			equal(f.t, "the letter taken", taken, letter)
			_, again := tx.TakeDeadLetter(letter.ID)
			wantError(f.t, "TakeDeadLetter again within the update", again, domain.ErrLetterNotFound)
			return errors.Join(err, tx.Enqueue(job), fail)
		})
		if !errors.Is(err, fail) {
			f.t.Errorf("Update: %v, want %v", err, fail)
		}
		equal(f.t, "dead letters and jobs", [2]int{len(f.letters()), int(f.stats().Waiting)}, map[bool][2]int{true: {0, 1}, false: {1, 0}}[fail == nil])
	}
	equal(f.t, "the replay", f.theOnly().Job, job)
}

func foreignLetter(f *fixture) {
	letter := *f.newLetter(f.newJob(0))
	f.keepLetters(letter)
	other := f.newTenant("second")
	for _, id := range []domain.DeadLetterID{letter.ID, domain.DeadLetterID(f.newUUID())} {
		_, err := other.take(id)
		equal(f.t, "TakeDeadLetter", err, error(domain.ErrLetterNotFound))
	}
	equalList(f.t, "the other tenant's", other.letters(), nil)
	theirs := letter
	theirs.Error = "theirs"
	other.keepLetters(theirs)
	got, err := other.take(letter.ID)
	equal(f.t, "the error of TakeDeadLetter of the own", err, nil)
	equal(f.t, "the own", got, theirs)
	equalList(f.t, "the first tenant's", f.letters(), []domain.DeadLetter{letter})
}

func rolledBackLetters(f *fixture) {
	kept, added := *f.newLetter(f.newJob(0)), *f.newLetter(f.newJob(0))
	f.keepLetters(kept)
	for _, x := range failures {
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				_, err := tx.TakeDeadLetter(kept.ID)
				err = errors.Join(err, tx.AddDeadLetter(added))
				list, err2 := tx.DeadLetters(false, page)
				equalList(f.t, "dead letters within the update", list, []domain.DeadLetter{added})
				return errors.Join(err, err2, x.fail())
			})
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
		equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{kept})
		f.reopen()
	}
}

func lettersKeepTheirOrder(f *fixture) {
	var want []domain.DeadLetter
	for range 5 {
		letter := *f.newLetter(f.newJob(0))
		f.keepLetters(letter)
		want = append([]domain.DeadLetter{letter}, want...)
		f.times.turn(-day)
	}
	for range 2 {
		if _, err := f.take(want[0].ID); err != nil { // a number that is free is not given again
			f.t.Fatal(err)
		}
		letter := *f.newLetter(f.newJob(0))
		f.keepLetters(letter)
		want[0] = letter
		f.reopen()
		equalList(f.t, "dead letters", f.letters(), want)
	}
}
