package storetest

import (
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var outboxTimeContracts = []contract{
	{"a clock that is set back keeps no job and no lease longer", clockSetBack},
	{"a clock that is set forward makes no job early and ends no lease", clockSetForward},
	{"a job that was stored by a wrong clock is due when it should be", storedByWrongClock},
	{"a job's age is the time that has passed", ageIsTimePassed},
	{"the time that the store was closed counts", closedTimeCounts},
	{"a clock that was set back while the store was closed keeps no job longer than a minute", setBackWhileClosed},
}

const day = 24 * time.Hour

// wrong are what a clock may be set by.
var wrong = []time.Duration{-day, -10 * 365 * day, time.Hour, -time.Second}

func clockSetBack(f *fixture) {
	for _, by := range []time.Duration{-day, -10 * 365 * day} {
		f.newly(5*time.Second, 0)
		held := f.theOnly()
		f.times.turn(by)
		equal(f.t, "how long to wait", f.next(), 5*time.Second)
		f.times.pass(5 * time.Second)
		f.done(f.theOnly())
		equal(f.t, "how long the lease goes on", f.next(), lease-5*time.Second)
		f.times.pass(lease - 5*time.Second)
		again := f.theOnly()
		equal(f.t, "the job whose lease was lost", again.ID, held.ID)
		f.done(again)
	}
}

func clockSetForward(f *fixture) {
	for _, by := range []time.Duration{day, 10 * 365 * day} {
		f.newly(time.Minute, 0)
		held := f.theOnly()
		f.times.turn(by)
		equal(f.t, "how long to wait", f.next(), time.Minute)
		equal(f.t, "what waits", f.stats(), ports.OutboxStats{Waiting: 2})
		f.done(held)
		f.times.pass(time.Minute)
		f.done(f.theOnly())
	}
}

func storedByWrongClock(f *fixture) {
	for _, by := range wrong {
		f.times.turn(by)
		f.newly(time.Minute)
		room := f.group("ann", "bob")
		if _, err := f.trySend(room.ID, f.newCall("ann", domain.Draft{Content: "hello"}), nil); err != nil {
			f.t.Fatal(err)
		}
		f.times.turn(-by)
		f.times.pass(30 * time.Second)
		f.done(f.theOnly())
		claimed := f.next()
		equal(f.t, "how long to wait", claimed, 30*time.Second)
		f.times.pass(claimed)
		claim := f.theOnly()
		if age := f.times.Now().Sub(claim.CreatedAt); age < time.Minute || age > time.Minute+time.Second {
			f.t.Errorf("a job stored a minute ago, by a clock that was wrong by %v, has the age of %v", by, age)
		}
		f.times.turn(by)
		again := claim.Job
		again.Due = f.times.Now().Add(time.Minute)
		f.settle(ports.Settlement{Claim: claim, Again: &again})
		f.times.turn(-by)
		equal(f.t, "how long until the next attempt", f.next(), time.Minute)
		f.times.pass(time.Minute)
		f.done(f.theOnly())
	}
}

func ageIsTimePassed(f *fixture) {
	f.newly(time.Minute)
	f.times.turn(-day)
	f.times.pass(90 * time.Second)
	claim := f.theOnly()
	equal(f.t, "the job's age", f.times.Now().Sub(claim.CreatedAt), 90*time.Second)
	equal(f.t, "the claim's", claim.Age, 90*time.Second)
	equal(f.t, "since it was due", f.times.Now().Sub(claim.Due), 30*time.Second)
	f.times.turn(3 * day)
	f.times.pass(lease)
	claim = f.theOnly()
	equal(f.t, "the job's age, later", f.times.Now().Sub(claim.CreatedAt), lease+90*time.Second)
	equal(f.t, "the claim's, later", claim.Age, lease+90*time.Second)
	again := claim.Job
	again.LastAttemptAt, again.LastError = f.times.Now(), "http 500"
	f.settle(ports.Settlement{Claim: claim, Again: &again})
	f.times.turn(-5 * day)
	f.times.pass(time.Hour)
	claim = f.theOnly()
	equal(f.t, "since the last attempt", f.times.Now().Sub(claim.LastAttemptAt), time.Hour)
	equal(f.t, "the claim's in the end", claim.Age, time.Hour+lease+90*time.Second)
}

func closedTimeCounts(f *fixture) {
	f.newly(time.Hour)
	f.times.pass(time.Hour) // the store is not asked before it is closed
	f.reopen()
	f.done(f.theOnly())
	f.isEmpty("in the end")
}

func setBackWhileClosed(f *fixture) {
	for _, by := range wrong {
		for range 3 {
			f.newly(5 * time.Second)
			f.times.pass(3 * time.Second)
		}
		f.times.turn(min(by, -by))
		f.reopen()
		f.times.pass(time.Minute)
		claims := f.claim()
		equal(f.t, "jobs that are due a minute later", len(claims), 3)
		again := claims[0].Job
		again.Due = f.times.Now().Add(30 * time.Second)
		f.settle(ports.Settlement{Claim: claims[0], Again: &again}, ports.Settlement{Claim: claims[1]}, ports.Settlement{Claim: claims[2]})
		f.times.turn(min(by, -by))
		f.reopen()
		f.times.pass(time.Minute + 30*time.Second)
		f.done(f.theOnly())
	}
}
