package domain

import "time"

// Lane keeps calls of one kind from waiting for those of another.
type Lane string

// The lanes of the outbox.
const (
	LaneWebhook      Lane = "webhook"      // message.offline, to a tenant's webhook
	LaneNotification Lane = "notification" // notifications, to the endpoints of subscriptions
)

// LaneSocket is the lane of dead letters of what was sent over sockets; it has no jobs.
const LaneSocket Lane = "socket"

// JobID names a job: evt_ and a UUID.
type JobID UUID

const prefixJob = "evt_"

func (id JobID) String() string { return prefixJob + UUID(id).String() }

// Job is a call out of the process that a change has asked for, durable with the change. One of many recipients takes
// several calls, one after the other: its steps.
type Job struct {
	ID        JobID
	Event     JobID // what receivers see in webhook-id: its own id, or that of the job that a replay repeats
	Lane      Lane
	Due       time.Time // not before
	CreatedAt time.Time

	Room         RoomID // with Message: what LaneWebhook tells of
	Message      MessageID
	Notification NotificationID // with Subscription: what LaneNotification tells, and whom
	Subscription SubscriptionID
	Bot          BotID // of LaneBot, with Room and Message: whose answer, and to what

	LastAttemptAt time.Time // of the present call; zero = none yet
	LastError     string    // what came of that

	Step     int    // how many of its calls are settled
	From     string // the present call is for the recipients after this place; a cursor of the store
	Through  string // and up to this one; empty = not decided yet, or to the end
	Attempts int    // spent on the present call
	Once     bool   // a replay: the present call, and a single attempt
}

// OfflineJob is what a message asks for when its tenant has a webhook: after the grace, those members who have no socket
// are told by it. Its id is the message's own UUID.
func OfflineJob(m Message) Job {
	return Job{
		ID: JobID(m.ID), Event: JobID(m.ID), Lane: LaneWebhook, Room: m.Room, Message: m.ID, Due: m.CreatedAt.Add(PresenceGrace + absenceTold), CreatedAt: m.CreatedAt,
	}
}

// NotificationJob tells the endpoint of a subscription of a notification.
func NotificationJob(id JobID, n Notification, s Subscription) Job {
	return Job{
		ID: id, Event: id, Lane: LaneNotification, Notification: n.ID, Subscription: s.ID, Due: n.CreatedAt, CreatedAt: n.CreatedAt,
	}
}

// absenceTold is how long after the grace everybody knows by the latest that a user has gone.
const absenceTold = 2 * time.Second

// Retry is when a call that failed is made again: after Interval, doubled with each further attempt, until Max attempts
// are spent, the first included.
type Retry struct {
	Max      int
	Interval time.Duration
}

// The terms of retries.
const (
	DefaultRetryMax      = 5
	DefaultRetryInterval = 30 * time.Second
	MaxWaitingJobs       = 100_000        // of a tenant, to endpoints of subscriptions: with more of them nothing is added
	JobLife              = 24 * time.Hour // the end of any job, also of one that could never be attempted
	retryJitter          = 0.1            // of a wait, to both sides
)

// IsSpent reports whether no attempt is left after this many.
func (r Retry) IsSpent(attempts int) bool { return attempts >= r.Max }

// Wait is how long to wait after so many attempts, at least 1; luck from 0 to 1 spreads it by a tenth to both sides, so
// that what failed together does not come back together. after is what the receiver has asked for, and holds when longer.
func (r Retry) Wait(attempts int, luck float64, after time.Duration) time.Duration {
	wait := JobLife
	if doublings := attempts - 1; doublings < 24 { // else beyond any life
		wait = min(r.Interval<<doublings, JobLife)
	}
	return max(time.Duration(float64(wait)*(1-retryJitter+2*retryJitter*luck)), after)
}

// RetryOf is the tenant's schedule; fallback is the operator's.
func (c TenantConfig) RetryOf(fallback Retry) Retry {
	if c.RetryLimit != nil {
		fallback.Max = *c.RetryLimit
	}
	return fallback
}

// DeadLetterID names a dead letter: dead_ and a UUID.
type DeadLetterID UUID

const prefixDeadLetter = "dead_"

func (id DeadLetterID) String() string { return prefixDeadLetter + UUID(id).String() }

// ParseDeadLetterID reads dead_ and a canonical UUID; anything else names no dead letter.
func ParseDeadLetterID(s string) (DeadLetterID, bool) {
	u, ok := parsePrefixed(prefixDeadLetter, s)
	return DeadLetterID(u), ok
}

// DeadLetter is a delivery that was given up, kept until somebody replays or deletes it. It holds no text: that is read
// again when it is replayed. Its Job is what a replay does once more; of LaneSocket it only says what was sent: messages
// of a Room, from Message on, or a Notification.
type DeadLetter struct {
	ID            DeadLetterID
	Job           Job
	User          UserID // the recipient; empty when the call was for several, or for the tenant's backend
	FromSeq       int64  // of messages
	ToSeq         int64
	Topic         string // of notifications; the store's to know, ignored when a letter is added
	Attempts      int
	LastAttemptAt time.Time // zero when there was none
	Error         string    // the cause, of a closed set
	At            time.Time // when it was given up
}

// NotAcknowledged is the cause of dead letters of sockets.
const NotAcknowledged = "not acknowledged"

// IsNotification reports whether a notification was given up, rather than messages.
func (l DeadLetter) IsNotification() bool { return !l.Job.Notification.IsZero() }

// The limits of a list of dead letters.
const (
	MaxDeadLetters     = 1000
	DefaultDeadLetters = 50
)

// The limits of what is kept of dead letters: a tenant's newest, and none for longer than DeadLetterMemory.
const (
	DeadLettersKept  = 10_000
	DeadLetterMemory = 30 * 24 * time.Hour
)

// MaxWebhookRecipients is how many members one call names at most.
const MaxWebhookRecipients = 100
