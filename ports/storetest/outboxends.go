package storetest

import (
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var outboxEndContracts = []contract{
	{"a deleted tenant's jobs are handed out no more, and go with it", deletedTenantsJobs},
	{"a tenant made under a deleted one's id has none of its jobs", newTenantHasNoJobs},
	{"a removed room's jobs are handed out until they are purged with it", removedRoomsJobs},
	{"a purge takes jobs and dead letters in steps, and no other's", purgeOfCalls},
}

func deletedTenantsJobs(f *fixture) {
	gone := f.newTenant("gone")
	gone.newly(0, 0, time.Hour)
	held := f.claim()
	gone.newly(0)
	gone.keepLetters(*gone.newLetter(held[0].Job))
	own := f.newly(time.Minute)
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	for range 2 {
		equal(f.t, "how long to wait", f.next(), time.Minute)
		equal(f.t, "what waits", f.stats(), ports.OutboxStats{Waiting: 1})
		lost := f.settle(ports.Settlement{Claim: held[0]}, ports.Settlement{Claim: held[1], Dead: gone.newLetter(held[1].Job)})
		equalList(f.t, "claims lost", lost, jobIDs(held))
		f.reopen()
		f.purge()
	}
	f.times.pass(2 * time.Hour)
	equalList(f.t, "jobs", jobIDs(f.claim()), idsOf(own))
}

func newTenantHasNoJobs(f *fixture) {
	gone := f.newTenant("gone")
	gone.newly(0)
	held := f.theOnly()
	gone.newly(0)
	gone.keepLetters(*gone.newLetter(held.Job))
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	again := domain.Tenant{ID: gone.tenant, Name: "again", CreatedAt: f.now()}
	equal(f.t, "CreateTenant", f.db.CreateTenant(f.t.Context(), again), nil)
	for range 2 {
		f.isEmpty("of the new tenant")
		equalList(f.t, "its dead letters", gone.letters(), nil)
		equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: held, Dead: gone.newLetter(held.Job)}), []domain.JobID{held.ID})
		f.purge()
	}
}

// called gives a room a message with a job, another job and a dead letter.
func (f *fixture) called(room domain.RoomID) {
	f.t.Helper()
	if _, err := f.trySend(room, f.newCall("ann", domain.Draft{Content: "hello"}), nil); err != nil {
		f.t.Fatal(err)
	}
	job := f.newJob(0)
	job.Room = room
	f.enqueue(job)
	f.keepLetters(*f.newLetter(job))
}

func removedRoomsJobs(f *fixture) {
	gone, kept := f.group("ann", "bob"), f.group("ann", "bob")
	f.called(gone.ID)
	f.removeRoom(gone.ID)
	f.times.pass(time.Minute)
	claims := f.claim()
	equal(f.t, "jobs of the removed room", len(claims), 2)
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claims[0], Again: &claims[0].Job}), nil)
	f.called(kept.ID)
	f.times.pass(time.Minute)
	f.purge()
	equal(f.t, "dead letters", len(f.letters()), 1)
	got := f.claim()
	equal(f.t, "jobs after the purge", len(got), 2)
	for _, c := range got {
		equal(f.t, "the job's room", c.Room, kept.ID)
	}
	equalList(f.t, "claims lost after the purge", f.settle(ports.Settlement{Claim: claims[1]}), []domain.JobID{claims[1].ID})
	f.done(got...)
}

func purgeOfCalls(f *fixture) {
	const each = 650
	other := f.newTenant("second")
	kept, gone := f.group("ann", "bob"), f.group("ann", "bob")
	f.called(kept.ID)
	f.update(func(tx ports.Tx) error {
		for range each {
			job := f.newJob(0)
			job.Room = gone.ID
			if err := tx.Enqueue(job); err != nil {
				return err
			}
			if err := tx.AddDeadLetter(*f.newLetter(job)); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range each {
		if i%10 == 0 {
			job := other.newJob(0)
			job.Room = gone.ID // an id that is not the tenant's own
			other.enqueue(job)
			other.keepLetters(*other.newLetter(job))
		}
	}
	letters, others := f.letters()[each:], other.letters()
	f.removeRoom(gone.ID)
	if steps := f.purge(); steps < 2*each/500 {
		f.t.Errorf("%d jobs and as many dead letters were purged in %d steps of at most 500", each, steps)
	}
	equalList(f.t, "dead letters that are left", f.letters(), letters)
	equalList(f.t, "the other tenant's", other.letters(), others)
	equal(f.t, "jobs that are left", f.stats().Waiting, 2+each/10)
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), other.tenant, f.now()), nil)
	f.purge()
	f.times.pass(time.Minute)
	equal(f.t, "jobs in the end", fmt.Sprint(byTenant(f.claim())), fmt.Sprint(map[domain.TenantID]int{f.tenant: 2}))
	equalList(f.t, "dead letters in the end", f.letters(), letters)
}
