package application

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Runner has bots answer. A run is a job of the outbox: one for each bot and room at a time, and what arrives meanwhile is
// answered together by one more. Everything that a run writes shows its claim, so that a run that was taken over writes
// nothing; what it said until then is kept, and ends the stream.
type Runner struct {
	RunnerDeps
	runs *lane

	mu      sync.Mutex
	running map[domain.MessageID]*botRun
	tenants map[domain.TenantID]int // runs under way

	counters runnerCounters
}

// RunnerDeps are what a runner works with.
type RunnerDeps struct {
	Outbox  ports.Outbox
	Log     ports.Appender
	Store   ports.Store
	Tenants CurrentTenants
	LLM     ports.LLM
	Courier *Courier // whose webhooks and secrets contexts are asked with
	Encoder ports.WebhookEncoder
	Sealer  ports.Sealer
	Bus     ports.Bus
	Slots   *Slots // count a tenant's runs on all nodes; nil: there is only this one
	IDs     ports.IDs
	Clock   ports.Clock
	Usage   *Usage
	Logger  *slog.Logger
	Config  RunnerConfig
}

// RunnerConfig is the operator's.
type RunnerConfig struct {
	Keys  map[string]OperatorKey // by the names that bots may use
	Idle  time.Duration          // the longest sleep between two looks into the outbox
	Lease time.Duration          // of a run, renewed while it lasts; default 30 s
}

// OperatorKey is a provider's key that the operator lends to bots, for one origin.
type OperatorKey struct {
	Origin string
	Key    ports.Secret
}

// RunnerStats are counters since the start.
type RunnerStats struct {
	Started   int64 // streams begun
	Answered  int64 // ended well
	Failed    int64 // ended with an error
	Skipped   int64 // runs that were told to stay silent
	Contexts  int64 // contexts asked for
	Refused   int64 // contexts that failed
	TakenOver int64 // streams of runs that had died
	Lost      int64 // runs that were taken over from here
	Running   int
}

type runnerCounters struct {
	started, answered, failed, skipped, contexts, refused, takenOver, lost atomic.Int64
}

const (
	runnerWorkers = 256 // runs at a time
	runnerLease   = 30 * time.Second
	speakEvery    = 20 * time.Millisecond // between two parts of a stream: what comes meanwhile goes together
	streamBeat    = 10 * time.Second      // a stream that has nothing to say says that
	finishTimeout = 5 * time.Second       // of what ends a run, when the server stops
	finishRetry   = 200 * time.Millisecond
	runLater      = time.Second // until a run that its tenant's budget has no place for is tried again
)

// NewRunner wires the component; Run it.
func NewRunner(d RunnerDeps) *Runner {
	if d.Config.Lease == 0 {
		d.Config.Lease = runnerLease
	}
	r := &Runner{RunnerDeps: d, running: map[domain.MessageID]*botRun{}, tenants: map[domain.TenantID]int{}}
	r.runs = newLane(d.Outbox, domain.LaneBot, laneConfig{
		Workers: runnerWorkers, PerTenant: domain.DefaultBudget.ConcurrentRuns, Lease: d.Config.Lease, Idle: d.Config.Idle,
	}, d.Logger, r.carry)
	return r
}

// Wake says that there is a run to be made.
func (r *Runner) Wake() { r.runs.wakeUp() }

// Run works until ctx ends, and then ends what is under way.
func (r *Runner) Run(ctx context.Context) error {
	cancel, err := r.Bus.Subscribe(runsChannel, r.receive)
	if err != nil {
		return err
	}
	defer cancel()
	r.runs.run(ctx)
	return nil
}

// Drain begins no more runs, and waits for those under way until ctx ends.
func (r *Runner) Drain(ctx context.Context) {
	r.runs.closed.Store(true)
	const look = 20 * time.Millisecond
	for r.underWay() > 0 && sleep(ctx, look) {
		continue
	}
}

// underWay counts the runs, those too that have not begun to speak.
func (r *Runner) underWay() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range r.tenants {
		n += of
	}
	return n
}

// Stats reads the counters.
func (r *Runner) Stats() RunnerStats {
	n := &r.counters
	s := RunnerStats{
		Started: n.started.Load(), Answered: n.answered.Load(), Failed: n.failed.Load(), Skipped: n.skipped.Load(),
		Contexts: n.contexts.Load(), Refused: n.refused.Load(), TakenOver: n.takenOver.Load(), Lost: n.lost.Load(),
	}
	r.mu.Lock()
	s.Running = len(r.running)
	r.mu.Unlock()
	return s
}

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

// carry makes one run, from its claim to its end. A failure of the store leaves the claim to its lease.
func (r *Runner) carry(ctx context.Context, claim ports.Claim, _ time.Time) {
	u := &botRun{
		r: r, claim: claim, hold: domain.Hold{Job: claim.ID, Fence: claim.Fence, Trigger: claim.Message}, wanted: make(chan struct{}, 1),
	}
	if err := u.make(ctx); err != nil && ctx.Err() == nil {
		r.Logger.Error("run of a bot not done", "error", err, "job", claim.ID.String())
	}
}

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
	if errors.Is(err, domain.ErrRoomNotFound) { // the room is gone, with what was on its way, or the bot or the message is
		return left, true, nil
	}
	return left, silent, err
}

// turnsOf is a history as the bot's model sees it: what the bot has said is the assistant's, and everything else, other
// bots included, is the user's. Nobody's words can become the system's. It begins with a user, and ends with the message
// that is to be answered: an answer of the bot's stands behind what it answers, also when that was not the last word by
// then, and what came after the trigger is the next run's.
func turnsOf(history []domain.Message, bot domain.UserID, trigger int64) (turns []ports.Turn) {
	answers := map[domain.MessageID][]domain.Message{}
	for _, m := range history {
		if m.Sender == bot {
			answers[m.ReplyTo] = append(answers[m.ReplyTo], m)
		}
	}
	for _, m := range history {
		if m.Sender == bot || m.Seq > trigger {
			continue
		}
		if !m.IsDeleted() {
			turns = append(turns, ports.Turn{Role: "user", Text: m.Content})
		}
		for _, a := range answers[m.ID] {
			if !a.IsDeleted() && len(turns) > 0 && m.Seq < trigger {
				turns = append(turns, ports.Turn{Role: "assistant", Text: a.Content})
			}
		}
	}
	return turns
}

// readTurns reads what is to be answered and what was said before: so many messages up to the trigger, and the bot's own
// answers that came behind it. When the trigger was deleted, the one before it that is not answered yet is asked instead;
// silent says that there is none.
func (u *botRun) readTurns(v ports.Reader, trigger domain.MessageID) (silent bool, err error) {
	if u.asked, err = v.Message(u.claim.Room, trigger); err != nil {
		return false, err
	}
	history, err := v.MessagesBefore(u.claim.Room, u.asked.Seq+1, u.bot.ContextMessages)
	if err != nil {
		return false, err
	}
	since, err := v.MessagesAfter(u.claim.Room, u.asked.Seq, u.bot.ContextMessages)
	if err != nil {
		return false, err
	}
	history = append(history, since...)
	if u.asked.IsDeleted() {
		asked, ok := unanswered(history, u.claim.Bot.User(), u.asked.Seq)
		if !ok {
			return true, nil
		}
		u.asked = asked
	}
	u.turns = turnsOf(history, u.claim.Bot.User(), u.asked.Seq)
	return false, nil
}

// unanswered is the newest message of a user's, below a number, behind all that the bot has answered.
func unanswered(history []domain.Message, bot domain.UserID, below int64) (m domain.Message, ok bool) {
	answered := map[domain.MessageID]bool{}
	for _, a := range history {
		if a.Sender == bot {
			answered[a.ReplyTo] = true
		}
	}
	for _, q := range history {
		switch {
		case answered[q.ID]:
			ok = false
		case q.SenderType == domain.SenderUser && !q.IsDeleted() && q.Seq < below:
			m, ok = q, true
		}
	}
	return m, ok
}

// admit gives a tenant another run, if its budget has one left on all nodes together.
func (r *Runner) admit(ctx context.Context, t domain.Tenant) (*Slot, bool) {
	budget := t.Config.Budget().ConcurrentRuns
	if !r.admitHere(t.ID, budget) {
		return nil, false
	}
	if r.Slots == nil || budget >= domain.DefaultBudget.ConcurrentRuns { // so many the lane claims on all nodes
		return nil, true
	}
	slot, err := r.Slots.Take(ctx, t.ID, "run", budget)
	if err != nil {
		r.dismiss(t.ID, nil)
		return nil, false
	}
	return slot, true
}

// admitHere counts a run among those of this node.
func (r *Runner) admitHere(tenant domain.TenantID, budget int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tenants[tenant] >= budget {
		return false
	}
	r.tenants[tenant]++
	return true
}

func (r *Runner) dismiss(tenant domain.TenantID, slot *Slot) {
	slot.Release()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tenants[tenant]--; r.tenants[tenant] == 0 {
		delete(r.tenants, tenant)
	}
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
	u.saw.Store(u.asked.FirstRev) // nobody knows what the run that died saw, but that it came behind what it answers
	u.part = domain.StreamPart{
		Tenant: u.claim.Tenant, Room: left.Room, Message: left.Message, Bot: left.Bot.User(), ReplyTo: left.ReplyTo,
		Attempt: left.Attempt, Text: left.Text,
	}
	return u.finish(ctx, ending{finish: domain.FinishError, code: domain.StreamInterrupted})
}
