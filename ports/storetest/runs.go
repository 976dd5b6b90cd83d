package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var runContracts = []contract{
	{"a message asks each bot of its room for one run, which is stored with it", messageAsksEachBot},
	{"a room without bots, or one that is handed over, has no runs", noBotIsAsked},
	{"a newer trigger takes the place of the one that waits", newerTriggerWaits},
	{"a newer trigger leaves a claim standing and is handed out once that is settled", newerTriggerBesideAClaim},
	{"a run that is to be tried again has the newer trigger by then", newerTriggerOfARetry},
	{"the same trigger again is answered once", sameTriggerAgain},
	{"the newest trigger outlives a lost lease", newestAfterALostLease},
	{"the newest trigger outlives a restart", newestAfterARestart},
	{"an id is taken between lanes", runIDIsTakenByAnotherLane},
	{"tenants have runs of the same id each", runsOfTwoTenants},
	{"a send that fails or is repeated leaves the trigger as it is", failedSendLeavesTheTrigger},
	{"parallel sends leave the newest message as the trigger", parallelTriggers},
	{"a purge takes runs along", purgeTakesRuns},
}

var renewalContracts = []contract{
	{"a renewed claim stands for another lease from then", renewedClaimStands},
	{"claims that were given to somebody else come back lost, and the others are renewed", lostAmongRenewed},
	{"a claim is renewed after its lease while nobody else has the job", lateRenewal},
	{"a renewed claim counts among what its tenant holds", renewedIsHeld},
	{"a renewal of nothing, of a deleted tenant or of what is done renews nothing", renewalOfNothing},
	{"a closed store and an ended context renew nothing", endedRenewal},
}

// ask sends a message that asks the room's bots, whose runs are due at once.
func (f *fixture) ask(room domain.RoomID, user domain.UserID) domain.Message {
	f.t.Helper()
	out, err := f.trySend(room, f.newAsk(user), nil)
	if err != nil {
		f.t.Fatalf("Append: %v", err)
	}
	return out.Message
}

func (f *fixture) newAsk(user domain.UserID) domain.Send {
	s := f.newSend(user, domain.Draft{Content: "well?"})
	s.Now = f.times.Now()
	return s
}

func (w *world) claimRuns() []ports.Claim {
	w.t.Helper()
	claims, _ := w.claimBy(ports.ClaimQuery{Lane: domain.LaneBot})
	return claims
}

// theRun is the claim of the one run there is.
func (w *world) theRun() ports.Claim {
	w.t.Helper()
	return w.one(w.claimRuns())
}

// noRuns fails the case unless the lane has no run.
func (w *world) noRuns(when string) {
	w.t.Helper()
	equal(w.t, "runs claimed "+when, len(w.claimRuns()), 0)
	equal(w.t, "runs "+when, w.allStats()[domain.LaneBot], ports.OutboxStats{})
}

// isRun fails the case unless a claim is of this run as it begins, for a trigger.
func (f *fixture) isRun(what string, c ports.Claim, bot domain.BotID, trigger domain.Message) {
	f.t.Helper()
	want := domain.RunJob(bot, trigger)
	want.Due = c.Due
	equal(f.t, what, c.Job, want)
	if c.Due.After(f.times.Now()) {
		f.t.Errorf("%s was handed out %v early", what, c.Due.Sub(f.times.Now()))
	}
}

func messageAsksEachBot(f *fixture) {
	a, b := f.newBotID(), f.newBotID()
	room, other := f.botRoom(a, b), f.botRoom(a)
	first, second := f.ask(room.ID, "ann"), f.ask(other.ID, "bob")
	f.reopen()
	claims := f.claimRuns()
	equal(f.t, "runs", len(claims), 3)
	for _, c := range claims {
		trigger := first
		if c.Room == other.ID {
			trigger = second
		}
		equal(f.t, "a run", c.Job, domain.RunJob(c.Bot, trigger))
		equal(f.t, "its tenant", c.Tenant, f.tenant)
	}
	ids := []domain.JobID{domain.RunID(room.ID, a), domain.RunID(room.ID, b), domain.RunID(other.ID, a)}
	equal(f.t, "the runs are those of the rooms' bots", sameIDs(jobIDs(claims), ids), true)
	f.done(claims...)
	f.noRuns("in the end")
}

func noBotIsAsked(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom()
	f.ask(room.ID, "ann")
	f.addMember(room.ID, bot.User(), domain.RoleMember)
	f.handOver(room.ID, "ann")
	f.ask(room.ID, "ann")
	f.handBack(room.ID)
	f.removeMember(room.ID, bot.User())
	f.ask(room.ID, "ann")
	f.noRuns("after messages that ask nobody")
	f.addMember(room.ID, bot.User(), domain.RoleMember)
	f.isRun("the run", f.theRunAfter(room.ID), bot, f.lastMessage(room.ID))
}

// theRunAfter asks, and claims.
func (f *fixture) theRunAfter(room domain.RoomID) ports.Claim {
	f.t.Helper()
	f.ask(room, "ann")
	return f.theRun()
}

func (f *fixture) lastMessage(room domain.RoomID) domain.Message {
	f.t.Helper()
	all := f.history(room)
	return all[len(all)-1]
}

func newerTriggerWaits(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	first := f.ask(room.ID, "ann")
	claim := f.theRun()
	later := claim.Job
	later.Attempts, later.Step, later.Due, later.LastError = 2, 1, f.times.Now().Add(time.Minute), "http 500"
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claim, Again: &later}), nil)
	f.times.pass(time.Second)
	f.ask(room.ID, "bob")
	newest := f.ask(room.ID, "ann")
	equal(f.t, "runs that wait", f.allStats()[domain.LaneBot].Waiting, 1)
	equal(f.t, "runs claimed before they are due", len(f.claimRuns()), 0)
	f.times.pass(time.Minute - time.Second)
	got := f.theRun()
	later.Message, later.Event, later.CreatedAt = newest.ID, domain.JobID(newest.ID), newest.CreatedAt
	equal(f.t, "the run, in its place", got.Job, later)
	equal(f.t, "its age", got.Age, time.Minute-time.Second)
	equal(f.t, "the trigger is the newest", got.Message != first.ID, true)
	f.done(got)
	f.noRuns("in the end")
}

func newerTriggerBesideAClaim(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	for _, settled := range []func(ports.Claim) ports.Settlement{
		func(c ports.Claim) ports.Settlement { return ports.Settlement{Claim: c} },
		func(c ports.Claim) ports.Settlement { return ports.Settlement{Claim: c, Dead: f.newLetter(c.Job)} },
	} {
		f.ask(room.ID, "ann")
		tried := f.theRun()
		again := tried.Job
		again.Step, again.From, again.Through, again.Attempts = 3, "from", "through", 2
		again.LastAttemptAt, again.LastError = f.times.Now(), "http 503"
		equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: tried, Again: &again}), nil)
		claim := f.theRun()
		f.ask(room.ID, "bob")
		newest := f.ask(room.ID, "ann")
		equal(f.t, "runs handed out beside a claim", len(f.claimRuns()), 0)
		f.times.pass(time.Second)
		equalList(f.t, "claims lost", f.settle(settled(claim)), nil)
		equalList(f.t, "claims lost that were settled", f.settle(settled(claim)), []domain.JobID{claim.ID})
		next := f.theRun()
		f.isRun("the run from its beginning", next, bot, newest)
		if next.Fence == claim.Fence {
			f.t.Errorf("two claims have the fence %d", next.Fence)
		}
		f.done(next)
		f.noRuns("in the end")
	}
}

func newerTriggerOfARetry(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	f.ask(room.ID, "ann")
	claim := f.theRun()
	newest := f.ask(room.ID, "ann")
	again := claim.Job
	again.Attempts, again.Due = 1, f.times.Now().Add(time.Second)
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: claim, Again: &again}), nil)
	f.reopen()
	f.times.pass(time.Second)
	again.Message, again.Event, again.CreatedAt = newest.ID, domain.JobID(newest.ID), newest.CreatedAt
	got := f.theRun()
	equal(f.t, "the run", got.Job, again)
	f.done(got)
	f.noRuns("in the end")
}

func sameTriggerAgain(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	m := f.ask(room.ID, "ann")
	f.enqueue(domain.RunJob(bot, m))
	claim := f.theRun()
	f.enqueue(domain.RunJob(bot, m), domain.RunJob(bot, m))
	equal(f.t, "runs", f.allStats()[domain.LaneBot].Waiting, 1)
	f.done(claim)
	f.noRuns("once it is settled")
}

func newestAfterALostLease(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	f.ask(room.ID, "ann")
	stale := f.theRun()
	f.ask(room.ID, "ann")
	f.times.pass(lease)
	second := f.theRun()
	newest := f.ask(room.ID, "ann")
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: stale}), []domain.JobID{stale.ID})
	f.done(second)
	third := f.theRun()
	f.isRun("the last run", third, bot, newest)
	f.done(third)
	f.noRuns("in the end")
}

func newestAfterARestart(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	f.ask(room.ID, "ann")
	stale := f.theRun()
	newest := f.ask(room.ID, "bob")
	f.reopen()
	f.times.pass(lease)
	got := f.theRun()
	f.isRun("the run", got, bot, newest)
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: stale}), []domain.JobID{stale.ID})
	f.done(got)
	f.noRuns("in the end")
}

func runIDIsTakenByAnotherLane(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	taken := f.newJob(0)
	taken.ID = domain.RunID(room.ID, bot)
	f.enqueue(taken)
	f.unchanged(room.ID, func() {
		_, err := f.trySend(room.ID, f.newAsk("ann"), nil)
		wantError(f.t, "a send whose run's id is a call's", err, domain.ErrIdempotency)
	})
	claim := f.theOnly()
	equal(f.t, "the call", claim.Job, taken)
	f.done(claim)
	m := f.ask(room.ID, "ann")
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "Enqueue of a call whose id is a run's", tx.Enqueue(taken), domain.ErrIdempotency)
		return nil
	})
	f.isRun("the run", f.theRun(), bot, m)
}

func runsOfTwoTenants(f *fixture) {
	other := f.newTenant("second")
	bot := f.newBotID()
	room := f.botRoom(bot)
	m := f.ask(room.ID, "ann")
	theirs := m
	theirs.ID = f.newMessageID()
	other.enqueue(domain.RunJob(bot, theirs))
	for _, c := range f.claimRuns() {
		want := m
		if c.Tenant == other.tenant {
			want = theirs
		}
		f.isRun("the run of "+string(c.Tenant), c, bot, want)
		f.done(c)
	}
	f.noRuns("in the end")
}

func failedSendLeavesTheTrigger(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	draft := domain.Draft{Content: "once", ClientID: "c1"}
	s := f.newSend("ann", draft)
	s.Now = f.times.Now()
	key := &domain.Idempotency{User: "ann", Key: hash(1), Request: hash(2)}
	first, err := f.trySend(room.ID, s, key)
	equal(f.t, "the error of a send", err, nil)
	last := f.ask(room.ID, "bob")
	for _, x := range failures {
		send := f.newAsk("ann")
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
		got = endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				return errors.Join(tx.Enqueue(domain.RunJob(bot, domain.Message{ID: f.newMessageID(), Room: room.ID, CreatedAt: s.Now})), x.fail())
			})
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
	}
	for _, again := range []*domain.Idempotency{key, nil} {
		got, err := f.trySend(room.ID, s, again)
		equal(f.t, "the error of a repeated send", err, nil)
		equal(f.t, "the repeated send", got, ports.Appended{Message: first.Message, Duplicate: true})
	}
	got := f.theRun()
	f.isRun("the run", got, bot, last)
	f.done(got)
	_, err = f.trySend(room.ID, s, key)
	equal(f.t, "the error of a repeated send", err, nil)
	f.noRuns("after a repeated send")
}

func parallelTriggers(f *fixture) {
	a, b := f.newBotID(), f.newBotID()
	room := f.botRoom(a, b)
	parallel(f.t, writers, func(w int) error {
		for i := range 10 {
			if (w+i)%3 == 0 {
				if err := f.failSomehow(room.ID, i); err != nil {
					return err
				}
			}
			if _, err := f.trySend(room.ID, f.newAsk("ann"), nil); err != nil {
				return err
			}
		}
		return nil
	})
	claims, newest := f.claimRuns(), f.lastMessage(room.ID)
	equal(f.t, "runs", len(claims), 2)
	for _, c := range claims {
		f.isRun("a run", c, c.Bot, newest)
	}
	f.dense(room.ID)
}

func purgeTakesRuns(f *fixture) {
	bot := f.newBotID()
	gone, stays := f.botRoom(bot), f.botRoom(bot)
	f.ask(gone.ID, "ann")
	held := f.theRun()
	last := f.ask(stays.ID, "ann")
	f.removeRoom(gone.ID)
	f.purge()
	equal(f.t, "runs", f.allStats()[domain.LaneBot].Waiting, 1)
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: held}), []domain.JobID{held.ID})
	f.isRun("the other room's run", f.theRun(), bot, last)
}

func (w *world) renew(claims ...ports.Claim) (lost []domain.JobID) {
	w.t.Helper()
	lost, err := w.db.Renew(w.t.Context(), claims, lease)
	if err != nil {
		w.t.Fatalf("Renew: %v", err)
	}
	return lost
}

func renewedClaimStands(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	for range 5 {
		f.times.pass(lease - time.Millisecond)
		f.times.turn(-time.Hour)
		equalList(f.t, "claims lost", f.renew(claim), nil)
		equal(f.t, "how long the lease goes on", f.next(), lease)
	}
	lost, err := f.db.Renew(f.t.Context(), []ports.Claim{claim}, time.Second)
	equal(f.t, "the error of Renew", err, nil)
	equalList(f.t, "claims lost", lost, nil)
	equal(f.t, "how long a shorter lease goes on", f.next(), time.Second)
	f.done(claim)
	f.isEmpty("once it is settled")
}

func lostAmongRenewed(f *fixture) {
	other := f.newTenant("second")
	f.newly(0)
	stale := f.theOnly()
	f.times.pass(lease)
	f.newly(0)
	other.newly(0)
	held := f.claim()
	equal(f.t, "jobs claimed", len(held), 3)
	f.times.pass(lease / 2)
	equalList(f.t, "claims lost", f.renew(held[0], stale, held[1], stale, held[2]), []domain.JobID{stale.ID, stale.ID})
	equal(f.t, "how long the leases go on", f.next(), lease)
	f.done(held...)
	equalList(f.t, "claims lost once they are done", f.renew(held...), jobIDs(held))
	f.isEmpty("in the end")
	f.newly(0)
	before := f.theOnly()
	f.reopen()
	f.times.pass(lease)
	again := f.theOnly()
	equalList(f.t, "claims lost by a restart", f.renew(before), []domain.JobID{before.ID})
	f.done(again)
}

func lateRenewal(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	f.times.pass(24 * time.Hour)
	equalList(f.t, "claims lost", f.renew(claim), nil)
	equal(f.t, "how long the lease goes on", f.next(), lease)
	f.done(claim)
}

func renewedIsHeld(f *fixture) {
	f.newly(0, 0)
	q := ports.ClaimQuery{PerTenant: 1}
	first, _ := f.claimBy(q)
	equal(f.t, "jobs claimed", len(first), 1)
	f.times.pass(lease - time.Second)
	equalList(f.t, "claims lost", f.renew(first...), nil)
	f.times.pass(time.Second)
	second, next := f.claimBy(q)
	equal(f.t, "jobs claimed beside it", len(second), 0)
	equal(f.t, "how long to wait", next, lease-time.Second)
}

func renewalOfNothing(f *fixture) {
	equalList(f.t, "claims lost of none", f.renew(), nil)
	gone := f.newTenant("gone")
	gone.newly(0)
	theirs := f.theOnly()
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	f.newly(0)
	own := f.theOnly()
	invented := own
	invented.ID = domain.JobID(f.newUUID())
	foreign := own
	foreign.Tenant = f.newTenant("second").tenant
	lost := f.renew(theirs, invented, foreign, own)
	equalList(f.t, "claims lost", lost, []domain.JobID{theirs.ID, invented.ID, own.ID})
	f.done(own)
	equalList(f.t, "claims lost that are done", f.renew(own), []domain.JobID{own.ID})
	f.isEmpty("in the end")
}

func endedRenewal(f *fixture) {
	f.newly(0)
	claim := f.theOnly()
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	f.times.pass(time.Second)
	_, err := f.db.Renew(ctx, []ports.Claim{claim}, lease)
	wantError(f.t, "Renew with an ended context", err, context.Canceled)
	equal(f.t, "how long the lease goes on", f.next(), lease-time.Second)
	closed := f.db
	f.reopen()
	_, err = closed.Renew(f.t.Context(), []ports.Claim{claim}, lease)
	wantError(f.t, "Renew of a closed store", err, domain.ErrClosing)
}
