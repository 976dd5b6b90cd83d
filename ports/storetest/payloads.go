package storetest

import (
	"errors"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func payloadOfRecipients(f *fixture) {
	n := f.notify("ann", "bob")
	f.settleNotice("ann", n.ID)
	f.isHeld("with one recipient left", n, true)
	f.settleNotice("bob", n.ID)
	for range 2 {
		f.isHeld("when all have acknowledged", n, false)
		f.reopen()
	}
	f.update(func(tx ports.Tx) error {
		wantError(f.t, "AddRecipient when the payload is gone", tx.AddRecipient(n.ID, "cid"), domain.ErrNoNotification)
		return nil
	})
	equal(f.t, "acknowledging again", f.settleNotice("bob", n.ID), false)
	_, known := f.userNow("cid")
	equal(f.t, "a user by being refused", known, false)
}

func payloadOfCalls(f *fixture) {
	n := f.newNotification()
	f.update(func(tx ports.Tx) error {
		return errors.Join(tx.AddNotification(n, domain.Targets{Subscribers: true}), tx.Enqueue(f.tell(n)))
	})
	f.expand(n.ID, page)
	f.isHeld("with a call to be made", n, true)
	claim := f.toTell()
	again := claim.Job
	f.settle(ports.Settlement{Claim: claim, Again: &again})
	f.isHeld("with a call to be made again", n, true)
	f.done(f.toTell())
	f.isHeld("when the call is made", n, false)
}

func payloadOfLetters(f *fixture) {
	n := f.notify("ann")
	f.enqueue(f.tell(n))
	claim := f.toTell()
	letters := []*domain.DeadLetter{f.newLetter(claim.Job), f.newLetter(f.tell(n))}
	f.settle(ports.Settlement{Claim: claim, Dead: letters[0]})
	f.keepLetters(*letters[1])
	f.settleNotice("ann", n.ID)
	for _, letter := range letters {
		f.isHeld("with a dead letter", n, true)
		if _, err := f.take(letter.ID); err != nil {
			f.t.Fatal(err)
		}
	}
	f.isHeld("when both are taken", n, false)
}

func payloadOfTargets(f *fixture) {
	n := f.addNotification(domain.Targets{Users: users("ann", "bob")})
	for _, user := range users("ann", "bob") {
		f.isHeld("before all targets are dealt with", n, true)
		f.expand(n.ID, 1)
		f.settleNotice("ann", n.ID)
		f.settleNotice("bob", n.ID)
		equalList(f.t, "the notices of "+string(user), f.notices(user), nil)
	}
	f.expand(n.ID, page)
	f.isHeld("when they are", n, false)
	nobody := f.addNotification(domain.Targets{Subscribers: true})
	f.isHeld("before it is known that there are none", nobody, true)
	equal(f.t, "a step for nobody", f.expand(nobody.ID, page), ports.Expansion{Done: true})
	f.isHeld("when it is", nobody, false)
}

func payloadChangesHands(f *fixture) {
	n := f.notify("ann")
	letter := f.newLetter(domain.Job{Lane: domain.LaneSocket, Notification: n.ID, Due: f.now(), CreatedAt: f.now()})
	letter.User = "ann"
	f.update(func(tx ports.Tx) error {
		_, err := tx.SettleNotice("ann", n.ID)
		return errors.Join(err, tx.AddDeadLetter(*letter))
	})
	f.isHeld("a notice given up", n, true)
	f.update(func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(letter.ID)
		return errors.Join(err, tx.AddRecipient(n.ID, "ann"))
	})
	f.isHeld("a dead letter replayed to a user", n, true)
	f.update(func(tx ports.Tx) error {
		_, err := tx.SettleNotice("ann", n.ID)
		return errors.Join(err, tx.Enqueue(f.tell(n)))
	})
	f.isHeld("a notice that is a call now", n, true)
	claim := f.toTell()
	dead := f.newLetter(claim.Job)
	f.settle(ports.Settlement{Claim: claim, Dead: dead})
	f.isHeld("a call given up", n, true)
	f.update(func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(dead.ID)
		return errors.Join(err, tx.Enqueue(f.tell(n)))
	})
	f.isHeld("a dead letter replayed by a call", n, true)
	f.done(f.toTell())
	f.isHeld("when nobody waits", n, false)
}
