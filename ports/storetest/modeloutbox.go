package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var outboxModelContracts = []contract{
	{"a random walk of the outbox of three tenants ends where a simple model does", outboxWalk},
}

const outboxSteps = 600

// outboxModel is the outbox as plainly as it can be said. Its times are those that have passed.
type outboxModel struct {
	jobs    []*modelJob
	letters map[domain.TenantID][]domain.DeadLetter // newest first
}

type modelJob struct {
	domain.Job
	tenant  domain.TenantID
	due     time.Duration
	created time.Duration
	tried   time.Duration // when Job.LastAttemptAt is set
	held    bool
	until   time.Duration // of the lease
	fence   int64
	expired bool // a lease of it was lost, which leaves open its place among those that are due
}

// outboxWalker does random things to the outboxes of some tenants and to their model.
type outboxWalker struct {
	*world
	outboxModel
	rand   *rand.Rand
	sides  []*fixture
	claims []ports.Claim // all ever made since the last restart: those that stand, and others
}

func outboxWalk(f *fixture) {
	seed := rand.Uint64()
	if given, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		seed = given
	}
	f.t.Logf("to repeat this walk: %s=%d", seedVariable, seed)
	w := &outboxWalker{
		world: f.world, outboxModel: outboxModel{letters: map[domain.TenantID][]domain.DeadLetter{}},
		rand: rand.New(rand.NewPCG(seed, 3)), sides: []*fixture{f, f.newTenant("second"), f.newTenant("third")},
	}
	for step := range outboxSteps {
		w.step()
		if w.t.Failed() {
			w.t.Fatalf("in step %d", step)
		}
	}
}

func (w *outboxWalker) step() {
	w.t.Helper()
	switch n := w.rand.IntN(100); {
	case n < 25:
		w.enqueue()
	case n < 55:
		w.claimSome()
	case n < 80:
		w.settleSome()
	case n < 88:
		w.times.pass(time.Duration(w.rand.IntN(90_000)) * time.Millisecond)
	case n < 91:
		w.wrongClock()
	case n < 94:
		w.restart()
	case n < 97:
		w.takeLetter()
	default:
		w.growLetter()
	}
	w.compareLetters()
	w.compareStats()
}

func (w *outboxWalker) side() *fixture { return w.sides[w.rand.IntN(len(w.sides))] }

func (w *outboxWalker) passed() time.Duration { return w.times.Elapsed() }

// wrongClock enqueues by a clock that is wrong, and settles by it.
func (w *outboxWalker) wrongClock() {
	w.t.Helper()
	by := wrong[w.rand.IntN(len(wrong))]
	w.times.turn(by)
	w.enqueue()
	w.claimSome()
	w.settleSome()
	w.times.turn(-by)
}

func (w *outboxWalker) enqueue() {
	w.t.Helper()
	side := w.side()
	side.about = []domain.Lane{domain.LaneWebhook, domain.LaneNotification}[w.rand.IntN(2)]
	defer func() { side.about = "" }()
	job := side.newJob(time.Duration(w.rand.IntN(120_000)-60_000) * time.Millisecond)
	if taken := w.ofTenant(side.tenant); len(taken) > 0 && w.rand.IntN(10) == 0 {
		job.ID = taken[w.rand.IntN(len(taken))].ID
		err := side.tryUpdate(func(tx ports.Tx) error { return tx.Enqueue(job) })
		wantError(w.t, "Enqueue of an id that is taken", err, domain.ErrIdempotency)
		return
	}
	job.Step, job.Attempts, job.Once = w.rand.IntN(3), w.rand.IntN(3), w.rand.IntN(4) == 0
	if job.Attempts > 0 {
		job.LastAttemptAt, job.LastError = job.CreatedAt.Add(-time.Second), fmt.Sprint("http ", w.rand.IntN(600))
	}
	side.enqueue(job)
	now := w.times.Now()
	w.jobs = append(w.jobs, &modelJob{
		Job: job, tenant: side.tenant, due: w.passed() + job.Due.Sub(now), created: w.passed() + job.CreatedAt.Sub(now),
		tried: w.passed() + job.LastAttemptAt.Sub(now),
	})
}

func (m *outboxModel) ofTenant(tenant domain.TenantID) (jobs []*modelJob) {
	for _, j := range m.jobs {
		if j.tenant == tenant {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// ready is when a job is handed out next.
func (j *modelJob) ready(now time.Duration) time.Duration {
	if j.held && j.until > now {
		return j.until
	}
	return j.due
}

// openAt says whether a query may be given the job.
func (j *modelJob) openAt(q ports.ClaimQuery, now time.Duration) bool {
	switch {
	case j.Lane != q.Lane || j.held && j.until > now:
		return false
	case slices.Contains(q.Except, j.tenant):
		return q.Life > 0 && now-j.created >= q.Life
	}
	return j.held || j.due <= now // one whose lease was lost was due
}

// share is how many jobs a query may be given of a tenant.
func (m *outboxModel) share(q ports.ClaimQuery, tenant domain.TenantID, now time.Duration) (n int) {
	held := 0
	for _, j := range m.ofTenant(tenant) {
		if j.openAt(q, now) {
			n++
		}
		if j.Lane == q.Lane && j.held && j.until > now {
			held++
		}
	}
	return max(0, min(n, q.PerTenant-held))
}

func (w *outboxWalker) claimSome() {
	w.t.Helper()
	now := w.passed()
	q := ports.ClaimQuery{
		Lane: []domain.Lane{domain.LaneWebhook, domain.LaneNotification}[w.rand.IntN(2)], Limit: 1 + w.rand.IntN(9),
		PerTenant: 1 + w.rand.IntN(6), Lease: time.Duration(1+w.rand.IntN(60)) * time.Second,
	}
	for _, side := range w.sides {
		if w.rand.IntN(3) == 0 {
			q.Except = append(q.Except, side.tenant)
		}
	}
	if w.rand.IntN(3) > 0 {
		q.Life = time.Duration(1+w.rand.IntN(180)) * time.Second
	}
	want := 0
	for _, side := range w.sides {
		want += w.share(q, side.tenant, now)
	}
	claims, next := w.claimBy(q)
	equal(w.t, "jobs given to "+show(q), len(claims), min(want, q.Limit))
	if want == 0 {
		w.waits(q, now, next)
	}
	w.isInOrder(q, claims, now)
	for tenant, n := range byTenant(claims) {
		if most := w.share(q, tenant, now); n > most {
			w.t.Errorf("a tenant was given %d jobs by %s, want at most %d", n, show(q), most)
		}
	}
	for _, c := range claims {
		w.given(q, c, now)
	}
	w.claims = append(w.claims, claims...)
}

// given compares a claim with its job, which it holds from then on.
func (w *outboxWalker) given(q ports.ClaimQuery, c ports.Claim, now time.Duration) {
	w.t.Helper()
	j := w.job(c)
	if j == nil || !j.openAt(q, now) {
		w.t.Errorf("%s was given %s", show(q), show(c))
		return
	}
	want := j.Job
	wall := w.times.Now()
	want.Due, want.CreatedAt = wall.Add(j.due-now), wall.Add(j.created-now)
	if !want.LastAttemptAt.IsZero() {
		want.LastAttemptAt = wall.Add(j.tried - now)
	}
	equal(w.t, "a job", c, ports.Claim{Job: want, Tenant: j.tenant, Fence: c.Fence, Age: now - j.created})
	if c.Fence == j.fence {
		w.t.Errorf("two claims of a job have the fence %d", c.Fence)
	}
	j.held, j.until, j.fence, j.expired = true, now+q.Lease, c.Fence, j.expired || j.held
}

func (m *outboxModel) job(c ports.Claim) *modelJob {
	for _, j := range m.jobs {
		if j.ID == c.ID && j.tenant == c.Tenant {
			return j
		}
	}
	return nil
}

// isInOrder says that of each tenant those due longest were given, as far as no lease was lost.
func (w *outboxWalker) isInOrder(q ports.ClaimQuery, claims []ports.Claim, now time.Duration) {
	w.t.Helper()
	for _, c := range claims {
		j := w.job(c)
		if j == nil || j.held || slices.Contains(q.Except, j.tenant) {
			continue
		}
		for _, other := range w.ofTenant(j.tenant) {
			left := !slices.ContainsFunc(claims, func(c ports.Claim) bool { return w.job(c) == other })
			if left && !other.held && other.openAt(q, now) && other.due < j.due {
				w.t.Errorf("a job due for %v was given before one due for %v", now-j.due, now-other.due)
			}
		}
	}
}

// waits checks how long a query that was given nothing is to wait: as long as nothing changes of what it asks for, and
// not longer than until it would be given something.
func (w *outboxWalker) waits(q ports.ClaimQuery, now, next time.Duration) {
	w.t.Helper()
	var moments []time.Duration
	for _, j := range w.jobs {
		except := slices.Contains(q.Except, j.tenant)
		if j.Lane != q.Lane || except && q.Life == 0 {
			continue
		}
		moment := j.ready(now)
		if j.held && j.until > now || !except {
			moments = append(moments, moment)
		}
		if except {
			moments = append(moments, j.created+q.Life)
		}
	}
	moments = slices.DeleteFunc(moments, func(m time.Duration) bool { return m <= now })
	slices.Sort(moments)
	latest := time.Duration(0)
	for _, at := range moments {
		some := 0
		for _, side := range w.sides {
			some += w.share(q, side.tenant, at)
		}
		if some > 0 {
			latest = at - now
			break
		}
	}
	if next > latest || latest > 0 && (next <= 0 || !slices.Contains(moments, now+next)) {
		w.t.Errorf("%s is to wait %v, want at most %v", show(q), next, latest)
	}
}

// settleSome settles up to four claims of all that there ever were, in one go.
func (w *outboxWalker) settleSome() {
	w.t.Helper()
	var settlements []ports.Settlement
	var lost []domain.JobID
	for range 1 + w.rand.IntN(4) {
		if len(w.claims) == 0 {
			break
		}
		i := len(w.claims) - 1 - w.rand.IntN(min(len(w.claims), 12))
		s := w.outcome(w.claims[i])
		settlements = append(settlements, s)
		if j := w.job(s.Claim); j != nil && j.held && j.fence == s.Fence {
			w.settled(j, s)
		} else {
			lost = append(lost, s.ID)
		}
	}
	equalList(w.t, "claims lost", w.settle(settlements...), lost)
}

// outcome is one of all there may be.
func (w *outboxWalker) outcome(c ports.Claim) ports.Settlement {
	s := ports.Settlement{Claim: c}
	if w.rand.IntN(2) == 0 {
		again := c.Job
		again.Step++
		again.From, again.Through, again.Attempts = fmt.Sprint(w.rand.IntN(9)), awkward[w.rand.IntN(len(awkward))], w.rand.IntN(5)
		again.Due = w.times.Now().Add(time.Duration(w.rand.IntN(60_000)) * time.Millisecond)
		if again.LastAttemptAt, again.LastError = (time.Time{}), ""; w.rand.IntN(2) == 0 {
			again.LastAttemptAt, again.LastError = w.times.Now(), "connection timeout"
		}
		s.Again = &again
	}
	if w.rand.IntN(3) == 0 {
		s.Dead = w.sides[0].newLetter(c.Job)
	}
	return s
}

func (w *outboxWalker) settled(j *modelJob, s ports.Settlement) {
	if s.Dead != nil {
		w.letters[j.tenant] = slices.Insert(w.letters[j.tenant], 0, *s.Dead)
	}
	if s.Again == nil {
		w.jobs = slices.DeleteFunc(w.jobs, func(other *modelJob) bool { return other == j })
		return
	}
	a := s.Again
	j.Step, j.From, j.Through, j.Attempts, j.LastAttemptAt, j.LastError = a.Step, a.From, a.Through, a.Attempts, a.LastAttemptAt, a.LastError
	now := w.times.Now()
	j.due, j.tried = w.passed()+a.Due.Sub(now), w.passed()+a.LastAttemptAt.Sub(now)
	j.held, j.expired = false, false
}

// restart reopens the store; when the longest lease has passed nobody holds anything, whatever store it is.
func (w *outboxWalker) restart() {
	w.reopen()
	w.times.pass(time.Minute)
	w.claims = nil
	for _, j := range w.jobs {
		if j.held {
			j.held, j.expired = false, true
		}
	}
}

func (w *outboxWalker) takeLetter() {
	w.t.Helper()
	side := w.side()
	letters := w.letters[side.tenant]
	if len(letters) == 0 {
		return
	}
	i := w.rand.IntN(len(letters))
	got, err := side.take(letters[i].ID)
	if err != nil || !reflect.DeepEqual(got, letters[i]) {
		w.t.Errorf("TakeDeadLetter: %s, %v, want %s", show(got), err, show(letters[i]))
	}
	w.letters[side.tenant] = slices.Delete(letters, i, i+1)
}

// growLetter grows one of a few runs.
func (w *outboxWalker) growLetter() {
	w.t.Helper()
	side := w.side()
	seq := w.rand.Int64N(100)
	run := side.newRun(domain.UserID(awkward[w.rand.IntN(2)]), domain.RoomID{1, byte(w.rand.IntN(2))}, seq, seq+w.rand.Int64N(20))
	side.grow(run)
	letters := w.letters[side.tenant]
	i := slices.IndexFunc(letters, func(l domain.DeadLetter) bool {
		return l.Job.Lane == domain.LaneSocket && l.User == run.User && l.Job.Room == run.Job.Room
	})
	if i >= 0 {
		before := letters[i]
		letters = slices.Delete(letters, i, i+1)
		run.ID, run.Job = before.ID, before.Job
		run.FromSeq, run.ToSeq = min(run.FromSeq, before.FromSeq), max(run.ToSeq, before.ToSeq)
		run.At, run.LastAttemptAt = later(run.At, before.At), later(run.LastAttemptAt, before.LastAttemptAt)
	}
	w.letters[side.tenant] = slices.Insert(letters, 0, run)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *outboxWalker) compareLetters() {
	w.t.Helper()
	side := w.side()
	side.view(func(r ports.Reader) error {
		messages, err := r.DeadLetters(false, page)
		notifications, err2 := r.DeadLetters(true, page)
		var want [2][]domain.DeadLetter
		for _, l := range w.letters[side.tenant] {
			if l.IsNotification() {
				want[1] = append(want[1], l)
			} else {
				want[0] = append(want[0], l)
			}
		}
		equalList(w.t, "dead letters of messages", messages, want[0])
		equalList(w.t, "dead letters of notifications", notifications, want[1])
		return errors.Join(err, err2)
	})
}

func (w *outboxWalker) compareStats() {
	w.t.Helper()
	want, now := map[domain.Lane]ports.OutboxStats{}, w.passed()
	for _, j := range w.jobs {
		s := want[j.Lane]
		s.Waiting++
		if !j.held && !j.expired {
			s.Oldest = max(s.Oldest, now-j.due)
		}
		want[j.Lane] = s
	}
	got := w.allStats()
	for _, lane := range []domain.Lane{domain.LaneWebhook, domain.LaneNotification} {
		equal(w.t, "what waits", got[lane].Waiting, want[lane].Waiting)
		if cmp.Less(got[lane].Oldest, want[lane].Oldest) {
			w.t.Errorf("the oldest job has been due for %v, want at least %v", got[lane].Oldest, want[lane].Oldest)
		}
	}
}
