package blackbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// spoken is every text that was written in a room, with the rev at which it became what the room says.
type spoken struct {
	mu   sync.Mutex
	revs map[string]int64
}

func (s *spoken) note(text string, rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revs[text] = rev
}

// after are the texts that were written above a rev and stand in a frame.
func (s *spoken) after(rev int64, raw []byte) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, at := range s.revs {
		if at > rev && strings.Contains(string(raw), text) {
			found = append(found, fmt.Sprintf("%s (rev %d)", text, at))
		}
	}
	return found
}

// busyRoom is a room in which others send, edit, delete and rename until told to stop.
type busyRoom struct {
	id     string
	admin  *harness.User
	spoken spoken
	old    []harness.Message // from before; they are edited all along
	plain  bool              // nothing but messages: then the server has the latest in memory
	stop   atomic.Bool
	wg     sync.WaitGroup
	errs   []error
}

const busyWriters = 4

// newBusyRoom makes a room with some history and starts the writers.
func newBusyRoom(t *testing.T, tenant *harness.Tenant, members ...string) *busyRoom {
	t.Helper()
	r := &busyRoom{admin: tenant.User("alice"), errs: make([]error, busyWriters), spoken: spoken{revs: map[string]int64{}}}
	r.id = harness.Must(r.admin.CreateRoom("group", members...))(t).RoomID
	for n := range 20 {
		r.old = append(r.old, harness.Must(r.admin.Send(r.id, harness.Body("old %d.", n)))(t))
	}
	return r
}

func (r *busyRoom) start() {
	for i := range busyWriters {
		r.wg.Go(func() {
			const bound = 5_000
			for n := 0; !r.stop.Load() && n < bound && r.errs[i] == nil; n++ {
				r.errs[i] = r.write(i, n)
			}
		})
	}
}

// write does the next thing of a writer: each text is said once. Messages among other changes are long, so that a socket
// that does not read soon has more to come than is kept for it.
func (r *busyRoom) write(who, n int) error {
	const long = 6000
	text := harness.Body("writer %d says %d.", who, n)
	switch kind := n % 4; {
	case r.plain:
		m, err := r.admin.Send(r.id, text)
		r.spoken.note(text, m.Rev)
		return err
	case kind < 2:
		m, err := r.admin.Send(r.id, text+strings.Repeat(" ", long))
		r.spoken.note(text, m.Rev)
		return err
	case kind == 2:
		m, err := r.admin.Edit(r.id, r.old[(who+n)%len(r.old)].MessageID, text)
		r.spoken.note(text, m.Rev)
		return err
	}
	room, err := r.admin.PatchRoom(r.id, map[string]any{"name": text})
	r.spoken.note(text, room.LastRev)
	return err
}

func (r *busyRoom) end() error {
	r.stop.Store(true)
	r.wg.Wait()
	return errors.Join(r.errs...)
}

// pace waits until the room has come so many steps further.
func (r *busyRoom) pace(t *testing.T, steps int64) {
	t.Helper()
	from := harness.Must(r.admin.Room(r.id))(t).LastRev
	harness.Eventually(t, 30*time.Second, "the writers get on", func() bool {
		return harness.Must(r.admin.Room(r.id))(t).LastRev >= from+steps
	})
}

// TestARemovalThatRacesWithEverythingIsTheLastThingTold removes a member again and again from rooms in which others
// write, with sockets that keep up, sockets that do not and sockets that are just being opened, and looks for anything
// that was said after the removal.
func TestARemovalThatRacesWithEverythingIsTheLastThingTold(t *testing.T) {
	t.Parallel()
	const rounds = 16
	tenant := tenantOf(t, harness.Options{})
	for round := range rounds {
		name := fmt.Sprintf("bob%d", round)
		bob := tenant.User(name)
		room := newBusyRoom(t, tenant, name, "carol")
		room.plain = round%2 == 1
		prompt := connect(t, bob, "device_id", "prompt")
		slow := harness.Must(bob.DialWith(harness.DialOptions{Stalled: true, ReadBuffer: trickle}))(t)
		t.Cleanup(slow.Drop)
		witness := connect(t, tenant.User("carol"))
		room.start()
		room.pace(t, int64(20+20*round))
		if round%4 > 1 {
			slow.Read() // and so catches up while the removal comes
		}
		late := remove(t, room, bob)
		room.pace(t, 40)
		harness.Check(t, room.end())

		removal := harness.Must(witness.Await("the removal", func(f harness.Frame) bool {
			return f.Type == "member.removed" && f.RoomID == room.id && f.UserID == name
		}))(t)
		slow.Read()
		wantWordOf(t, "the prompt socket", prompt, room.id, removal.Rev)
		wantWordOf(t, "the slow socket", slow, room.id, removal.Rev)
		for _, c := range append(late, prompt, slow) {
			wantNothingAfter(t, c, room, removal.Rev)
		}
		for _, path := range []string{"", "/messages", "/changes", "/members"} {
			harness.Must(bob.Call(http.MethodGet, "/rooms/"+room.id+path, nil, http.StatusForbidden, nil))(t)
		}
		witness.Close()
	}
}

// absence is the part of a room's log between a member's removal and return.
type absence struct{ from, to int64 }

// absences are those of a member in the log of a room.
func absences(t *testing.T, room *busyRoom, user string) (all []absence) {
	t.Helper()
	from := int64(0)
	for _, step := range harness.Must(room.admin.Changes(room.id, 0, 100))(t) {
		switch {
		case step.UserID != user:
		case step.Type == "member.removed":
			from = step.Rev
		case step.Type == "member.added" && from > 0:
			all = append(all, absence{from, step.Rev})
		}
	}
	return all
}

// told is what a socket was told of a room, in short.
func told(c *harness.Conn, room string) string {
	var all strings.Builder
	for _, f := range c.Frames() {
		if f.RoomID == room && f.Rev > 0 {
			fmt.Fprintf(&all, "%d %s %s\n", f.Rev, f.Type, f.UserID)
		}
	}
	return all.String()
}

// remove takes a user out of a room while sockets of the same user are being opened.
func remove(t *testing.T, room *busyRoom, u *harness.User) []*harness.Conn {
	t.Helper()
	late := make([]*harness.Conn, 3) // a user has five
	errs := make([]error, len(late)+1)
	var wg sync.WaitGroup
	for i := range late {
		wg.Go(func() { late[i], errs[i] = u.Dial("device_id", fmt.Sprintf("late%d", i)) })
	}
	wg.Go(func() { errs[len(late)] = room.admin.RemoveMember(room.id, u.ID) })
	wg.Wait()
	for _, c := range late {
		if c != nil {
			t.Cleanup(c.Drop)
		}
	}
	harness.Check(t, errors.Join(errs...))
	return late
}

// wantWordOf fails unless a socket that sat in a room was told of the end of the membership.
func wantWordOf(t *testing.T, what string, c *harness.Conn, room string, rev int64) {
	t.Helper()
	_, err := c.Await("word of the removal", func(f harness.Frame) bool {
		return f.RoomID == room && (f.Type == "room.removed" || f.Type == "member.removed" && f.Rev == rev)
	})
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// wantNothingAfter fails when a socket was told anything of a room that became so above a rev.
func wantNothingAfter(t *testing.T, c *harness.Conn, room *busyRoom, rev int64) {
	t.Helper()
	harness.Must(c.AwaitType("sync.complete"))(t)
	harness.Must(c.Request(map[string]any{"type": "ping"}))(t) // what is on its way has come
	for _, f := range c.Frames() {
		if f.RoomID == room.id && f.Rev > rev {
			t.Errorf("told %.300s, the removal is rev %d", f.Raw, rev)
		}
		if texts := room.spoken.after(rev, f.Raw); len(texts) > 0 {
			t.Errorf("told %v in %.300s, the removal is rev %d", texts, f.Raw, rev)
		}
	}
}

// TestAMemberWhoComesAndGoesSeesWhatIsTheirsAndNoMore takes a member out and in while others write. What a removed
// member may see of the time away is told on the return; nothing is told during it.
func TestAMemberWhoComesAndGoesSeesWhatIsTheirsAndNoMore(t *testing.T) {
	t.Parallel()
	const turns = 12
	tenant := tenantOf(t, harness.Options{})
	bob := tenant.User("bob")
	room := newBusyRoom(t, tenant, "bob", "carol")
	c := connect(t, bob)
	room.start()
	var returns []time.Time // bob is a member again at the earliest
	for range turns {
		room.pace(t, 5)
		harness.Check(t, room.admin.RemoveMember(room.id, "bob"))
		room.pace(t, 5)
		returns = append(returns, time.Now())
		harness.Check(t, room.admin.AddMembers(room.id, "bob"))
	}
	harness.Check(t, room.end())
	last := harness.Must(room.admin.Send(room.id, harness.Body("the last word")))(t)
	harness.Must(c.AwaitMessage(room.id, last.Seq))(t)

	away := absences(t, room, "bob")
	if len(away) != turns {
		t.Fatalf("the log of the room has %d absences, want %d", len(away), turns)
	}
	gone := false
	for _, f := range c.Frames() {
		if f.RoomID != room.id || f.Rev == 0 {
			continue
		}
		for turn, a := range away {
			if a.from < f.Rev && f.Rev < a.to && f.At.Before(returns[turn]) {
				t.Errorf("told %.200s between the removal at rev %d and the return at rev %d", f.Raw, a.from, a.to)
			}
		}
		switch { // whoever was told to be out is told of the return first
		case f.Type == "room.removed":
			gone = true
		case f.Type == "member.added" && f.UserID == "bob":
			gone = false
		case gone:
			t.Errorf("told %.200s to one who was told to be out", f.Raw)
		}
	}
	if t.Failed() {
		t.Logf("told, by rev:\n%s", told(c, room.id))
	}
	if _, _, err := c.Send(room.id, harness.Body("I am back"), ""); err != nil {
		t.Errorf("a member who has come back cannot send: %v", err)
	}
}

// TestARoomThatIsRemovedIsGoneForEverybody covers the present, the slow and the absent, writers at work.
func TestARoomThatIsRemovedIsGoneForEverybody(t *testing.T) {
	t.Parallel()
	const rounds = 5
	tenant := tenantOf(t, harness.Options{})
	for round := range rounds {
		name := fmt.Sprintf("bob%d", round)
		bob := tenant.User(name)
		room := newBusyRoom(t, tenant, name, "carol")
		absent := harness.NewMirror(bob, "absent", []string{harness.ByMark, harness.ByResume, harness.ByCursor}[round%3])
		harness.Check(t, absent.Connect())
		harness.Check(t, absent.AwaitRev(room.id, 20, 30*time.Second))
		absent.Drop()
		prompt := connect(t, bob, "device_id", "prompt")
		slow := harness.Must(bob.DialWith(harness.DialOptions{Stalled: true, ReadBuffer: trickle}))(t)
		t.Cleanup(slow.Drop)
		room.start()
		room.pace(t, int64(20+20*round))
		last := harness.Must(room.admin.Room(room.id))(t).LastRev
		harness.Check(t, room.admin.RemoveRoom(room.id))
		for _, err := range unjoin(room.end()) { // each writer ends with being told that there is no such room
			var refused *harness.StatusError
			if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
				t.Errorf("a writer in a removed room: %v, want 404", err)
			}
		}
		slow.Read()
		for what, c := range map[string]*harness.Conn{"prompt": prompt, "slow": slow} {
			wantGone(t, what, c, room.id, last)
		}
		wantToldOnConnect(t, bob, absent, room.id)
		wantNowhere(t, tenant, room)
		prompt.Close()
	}
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return nil
}

// wantGone fails unless a socket was told that a room is removed, as the last thing of it.
func wantGone(t *testing.T, what string, c *harness.Conn, room string, atLeast int64) {
	t.Helper()
	removed, err := c.Await("room.removed", func(f harness.Frame) bool { return f.RoomID == room && f.Type == "room.removed" })
	if err != nil || removed.Rev <= atLeast {
		t.Errorf("the %s socket of a removed room: %s, %v, want room.removed above rev %d", what, removed.Raw, err, atLeast)
		return
	}
	harness.Must(c.Request(map[string]any{"type": "ping"}))(t)
	frames := slices.DeleteFunc(slices.Clone(c.Frames()), func(f harness.Frame) bool { return f.RoomID != room })
	if latest := frames[len(frames)-1]; latest.Type != "room.removed" {
		t.Errorf("the %s socket was told %.200s after the removal", what, latest.Raw)
	}
	answer := harness.Must(c.Request(map[string]any{"type": "send_message", "room_id": room, "content": harness.Body("hello?")}))(t)
	if answer.Code != "NOT_FOUND" {
		t.Errorf("a send to a removed room: %s, want NOT_FOUND", answer.Raw)
	}
}

// wantToldOnConnect fails unless an absent client is told of a removal when it comes back, nothing else of the room, and
// not again once it has confirmed that.
func wantToldOnConnect(t *testing.T, u *harness.User, m *harness.Mirror, room string) {
	t.Helper()
	m.Told(room)
	harness.Check(t, m.Connect())
	wantTold(t, "a client that was away when its room was removed", m.Told(room), map[string]int{"room.removed": 1})
	harness.Must(m.Conn().Request(map[string]any{"type": "ping"}))(t)
	m.Drop()
	harness.Eventually(t, 30*time.Second, "a confirmed removal is not told again", func() bool {
		again := connect(t, u, "device_id", "absent")
		defer again.Close()
		told := slices.ContainsFunc(again.Frames(), func(f harness.Frame) bool { return f.RoomID == room })
		harness.Must(again.Request(map[string]any{"type": "ping"}))(t)
		return !told
	})
}

// wantNowhere fails when anything of a removed room can still be had.
func wantNowhere(t *testing.T, tenant *harness.Tenant, room *busyRoom) {
	t.Helper()
	for _, who := range []*harness.Client{tenant.Backend(), room.admin.Client, tenant.User("stranger").Client} {
		for _, c := range roomCalls(room.id, room.old[0].MessageID) {
			if who == tenant.Backend() && needsUser(c.method, c.path) {
				continue
			}
			res := harness.Must(who.Do(t.Context(), c.method, c.path, c.body))(t)
			if res.Status != http.StatusNotFound && (res.Status != http.StatusUnauthorized || !needsUser(c.method, c.path)) {
				t.Errorf("%s %s of a removed room: status %d, want 404", c.method, c.path, res.Status)
			}
		}
		if rooms := harness.Must(who.Rooms(""))(t); slices.ContainsFunc(rooms, func(r harness.Summary) bool { return r.RoomID == room.id }) {
			t.Errorf("a removed room is in a list")
		}
	}
}

func TestARemovedDirectMessageFreesItsKey(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	bob := connect(t, tenant.User("bob"))
	var before string
	for range 3 {
		dm := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t)
		if dm.RoomID == before || dm.LastSeq != 0 {
			t.Errorf("a DM made anew is %+v, the one before was %s", dm, before)
		}
		sent := harness.Must(alice.Send(dm.RoomID, harness.Body("in this one")))(t)
		harness.Must(bob.AwaitMessage(dm.RoomID, sent.Seq))(t)
		harness.Check(t, tenant.Backend().RemoveRoom(dm.RoomID))
		harness.Must(bob.Await("room.removed", func(f harness.Frame) bool {
			return f.Type == "room.removed" && f.RoomID == dm.RoomID
		}))(t)
		harness.Must(alice.Call(http.MethodGet, "/rooms/"+dm.RoomID+"/messages", nil, http.StatusNotFound, nil))(t)
		before = dm.RoomID
	}
}

func TestTheChangesOfARoomAreToldToItsSockets(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("channel", "bob"))(t).RoomID
	c, own := connect(t, bob), connect(t, alice)
	sent := harness.Must(alice.Send(room, harness.Body("one")))(t)
	harness.Must(alice.Edit(room, sent.MessageID, harness.Body("two")))(t)
	harness.Must(alice.Edit(room, sent.MessageID, harness.Body("two")))(t) // changes nothing
	harness.Must(alice.PatchRoom(room, map[string]any{"name": "named", "metadata": map[string]any{"k": 1}}))(t)
	harness.Check(t, tenant.User("dora").Join(room))
	harness.Check(t, alice.SetRole(room, "bob", "admin"))
	harness.Check(t, alice.Delete(room, sent.MessageID))
	harness.Check(t, alice.Delete(room, sent.MessageID)) // again
	harness.Check(t, alice.RemoveMember(room, "alice"))
	last := harness.Must(bob.Send(room, harness.Body("end")))(t)
	harness.Must(c.AwaitMessage(room, last.Seq))(t)
	harness.Must(own.Await("the room's end for who left", func(f harness.Frame) bool {
		return f.Type == "room.removed" && f.RoomID == room
	}))(t)

	want := []string{
		`{"type":"message","rev":2,"seq":1}`, `{"type":"message.edited","rev":3,"seq":1}`, `{"type":"room.updated","rev":4}`,
		`{"type":"member.added","rev":5,"user_id":"dora"}`, `{"type":"member.updated","rev":6,"user_id":"bob"}`,
		`{"type":"message.deleted","rev":7,"seq":1}`, `{"type":"member.removed","rev":8,"user_id":"alice"}`, `{"type":"message","rev":9,"seq":2}`,
	}
	for who, socket := range map[string]*harness.Conn{"bob": c, "alice, who left": own} {
		var got []string
		for _, f := range socket.Frames() {
			if f.RoomID == room && f.Rev > 1 {
				got = append(got, shortened(t, f.Raw))
			}
		}
		wanted := want
		if socket == own { // the room goes with the membership
			wanted = append(slices.Clone(want[:7]), `{"type":"room.removed","rev":8}`)
		}
		if !slices.Equal(got, sorted(t, wanted)) {
			t.Errorf("%s was told\n%s\nwant\n%s", who, strings.Join(got, "\n"), strings.Join(wanted, "\n"))
		}
	}
	steps := harness.Must(bob.Changes(room, 0, 3))(t)
	if tomb := steps[len(steps)-3]; tomb.Type != "message.deleted" || tomb.Content != "" || string(tomb.Meta) != "null" || tomb.DeletedAt == "" {
		t.Errorf("a deletion in the log: %s", tomb.Raw)
	}
}

// shortened is a frame with what tells events apart.
func shortened(t *testing.T, raw []byte) string {
	t.Helper()
	var fields map[string]any
	harness.Check(t, json.Unmarshal(raw, &fields))
	maps.DeleteFunc(fields, func(name string, _ any) bool {
		return !slices.Contains([]string{"type", "rev", "seq", "user_id"}, name)
	})
	return string(harness.Must(json.Marshal(fields))(t))
}

func sorted(t *testing.T, frames []string) (out []string) {
	t.Helper()
	for _, f := range frames {
		out = append(out, shortened(t, []byte(f)))
	}
	return out
}
