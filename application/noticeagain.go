package application

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Notifications that a socket was pushed and that are not acknowledged are pushed again like messages: on the schedule of
// domain.Retry, the run of one socket at a time, and given up when no socket of the user here has attempts left.

// noticesDue reports whether notifications were pushed long enough ago to look whether they are acknowledged.
func (p *Peer) noticesDue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inbox.live && p.inbox.run.attempts > 0 && !time.Now().Before(p.inbox.run.due)
}

// redeliverNotices pushes those of the run that are not acknowledged once more, or leaves them when its attempts are spent.
func (p *Peer) redeliverNotices(ctx context.Context) error {
	p.f.delivery.flushDevice(ctx, p.caller, p.device)
	p.mu.Lock()
	u, after := p.inbox.run, p.inbox.spent
	p.mu.Unlock()
	waiting, err := ports.View(ctx, p.f.store, p.caller.Tenant.ID, func(r ports.Reader) ([]domain.Notice, error) {
		return r.Notices(p.caller.User, after, redeliverStep)
	})
	if err != nil {
		return err
	}
	waiting = slices.DeleteFunc(waiting, func(n domain.Notice) bool { return n.Place > u.through })
	if len(waiting) == 0 {
		p.nextNotices(u.through)
		return nil
	}
	last := waiting[len(waiting)-1].Place // what comes behind is another run
	tenant, err := p.f.tenants.Tenant(ctx, p.caller.Tenant.ID)
	if err != nil {
		return err
	}
	if !tenant.Config.RetryOf(p.f.cfg.Retry).IsSpent(u.attempts) {
		p.pushNoticesAgain(waiting, last)
		return nil
	}
	p.noteSpent(u, last)
	p.nextNotices(last)
	return nil
}

// noteSpent remembers the run whose attempts were the last up to a place.
func (p *Peer) noteSpent(u noticeRun, place int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.spent, p.inbox.last = place, u
}

// nextNotices begins a run of what was pushed since the last one.
func (p *Peer) nextNotices(through int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := noticeRun{}
	if p.inbox.pos > through {
		next = noticeRun{through: p.inbox.pos, attempts: 1, at: p.f.clock.Now(), due: time.Now().Add(p.f.cfg.Retry.Interval)}
	}
	p.inbox.run = next
}

// pushNoticesAgain pushes a run once more, as far as the socket takes it.
func (p *Peer) pushNoticesAgain(waiting []domain.Notice, last int64) {
	frames := make([]ports.Frame, len(waiting))
	for i, n := range waiting {
		frames[i] = p.f.enc.Notice(n.Notification, true)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := &p.inbox.run
	u.through, u.at = last, p.f.clock.Now()
	for i, frame := range frames {
		if p.closed || !p.sink.Push(frame) {
			if i == 0 {
				u.due = time.Now().Add(p.f.grain)
				return
			}
			break
		}
		p.f.counters.redelivered.Add(1)
	}
	u.due = time.Now().Add(p.f.cfg.Retry.Interval << min(u.attempts, 20))
	u.attempts++
}

// giveUpNotices moves what the socket has spent its attempts for to the dead letters, but for what was acknowledged at the
// last moment, and what another of the user's sockets here has attempts left for: that waits until the other has spent them
// too, or has closed.
func (p *Peer) giveUpNotices(ctx context.Context) error {
	p.mu.Lock()
	u, given, spent := p.inbox.last, p.inbox.given, p.inbox.spent
	p.mu.Unlock()
	if spent <= given {
		return nil
	}
	for all := p.spentByAll(); given < all; {
		waiting, err := ports.View(ctx, p.f.store, p.caller.Tenant.ID, func(r ports.Reader) ([]domain.Notice, error) {
			return r.Notices(p.caller.User, given, giveUpStep)
		})
		if err != nil {
			return err
		}
		next := all
		if len(waiting) == giveUpStep {
			next = min(all, waiting[len(waiting)-1].Place)
		}
		waiting = slices.DeleteFunc(waiting, func(n domain.Notice) bool { return n.Place > all })
		if err := p.moveNotices(ctx, u, waiting); err != nil {
			return err
		}
		given = next
		p.noteGiven(given)
	}
	return nil
}

// noteGiven remembers up to which place nothing is left to be given up.
func (p *Peer) noteGiven(place int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.given = place
}

// moveNotices moves a user's notifications to the dead letters, those that still wait.
func (p *Peer) moveNotices(ctx context.Context, u noticeRun, waiting []domain.Notice) error {
	if len(waiting) == 0 {
		return nil
	}
	at := p.f.clock.Now()
	given, err := ports.Update(ctx, p.f.store, p.caller.Tenant.ID, func(tx ports.Tx) (given int64, err error) {
		for _, n := range waiting {
			letter := domain.DeadLetter{
				ID:  domain.DeadLetterID(p.f.ids.NewUUID()),
				Job: domain.Job{Lane: domain.LaneSocket, Notification: n.ID}, User: p.caller.User,
				Attempts: u.attempts, LastAttemptAt: u.at, Error: domain.NotAcknowledged, At: at,
			}
			was, err := moveNotice(tx, letter)
			if err != nil {
				return given, err
			}
			if was {
				given++
			}
		}
		return given, nil
	})
	p.f.counters.unacknowledged.Add(given)
	return err
}

// moveNotice puts a dead letter in the place of a notification that waits; was is false when it does not any more.
func moveNotice(tx ports.Tx, letter domain.DeadLetter) (was bool, err error) {
	if err := tx.AddDeadLetter(letter); err != nil { // first: somebody needs the payload all the time
		return false, err
	}
	was, err = tx.SettleNotice(letter.User, letter.Job.Notification)
	if ignoreGone(err) != nil || was {
		return was, err
	}
	_, err = tx.TakeDeadLetter(letter.ID)
	return false, err
}

// spentByAll is the place up to which all of the user's sockets here have spent their attempts. Those that acknowledge by
// themselves have none.
func (p *Peer) spentByAll() int64 {
	least := int64(math.MaxInt64)
	for _, other := range p.f.peersOf(ports.TenantUser{Tenant: p.caller.Tenant.ID, User: p.caller.User}) {
		if other.auto {
			continue
		}
		other.mu.Lock()
		least = min(least, other.inbox.spent)
		other.mu.Unlock()
	}
	return least
}
