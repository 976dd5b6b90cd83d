package application

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// botRun is one answer under way.
type botRun struct {
	r      *Runner
	claim  ports.Claim
	hold   domain.Hold
	tenant domain.Tenant
	room   domain.Room
	gone   bool // the room is
	bot    domain.Bot
	asked  domain.Message // the trigger
	turns  []ports.Turn
	cancel context.CancelCauseFunc

	saw        atomic.Int64  // part.Since
	questioned bool          // the model was asked
	again      bool          // the store may have done what ends the run, and its answer was lost
	wanted     chan struct{} // somebody wants to hear all of it once more

	mu     sync.Mutex
	part   domain.StreamPart // what was told of it; Text is all that has come
	silent bool              // it is about to end
}

// What ends a run before its model does.
var (
	errStopped   = errors.New("stopped")
	errHuman     = errors.New("handed off")
	errRemoved   = errors.New("bot removed")
	errLeaseGone = errors.New("lease lost")
)

// make looks what is to be answered, asks for the context, and has the model speak.
func (u *botRun) make(ctx context.Context) error {
	left, silent, err := u.prepare(ctx)
	switch {
	case err != nil:
		return err
	case u.gone:
		_, err := u.r.Outbox.Settle(ctx, []ports.Settlement{{Claim: u.claim}})
		return err
	case left != nil:
		u.r.counters.takenOver.Add(1)
		if left.Text != "" || left.Attempt >= domain.RunAttempts || silent {
			return u.takeOver(ctx, *left)
		}
		u.resume(*left) // nothing was said yet
	case silent:
		return u.end(ctx)
	}
	slot, admitted := u.r.admit(ctx, u.tenant)
	if !admitted {
		return u.later(ctx)
	}
	defer u.r.dismiss(u.tenant.ID, slot)
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u.cancel = cancel
	var renewing sync.WaitGroup
	defer renewing.Wait()
	defer cancel(nil)
	renewing.Go(func() { u.renew(running) })
	if over := u.budget(running); over.code != "" {
		return u.speak(ctx, running, func(context.Context, *voice) ending { return over })
	}
	system, verdict := u.context(running)
	switch {
	case ctx.Err() != nil: // the next to hold the job asks anew
		return u.putBack(ctx, 0)
	case verdict == contextLater:
		return u.later(ctx)
	case verdict == contextSilent:
		u.r.counters.skipped.Add(1)
		if left != nil { // its start was shown, so that its end is too
			return u.takeOver(ctx, *left)
		}
		return u.end(ctx)
	}
	return u.speak(ctx, running, func(ctx context.Context, v *voice) ending { return u.ask(ctx, system, v) })
}

// holding is the claim as it is shown with what the run writes.
func (u *botRun) holding() domain.Hold {
	hold := u.hold
	hold.Since = u.since()
	return hold
}

// resume goes on with a stream that had begun and in which nothing was said, as its next attempt.
func (u *botRun) resume(left domain.Stream) {
	u.hold.Trigger = left.ReplyTo
	u.part = domain.StreamPart{Message: left.Message, ReplyTo: left.ReplyTo, Attempt: left.Attempt}
}

// prepare reads what the run is about. left is the stream of a run that died; silent says that there is nothing to answer.
func (u *botRun) prepare(ctx context.Context) (left *domain.Stream, silent bool, err error) {
	u.tenant, err = u.r.Tenants.Tenant(ctx, u.claim.Tenant)
	if errors.Is(err, domain.ErrUnauthenticated) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	err = u.r.Store.View(ctx, u.claim.Tenant, func(v ports.Reader) error {
		var member *domain.Member
		if u.room, member, err = v.Access(u.claim.Room, u.claim.Bot.User()); err != nil {
			u.gone = errors.Is(err, domain.ErrRoomNotFound)
			return err
		}
		trigger := u.claim.Message
		if s, ok, err := v.StreamOf(u.claim.Room, u.claim.Bot); err != nil {
			return err
		} else if ok {
			left, trigger = &s, s.ReplyTo
		}
		if silent = !member.IsActive() || u.room.Handoff.IsHuman(); silent {
			return nil
		}
		if u.bot, err = v.Bot(u.claim.Bot); errors.Is(err, domain.ErrBotNotFound) {
			silent = true
			return nil
		} else if err != nil {
			return err
		}
		silent, err = u.readTurns(v, trigger)
		return err
	})
	// The room is gone, with what was on its way; or the bot or the message is: domain has one error for all that is not found,
	// under the name of each.
	if errors.Is(err, domain.ErrRoomNotFound) {
		return left, true, nil
	}
	return left, silent, err
}

// later has the run wait for another of its tenant to end.
func (u *botRun) later(ctx context.Context) error { return u.putBack(ctx, runLater) }

// putBack gives the job back, to be claimed again after a while.
func (u *botRun) putBack(ctx context.Context, wait time.Duration) error {
	job := u.claim.Job
	job.Due = u.r.Clock.Now().Add(wait)
	_, err := u.r.Outbox.Settle(context.WithoutCancel(ctx), []ports.Settlement{{Claim: u.claim, Again: &job}})
	return err
}

// renew keeps the lease while the run lasts.
func (u *botRun) renew(ctx context.Context) {
	for sleep(ctx, u.r.Config.Lease/3) {
		lost, err := u.r.Outbox.Renew(ctx, []ports.Claim{u.claim}, u.r.Config.Lease)
		if err != nil && ctx.Err() == nil {
			u.r.Logger.Warn("lease of a run not renewed", "error", err, "job", u.claim.ID.String())
		}
		if len(lost) > 0 {
			u.cancel(errLeaseGone)
			return
		}
	}
}

// end ends a run that says nothing.
func (u *botRun) end(ctx context.Context) error {
	return u.settle(ctx, func(tx ports.Tx) error { return tx.EndStream(u.hold, domain.MessageID{}) })
}

// settle writes the end of a run. When somebody else holds it by now, or all of it is gone, there is nothing to write.
func (u *botRun) settle(ctx context.Context, write func(ports.Tx) error) error {
	err := u.r.Store.Update(context.WithoutCancel(ctx), u.claim.Tenant, write)
	if errors.Is(err, domain.ErrLeaseLost) {
		u.r.counters.lost.Add(1)
		return nil
	}
	return ignoreGone(err)
}

// takeOver ends the stream of a run that died: what was kept of it is the message. What was asked since is the next run's.
func (u *botRun) takeOver(ctx context.Context, left domain.Stream) error {
	u.hold.Trigger = left.ReplyTo
	// Nobody knows what the run that died saw, but that it came behind what it answers; where that was not read, behind the
	// room's beginning.
	u.saw.Store(max(u.asked.FirstRev, 1))
	u.part = domain.StreamPart{
		Tenant: u.claim.Tenant, Room: left.Room, Message: left.Message, Bot: left.Bot.User(), ReplyTo: left.ReplyTo,
		Attempt: left.Attempt, Text: left.Text,
	}
	end := ending{finish: domain.FinishError, code: domain.StreamInterrupted}
	if u.room.Handoff.IsHuman() { // though it may be handed back by now
		end.code = domain.StreamHandedOff
	}
	return u.finish(ctx, end)
}
