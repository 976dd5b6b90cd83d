package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var answerContracts = []contract{
	{"an answer is stored as a message, and its run ends with it", answerIsStored},
	{"an answer is stored without having been on its way", answerWithoutAStream},
	{"a run that answers goes on at once when there is a newer trigger", answeredRunGoesOn},
	{"an answer to an older trigger leaves the newer one waiting", answerToAnOlderTrigger},
	{"an answer that comes after a handoff is refused and leaves the run", answerAfterAHandoff},
	{"an answer that is older than a handoff is not written, though the room was handed back", answerAfterAHandoffAndBack},
	{"an answer of a bot that has left is refused and leaves the run", answerOfOneWhoLeft},
	{"an answer that is refused or fails changes nothing", failedAnswer},
	{"a bot's answer asks no bot", answerAsksNobody},
	{"one of parallel answers of one hold is stored", parallelAnswers},
	{"handoffs beside answers leave no answer above them", handoffsBesideAnswers},
}

// newAnswer is what a stream has come to.
func (f *fixture) newAnswer(s domain.Stream, content string) domain.Answer {
	return domain.Answer{
		ID: s.Message, Bot: s.Bot, ReplyTo: s.ReplyTo, Content: content, Meta: []byte(`{"finish_reason":"stop"}`), Now: f.now(),
	}
}

// answerTo appends an answer as the core does.
func (f *fixture) answerTo(room domain.RoomID, hold domain.Hold, a domain.Answer) (ports.Appended, error) {
	in := domain.Intent{Room: room, Sender: a.Bot.User(), ReplyTo: a.ReplyTo, Hold: &hold}
	return f.db.Append(f.t.Context(), f.tenant, in, a.Decide)
}

func (f *fixture) answerStream(c ports.Claim, s domain.Stream, content string) domain.Message {
	f.t.Helper()
	out, err := f.answerTo(s.Room, holdOf(c), f.newAnswer(s, content))
	if err != nil {
		f.t.Fatalf("Append: %v", err)
	}
	return out.Message
}

// answer ends a run with whatever answer it has on its way, or one that had not begun.
func (f *fixture) answer(room domain.RoomID, c ports.Claim, content string) domain.Message {
	f.t.Helper()
	s, ok, err := f.streamOf(room, c.Bot)
	equal(f.t, "the error of StreamOf", err, nil)
	if !ok {
		s = f.newStream(c)
	}
	return f.answerStream(c, s, content)
}

func answerIsStored(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "said so f")
	a := f.newAnswer(s, "said so far, and the rest 🦊")
	got, err := f.answerTo(room.ID, holdOf(run), a)
	equal(f.t, "the error of Append", err, nil)
	want := domain.Message{
		ID: s.Message, Room: room.ID, Sender: run.Bot.User(), SenderType: domain.SenderBot, Seq: 2, FirstRev: room.LastRev + 2,
		Rev: room.LastRev + 2, Content: a.Content, Meta: a.Meta, ReplyTo: run.Message, CreatedAt: a.Now,
	}
	equal(f.t, "the message", got, ports.Appended{Message: want})
	told := f.commits.of(room.ID)
	equal(f.t, "the message told", *told[len(told)-1].Message, want)
	for range 2 {
		equal(f.t, "the message stored", f.messageNow(room.ID, s.Message), want)
		f.onItsWay("once it is a message", room.ID, run.Bot, nil)
		f.noRuns("once it was answered")
		f.dense(room.ID)
		_, err = f.answerTo(room.ID, holdOf(run), a)
		wantError(f.t, "the same answer again", err, domain.ErrLeaseLost)
		f.reopen()
	}
}

func answerWithoutAStream(f *fixture) {
	room := f.botRoom(f.newBotID())
	run := f.theRunAfter(room.ID)
	f.answer(room.ID, run, "at once")
	f.noRuns("once it was answered")
	messages, _ := f.dense(room.ID)
	equal(f.t, "messages", len(messages), 2)
}

func answeredRunGoesOn(f *fixture) {
	room, run, s := f.running()
	f.times.pass(time.Second)
	f.ask(room.ID, "bob")
	newest := f.ask(room.ID, "ann")
	f.answerStream(run, s, "to the first")
	f.onItsWay("once it is a message", room.ID, run.Bot, nil)
	f.writesNothing("once it was answered", holdOf(run), s)
	next := f.theRun()
	f.isRun("the run that goes on", next, run.Bot, newest)
	f.answer(room.ID, next, "to the newest")
	f.noRuns("in the end")
	f.dense(room.ID)
}

// answerToAnOlderTrigger ends what a run that has died has begun, when its job has a newer trigger already.
func answerToAnOlderTrigger(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "as far as it was kept")
	newest := f.ask(room.ID, "bob")
	f.reopen()
	f.times.pass(lease)
	second := f.theRun()
	equal(f.t, "the trigger of the second run", second.Message, newest.ID)
	left, ok, err := f.streamOf(room.ID, second.Bot)
	equal(f.t, "what the first has left", left, s)
	equal(f.t, "there is that", ok && err == nil, true)
	hold := holdOf(second)
	hold.Trigger = left.ReplyTo
	_, err = f.answerTo(room.ID, hold, f.newAnswer(left, left.Text))
	equal(f.t, "the error of Append", err, nil)
	third := f.theRun()
	f.isRun("the run for the newest", third, second.Bot, newest)
	f.answer(room.ID, third, "to the newest")
	f.noRuns("in the end")
	f.dense(room.ID)
}

func answerAfterAHandoff(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "said")
	f.handOver(room.ID, "ann")
	f.unchangedLog(room.ID, func() {
		_, err := f.answerTo(room.ID, holdOf(run), f.newAnswer(s, "never"))
		wantError(f.t, "Append after a handoff", err, domain.ErrHandedOff)
	})
	f.onItsWay("after a refusal", room.ID, run.Bot, &s)
	equal(f.t, "how long the lease goes on", f.nextRun(), lease)
	equal(f.t, "EndStream", f.tryEnd(holdOf(run), s.Message), nil)
	f.noRuns("in the end")
	f.handBack(room.ID)
	next := f.theRunAfter(room.ID)
	f.answer(room.ID, next, "handed back")
	f.dense(room.ID)
}

// answerAfterAHandoffAndBack is of a run that has heard of neither.
func answerAfterAHandoffAndBack(f *fixture) {
	room, run, s := f.running()
	hold := holdOf(run)
	hold.Since = f.roomNow(room.ID).LastRev
	note, err := f.tryKeep(hold, s.Message, "said")
	equal(f.t, "the error of KeepStream", err, nil)
	equal(f.t, "the note before", note, ports.StreamNote{})
	f.handOver(room.ID, "ann")
	f.handBack(room.ID)
	for range 2 {
		f.unchangedLog(room.ID, func() {
			_, err := f.answerTo(room.ID, hold, f.newAnswer(s, "never"))
			wantError(f.t, "Append behind a handoff", err, domain.ErrHandedOff)
		})
		note, err := f.tryKeep(hold, s.Message, "said")
		equal(f.t, "the error of KeepStream", err, nil)
		equal(f.t, "the note of KeepStream", note, ports.StreamNote{Human: true})
		s.Attempt++
		note, err = f.tryOpen(hold, s)
		equal(f.t, "the error of OpenStream", err, nil)
		equal(f.t, "the note of OpenStream", note, ports.StreamNote{Human: true})
		f.reopen()
		f.times.pass(lease)
		run = f.theRun()
		hold.Fence = run.Fence
	}
	hold.Since = f.roomNow(room.ID).LastRev // it has looked again
	note, err = f.tryKeep(hold, s.Message, "said")
	equal(f.t, "the error of KeepStream", err, nil)
	equal(f.t, "the note in the end", note, ports.StreamNote{})
	_, err = f.answerTo(room.ID, hold, f.newAnswer(s, "handed back"))
	equal(f.t, "the error of Append", err, nil)
	f.noRuns("in the end")
	f.dense(room.ID)
}

// nextRun is how long until a run is handed out, when none is.
func (w *world) nextRun() time.Duration {
	w.t.Helper()
	claims, next := w.claimBy(ports.ClaimQuery{Lane: domain.LaneBot})
	equal(w.t, "runs claimed", len(claims), 0)
	return next
}

func answerOfOneWhoLeft(f *fixture) {
	room, run, s := f.running()
	f.removeMember(room.ID, run.Bot.User())
	f.unchangedLog(room.ID, func() {
		_, err := f.answerTo(room.ID, holdOf(run), f.newAnswer(s, "never"))
		wantError(f.t, "Append of one who has left", err, domain.ErrNotMember)
	})
	f.onItsWay("after a refusal", room.ID, run.Bot, &s)
	f.addMember(room.ID, run.Bot.User(), domain.RoleMember)
	f.answerStream(run, s, "back again")
	f.noRuns("in the end")
}

func failedAnswer(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "said")
	newest := f.ask(room.ID, "bob")
	for _, x := range failures {
		a := f.newAnswer(s, "never")
		f.unchangedLog(room.ID, func() {
			got := endingOf(func() error {
				in := domain.Intent{Room: room.ID, Sender: a.Bot.User(), Hold: ptr(holdOf(run))}
				_, err := f.db.Append(f.t.Context(), f.tenant, in, func(snap domain.Snapshot) (domain.Change, error) {
					change, err := a.Decide(snap)
					return change, errors.Join(err, x.fail())
				})
				return err
			})
			if err := x.check(got); err != nil {
				f.t.Error(err)
			}
		})
		f.onItsWay("after "+x.name, room.ID, run.Bot, &s)
		equal(f.t, "how long the lease goes on after "+x.name, f.nextRun(), lease)
	}
	taken := f.newAnswer(s, "under an id that is taken")
	taken.ID = newest.ID
	f.unchangedLog(room.ID, func() {
		if _, err := f.answerTo(room.ID, holdOf(run), taken); err == nil {
			f.t.Error("two messages have one id")
		}
	})
	f.onItsWay("after an id that is taken", room.ID, run.Bot, &s)
	f.answerStream(run, s, "now")
	f.isRun("the run that goes on", f.theRun(), run.Bot, newest)
	f.dense(room.ID)
}

func answerAsksNobody(f *fixture) {
	a, b := f.newBotID(), f.newBotID()
	room := f.botRoom(a, b)
	f.ask(room.ID, "ann")
	for _, run := range f.claimRuns() {
		f.answer(room.ID, run, "an answer")
	}
	f.noRuns("after two answers")
	equal(f.t, "messages", len(f.history(room.ID)), 3)
}

func parallelAnswers(f *fixture) {
	room, run, s := f.running()
	answers := make([]error, writers)
	parallel(f.t, writers, func(w int) error {
		if w%2 == 1 {
			answers[w] = f.tryEnd(holdOf(run), s.Message)
		} else {
			_, answers[w] = f.answerTo(room.ID, holdOf(run), f.newAnswer(s, fmt.Sprint(w)))
		}
		if !errors.Is(answers[w], domain.ErrLeaseLost) {
			return answers[w]
		}
		return nil
	})
	ended := 0
	for _, err := range answers {
		if err == nil {
			ended++
		}
	}
	equal(f.t, "calls that have ended the run", ended, 1)
	f.onItsWay("in the end", room.ID, run.Bot, nil)
	f.noRuns("in the end")
	f.dense(room.ID)
}

// handoffsBesideAnswers lets everything go side by side in one room, with workers that lose their leases now and then.
func handoffsBesideAnswers(f *fixture) {
	const rounds = 25
	bot := f.newBotID()
	room := f.botRoom(bot)
	parallel(f.t, writers, func(w int) error {
		for i := range rounds {
			var err error
			switch {
			case w < 3:
				_, err = f.trySend(room.ID, f.newAsk("ann"), nil)
			case w < 6:
				err = f.workOnce(room.ID, i)
			default:
				h, at := byBots, f.now()
				if (w+i)%2 == 0 {
					h = byHuman("ann")
				}
				_, err = ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (domain.Room, error) { return tx.SetHandoff(room.ID, h, at) })
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	f.handBack(room.ID)
	f.times.pass(lease)
	for _, run := range f.claimRuns() {
		f.answer(room.ID, run, "at last")
	}
	f.handBackAndAnswer(room.ID, bot)
	f.noneAboveAHandoff(room.ID)
}

// workOnce claims a run, if there is one, and takes it a part of its way: it may end it, or leave it to die.
func (f *fixture) workOnce(room domain.RoomID, i int) error {
	q := ports.ClaimQuery{Lane: domain.LaneBot, Limit: 1, PerTenant: page, Lease: lease}
	claims, _, err := f.db.Claim(f.t.Context(), q)
	if err != nil || len(claims) == 0 {
		f.times.pass(lease / 3)
		return err
	}
	hold := holdOf(claims[0])
	s, ok, err := f.streamOf(room, claims[0].Bot)
	if err != nil {
		return err
	}
	if !ok {
		s = f.newStream(claims[0])
		_, err = f.tryOpen(hold, s)
	}
	hold.Trigger = s.ReplyTo
	if err == nil {
		_, err = f.tryKeep(hold, s.Message, fmt.Sprint(i))
	}
	if err == nil && i%5 > 0 { // else it dies
		_, err = f.answerTo(room, hold, f.newAnswer(s, fmt.Sprint(i)))
	}
	if errors.Is(err, domain.ErrHandedOff) {
		err = f.tryEnd(hold, s.Message)
	}
	if errors.Is(err, domain.ErrLeaseLost) || errors.Is(err, domain.ErrMessageNotFound) {
		err = nil
	}
	return err
}

// handBackAndAnswer answers what is left of a room, and one message more.
func (f *fixture) handBackAndAnswer(room domain.RoomID, bot domain.BotID) {
	f.t.Helper()
	for range 3 {
		f.times.pass(lease)
		for _, run := range f.claimRuns() {
			f.answer(room, run, "what was left")
		}
	}
	f.noRuns("once all was answered")
	f.answer(room, f.theRunAfter(room), "the last")
	f.noRuns("in the end")
	f.onItsWay("in the end", room, bot, nil)
}

// noneAboveAHandoff fails the case when a bot's message stands in a room's log while people answer.
func (f *fixture) noneAboveAHandoff(room domain.RoomID) {
	f.t.Helper()
	f.dense(room)
	human := false
	for _, e := range f.commits.of(room) {
		switch {
		case e.Kind == domain.EventHandoff:
			human = e.State.Handoff.IsHuman()
		case e.Kind == domain.EventMessage && e.Message.SenderType == domain.SenderBot && human:
			f.t.Errorf("a bot's message has rev %d, above that of a handoff", e.Rev)
		}
	}
}
