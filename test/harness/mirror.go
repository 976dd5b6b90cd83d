package harness

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// The ways in which a Mirror says, when it comes back, where it was.
const (
	ByMark   = "by its mark"   // it acks what it has, and the server remembers
	ByResume = "by resume"     // it tells its position in each room
	ByCursor = "by its cursor" // it shows the cursor of its latest sync.complete
)

// Mirror is a client that keeps a copy of its rooms' messages by what its sockets tell it and nothing else. It may be
// dropped and come back any number of times; at any time of quiet its copy must equal the server's.
type Mirror struct {
	user   *User
	device string
	way    string
	conn   *Conn

	mu     sync.Mutex
	epoch  string
	cursor string
	synced int // how often
	rooms  map[string]*mirrored
	gaps   []Gap // left out by the latest replay
	resync bool  // it was told to fetch anew
}

type mirrored struct {
	rev      int64
	messages map[int64]Message // by seq
	told     map[string]int    // events by type
}

// NewMirror is a client of a user on a device.
func NewMirror(user *User, device, way string) *Mirror {
	return &Mirror{user: user, device: device, way: way, rooms: map[string]*mirrored{}}
}

// Open connects; what was told since the last time is applied as it comes.
func (m *Mirror) Open() error {
	m.mu.Lock()
	query := []string{"device_id", m.device}
	resume := m.resumption()
	m.mu.Unlock()
	if resume != nil {
		query = append(query, "resume", "1")
	}
	conn, err := m.user.DialWith(DialOptions{Query: pairs(query), OnFrame: m.apply, Keep: Answers})
	if err != nil {
		return err
	}
	m.conn = conn
	if resume == nil {
		return nil
	}
	return conn.Write(resume)
}

// Connect is Open and the wait for the replay.
func (m *Mirror) Connect() error {
	m.mu.Lock()
	before := m.synced
	m.mu.Unlock()
	if err := m.Open(); err != nil {
		return err
	}
	return Until(requestTimeout, "sync.complete of a mirror "+m.way, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.synced > before
	})
}

func (m *Mirror) resumption() map[string]any {
	switch {
	case m.way == ByResume && m.epoch != "":
		rooms := []map[string]any{}
		for id, r := range m.rooms {
			rooms = append(rooms, map[string]any{"room_id": id, "rev": r.rev})
		}
		return map[string]any{"type": "resume", "epoch": m.epoch, "rooms": rooms}
	case m.way == ByCursor && m.cursor != "":
		return map[string]any{"type": "resume", "cursor": m.cursor}
	}
	return nil
}

func (m *Mirror) apply(f Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case f.Type == "connected":
		m.epoch = f.Epoch
	case f.Type == "sync.complete":
		m.synced++
		m.cursor, m.gaps = f.Cursor, f.Truncated
	case f.Type == "resync_required":
		m.resync = true
	case f.Rev > 0 && f.RoomID != "":
		m.room(f.RoomID).apply(f)
	}
}

func (m *Mirror) room(id string) *mirrored {
	r := m.rooms[id]
	if r == nil {
		r = &mirrored{messages: map[int64]Message{}, told: map[string]int{}}
		m.rooms[id] = r
	}
	return r
}

// apply takes one step of a room's log: what is told of a message replaces what was known of it.
func (r *mirrored) apply(f Frame) {
	r.told[f.Type]++
	r.rev = max(r.rev, f.Rev)
	if f.Type == "message" || f.Type == "message.edited" || f.Type == "message.deleted" {
		r.messages[f.Seq] = f.Message
	}
}

// Apply takes a step of a log that came another way, such as over REST.
func (m *Mirror) Apply(f Frame) { m.apply(f) }

// AckAll acks over the socket what the mirror has of a room, its position included.
func (m *Mirror) AckAll(room string) error {
	m.mu.Lock()
	r := m.room(room)
	seq, rev := int64(0), r.rev
	for s := range r.messages {
		seq = max(seq, s)
	}
	m.mu.Unlock()
	answer, err := m.conn.Request(map[string]any{"type": "ack", "room_id": room, "seq": seq, "rev": rev})
	if err == nil && answer.Type != "reply" {
		err = &FrameError{answer}
	}
	return err
}

// Drop cuts the connection.
func (m *Mirror) Drop() {
	if m.conn != nil {
		m.conn.Drop()
	}
}

// Conn is the present, or latest, connection.
func (m *Mirror) Conn() *Conn { return m.conn }

// Rev is the mirror's position in a room.
func (m *Mirror) Rev(room string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room(room).rev
}

// AwaitRev waits until the mirror has come to a position of a room.
func (m *Mirror) AwaitRev(room string, rev int64, limit time.Duration) error {
	return Until(limit, fmt.Sprintf("rev %d of %s, the mirror %s is at %d", rev, room, m.way, m.Rev(room)), func() bool {
		return m.Rev(room) >= rev
	})
}

// Told is how often the mirror was told of something in a room, by type of event, since it was made or asked last.
func (m *Mirror) Told(room string) map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.room(room)
	told := r.told
	r.told = map[string]int{}
	return told
}

// Gaps is what the latest replay left out.
func (m *Mirror) Gaps() []Gap {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.gaps)
}

// Differences compares the copy of a room with its history as the server has it now. Messages in gaps are left out, as
// is rev: an event carries its own position, a message its latest.
func (m *Mirror) Differences(room string, history []Message) (found []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.resync {
		found = append(found, "the mirror was told to fetch its rooms anew")
	}
	copied := maps.Clone(m.room(room).messages)
	for _, want := range history {
		got, has := copied[want.Seq]
		delete(copied, want.Seq)
		got.Rev, want.Rev = 0, 0
		switch {
		case m.leftOut(room, want.Seq):
		case !has:
			found = append(found, fmt.Sprintf("%s: seq %d is missing", m.way, want.Seq))
		case fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want):
			found = append(found, fmt.Sprintf("%s: seq %d is %+v, want %+v", m.way, want.Seq, got, want))
		}
	}
	for seq := range copied {
		found = append(found, fmt.Sprintf("%s: seq %d is not in the history", m.way, seq))
	}
	return found
}

func (m *Mirror) leftOut(room string, seq int64) bool {
	return slices.ContainsFunc(m.gaps, func(g Gap) bool { return g.RoomID == room && g.FromSeq <= seq && seq <= g.ToSeq })
}
