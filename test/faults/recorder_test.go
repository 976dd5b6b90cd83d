package faults

import (
	"sync"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

// recorder collects a run's history from many goroutines.
type recorder struct {
	began time.Time

	mu      sync.Mutex
	history checker.History
	acked   map[string]checker.Send // by message id
}

func newRecorder() *recorder {
	return &recorder{
		began: time.Now(), acked: map[string]checker.Send{}, history: checker.History{Final: map[string][]checker.Seen{}},
	}
}

// now is the time on the history's own monotonic clock.
func (r *recorder) now() int64 { return int64(time.Since(r.began)) }

func (r *recorder) sent(s checker.Send) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Sends = append(r.history.Sends, s)
	if s.Outcome == checker.Acked {
		r.acked[s.ID] = s
	}
}

func (r *recorder) read(read checker.Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Reads = append(r.history.Reads, read)
}

func (r *recorder) streamed(stream checker.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Streams = append(r.history.Streams, stream)
}

func (r *recorder) final(room string, content []checker.Seen) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Final[room] = content
}

// snapshot is what has been acknowledged so far.
func (r *recorder) snapshot() []checker.Send {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]checker.Send, 0, len(r.acked))
	for _, s := range r.acked {
		out = append(out, s)
	}
	return out
}

// counts are the attempts, the messages acknowledged, and how many of those were stored by an attempt that nobody heard of.
func (r *recorder) counts() (sends, acked, resolved int) {
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

// seen turns messages as the API shows them into the checker's.
func seen(messages []harness.Message, at int64) []checker.Seen {
	out := make([]checker.Seen, len(messages))
	for i, m := range messages {
		out[i] = checker.Seen{
			Room: m.RoomID, ID: m.MessageID, Sender: m.SenderID, ClientID: m.ClientID, Seq: m.Seq, Rev: m.Rev, At: at,
		}
	}
	return out
}
