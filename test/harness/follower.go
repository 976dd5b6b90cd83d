package harness

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Follower is the reference client of the resume rules: it keeps its position (rev) in each room, drops what it has
// seen by seq, comes back with resume, and notes whatever breaks the promise that each seq is seen once and in order.
type Follower struct {
	user *User

	conn *Conn // by the goroutine that connects and drops

	mu         sync.Mutex
	epoch      string
	synced     bool
	places     map[string]*place
	violations []string
	duplicates int
}

type place struct {
	Rev, Seq int64
	Got      []Message
}

// at is the message that was seen under a seq, nil when none was.
func (p *place) at(seq int64) *Message {
	if len(p.Got) == 0 || seq < p.Got[0].Seq || seq-p.Got[0].Seq >= int64(len(p.Got)) {
		return nil
	}
	return &p.Got[seq-p.Got[0].Seq]
}

// NewFollower is a client of the user that has seen nothing yet.
func NewFollower(user *User) *Follower {
	return &Follower{user: user, places: map[string]*place{}}
}

// Connect opens a socket, plain the first time and with resume from then on, and waits for sync.complete.
func (f *Follower) Connect() error {
	if err := f.Open(); err != nil {
		return err
	}
	return f.AwaitSync(requestTimeout)
}

// Open is Connect without the wait for sync.complete.
func (f *Follower) Open() error { return f.OpenWith(DialOptions{}) }

// OpenWith is Open with options for the socket; Query, OnFrame and Keep are the follower's own.
func (f *Follower) OpenWith(opts DialOptions) error {
	f.mu.Lock()
	resume := f.resumeFrame()
	f.synced = false
	f.mu.Unlock()
	opts.OnFrame, opts.Keep, opts.Query = f.apply, Answers, nil
	if resume != nil {
		opts.Query = pairs([]string{"resume", "1"})
	}
	conn, err := f.user.DialWith(opts)
	if err != nil {
		return err
	}
	f.conn = conn
	if resume == nil {
		return nil
	}
	return conn.Write(resume)
}

func (f *Follower) resumeFrame() map[string]any {
	if f.epoch == "" {
		return nil
	}
	rooms := []map[string]any{}
	for id, p := range f.places {
		rooms = append(rooms, map[string]any{"room_id": id, "rev": p.Rev})
	}
	return map[string]any{"type": "resume", "epoch": f.epoch, "rooms": rooms}
}

// AwaitSync waits until the replay of this connection is done.
func (f *Follower) AwaitSync(limit time.Duration) error {
	return Until(limit, "sync.complete of a resumed client", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.synced
	})
}

// Drop cuts the connection; what the kernel had received and nobody read is lost to this client.
func (f *Follower) Drop() {
	if f.conn != nil {
		f.conn.Drop()
	}
}

// Conn is the present, or latest, connection.
func (f *Follower) Conn() *Conn { return f.conn }

func (f *Follower) apply(frame Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case frame.Type == "connected":
		f.connected(frame)
	case frame.Type == "sync.complete":
		f.synced = true
		f.truncated(frame)
	case frame.Type == "resync_required":
		f.violate("resync_required for a client that follows the log: %s", frame.Raw)
	case frame.Rev > 0 && frame.RoomID != "":
		f.event(frame)
	}
}

func (f *Follower) connected(frame Frame) {
	if f.epoch != "" && frame.Epoch != f.epoch {
		f.violate("the epoch changed from %s to %s", f.epoch, frame.Epoch)
	}
	f.epoch = frame.Epoch
}

func (f *Follower) truncated(frame Frame) {
	for _, gap := range frame.Truncated {
		f.violate("the replay left out %d–%d of %s", gap.FromSeq, gap.ToSeq, gap.RoomID)
	}
}

// event applies one step of a room's log: what lies at or below the position was seen before.
func (f *Follower) event(frame Frame) {
	p := f.places[frame.RoomID]
	if p == nil {
		p = &place{}
		f.places[frame.RoomID] = p
	}
	if frame.Type == "message" {
		if frame.Redelivered && frame.Seq > p.Seq {
			f.violate("seq %d of %s was redelivered before it was delivered", frame.Seq, frame.RoomID)
		}
		f.message(p, frame.Message)
	}
	if frame.Rev > p.Rev {
		p.Rev = frame.Rev
	}
}

func (f *Follower) message(p *place, m Message) {
	switch {
	case m.Seq <= p.Seq:
		f.duplicates++
		if before := p.at(m.Seq); before != nil && before.MessageID != m.MessageID {
			f.violate("seq %d of %s names two messages", m.Seq, m.RoomID)
		}
		return
	case m.Seq != p.Seq+1:
		f.violate("seq %d of %s came after %d", m.Seq, m.RoomID, p.Seq)
	case m.Rev <= p.Rev:
		f.violate("seq %d of %s has rev %d at position %d", m.Seq, m.RoomID, m.Rev, p.Rev)
	}
	p.Seq = m.Seq
	p.Got = append(p.Got, m)
}

func (f *Follower) violate(format string, args ...any) {
	const enough = 20
	if len(f.violations) < enough {
		f.violations = append(f.violations, fmt.Sprintf(format, args...))
	}
}

// Seq is the last seq seen of a room.
func (f *Follower) Seq(room string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.places[room]; p != nil {
		return p.Seq
	}
	return 0
}

// Got is what the client has of a room after dropping duplicates, in the order it came.
func (f *Follower) Got(room string) []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.places[room]; p != nil {
		return p.Got[:len(p.Got):len(p.Got)]
	}
	return nil
}

// Violations is what broke the promise so far.
func (f *Follower) Violations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.violations...)
}

// Duplicates is how many messages came again and were dropped.
func (f *Follower) Duplicates() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.duplicates
}

// RoomIDs decodes the rooms of a resync_required frame.
func (f Frame) RoomIDs() ([]string, error) {
	var ids []string
	err := json.Unmarshal(f.Rooms, &ids)
	return ids, err
}
