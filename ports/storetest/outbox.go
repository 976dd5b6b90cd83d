package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var outboxContracts = []contract{
	{"a lane's waiting jobs are counted, up to a limit, the tenant's alone", waitingJobs},
	{"a job comes back whole after a restart", jobComesBack},
	{"a job is invisible before its commit and after a rollback", jobIsInvisible},
	{"an id is in the outbox once, of a tenant", jobIDIsTakenOnce},
	{"a message's job is stored with it", jobIsStoredWithItsMessage},
	{"a duplicate has no second job", duplicateHasNoJob},
	{"a send that is refused or fails leaves no job", refusedSendLeavesNoJob},
	{"a send whose job's id is taken is refused as a whole", takenJobRefusesItsMessage},
	{"parallel sends have a job each", parallelSendsHaveAJobEach},
	{"a message in a large room has one job, and its members are read as many at a time as asked for", largeRoomHasOneJob},
}

// lease is that of the suite's claims.
const lease = 2 * time.Minute

// inLane has cases once more, about another lane.
func inLane(lane domain.Lane, contracts ...[]contract) (list []contract) {
	for _, c := range slices.Concat(contracts...) {
		list = append(list, contract{c.name, func(f *fixture) {
			f.about = lane
			c.test(f)
		}})
	}
	return list
}

// lane is the one that the case is about.
func (w *world) lane() domain.Lane { return cmp.Or(w.about, domain.LaneWebhook) }

// newJob is a job that is due after a wait.
func waitingJobs(f *fixture) {
	other := f.newTenant("second")
	other.enqueue(other.newJob(0))
	for range 5 {
		f.enqueue(f.newJob(time.Hour))
	}
	for _, c := range []struct {
		lane        domain.Lane
		limit, want int
	}{{domain.LaneWebhook, 9, 5}, {domain.LaneWebhook, 5, 5}, {domain.LaneWebhook, 3, 3}, {domain.LaneWebhook, 0, 0}, {domain.LaneNotification, 9, 0}} {
		var got int
		f.update(func(tx ports.Tx) (err error) {
			got, err = tx.WaitingJobs(c.lane, c.limit)
			return err
		})
		equal(f.t, fmt.Sprintf("waiting in %s up to %d", c.lane, c.limit), got, c.want)
	}
}

func (f *fixture) newJob(wait time.Duration) domain.Job {
	now := f.times.Now()
	job := domain.Job{
		ID: domain.JobID(f.newUUID()), Event: domain.JobID(f.newUUID()), Lane: f.lane(), Due: now.Add(wait), CreatedAt: now,
	}
	if job.Lane == domain.LaneNotification {
		job.Notification, job.Subscription = domain.NotificationID(f.newUUID()), domain.SubscriptionID(f.newUUID())
	} else {
		job.Room, job.Message = f.newRoomID(), f.newMessageID()
	}
	if job.Lane == domain.LaneBot {
		job.Bot = domain.BotID(f.newUUID())
	}
	return job
}

// enqueue stores jobs; newly stores new ones, each due after one of the waits.
func (f *fixture) enqueue(jobs ...domain.Job) {
	f.t.Helper()
	f.update(func(tx ports.Tx) error { return enqueueAll(tx, jobs...) })
}

func enqueueAll(tx ports.Tx, jobs ...domain.Job) error {
	for _, job := range jobs {
		if err := tx.Enqueue(job); err != nil {
			return fmt.Errorf("enqueue: %w", err)
		}
	}
	return nil
}

func (f *fixture) newly(waits ...time.Duration) []domain.Job {
	f.t.Helper()
	jobs := make([]domain.Job, len(waits))
	for i, wait := range waits {
		jobs[i] = f.newJob(wait)
	}
	f.enqueue(jobs...)
	return jobs
}

// claim claims jobs of the case's lane, at most as many as a case has.
func (w *world) claim() []ports.Claim {
	w.t.Helper()
	claims, _ := w.claimBy(ports.ClaimQuery{})
	return claims
}

// claimBy fills in what a query leaves open.
func (w *world) claimBy(q ports.ClaimQuery) ([]ports.Claim, time.Duration) {
	w.t.Helper()
	if q.Lane == "" {
		q.Lane = w.lane()
	}
	if q.Limit == 0 {
		q.Limit = page
	}
	if q.PerTenant == 0 {
		q.PerTenant = page
	}
	if q.Lease == 0 {
		q.Lease = lease
	}
	claims, next, err := w.db.Claim(w.t.Context(), q)
	if err != nil {
		w.t.Fatalf("Claim: %v", err)
	}
	if len(claims) > 0 && next != 0 {
		w.t.Errorf("Claim has found jobs, and yet says to wait %v", next)
	}
	return claims, next
}

// next is how long until a job is due, when none is.
func (w *world) next() time.Duration {
	w.t.Helper()
	claims, next := w.claimBy(ports.ClaimQuery{})
	equalList(w.t, "jobs claimed", jobIDs(claims), nil)
	return next
}

func (w *world) settle(settlements ...ports.Settlement) (lost []domain.JobID) {
	w.t.Helper()
	lost, err := w.db.Settle(w.t.Context(), settlements)
	if err != nil {
		w.t.Fatalf("Settle: %v", err)
	}
	return lost
}

// done settles claims that must stand.
func (w *world) done(claims ...ports.Claim) {
	w.t.Helper()
	settlements := make([]ports.Settlement, len(claims))
	for i, c := range claims {
		settlements[i].Claim = c
	}
	equalList(w.t, "claims lost", w.settle(settlements...), nil)
}

func jobIDs(claims []ports.Claim) []domain.JobID {
	ids := make([]domain.JobID, len(claims))
	for i, c := range claims {
		ids[i] = c.ID
	}
	return ids
}

func idsOf(jobs []domain.Job) []domain.JobID {
	ids := make([]domain.JobID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	return ids
}

// theOnly is the claim of the one job there is.
func (w *world) theOnly() ports.Claim {
	w.t.Helper()
	return w.one(w.claim())
}

// one fails the case unless exactly one job was claimed.
func (w *world) one(claims []ports.Claim) ports.Claim {
	w.t.Helper()
	if len(claims) != 1 {
		w.t.Fatalf("%d jobs were claimed, want one", len(claims))
	}
	return claims[0]
}

// isEmpty fails the case unless the lane has no job.
func (w *world) isEmpty(when string) {
	w.t.Helper()
	claims, next := w.claimBy(ports.ClaimQuery{})
	equalList(w.t, "jobs claimed "+when, jobIDs(claims), nil)
	equal(w.t, "how long to wait "+when, next, 0)
	equal(w.t, "what waits "+when, w.stats(), ports.OutboxStats{})
}

func (w *world) stats() ports.OutboxStats {
	w.t.Helper()
	return w.allStats()[w.lane()]
}

func (w *world) allStats() map[domain.Lane]ports.OutboxStats {
	w.t.Helper()
	stats, err := w.db.OutboxStats(w.t.Context())
	if err != nil {
		w.t.Fatalf("OutboxStats: %v", err)
	}
	return stats
}

func jobComesBack(f *fixture) {
	bare := domain.Job{
		ID: domain.JobID(f.newUUID()), Lane: domain.LaneWebhook, Due: f.times.Now(), CreatedAt: f.times.Now(),
	}
	full := f.newJob(0)
	full.Step, full.From, full.Through, full.Attempts, full.Once = 91, "it's a \"place\" 100% 🦊", awkward[1], 4, true
	full.Due, full.CreatedAt = full.Due.Add(time.Millisecond), full.CreatedAt.Add(-domain.JobLife)
	full.Notification, full.Subscription = domain.NotificationID(f.newUUID()), domain.SubscriptionID(f.newUUID())
	full.LastAttemptAt, full.LastError = f.times.Now().Add(-time.Hour), "it's \"http 503\" 🦊"
	f.enqueue(full, bare)
	f.times.pass(time.Millisecond)
	f.reopen()
	got := f.claim()
	equal(f.t, "jobs", len(got), 2)
	equalList(f.t, "jobs", got, []ports.Claim{
		{Job: bare, Tenant: f.tenant, Fence: got[0].Fence, Age: time.Millisecond},
		{Job: full, Tenant: f.tenant, Fence: got[1].Fence, Age: domain.JobLife + time.Millisecond},
	})
}

func jobIsInvisible(f *fixture) {
	job := f.newJob(0)
	for _, x := range failures {
		beside := make(chan error, 1)
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				if err := tx.Enqueue(job); err != nil {
					return err
				}
				go func() { beside <- f.findsNoJob() }()
				if err := <-beside; err != nil {
					return err
				}
				return x.fail()
			})
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
		f.isEmpty("after a rollback")
	}
	f.reopen()
	f.isEmpty("after a restart")
	f.enqueue(job)
	equal(f.t, "the job, once it is committed", f.theOnly().Job, job)
}

func (f *fixture) findsNoJob() error {
	stats, err := f.db.OutboxStats(f.t.Context())
	if err == nil && len(stats) > 0 {
		err = fmt.Errorf("before the commit the outbox has %s", show(stats))
	}
	return err
}

func jobIDIsTakenOnce(f *fixture) {
	other := f.newTenant("second")
	job := f.newly(0)[0]
	again := f.newJob(0)
	again.ID = job.ID
	third := f.newJob(time.Millisecond)
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "Enqueue of an id that is in the outbox", tx.Enqueue(again), domain.ErrIdempotency)
		return tx.Enqueue(third)
	})
	other.enqueue(again)
	f.times.pass(time.Millisecond)
	claims := f.claim()
	slices.SortFunc(claims, func(a, b ports.Claim) int { return a.Due.Compare(b.Due) })
	equal(f.t, "jobs", len(claims), 3)
	equal(f.t, "the last of them", claims[2].Job, third)
	for _, c := range claims {
		want := third
		switch {
		case c.Tenant == other.tenant:
			want = again
		case c.ID == job.ID:
			want = job
		}
		equal(f.t, "a job", c.Job, want)
	}
	f.done(claims...)
	f.enqueue(again)
	equal(f.t, "a job under an id that is free again", f.theOnly().Job, again)
}

// newCall is a send by a tenant that has a webhook.
func (f *fixture) newCall(user domain.UserID, draft domain.Draft) domain.Send {
	s := f.newSend(user, draft)
	s.Webhook = true
	return s
}

func jobIsStoredWithItsMessage(f *fixture) {
	room := f.group("ann", "bob")
	f.send(room.ID, "ann", "without a webhook")
	f.isEmpty("after a message without a job")
	for i := range byte(2) {
		key := &domain.Idempotency{User: "ann", Key: hash(i), Request: hash(2)}
		sent, err := f.trySend(room.ID, f.newCall("ann", domain.Draft{Content: "hello"}), key)
		if err != nil {
			f.t.Fatal(err)
		}
		want := domain.OfflineJob(sent.Message)
		early := f.next()
		equal(f.t, "how long to wait", early, want.Due.Sub(f.times.Now()))
		f.times.pass(early)
		claim := f.theOnly()
		equal(f.t, "the job", claim.Job, want)
		f.done(claim)
		f.reopen()
	}
	f.isEmpty("in the end")
	f.dense(room.ID)
}

func duplicateHasNoJob(f *fixture) {
	room := f.group("ann", "bob")
	key := &domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	draft := domain.Draft{Content: "once", ClientID: "c1"}
	for i := range 4 {
		k := key
		if i%2 == 1 {
			k = nil
		}
		sent, err := f.trySend(room.ID, f.newCall("ann", draft), k)
		equal(f.t, "the error of a send", err, nil)
		equal(f.t, "duplicate", sent.Duplicate, i > 0)
	}
	f.times.pass(time.Minute)
	f.done(f.theOnly())
	_, err := f.trySend(room.ID, f.newCall("ann", draft), key)
	equal(f.t, "the error of a send once the job is done", err, nil)
	f.isEmpty("after duplicates")
}

func refusedSendLeavesNoJob(f *fixture) {
	room := f.group("ann", "bob")
	_, err := f.trySend(room.ID, f.newCall("eve", domain.Draft{Content: "never"}), nil)
	wantError(f.t, "a stranger's send", err, domain.ErrNotMember)
	for _, x := range failures {
		send := f.newCall("ann", domain.Draft{Content: "never"})
		got := endingOf(func() error {
			_, err := f.db.Append(f.t.Context(), f.tenant, domain.Intent{Room: room.ID, Sender: "ann"},
				func(s domain.Snapshot) (domain.Change, error) {
					change, err := send.Decide(s)
					return change, errors.Join(err, x.fail())
				})
			return err
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	_, err = f.db.Append(ctx, f.tenant, domain.Intent{Room: room.ID, Sender: "ann"},
		f.newCall("ann", domain.Draft{Content: "never"}).Decide)
	wantError(f.t, "a send whose context has ended", err, context.Canceled)
	f.isEmpty("after sends that were refused")
	f.dense(room.ID)
}

func takenJobRefusesItsMessage(f *fixture) {
	room := f.group("ann", "bob")
	taken := f.newJob(0)
	f.enqueue(taken)
	send := f.newCall("ann", domain.Draft{Content: "never", ClientID: "c1"})
	send.ID = domain.MessageID(taken.ID)
	f.unchanged(room.ID, func() {
		_, err := f.trySend(room.ID, send, nil)
		wantError(f.t, "a send whose job's id is taken", err, domain.ErrIdempotency)
	})
	equal(f.t, "the job", f.theOnly().Job, taken)
	f.sendDraft(room.ID, "ann", domain.Draft{Content: "now", ClientID: "c1"})
	f.dense(room.ID)
}

func parallelSendsHaveAJobEach(f *fixture) {
	const each = 12
	room := f.group("ann", "bob")
	parallel(f.t, writers, func(w int) error {
		for i := range each {
			if (w+i)%3 == 0 {
				if err := f.failSomehow(room.ID, i); err != nil {
					return err
				}
			}
			if _, err := f.trySend(room.ID, f.newCall("ann", domain.Draft{Content: fmt.Sprint(w, i)}), nil); err != nil {
				return err
			}
		}
		return nil
	})
	f.times.pass(time.Minute)
	jobs := map[domain.MessageID]bool{}
	for _, c := range f.claim() {
		jobs[c.Message] = true
		equal(f.t, "the job's room", c.Room, room.ID)
	}
	messages, _ := f.dense(room.ID)
	equal(f.t, "jobs", len(jobs), writers*each)
	for _, m := range messages {
		if !jobs[m.ID] {
			f.t.Errorf("message %d has no job", m.Seq)
		}
	}
}

func largeRoomHasOneJob(f *fixture) {
	const members = 1000
	room := f.group("ann")
	at := f.now()
	f.update(func(tx ports.Tx) error {
		for i := range members {
			if _, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprint("user ", i)), domain.RoleMember, at); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 2 {
		sent, err := f.trySend(room.ID, f.newCall("ann", domain.Draft{Content: "hello"}), nil)
		equal(f.t, "the error of a send", err, nil)
		equal(f.t, "jobs", f.stats().Waiting, int64(i)+1)
		told, calls := 0, 0
		for after := ""; ; calls++ {
			got := f.recipients(sent.Message, after, "", domain.MaxWebhookRecipients)
			if after = got.through; after == "" {
				break
			}
			if len(got.users) > domain.MaxWebhookRecipients {
				f.t.Fatalf("a call tells %d users", len(got.users))
			}
			told += len(got.users)
		}
		equal(f.t, "members who are told", told, members)
		equal(f.t, "calls", calls, members/domain.MaxWebhookRecipients+1)
	}
}
