package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// OutboxWriter adds to the outbox within a unit of work: what asked for a call and the call are durable together.
type OutboxWriter interface {
	// Enqueue adds a job. An id that is in the outbox is domain.ErrIdempotency; but of domain.LaneBot the job that is there
	// gets the Message, the Event and the CreatedAt of the new one, and with that its age. A claim of it stands then, and
	// when that is settled without Again, the job goes on from its beginning, due at once.
	Enqueue(job domain.Job) error
	// AddDeadLetter keeps a delivery that was given up. Of a tenant's domain.DeadLettersKept are kept: when
	// there are more the oldest goes, of messages on sockets first, since those are in the log of their room.
	AddDeadLetter(letter domain.DeadLetter) error
	// GrowDeadLetter keeps a run of messages that was given up on a user's sockets (domain.LaneSocket with a Room). When
	// there is one of the same user and room already it covers both runs then and is the newest: it keeps its ID and Job,
	// FromSeq falls, ToSeq and the times rise, Attempts and Error are the new ones.
	GrowDeadLetter(letter domain.DeadLetter) error
	// TakeDeadLetter removes a dead letter and returns it; domain.ErrLetterNotFound.
	TakeDeadLetter(id domain.DeadLetterID) (domain.DeadLetter, error)
}

// RecipientReader finds whom a webhook call is for.
type RecipientReader interface {
	// Recipients returns those among the next limit memberships of a room, after a place, who are to be told of a
	// message: active members and users, who joined before it, did not send it, and have not confirmed it on any
	// device. through is the place of the last membership looked at, "" when there was none; asked again with after and
	// through the same memberships are looked at, whoever has left meanwhile. Places are the store's own; "" is the
	// beginning. When upTo is not empty, memberships up to that place are looked at, whatever limit says.
	Recipients(room domain.RoomID, m domain.Message, after, upTo string, limit int) (users []domain.UserID, through string, err error)
}

// JobReader counts a tenant's jobs.
type JobReader interface {
	// WaitingJobs counts those of a lane, up to limit, claimed ones included.
	WaitingJobs(lane domain.Lane, limit int) (int, error)
}

// DeadLetterReader lists what was given up.
type DeadLetterReader interface {
	// DeadLetters returns a tenant's, newest first, at most limit: those of notifications, with their Topic, or those of
	// messages.
	DeadLetters(notifications bool, limit int) ([]domain.DeadLetter, error)
}

// Outbox hands jobs to workers, each to one at a time. Times are the store's own. A deleted tenant's jobs are not handed
// out; they go with the tenant. A store that belongs to one process ends all leases when it is opened.
type Outbox interface {
	// Claim hands out jobs of a lane that are due, those due longest first within a tenant, tenants in turn. Each is
	// leased: until the lease has passed nobody else gets it. When there is none, next is how long until one will be due; 0
	// when that is not known: the lane is empty, or has jobs of Except alone that Life does not bring out, or Limit is 0 or
	// below.
	Claim(ctx context.Context, q ClaimQuery) (claims []Claim, next time.Duration, err error)
	// Settle ends claims, each on its own and all in one transaction. A claim that does not stand any more changes nothing
	// and comes back in lost: its lease has passed and the job was given to somebody else, the job has ended, or all of the
	// tenant is gone.
	Settle(ctx context.Context, settlements []Settlement) (lost []domain.JobID, err error)
	// Renew lets claims stand for another lease from now. Those that do not stand any more come back in lost, as with Settle.
	Renew(ctx context.Context, claims []Claim, lease time.Duration) (lost []domain.JobID, err error)
	// OutboxStats counts what waits in each lane that has anything.
	OutboxStats(ctx context.Context) (map[domain.Lane]OutboxStats, error)
}

// ClaimQuery selects jobs to claim.
type ClaimQuery struct {
	Lane      domain.Lane
	Limit     int               // jobs
	PerTenant int               // that one tenant holds at a time, earlier claims included; 0 = no bound
	Except    []domain.TenantID // tenants whose endpoint takes nothing now
	Life      time.Duration     // when set, jobs of Except that are older are handed out all the same, due or not: to be given up
	Lease     time.Duration
}

// Claim is a job in the hands of one worker.
type Claim struct {
	domain.Job
	Tenant domain.TenantID
	Fence  int64         // shows, at Settle, that the claim still stands
	Age    time.Duration // since CreatedAt, by the store's own time
}

// Settlement is what came of a claim. With neither Again nor Dead the job is done and gone.
type Settlement struct {
	Claim
	Again *domain.Job        // the job goes on: Step, From, Through, Attempts, LastAttemptAt, LastError and Due replace what is stored
	Dead  *domain.DeadLetter // the present call was given up; with Again the job goes on with the next
}

// OutboxStats are the jobs of a lane.
type OutboxStats struct {
	Waiting int64
	Oldest  time.Duration // since the one due longest was due; 0 when none is
}
