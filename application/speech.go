package application

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// ending is how an answer ended.
type ending struct {
	finish domain.FinishReason
	code   domain.StreamCode // of FinishError
	usage  *ports.TokenUsage
}

// speak opens the stream, or the next attempt of one that had begun, has the model answer, tells the room of it as it comes,
// and ends it.
func (u *botRun) speak(ctx, running context.Context, answer func(context.Context, *voice) ending) error {
	if u.part.Message.IsZero() {
		u.part.Message, u.part.ReplyTo = domain.MessageID(u.r.IDs.NewUUID()), u.asked.ID
	}
	u.part.Tenant, u.part.Room, u.part.Bot = u.claim.Tenant, u.claim.Room, u.claim.Bot.User()
	u.part.Since, u.part.Attempt = u.room.LastRev, u.part.Attempt+1
	u.saw.Store(u.part.Since)
	u.r.enter(u) // from here on a handoff finds it
	defer u.r.leave(u)
	if opened, err := u.open(ctx); err != nil || !opened {
		return err
	}
	spoken, cancel := context.WithTimeout(running, domain.RunTimeout)
	defer cancel()
	var telling sync.WaitGroup
	voice := newVoice()
	telling.Go(func() { u.tell(spoken, voice) })
	end := answer(spoken, voice)
	voice.close()
	telling.Wait()
	u.silence()
	if ctx.Err() != nil && !voice.said() && end.code != domain.StreamBudget {
		return nil // the server stops and nobody has seen a word: whoever holds the job next goes on with the stream
	}
	return u.finish(ctx, u.cause(spoken, end))
}

// open makes the stream durable and shows its start; false when it is not to begin after all.
func (u *botRun) open(ctx context.Context) (opened bool, err error) {
	s := u.stream()
	note, err := ports.Update(ctx, u.r.Store, u.claim.Tenant, func(tx ports.Tx) (ports.StreamNote, error) {
		note, err := tx.OpenStream(u.holding(), s)
		switch {
		case err != nil:
		case note.Human && s.Attempt == 1 && !note.Removed:
			err = errHuman // nothing of it is stored
		case note.Human || note.Removed:
			err = tx.EndStream(u.hold, s.Message)
		}
		return note, err
	})
	switch {
	case errors.Is(err, errHuman): // and may be handed back by now: who holds the job next looks who is to answer
		return false, u.putBack(ctx, 0)
	case errors.Is(err, domain.ErrLeaseLost):
		return false, nil
	case err != nil:
		return false, err
	case note.Human:
		u.unopened(domain.StreamHandedOff)
		return false, nil
	case note.Removed:
		u.unopened(domain.StreamRemoved)
		return false, nil
	}
	u.r.counters.started.Add(1)
	u.publish()
	return true, nil
}

// stream is the attempt as the store has it, from its beginning. The caller holds mu, or has not begun to tell.
func (u *botRun) stream() domain.Stream {
	return domain.Stream{
		Message: u.part.Message, Room: u.part.Room, Bot: u.claim.Bot, ReplyTo: u.part.ReplyTo, Attempt: u.part.Attempt,
		StartedAt: u.r.Clock.Now(),
	}
}

// unopened tells of the end of a stream that is not to begin, if an earlier attempt has shown its start.
func (u *botRun) unopened(code domain.StreamCode) {
	if u.part.Attempt > 1 {
		u.failed(code)
	}
}

// ask has the model answer, again while it could not be reached and nothing was said.
func (u *botRun) ask(ctx context.Context, system string, voice *voice) (end ending) {
	key, err := u.key()
	if err != nil {
		u.r.Logger.Error("key of a bot not usable", "error", err, "bot", u.bot.ID.String())
		return ending{finish: domain.FinishError, code: domain.StreamRefused}
	}
	q := ports.Question{
		Endpoint: botEndpoint(u.claim.Tenant, u.bot.ID), Provider: u.bot.Provider, BaseURL: u.bot.BaseURL, Key: key,
		Model: u.bot.Model, System: system, Turns: u.turns, MaxOutputTokens: u.bot.MaxOutputTokens, Temperature: u.bot.Temperature,
	}
	for {
		end, failed := u.listen(ctx, q, voice)
		const patience = 10 * time.Second // who is asked to wait longer tells the user instead
		if failed == nil || !failed.Retryable || failed.RetryAfter > patience || voice.said() || u.part.Attempt >= domain.RunAttempts {
			return end
		}
		if !sleep(ctx, max(failed.RetryAfter, time.Second)) || !u.begin(ctx, u.part.Attempt+1) {
			return end
		}
	}
}

// begin begins a stream anew, with its next attempt. As long as the lease lasts it waits for a store that cannot be written.
func (u *botRun) begin(ctx context.Context, attempt int) bool {
	u.mu.Lock()
	s := u.stream()
	u.mu.Unlock()
	s.Attempt = attempt
	trying, cancel := context.WithTimeout(ctx, u.r.Config.Lease)
	defer cancel()
	var note ports.StreamNote
	err := persist(trying, func() (err error) {
		note, err = ports.Update(trying, u.r.Store, u.claim.Tenant, func(tx ports.Tx) (ports.StreamNote, error) {
			return tx.OpenStream(u.holding(), s)
		})
		return err
	})
	if !u.heed(note, err) || err != nil { // an attempt that is not stored may be begun by another run as well
		return false
	}
	u.mu.Lock()
	u.part.Attempt = attempt
	u.mu.Unlock()
	u.publish()
	return true
}

// listen takes one answer of the model as it comes, up to the longest that a message may be.
func (u *botRun) listen(ctx context.Context, q ports.Question, voice *voice) (end ending, failed *ports.ModelError) {
	end = ending{finish: domain.FinishError, code: domain.StreamInterrupted}
	u.questioned = true
	for piece, err := range u.r.LLM.Answer(ctx, q) {
		if err != nil {
			end.code = domain.StreamRefused
			if errors.As(err, &failed) {
				end.code = failed.Code
			}
			if ctx.Err() == nil { // else it was stopped
				u.r.Logger.Warn("model did not answer", "error", err, "bot", u.bot.ID.String())
			}
			return end, failed
		}
		if piece.Usage != nil {
			end.usage = piece.Usage
		}
		if !voice.say(piece.Text) {
			end.finish, end.code = domain.FinishLength, ""
			return end, nil
		}
		if piece.Finish != "" {
			end.finish, end.code = piece.Finish, ""
		}
	}
	return end, nil
}

// cause is why an answer has ended: what cut it short comes before what the model says of it.
func (u *botRun) cause(ctx context.Context, end ending) ending {
	switch cause := context.Cause(ctx); {
	case cause == nil || end.finish != domain.FinishError:
		return end
	case errors.Is(cause, errStopped):
		end.finish, end.code = domain.FinishStopped, ""
	case errors.Is(cause, errHuman):
		end.code = domain.StreamHandedOff
	case errors.Is(cause, errRemoved):
		end.code = domain.StreamRemoved
	case errors.Is(cause, context.DeadlineExceeded):
		end.code = domain.StreamTimeout
	default:
		end.code = domain.StreamInterrupted
	}
	return end
}

// bill is what an answer has cost: as the provider counts, or an estimate of what it did not come to tell.
func (u *botRun) bill(end ending) int64 {
	if end.usage != nil {
		return end.usage.Input + end.usage.Output
	}
	if !u.questioned {
		return 0
	}
	const bytesPerToken = 4
	length := len(u.part.Text)
	for _, turn := range u.turns {
		length += len(turn.Text)
	}
	return int64(length) / bytesPerToken
}

// finish stores the answer as a message, or says that there is none. It is repeated while the store cannot be written, as
// long as the lease lasts: after that somebody else ends the stream.
func (u *botRun) finish(ctx context.Context, end ending) error {
	patience := u.r.Config.Lease
	if ctx.Err() != nil {
		patience = finishTimeout
	}
	trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	u.book(trying, end)
	return persist(trying, func() error {
		err := u.store(trying, end)
		u.again = true
		return err
	})
}

// persist repeats a write while the store cannot be written, until ctx ends.
func persist(ctx context.Context, write func() error) error {
	for {
		err := write()
		if !errors.Is(err, domain.ErrBusy) && !errors.Is(err, domain.ErrUnavailable) || !sleep(ctx, storeRetry) {
			return err
		}
	}
}

func (u *botRun) store(ctx context.Context, end ending) error {
	if end.finish != domain.FinishError && strings.TrimSpace(u.part.Text) == "" {
		end = ending{finish: domain.FinishError, code: domain.StreamEmpty, usage: end.usage}
	}
	if u.part.Text == "" || end.code == domain.StreamEmpty || end.code == domain.StreamHandedOff || end.code == domain.StreamRemoved {
		return u.fail(ctx, end.code)
	}
	answer := domain.Answer{
		ID: u.part.Message, Bot: u.claim.Bot, ReplyTo: u.part.ReplyTo, Content: u.part.Text, Meta: u.meta(end),
		Webhook: u.r.Courier.Webhook(u.tenant) != "", Now: u.r.Clock.Now(),
	}
	hold := u.holding()
	in := domain.Intent{Room: u.part.Room, Sender: u.part.Bot, ReplyTo: u.part.ReplyTo, Hold: &hold}
	_, err := u.r.Log.Append(ctx, u.claim.Tenant, in, answer.Decide)
	switch {
	case errors.Is(err, domain.ErrHandedOff):
		return u.fail(ctx, domain.StreamHandedOff)
	case errors.Is(err, domain.ErrNotMember), errors.Is(err, domain.ErrRoomNotFound):
		return u.fail(ctx, domain.StreamRemoved)
	case errors.Is(err, domain.ErrLeaseLost):
		u.r.counters.lost.Add(1)
		return nil
	case err != nil:
		return err
	}
	u.count(end)
	if answer.Webhook {
		u.r.Courier.Wake(domain.LaneWebhook)
	}
	u.r.Wake() // for what was asked meanwhile
	return nil
}

func (u *botRun) count(end ending) {
	if end.finish == domain.FinishError {
		u.r.counters.failed.Add(1)
	} else {
		u.r.counters.answered.Add(1)
	}
}

// book has the tenant's budget know what the answer has cost before anybody sees its end: whoever asks next may come to
// another node.
func (u *botRun) book(ctx context.Context, end ending) {
	if tokens := u.bill(end); tokens > 0 {
		u.r.Usage.spoke(ctx, u.claim.Tenant, tokens)
	}
}

// fail ends a stream without a message. When the try before has ended it, and only its answer was lost, that is told now.
func (u *botRun) fail(ctx context.Context, code domain.StreamCode) error {
	err := u.r.Store.Update(ctx, u.claim.Tenant, func(tx ports.Tx) error { return tx.EndStream(u.hold, u.part.Message) })
	if u.again && errors.Is(err, domain.ErrLeaseLost) && u.hasFailed(ctx) {
		err = nil
	}
	if errors.Is(err, domain.ErrLeaseLost) {
		u.r.counters.lost.Add(1)
		return nil
	}
	if ignoreGone(err) != nil {
		return err
	}
	u.failed(code)
	return nil
}

// hasFailed reports whether the store knows that the answer has ended and that there is no message of it.
func (u *botRun) hasFailed(ctx context.Context) bool {
	_, err := ports.View(ctx, u.r.Store, u.claim.Tenant, func(v ports.Reader) (m domain.Message, err error) {
		if _, err := v.Stream(u.part.Room, u.part.Message); !errors.Is(err, domain.ErrMessageNotFound) {
			return m, err
		}
		return v.Message(u.part.Room, u.part.Message)
	})
	return errors.Is(err, domain.ErrMessageNotFound)
}

// failed counts and tells the end of a stream of which there is no message.
func (u *botRun) failed(code domain.StreamCode) {
	u.count(ending{finish: domain.FinishError})
	part := u.part
	part.Failed, part.Offset = code, 0
	u.r.publish(part)
	u.r.Wake()
}

// meta is what a message tells of how it was made.
func (u *botRun) meta(end ending) []byte {
	meta := struct {
		Model  string              `json:"model,omitempty"`
		Finish domain.FinishReason `json:"finish_reason"`
		Error  domain.StreamCode   `json:"error,omitempty"`
		Usage  *struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
		} `json:"usage,omitempty"`
	}{Model: u.bot.Model, Finish: end.finish, Error: end.code}
	if end.usage != nil {
		meta.Usage = &struct {
			Input  int64 `json:"input_tokens"`
			Output int64 `json:"output_tokens"`
		}{end.usage.Input, end.usage.Output}
	}
	raw, err := json.Marshal(meta)
	if err != nil {
		return nil // cannot be: all of it is text and numbers
	}
	return raw
}

// voice is what the model has said and nobody was told yet.
type voice struct {
	mu     sync.Mutex
	spoken int // bytes in all
	fresh  strings.Builder
	wake   chan struct{}
	closed bool
}

func newVoice() *voice { return &voice{wake: make(chan struct{}, 1)} }

// say adds to the answer, cut to the longest that a message may be; false when it was cut.
func (v *voice) say(text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	whole := true
	if free := domain.MaxAnswer - v.spoken; len(text) > free {
		for free > 0 && !utf8.RuneStart(text[free]) {
			free--
		}
		text, whole = text[:free], false
	}
	v.spoken += len(text)
	v.fresh.WriteString(text)
	signalTo(v.wake)
	return whole
}

func (v *voice) said() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.spoken > 0
}

func (v *voice) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	signalTo(v.wake)
}

// take returns what is fresh, and whether more may come.
func (v *voice) take() (fresh string, open bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fresh = v.fresh.String()
	v.fresh.Reset()
	return fresh, !v.closed
}

// tell brings what the model says to the room at once, what follows within a moment together, and keeps it in the store
// twice a second.
func (u *botRun) tell(ctx context.Context, voice *voice) {
	keep := time.NewTicker(domain.StreamKept)
	defer keep.Stop()
	beat := time.NewTicker(streamBeat)
	defer beat.Stop()
	for {
		select {
		case <-voice.wake:
			fresh, open := voice.take()
			u.grow(fresh)
			if !open {
				return
			}
			_ = sleep(ctx, speakEvery) // when ctx ends the voice is closed soon
		case <-keep.C:
			u.keep(ctx)
		case <-beat.C:
			u.beat()
		case <-u.wanted:
			u.tellAll(ctx)
		}
	}
}

// grow adds to what has come, and tells of it.
func (u *botRun) grow(fresh string) {
	if fresh == "" {
		return
	}
	u.mu.Lock()
	part := u.part
	part.Offset, part.Text = len(u.part.Text), fresh
	u.part.Text += fresh
	u.mu.Unlock()
	u.r.publish(part)
}

// silence has nothing more told of the answer: what came behind its end would be the start of another.
func (u *botRun) silence() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.silent = true
}

// publish tells the whole so far.
func (u *botRun) publish() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.silent {
		return
	}
	part := u.part
	part.Begin, part.Offset = true, 0
	u.r.publish(part)
}

// beat tells that the run lives, and how far it has come.
func (u *botRun) beat() {
	u.mu.Lock()
	part := u.part
	u.mu.Unlock()
	part.Offset, part.Text = len(part.Text), ""
	u.r.publish(part)
}

// tellAll tells the whole to a node that has asked. What that node has seen of the room before is not known here: the run
// looks first whether it may still speak, and its hold stands, which is so at the room's position at least that was read before.
func (u *botRun) tellAll(ctx context.Context) {
	room, err := ports.View(ctx, u.r.Store, u.claim.Tenant, func(v ports.Reader) (domain.Room, error) {
		room, _, err := v.Access(u.part.Room, u.part.Bot)
		return room, err
	})
	if err != nil || !u.keep(ctx) {
		return // it ends soon, or is asked again
	}
	u.mu.Lock()
	u.part.Since = room.LastRev
	u.saw.Store(u.part.Since)
	u.mu.Unlock()
	u.publish()
}

// keep stores how far the answer has come, and heeds what the store says of its room; false when it says that the run is to
// end, or nothing.
func (u *botRun) keep(ctx context.Context) bool {
	u.mu.Lock()
	text := u.part.Text
	u.mu.Unlock()
	note, err := ports.Update(ctx, u.r.Store, u.claim.Tenant, func(tx ports.Tx) (ports.StreamNote, error) {
		return tx.KeepStream(u.holding(), u.part.Message, text)
	})
	return u.heed(note, err) && err == nil
}

// heed ends the run when it is to end; false when it is.
func (u *botRun) heed(note ports.StreamNote, err error) bool {
	switch {
	case errors.Is(err, domain.ErrLeaseLost):
		u.cancel(errLeaseGone)
	case errors.Is(err, domain.ErrRoomNotFound), note.Removed:
		u.cancel(errRemoved)
	case err != nil: // the store cannot be written now: the answer goes on as long as the lease
		return true
	case note.Human:
		u.cancel(errHuman)
	case note.Stopped:
		u.cancel(errStopped)
	default:
		return true
	}
	return false
}
