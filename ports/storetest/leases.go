package storetest

import (
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var leaseContracts = []contract{
	{"a job whose lease is lost is given to another, with a new fence", lostLeaseIsGivenOn},
	{"a stale holder cannot settle", staleHolderCannotSettle},
	{"a stale claim among others keeps none of them from being settled", staleAmongOthers},
	{"a claim whose lease has passed settles while nobody else has the job", lateSettleOfOwnJob},
	{"a claim settles once", settlesOnce},
	{"parallel settlements of one claim are kept once", parallelSettlements},
	{"a job that goes on comes again when it is due, as it was settled", againComesWhenDue},
	{"a call that was given up is a dead letter and no job", deadIsALetter},
	{"a call that was given up may leave a job that goes on", deadAndAgain},
	{"a settlement that fails leaves everything", failedSettlement},
	{"jobs in hand are handed out again after a restart, when their lease has passed at the latest", jobsOutliveARestart},
}

func lostLeaseIsGivenOn(f *fixture) {
	job := f.newly(0)[0]
	first := f.theOnly()
	f.times.pass(lease - time.Millisecond)
	equal(f.t, "how long the lease goes on", f.next(), time.Millisecond)
	f.times.pass(time.Millisecond)
	second := f.theOnly()
	equal(f.t, "the job claimed again", second.Job, job)
	if second.Fence == first.Fence {
		f.t.Errorf("both claims have the fence %d", first.Fence)
	}
	f.done(second)
	f.isEmpty("once it is settled")
}

// settlementsOf are all ways to settle a claim.
func (f *fixture) settlementsOf(c ports.Claim) []ports.Settlement {
	again := c.Job
	again.Due = again.Due.Add(time.Hour)
	return []ports.Settlement{
		{Claim: c}, {Claim: c, Again: &again}, {Claim: c, Dead: f.newLetter(c.Job)},
		{Claim: c, Again: &again, Dead: f.newLetter(c.Job)},
	}
}

func staleHolderCannotSettle(f *fixture) {
	job := f.newly(0)[0]
	stale := f.theOnly()
	f.times.pass(lease)
	holder := f.theOnly()
	for range 2 {
		for _, s := range f.settlementsOf(stale) {
			equalList(f.t, "claims lost", f.settle(s), []domain.JobID{job.ID})
		}
		equalList(f.t, "dead letters", f.letters(), nil)
		equal(f.t, "how long the other's lease goes on", f.next(), lease)
		equal(f.t, "what waits", f.stats(), ports.OutboxStats{Waiting: 1})
	}
	f.done(holder)
	for _, s := range f.settlementsOf(stale) {
		equalList(f.t, "claims lost once it is done", f.settle(s), []domain.JobID{job.ID})
	}
	f.enqueue(job)
	f.theOnly()
	for _, s := range append(f.settlementsOf(stale), f.settlementsOf(holder)...) {
		equalList(f.t, "claims lost when another job has the id", f.settle(s), []domain.JobID{job.ID})
	}
	equalList(f.t, "dead letters in the end", f.letters(), nil)
}

func staleAmongOthers(f *fixture) {
	other := f.newTenant("second")
	f.newly(0)
	stale := f.theOnly()
	f.times.pass(lease)
	again, dead, done, theirs := f.newJob(0), f.newJob(0), f.newJob(0), other.newJob(0)
	f.enqueue(again, dead, done)
	other.enqueue(theirs)
	held := map[domain.JobID]ports.Claim{}
	for _, c := range f.claim() {
		held[c.ID] = c
	}
	later := again
	later.Due, later.Step = later.Due.Add(time.Hour), 1
	letter := f.newLetter(dead)
	lost := f.settle(
		ports.Settlement{Claim: held[done.ID]}, ports.Settlement{Claim: stale},
		ports.Settlement{Claim: held[again.ID], Again: &later}, ports.Settlement{Claim: held[dead.ID], Dead: letter},
		ports.Settlement{Claim: held[theirs.ID]},
	)
	equalList(f.t, "claims lost", lost, []domain.JobID{stale.ID})
	f.done(held[stale.ID])
	f.reopen()
	equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{*letter})
	f.times.pass(time.Hour)
	equal(f.t, "the job that goes on", f.theOnly().Job, later)
	equal(f.t, "what waits", f.stats().Waiting, 1)
}

func lateSettleOfOwnJob(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	f.times.pass(24 * time.Hour)
	f.done(claim)
	f.isEmpty("once it is settled")
}

func settlesOnce(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	for i, s := range []ports.Settlement{{Claim: claim, Again: &claim.Job}, {Claim: claim}} {
		equal(f.t, "claims lost", len(f.settle(s, s)), i+1)
	}
	f.done(f.theOnly())
	equalList(f.t, "claims lost of none", f.settle(), nil)
}

func parallelSettlements(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	var kept atomic.Int64
	parallel(f.t, writers, func(int) error {
		s := ports.Settlement{Claim: claim, Dead: f.newLetter(claim.Job)}
		lost, err := f.db.Settle(f.t.Context(), []ports.Settlement{s})
		if err == nil && len(lost) == 0 {
			kept.Add(1)
		}
		return err
	})
	equal(f.t, "settlements kept", kept.Load(), 1)
	equal(f.t, "dead letters", len(f.letters()), 1)
	f.isEmpty("in the end")
}

func againComesWhenDue(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	want := claim.Job
	want.Step, want.From, want.Through, want.Attempts = 3, "from", "through 🦊", 2
	want.LastAttemptAt, want.LastError = f.times.Now(), "http 503"
	want.Due = f.times.Now().Add(30 * time.Second)
	settled := want
	settled.Event, settled.Room, settled.Message, settled.Lane = domain.JobID{}, domain.RoomID{}, domain.MessageID{}, "elsewhere"
	settled.Notification, settled.Subscription = domain.NotificationID{1}, domain.SubscriptionID{1}
	settled.CreatedAt, settled.Once = time.Time{}, true
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claim, Again: &settled}), nil)
	equal(f.t, "how long to wait", f.next(), 30*time.Second)
	f.reopen()
	f.times.pass(30*time.Second - time.Millisecond)
	equal(f.t, "how long to wait at last", f.next(), time.Millisecond)
	f.times.pass(time.Millisecond)
	claim = f.theOnly()
	equal(f.t, "the job", claim.Job, want)
	want.Step, want.From, want.Through, want.Attempts, want.LastAttemptAt, want.LastError = 0, "", "", 0, time.Time{}, ""
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claim, Again: &want}), nil)
	equal(f.t, "the job from the beginning", f.theOnly().Job, want)
}

func deadIsALetter(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	letter := f.newLetter(claim.Job)
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claim, Dead: letter}), nil)
	for range 2 {
		equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{*letter})
		f.isEmpty("once it is given up")
		f.reopen()
	}
}

func deadAndAgain(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	letter, next := f.newLetter(claim.Job), claim.Job
	next.Step, next.From, next.Attempts = 1, "place", 0
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claim, Again: &next, Dead: letter}), nil)
	f.reopen()
	equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{*letter})
	equal(f.t, "the job", f.theOnly().Job, next)
}

// failedSettlement settles with a dead letter that cannot be stored: its id is taken.
func failedSettlement(f *fixture) {
	jobs := f.newly(0, 0)
	claims := f.claim()
	letter := f.newLetter(jobs[0])
	f.keepLetters(*letter)
	_, err := f.db.Settle(f.t.Context(), []ports.Settlement{{Claim: claims[0]}, {Claim: claims[1], Dead: letter}})
	if err == nil {
		f.t.Error("Settle has stored two dead letters of one id")
	}
	equal(f.t, "what waits", f.stats(), ports.OutboxStats{Waiting: 2})
	equal(f.t, "how long the leases go on", f.next(), lease)
	f.done(claims...)
	equalList(f.t, "dead letters", f.letters(), []domain.DeadLetter{*letter})
}

func jobsOutliveARestart(f *fixture) {
	other := f.newTenant("second")
	jobs := append(f.newly(-time.Second, 0, time.Hour), other.newly(0)...)
	stale := f.claim()
	equal(f.t, "jobs claimed", len(stale), 3)
	f.reopen()
	f.times.pass(lease)
	claims := f.claim()
	equal(f.t, "jobs claimed again", sameIDs(jobIDs(claims), []domain.JobID{jobs[0].ID, jobs[1].ID, jobs[3].ID}), true)
	for _, c := range stale {
		equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: c}), []domain.JobID{c.ID})
	}
	f.done(claims...)
	equal(f.t, "how long until the last", f.next(), time.Hour-lease)
}
