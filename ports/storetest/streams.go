package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var streamContracts = []contract{
	{"an answer on its way is read as far as it was kept, also after a restart", streamIsRead},
	{"an answer that begins anew has another text, and is to be stopped still", streamBeginsAnew},
	{"a bot has one answer on its way in a room", oneStreamOfABot},
	{"an answer that ends without a message is gone, and its run", endedStreamIsGone},
	{"a run ends before its answer has begun", runEndsWithoutAStream},
	{"a run that ends goes on at once when there is a newer trigger", endedRunGoesOn},
	{"a run tells of a stop, of people and of a bot that has left, as of its transaction", notesOfARun},
	{"a stop is noted for an answer on its way alone", stopOfNoStream},
	{"once a hold is lost, nothing that shows it writes anything", lostHoldWritesNothing},
	{"a hold whose lease has passed stands while nobody else has the run", lateHoldStands},
	{"a hold is of its own run", holdOfAnotherRun},
	{"an answer that nobody has ended outlives other answers of its run", streamOfADeadRun},
	{"a run whose room is gone is told, and can end", runOfARemovedRoom},
	{"what a rolled back update does to answers is undone", rolledBackStreams},
	{"a purge takes answers on their way along", purgeTakesStreams},
}

func holdOf(c ports.Claim) domain.Hold {
	return domain.Hold{Job: c.ID, Fence: c.Fence, Trigger: c.Message}
}

// noteError is the error of a call that answers with a note.
func noteError(_ ports.StreamNote, err error) error { return err }

// newStream is the beginning of a run's answer.
func (f *fixture) newStream(c ports.Claim) domain.Stream {
	return domain.Stream{Message: f.newMessageID(), Room: c.Room, Bot: c.Bot, ReplyTo: c.Message, Attempt: 1, StartedAt: f.now()}
}

func (f *fixture) tryOpen(hold domain.Hold, s domain.Stream) (ports.StreamNote, error) {
	return ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (ports.StreamNote, error) { return tx.OpenStream(hold, s) })
}

// begin begins a run's answer.
func (f *fixture) begin(c ports.Claim) domain.Stream {
	f.t.Helper()
	s := f.newStream(c)
	note, err := f.tryOpen(holdOf(c), s)
	equal(f.t, "the error of OpenStream", err, nil)
	equal(f.t, "the note of OpenStream", note, ports.StreamNote{})
	return s
}

func (f *fixture) tryKeep(hold domain.Hold, message domain.MessageID, text string) (ports.StreamNote, error) {
	return ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (ports.StreamNote, error) {
		return tx.KeepStream(hold, message, text)
	})
}

func (f *fixture) keepText(c ports.Claim, s *domain.Stream, text string) ports.StreamNote {
	f.t.Helper()
	note, err := f.tryKeep(holdOf(c), s.Message, text)
	equal(f.t, "the error of KeepStream", err, nil)
	s.Text = text
	return note
}

func (f *fixture) tryEnd(hold domain.Hold, message domain.MessageID) error {
	return f.tryUpdate(func(tx ports.Tx) error { return tx.EndStream(hold, message) })
}

func (f *fixture) tryStop(room domain.RoomID, message domain.MessageID) error {
	return f.tryUpdate(func(tx ports.Tx) error { return tx.StopStream(room, message) })
}

// onItsWay fails the case unless a bot has this answer on its way in a room, or with nil none.
func (f *fixture) onItsWay(when string, room domain.RoomID, bot domain.BotID, want *domain.Stream) {
	f.t.Helper()
	look := func(r ports.Reader) error {
		got, ok, err := r.StreamOf(room, bot)
		equal(f.t, "there is an answer on its way "+when, ok, want != nil)
		if want == nil {
			equal(f.t, "no answer "+when, got, domain.Stream{})
			return err
		}
		equal(f.t, "the answer on its way "+when, got, *want)
		got, err2 := r.Stream(room, want.Message)
		equal(f.t, "the answer by its id "+when, got, *want)
		return errors.Join(err, err2)
	}
	f.view(look)
	f.update(func(tx ports.Tx) error { return look(tx) })
}

// running is a room with a bot that was asked and has begun to answer.
func (f *fixture) running() (domain.Room, ports.Claim, domain.Stream) {
	f.t.Helper()
	room := f.botRoom(f.newBotID())
	run := f.theRunAfter(room.ID)
	return room, run, f.begin(run)
}

func streamIsRead(f *fixture) {
	room, run, s := f.running()
	other := f.botRoom(run.Bot)
	f.onItsWay("once it was begun", room.ID, run.Bot, &s)
	for _, text := range append(append([]string{"a"}, awkward...), strings.Repeat("🦊", domain.MaxAnswer/4), "", "shorter again") {
		equal(f.t, "the note", f.keepText(run, &s, text), ports.StreamNote{})
		f.onItsWay("once it was kept", room.ID, run.Bot, &s)
	}
	f.onItsWay("of another room", other.ID, run.Bot, nil)
	f.onItsWay("of another bot", room.ID, f.newBotID(), nil)
	f.reopen()
	f.onItsWay("after a restart", room.ID, run.Bot, &s)
	f.view(func(r ports.Reader) error {
		for _, id := range []domain.RoomID{other.ID, f.newRoomID()} {
			_, err := r.Stream(id, s.Message)
			wantError(f.t, "Stream of another room", err, domain.ErrMessageNotFound)
		}
		_, err := r.Stream(room.ID, f.newMessageID())
		wantError(f.t, "Stream of an unknown id", err, domain.ErrMessageNotFound)
		_, err = r.Stream(room.ID, run.Message)
		wantError(f.t, "Stream of a message", err, domain.ErrMessageNotFound)
		_, err = r.Message(room.ID, s.Message)
		wantError(f.t, "Message of an answer on its way", err, domain.ErrMessageNotFound)
		return nil
	})
	equal(f.t, "messages", len(f.history(room.ID)), 1)
	f.dense(room.ID)
}

func streamBeginsAnew(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "said so far")
	s.Attempt, s.Text, s.StartedAt = 2, "", s.StartedAt.Add(time.Second)
	note, err := f.tryOpen(holdOf(run), s)
	equal(f.t, "the error of OpenStream", err, nil)
	equal(f.t, "the note", note, ports.StreamNote{})
	f.onItsWay("anew", room.ID, run.Bot, &s)
	equal(f.t, "StopStream", f.tryStop(room.ID, s.Message), nil)
	s.Attempt, s.Text = 3, "and the text that it begins with"
	note, err = f.tryOpen(holdOf(run), s)
	equal(f.t, "the error of OpenStream", err, nil)
	equal(f.t, "the note once it is to be stopped", note, ports.StreamNote{Stopped: true})
	f.reopen()
	f.onItsWay("after a restart", room.ID, run.Bot, &s)
}

func oneStreamOfABot(f *fixture) {
	room, run, s := f.running()
	second := f.newStream(run)
	if _, err := f.tryOpen(holdOf(run), second); err == nil {
		f.t.Error("a bot has two answers on their way in a room")
	}
	f.onItsWay("after a second one", room.ID, run.Bot, &s)
	_, err := f.tryKeep(holdOf(run), second.Message, "never")
	wantError(f.t, "KeepStream of one that was not begun", err, domain.ErrMessageNotFound)
	f.onItsWay("in the end", room.ID, run.Bot, &s)
	equal(f.t, "EndStream", f.tryEnd(holdOf(run), s.Message), nil)
	third := f.begin(f.theRunAfter(room.ID))
	f.onItsWay("that is the next", room.ID, run.Bot, &third)
}

func endedStreamIsGone(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "said")
	f.unchangedLog(room.ID, func() {
		equal(f.t, "EndStream", f.tryEnd(holdOf(run), s.Message), nil)
	})
	for range 2 {
		f.onItsWay("once it has ended", room.ID, run.Bot, nil)
		f.noRuns("once it has ended")
		_, err := f.tryKeep(holdOf(run), s.Message, "never")
		wantError(f.t, "KeepStream of one that has ended", err, domain.ErrLeaseLost)
		wantError(f.t, "EndStream again", f.tryEnd(holdOf(run), s.Message), domain.ErrLeaseLost)
		wantError(f.t, "StopStream of one that has ended", f.tryStop(room.ID, s.Message), domain.ErrMessageNotFound)
		f.reopen()
	}
}

// unchangedLog fails the case when fn takes a step of a room's log.
func (f *fixture) unchangedLog(room domain.RoomID, fn func()) {
	f.t.Helper()
	before, told := f.log(room), f.commits.total()
	fn()
	equalList(f.t, "the log", f.log(room), before)
	equal(f.t, "events told", f.commits.total(), told)
}

func runEndsWithoutAStream(f *fixture) {
	room := f.botRoom(f.newBotID())
	run := f.theRunAfter(room.ID)
	equal(f.t, "EndStream of one that had not begun", f.tryEnd(holdOf(run), f.newMessageID()), nil)
	f.noRuns("once it has ended")
	run = f.theRunAfter(room.ID)
	equal(f.t, "EndStream without an id", f.tryEnd(holdOf(run), domain.MessageID{}), nil)
	f.noRuns("once it has ended again")
}

func endedRunGoesOn(f *fixture) {
	bot := f.newBotID()
	room := f.botRoom(bot)
	for _, begun := range []bool{true, false} {
		run := f.theRunAfter(room.ID)
		message := f.newMessageID()
		if begun {
			message = f.begin(run).Message
		}
		f.times.pass(time.Second)
		newest := f.ask(room.ID, "bob")
		equal(f.t, "EndStream", f.tryEnd(holdOf(run), message), nil)
		f.onItsWay("once it has ended", room.ID, bot, nil)
		next := f.theRun()
		f.isRun("the run that goes on", next, bot, newest)
		f.done(next)
		f.noRuns("in the end")
	}
}

func notesOfARun(f *fixture) {
	room, run, s := f.running()
	noted := func(when string, want ports.StreamNote) {
		f.t.Helper()
		equal(f.t, "the note of KeepStream "+when, f.keepText(run, &s, when), want)
		note, err := f.tryOpen(holdOf(run), s)
		equal(f.t, "the error of OpenStream", err, nil)
		equal(f.t, "the note of OpenStream "+when, note, want)
		f.onItsWay(when, room.ID, run.Bot, &s)
	}
	f.handOver(room.ID, "ann")
	noted("while people answer", ports.StreamNote{Human: true})
	f.reopen()
	f.times.pass(lease)
	run = f.theRun()
	noted("after a restart", ports.StreamNote{Human: true})
	f.handBack(room.ID)
	noted("handed back", ports.StreamNote{})
	f.removeMember(room.ID, run.Bot.User())
	noted("without the bot", ports.StreamNote{Removed: true})
	equal(f.t, "StopStream", f.tryStop(room.ID, s.Message), nil)
	f.handOver(room.ID, "")
	noted("with everything", ports.StreamNote{Stopped: true, Human: true, Removed: true})
	f.addMember(room.ID, run.Bot.User(), domain.RoleMember)
	f.handBack(room.ID)
	noted("stopped", ports.StreamNote{Stopped: true})
	at := f.now()
	f.update(func(tx ports.Tx) error {
		_, err := tx.SetHandoff(room.ID, byHuman("bob"), at)
		note, err2 := tx.KeepStream(holdOf(run), s.Message, "within")
		equal(f.t, "the note within an update that hands over", note, ports.StreamNote{Stopped: true, Human: true})
		return errors.Join(err, err2)
	})
	equal(f.t, "EndStream", f.tryEnd(holdOf(run), s.Message), nil)
	f.noRuns("in the end")
}

func stopOfNoStream(f *fixture) {
	room, run, s := f.running()
	other := f.botRoom(run.Bot)
	wantError(f.t, "StopStream in another room", f.tryStop(other.ID, s.Message), domain.ErrMessageNotFound)
	wantError(f.t, "StopStream in no room", f.tryStop(f.newRoomID(), s.Message), domain.ErrRoomNotFound)
	wantError(f.t, "StopStream of an unknown id", f.tryStop(room.ID, f.newMessageID()), domain.ErrMessageNotFound)
	wantError(f.t, "StopStream of a message", f.tryStop(room.ID, run.Message), domain.ErrMessageNotFound)
	equal(f.t, "the note of one that was not stopped", f.keepText(run, &s, "on"), ports.StreamNote{})
	for range 2 {
		equal(f.t, "StopStream", f.tryStop(room.ID, s.Message), nil)
	}
	equal(f.t, "the note", f.keepText(run, &s, "stopped"), ports.StreamNote{Stopped: true})
	f.onItsWay("stopped", room.ID, run.Bot, &s)
	equal(f.t, "EndStream", f.tryEnd(holdOf(run), s.Message), nil)
	next := f.theRunAfter(room.ID)
	s = f.begin(next)
	equal(f.t, "the note of the next answer", f.keepText(next, &s, "on"), ports.StreamNote{})
}

// writesNothing fails the case unless everything that shows a hold is refused and changes nothing.
func (f *fixture) writesNothing(what string, hold domain.Hold, s domain.Stream) {
	f.t.Helper()
	told, before := f.commits.total(), f.dump("ann", "bob")
	stream, ok, err := f.streamOf(s.Room, s.Bot)
	stats := f.allStats()
	_, openErr := f.tryOpen(hold, s)
	wantError(f.t, "OpenStream "+what, openErr, domain.ErrLeaseLost)
	_, keepErr := f.tryKeep(hold, s.Message, "stale")
	wantError(f.t, "KeepStream "+what, keepErr, domain.ErrLeaseLost)
	wantError(f.t, "EndStream "+what, f.tryEnd(hold, s.Message), domain.ErrLeaseLost)
	_, answerErr := f.answerTo(s.Room, hold, f.newAnswer(s, "stale"))
	wantError(f.t, "Append "+what, answerErr, domain.ErrLeaseLost)
	_, decideErr := f.db.Append(f.t.Context(), f.tenant, domain.Intent{Room: s.Room, Sender: s.Bot.User(), Hold: &hold},
		func(domain.Snapshot) (domain.Change, error) {
			f.t.Errorf("decide was called %s", what)
			return domain.Change{}, errLooked
		})
	wantError(f.t, "Append "+what, decideErr, domain.ErrLeaseLost)
	after, okAfter, errAfter := f.streamOf(s.Room, s.Bot)
	equal(f.t, "the answer on its way "+what, after, stream)
	equal(f.t, "there is one "+what, okAfter, ok)
	equal(f.t, "the error of StreamOf "+what, errAfter, err)
	equal(f.t, "what waits "+what, f.allStats(), stats)
	equalList(f.t, "everything stored "+what, f.dump("ann", "bob"), before)
	equal(f.t, "events told "+what, f.commits.total(), told)
}

func (f *fixture) streamOf(room domain.RoomID, bot domain.BotID) (s domain.Stream, ok bool, err error) {
	err = f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) (err error) {
		s, ok, err = r.StreamOf(room, bot)
		return err
	})
	return s, ok, err
}

func lostHoldWritesNothing(f *fixture) {
	room, stale, s := f.running()
	f.keepText(stale, &s, "of the first")
	f.times.pass(lease)
	holder := f.theRun()
	f.writesNothing("of a stale holder", holdOf(stale), s)
	f.keepText(holder, &s, "of the second")
	f.writesNothing("of a stale holder still", holdOf(stale), s)
	f.ask(room.ID, "ann")
	f.writesNothing("of a stale holder beside a newer trigger", holdOf(stale), s)
	f.reopen()
	f.times.pass(lease)
	last := f.theRun()
	for _, c := range []ports.Claim{stale, holder} {
		f.writesNothing("of a holder before a restart", holdOf(c), s)
	}
	f.answer(room.ID, last, "the answer")
	f.writesNothing("once it was answered", holdOf(last), s)
	third := f.theRunAfter(room.ID)
	f.writesNothing("of the run before", holdOf(last), s)
	f.done(third)
	f.writesNothing("once it was settled", holdOf(third), s)
	f.times.pass(time.Second)
	again := f.theRunAfter(room.ID)
	later := again.Job
	equalList(f.t, "claims lost", f.settle(ports.Settlement{Claim: again, Again: &later}), nil)
	f.writesNothing("once it was let go", holdOf(again), s)
	f.writesNothing("of no claim", domain.Hold{Job: again.ID, Trigger: again.Message}, s)
	f.onItsWay("in the end", room.ID, again.Bot, nil)
	f.dense(room.ID)
}

func lateHoldStands(f *fixture) {
	room, run, s := f.running()
	f.times.pass(24 * time.Hour)
	f.keepText(run, &s, "late")
	f.onItsWay("kept late", room.ID, run.Bot, &s)
	f.answerStream(run, s, "late answer")
	f.noRuns("in the end")
	f.dense(room.ID)
}

func holdOfAnotherRun(f *fixture) {
	bot, second := f.newBotID(), f.newBotID()
	room, other := f.botRoom(bot, second), f.botRoom(bot)
	f.ask(room.ID, "ann")
	f.ask(other.ID, "ann")
	runs := map[domain.JobID]ports.Claim{}
	for _, c := range f.claimRuns() {
		runs[c.ID] = c
	}
	own := runs[domain.RunID(room.ID, bot)]
	s := f.begin(own)
	for what, id := range map[string]domain.JobID{
		"of another bot's run": domain.RunID(room.ID, second), "of another room's run": domain.RunID(other.ID, bot),
		"of a run that does not exist": domain.JobID(f.newUUID()),
	} {
		hold := holdOf(own)
		hold.Job = id
		_, err := f.tryOpen(hold, s)
		wantError(f.t, "OpenStream "+what, err, domain.ErrLeaseLost)
		if _, err = f.tryKeep(hold, s.Message, "theirs"); err == nil {
			f.t.Errorf("KeepStream %s is kept", what)
		}
		_, err = f.answerTo(s.Room, hold, f.newAnswer(s, "theirs"))
		wantError(f.t, "Append "+what, err, domain.ErrLeaseLost)
		f.onItsWay(what, room.ID, bot, &s)
	}
	call := f.newJob(0)
	f.enqueue(call)
	claim := f.theOnly()
	hold := holdOf(claim)
	s.Message = f.newMessageID()
	s.Room = call.Room
	wantError(f.t, "EndStream by a claim of another lane", f.tryEnd(hold, s.Message), domain.ErrLeaseLost)
	f.done(claim)
	theirs := f.newTenant("second")
	wantError(f.t, "EndStream by a tenant that has no such run", theirs.tryEnd(holdOf(own), s.Message), domain.ErrLeaseLost)
	f.done(own)
}

// streamOfADeadRun has a run take over from one that has died, and end without seeing what that has left.
func streamOfADeadRun(f *fixture) {
	room, _, s := f.running()
	f.times.pass(lease)
	second := f.theRun()
	equal(f.t, "EndStream of another answer", f.tryEnd(holdOf(second), f.newMessageID()), nil)
	f.onItsWay("of the run that has died", room.ID, second.Bot, &s)
	third := f.theRun()
	equal(f.t, "the run that goes on", third.ID, second.ID)
	other := s
	other.Message = f.newMessageID()
	said := f.answerStream(third, other, "another answer")
	f.onItsWay("of the run that has died, still", room.ID, third.Bot, &s)
	last := f.theRun()
	newest := f.ask(room.ID, "bob")
	hold := holdOf(last)
	hold.Trigger = s.ReplyTo
	equal(f.t, "EndStream of what was left", f.tryEnd(hold, s.Message), nil)
	f.onItsWay("in the end", room.ID, last.Bot, nil)
	f.isRun("the run for the newest", f.theRun(), last.Bot, newest)
	messages, _ := f.dense(room.ID)
	equal(f.t, "the message", messages[1], said)
}

func runOfARemovedRoom(f *fixture) {
	room, run, s := f.running()
	waiting := f.botRoom(f.newBotID())
	second := f.theRunAfter(waiting.ID)
	f.removeRoom(room.ID)
	f.removeRoom(waiting.ID)
	note, err := f.tryKeep(holdOf(run), s.Message, "never")
	equal(f.t, "the error of KeepStream", err, nil)
	equal(f.t, "the note of KeepStream", note, ports.StreamNote{Removed: true})
	note, err = f.tryOpen(holdOf(second), f.newStream(second))
	equal(f.t, "the error of OpenStream", err, nil)
	equal(f.t, "the note of OpenStream", note, ports.StreamNote{Removed: true})
	_, err = f.answerTo(s.Room, holdOf(run), f.newAnswer(s, "never"))
	wantError(f.t, "Append", err, domain.ErrRoomNotFound)
	wantError(f.t, "StopStream", f.tryStop(room.ID, s.Message), domain.ErrRoomNotFound)
	f.view(func(r ports.Reader) error {
		_, err := r.Stream(room.ID, s.Message)
		wantError(f.t, "Stream", err, domain.ErrRoomNotFound)
		_, _, err = r.StreamOf(room.ID, run.Bot)
		wantError(f.t, "StreamOf", err, domain.ErrRoomNotFound)
		_, err = r.BotReplies(room.ID, time.UnixMilli(0), page)
		wantError(f.t, "BotReplies", err, domain.ErrRoomNotFound)
		return nil
	})
	equal(f.t, "EndStream", f.tryEnd(holdOf(run), s.Message), nil)
	equal(f.t, "EndStream of one that had not begun", f.tryEnd(holdOf(second), f.newMessageID()), nil)
	f.noRuns("in the end")
}

func rolledBackStreams(f *fixture) {
	room, run, s := f.running()
	f.keepText(run, &s, "kept")
	second := f.botRoom(f.newBotID())
	waits := f.theRunAfter(second.ID)
	fresh := f.newStream(waits)
	for _, x := range failures {
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				_, err := tx.OpenStream(holdOf(waits), fresh)
				_, err2 := tx.KeepStream(holdOf(run), s.Message, "not kept")
				now, err3 := tx.Stream(room.ID, s.Message)
				equal(f.t, "the text within the update", now.Text, "not kept")
				err4 := tx.StopStream(room.ID, s.Message)
				err5 := tx.EndStream(holdOf(run), s.Message)
				_, ok, err6 := tx.StreamOf(room.ID, run.Bot)
				equal(f.t, "there is an answer within the update", ok, false)
				return errors.Join(err, err2, err3, err4, err5, err6, x.fail())
			})
		})
		if err := x.check(got); err != nil {
			f.t.Error(err)
		}
		f.onItsWay("after "+x.name, room.ID, run.Bot, &s)
		f.onItsWay("of another run after "+x.name, second.ID, waits.Bot, nil)
		equal(f.t, "runs after "+x.name, f.allStats()[domain.LaneBot].Waiting, 2)
	}
	equal(f.t, "the note", f.keepText(run, &s, "kept again"), ports.StreamNote{})
	f.answerStream(run, s, "the answer")
	f.done(waits)
	f.noRuns("in the end")
}

func purgeTakesStreams(f *fixture) {
	room, run, s := f.running()
	stays, beside, kept := f.running()
	f.removeRoom(room.ID)
	f.purge()
	_, err := f.tryKeep(holdOf(run), s.Message, "never")
	wantError(f.t, "KeepStream after the purge", err, domain.ErrLeaseLost)
	f.onItsWay("in another room", stays.ID, beside.Bot, &kept)
	f.keepText(beside, &kept, "on")
	gone := f.newTenant("gone")
	theirs, their, left := gone.running()
	equal(f.t, "DeleteTenant", f.db.DeleteTenant(f.t.Context(), gone.tenant, f.now()), nil)
	_, err = gone.tryKeep(holdOf(their), left.Message, "never")
	wantError(f.t, "KeepStream of a deleted tenant", err, domain.ErrTenantNotFound)
	f.purge()
	equal(f.t, "runs", f.allStats()[domain.LaneBot].Waiting, 1)
	fresh := f.botRoom(their.Bot) // an id of the deleted tenant's may be used again
	next := f.theRunAfter(fresh.ID)
	again := f.newStream(next)
	again.Message = left.Message
	equal(f.t, "OpenStream", noteError(f.tryOpen(holdOf(next), again)), nil)
	f.onItsWay("of the other tenant", fresh.ID, their.Bot, &again)
	if fresh.ID == theirs.ID {
		f.t.Error(fmt.Sprint("two rooms have the id ", fresh.ID))
	}
}
