package domain

import (
	"crypto/sha256"
	"time"
)

// LaneBot is the lane of runs: a bot's answers in a room. It has one job for each bot and room, however many messages wait
// to be answered.
const LaneBot Lane = "bot"

// RunID is the job of a bot in a room.
func RunID(room RoomID, bot BotID) JobID {
	sum := sha256.Sum256(append(room[:], bot[:]...))
	return JobID(sum[:16])
}

// RunJob asks for a bot's answer to a message, its trigger.
func RunJob(bot BotID, m Message) Job {
	id := RunID(m.Room, bot)
	return Job{ID: id, Event: JobID(m.ID), Lane: LaneBot, Room: m.Room, Message: m.ID, Bot: bot, Due: m.CreatedAt, CreatedAt: m.CreatedAt}
}

// Hold is a claim of a run's job, as it is shown with everything that the run writes: what comes after the lease was lost
// changes nothing, and what comes behind a handoff is no message, though the room may have been handed back since.
type Hold struct {
	Job     JobID
	Fence   int64
	Trigger MessageID // what the run answers; a newer one has the job go on
	Since   int64     // the room's position when the run last saw that it may speak; 0 = only who answers now counts
}

// Stream is an answer on its way: begun, and not ended.
type Stream struct {
	Message   MessageID // its id now, and the message's in the end
	Room      RoomID
	Bot       BotID
	ReplyTo   MessageID // the trigger
	Attempt   int       // from 1; a later one has begun from the beginning
	Text      string    // as far as it was kept
	StartedAt time.Time
}

// The terms of runs.
const (
	MaxAnswer         = 48 << 10 // bytes of an answer
	FirstTokenTimeout = 60 * time.Second
	TokenTimeout      = 30 * time.Second // between two tokens
	RunTimeout        = 5 * time.Minute
	ContextTimeout    = 10 * time.Second // for the context's webhook
	StreamKept        = 500 * time.Millisecond
	RunAttempts       = 3 // to reach the model, while nothing was said
)

// FinishReason is why an answer ended, as its meta tells.
type FinishReason string

// The reasons.
const (
	FinishStop    FinishReason = "stop"
	FinishLength  FinishReason = "length"
	FinishStopped FinishReason = "stopped" // by somebody
	FinishError   FinishReason = "error"   // what was said until then is kept
)

// StreamCode is why an answer did not end well.
type StreamCode string

// The codes of message.stream.error.
const (
	StreamEmpty       StreamCode = "EMPTY"              // the model said nothing
	StreamTimeout     StreamCode = "TIMEOUT"            // no first token within 60 s, none for 30 s, or 5 min in all
	StreamInterrupted StreamCode = "INTERRUPTED"        // the connection to the model, or the server that held it, ended in between
	StreamRefused     StreamCode = "MODEL_ERROR"        // the model's server answered with an error, or with nonsense
	StreamRateLimited StreamCode = "MODEL_RATE_LIMITED" // it answered 429
	StreamUnreachable StreamCode = "MODEL_UNREACHABLE"  // no connection, or an address that is not allowed
	StreamHandedOff   StreamCode = "HANDED_OFF"         // people answer now
	StreamRemoved     StreamCode = "REMOVED"            // the bot is no longer in the room; or whoever is told is not, or the room is gone
	StreamBudget      StreamCode = "BUDGET_EXCEEDED"    // of the room or the tenant
)

// Answer is what a run has come to, to be stored.
type Answer struct {
	ID      MessageID
	Bot     BotID
	ReplyTo MessageID
	Content string
	Meta    []byte
	Webhook bool // the tenant has one: absent members are told by it
	Now     time.Time
}

// Decide is the rule of a bot's message: of a member, and not while people answer. The store has proven the hold.
func (a Answer) Decide(snap Snapshot) (Change, error) {
	switch {
	case snap.Room.Handoff.IsHuman():
		return Change{}, ErrHandedOff
	case !snap.Member.IsActive():
		return Change{}, ErrNotMember
	}
	change := Change{Message: Message{
		ID: a.ID, Room: snap.Room.ID, Sender: a.Bot.User(), SenderType: SenderBot, Content: a.Content, Meta: a.Meta,
		ReplyTo: a.ReplyTo, CreatedAt: a.Now,
	}}
	if a.Webhook {
		job := OfflineJob(change.Message)
		change.Job = &job
	}
	return change, nil
}

// Budget bounds what bots cost a tenant.
type Budget struct {
	ConcurrentRuns   int   `json:"concurrent_runs"`    // of the tenant, at a time
	RepliesPerMinute int   `json:"replies_per_minute"` // in one room
	TokensPerMonth   int64 `json:"tokens_per_month"`   // of the tenant, in and out; 0 = any number
}

// DefaultBudget is that of tenants whose config says nothing.
var DefaultBudget = Budget{ConcurrentRuns: 8, RepliesPerMinute: 20}

// Budget is what the tenant's bots may use: what its config leaves out is the default's.
func (c TenantConfig) Budget() Budget {
	b := DefaultBudget
	if set := c.BotLimits; set != nil {
		b.TokensPerMonth = set.TokensPerMonth
		if set.ConcurrentRuns > 0 {
			b.ConcurrentRuns = set.ConcurrentRuns
		}
		if set.RepliesPerMinute > 0 {
			b.RepliesPerMinute = set.RepliesPerMinute
		}
	}
	return b
}

// The limits of what a tenant may set; its runs at a time are at most DefaultBudget's.
const (
	maxRepliesPerMinute = 600
	maxTokensPerMonth   = 1_000_000_000_000
)

func (b *Budget) isOutside() bool {
	return b != nil && (b.ConcurrentRuns < 0 || b.ConcurrentRuns > DefaultBudget.ConcurrentRuns || b.RepliesPerMinute < 0 ||
		b.RepliesPerMinute > maxRepliesPerMinute || b.TokensPerMonth < 0 || b.TokensPerMonth > maxTokensPerMonth)
}
