// Package checker judges what clients saw of a chat server against the promises about order, durability and
// idempotency. It takes a recorded history: every send with the times it was invoked and answered and how it came
// out, every event each connection received, every page that was read, and the final content of every room. The
// claimed order (seq) is checked, not searched for, so the cost is linear but for sorting.
//
// Times are nanoseconds of one machine's monotonic clock, so that "A was answered before B began" is a fact.
package checker

// Outcome is how a send came out for its client.
type Outcome int

// The outcomes. A send that got no definite answer (a timeout, a cut connection, a 5xx) is Unknown: it may be stored
// or not, and at most once.
const (
	Unknown Outcome = iota
	Acked
	Refused // a definite failure, 4xx
)

// Send is one attempt to send a message. Attempts with the same room, sender and client id are one logical message.
type Send struct {
	Room, Sender, ClientID string
	Invoked, Answered      int64 // Answered counts for Acked only
	Outcome                Outcome
	Duplicate              bool // the answer said that an earlier attempt had stored it
	ID                     string
	Seq                    int64
}

// Seen is a message as somebody saw it.
type Seen struct {
	Room, ID, Sender, ClientID string
	Seq, Rev                   int64
	At                         int64 // when it was received
}

// Stream is what one connection received of one room, in order. After is the seq the stream resumes behind.
type Stream struct {
	Name  string
	Room  string
	After int64
	Seen  []Seen
}

// Read is one page of a history: everything above After, at most Limit.
type Read struct {
	Room              string
	After             int64
	Limit             int
	Invoked, Answered int64
	Seen              []Seen
}

// History is a whole run.
type History struct {
	Sends   []Send
	Streams []Stream
	Reads   []Read
	Final   map[string][]Seen // by room, as read after the last fault, in the order the server gave
}

// Violation is one broken rule with a minimal witness.
type Violation struct {
	Rule    string // R1 … R11
	Witness string
}

func (v Violation) String() string { return v.Rule + ": " + v.Witness }
