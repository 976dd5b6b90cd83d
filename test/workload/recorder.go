// Package workload is clients at work whose every observation is recorded: careful senders, readers, and followers who come
// back whenever their socket ends. Fault tests run it while they break things, then hold the history against the promises.
package workload

import (
	"sync"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

// Recorder collects a run's history from many goroutines.
type Recorder struct {
	began time.Time

	mu      sync.Mutex
	history checker.History
	acked   map[string]checker.Send // by message id
}

// NewRecorder is one that has seen nothing.
func NewRecorder() *Recorder {
	return &Recorder{
		began: time.Now(), acked: map[string]checker.Send{}, history: checker.History{Final: map[string][]checker.Seen{}},
	}
}

// Now is the time on the history's own monotonic clock.
func (r *Recorder) Now() int64 { return int64(time.Since(r.began)) }

// Sent notes an attempt.
func (r *Recorder) Sent(s checker.Send) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Sends = append(r.history.Sends, s)
	if s.Outcome == checker.Acked {
		r.acked[s.ID] = s
	}
}

// Read notes a page.
func (r *Recorder) Read(read checker.Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Reads = append(r.history.Reads, read)
}

// Streamed notes what one client was sent of one room.
func (r *Recorder) Streamed(stream checker.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Streams = append(r.history.Streams, stream)
}

// Final notes a room's content after the last fault.
func (r *Recorder) Final(room string, content []checker.Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Final[room] = content
}

// Acked is what has been acknowledged so far.
func (r *Recorder) Acked() []checker.Send {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]checker.Send, 0, len(r.acked))
	for _, s := range r.acked {
		out = append(out, s)
	}
	return out
}

// Counts are the attempts, the messages acknowledged, and how many of those were stored by an attempt that nobody heard of.
func (r *Recorder) Counts() (sends, acked, resolved int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answered := map[string]bool{}
	for _, s := range r.history.Sends {
		if s.Outcome != checker.Acked {
			continue
		}
		if s.Duplicate && !answered[s.ID] {
			resolved++
		}
		answered[s.ID] = true
	}
	return len(r.history.Sends), len(r.acked), resolved
}

// Seen turns messages as the API shows them into the checker's.
func Seen(messages []harness.Message, at int64) []checker.Seen {
	out := make([]checker.Seen, len(messages))
	for i, m := range messages {
		out[i] = checker.Seen{
			Room: m.RoomID, ID: m.MessageID, Sender: m.SenderID, ClientID: m.ClientID, Seq: m.Seq, Rev: m.Rev, At: at,
		}
	}
	return out
}

// Check holds what was recorded against every rule.
func (r *Recorder) Check() []checker.Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.Check()
}

// Unknown is how many attempts have had no definite answer.
func (r *Recorder) Unknown() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.history.Sends {
		if s.Outcome == checker.Unknown {
			n++
		}
	}
	return n
}
