package application

import (
	"context"
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
	storeRetry    = 200 * time.Millisecond
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

// carry makes one run, from its claim to its end. A failure of the store leaves the claim to its lease.
func (r *Runner) carry(ctx context.Context, claim ports.Claim, _ time.Time) {
	u := &botRun{
		r: r, claim: claim, hold: domain.Hold{Job: claim.ID, Fence: claim.Fence, Trigger: claim.Message}, wanted: make(chan struct{}, 1),
	}
	if err := u.make(ctx); err != nil && ctx.Err() == nil {
		r.Logger.Error("run of a bot not done", "error", err, "job", claim.ID.String())
	}
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
