package blackbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// TestUnreadCountsEqualARecount compares the server's unread counts with a model's after thousands of random operations.
// Each world is a tenant of its own and does one thing after another, so that the model knows what must have come of it;
// beside that somebody lists the rooms all the time, so that counts are taken in the midst of every change.
func TestUnreadCountsEqualARecount(t *testing.T) {
	t.Parallel()
	const worlds, operations, checks = 5, 2000, 4
	s := harness.Start(t, harness.Options{Env: map[string]string{"WS_MAX_CONNECTIONS_PER_USER": "10"}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	all, errs := make([]*unreadWorld, worlds), make([]error, worlds)
	for i := range all {
		all[i] = newUnreadWorld(t, harness.Must(s.NewTenant("world"))(t), rand.New(rand.NewPCG(seed, uint64(i))))
	}
	var wg sync.WaitGroup
	for i, w := range all {
		wg.Go(func() {
			defer w.lister()()
			for n := 1; n <= operations && errs[i] == nil; n++ {
				if errs[i] = w.step(); errs[i] == nil && n%(operations/checks) == 0 {
					errs[i] = w.compare(n)
				}
			}
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
	did := map[string]int{}
	for _, w := range all {
		for name, n := range w.did {
			did[name] += n
		}
	}
	t.Logf("done: %v", did)
}

// unreadWorld is a tenant, and what its rooms must look like.
type unreadWorld struct {
	random  *rand.Rand
	tenant  *harness.Tenant
	users   []*harness.User
	devices []unreadDevice
	rooms   []*unreadRoom
	did     map[string]int
}

// unreadDevice is one of the devices that operations come from; each has a socket.
type unreadDevice struct {
	user *harness.User
	name string
	conn *harness.Conn
}

// unreadRoom is the model of a room.
type unreadRoom struct {
	id       string
	kind     string
	messages []unreadMessage // by seq-1
	in       map[string]bool
	joined   map[string]int64 // the last seq when the user came
	read     map[string]int64 // outlives a departure
	soon     map[string]int64 // was told over a socket: the mark, within a second
	removed  bool
}

type unreadMessage struct {
	id, sender string
	deleted    bool
}

func newUnreadWorld(t *testing.T, tenant *harness.Tenant, random *rand.Rand) *unreadWorld {
	t.Helper()
	w := &unreadWorld{random: random, tenant: tenant, did: map[string]int{}}
	w.users, _ = users(tenant, "u", 4)
	for i, user := range []int{0, 0, 1, 1, 2} { // five devices of three users; the fourth has none
		name := fmt.Sprintf("d%d", i)
		u := w.users[user]
		w.devices = append(w.devices, unreadDevice{u, name, connect(t, u, "device_id", name)})
	}
	for range 3 {
		harness.Check(t, w.newRoom())
	}
	return w
}

// lister asks for the rooms of users until the function it returns is called.
func (w *unreadWorld) lister() (end func()) {
	var over atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; !over.Load(); n++ {
			_, _ = w.users[n%len(w.users)].Rooms("") // what it says is looked at when nothing changes
		}
	})
	return func() { over.Store(true); wg.Wait() }
}

// step does one random thing. Refusals that the model foresees are part of it.
func (w *unreadWorld) step() error {
	steps := []struct {
		name   string
		weight int
		do     func() error
	}{
		{"send", 35, w.send}, {"send over a socket", 15, w.sendFrame}, {"read", 12, w.read}, {"read over a socket", 8, w.readFrame},
		{"ack", 6, w.ack}, {"edit", 6, w.edit}, {"delete", 8, w.remove}, {"join", 3, w.join}, {"leave", 2, w.leave},
		{"remove a member", 2, w.removeMember}, {"add a member", 4, w.addMember}, {"new room", 1, w.newRoom}, {"remove a room", 1, w.removeRoom},
		{"list", 15, w.list},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	pick := w.random.IntN(total)
	for _, s := range steps {
		if pick -= s.weight; pick < 0 {
			w.did[s.name]++
			if err := s.do(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		}
	}
	return nil
}

func (w *unreadWorld) anyUser() *harness.User { return w.users[w.random.IntN(len(w.users))] }
func (w *unreadWorld) anyRoom() *unreadRoom   { return w.rooms[w.random.IntN(len(w.rooms))] }
func (w *unreadWorld) anyDevice() unreadDevice {
	return w.devices[w.random.IntN(len(w.devices))]
}

// allowed is the status of a call that only members may make.
func (r *unreadRoom) allowed(user string, status int) int {
	switch {
	case r.removed:
		return http.StatusNotFound
	case !r.in[user]:
		return http.StatusForbidden
	}
	return status
}

func (r *unreadRoom) add(user string) {
	if !r.in[user] {
		r.in[user], r.joined[user] = true, int64(len(r.messages))
	}
}

// unread is the recount: messages of others above the read mark and the joining that are still there.
func (r *unreadRoom) unread(user string, mark int64) (n int64) {
	for i, m := range r.messages {
		if int64(i)+1 > max(mark, r.joined[user]) && m.sender != user && !m.deleted {
			n++
		}
	}
	return n
}

func (w *unreadWorld) send() error {
	u, r := w.anyUser(), w.anyRoom()
	var m harness.Message
	want := r.allowed(u.ID, http.StatusCreated)
	_, err := u.Call(http.MethodPost, "/rooms/"+r.id+"/messages", map[string]any{"content": harness.Body("x")}, want, &m)
	if err != nil || want != http.StatusCreated {
		return err
	}
	return r.sent(u.ID, m)
}

func (r *unreadRoom) sent(sender string, m harness.Message) error {
	r.messages = append(r.messages, unreadMessage{id: m.MessageID, sender: sender})
	if m.Seq != int64(len(r.messages)) {
		return fmt.Errorf("seq %d, want %d", m.Seq, len(r.messages))
	}
	return nil
}

func (w *unreadWorld) sendFrame() error {
	d, r := w.anyDevice(), w.anyRoom()
	m, _, err := d.conn.Send(r.id, harness.Body("x"), "")
	if err := r.foreseen(d.user.ID, err); err != nil || r.allowed(d.user.ID, 0) != 0 {
		return err
	}
	return r.sent(d.user.ID, m)
}

// foreseen passes an error frame that the model expects, and is an error where one was expected and did not come.
func (r *unreadRoom) foreseen(user string, err error) error {
	want := codes[r.allowed(user, 0)]
	var refused *harness.FrameError
	if errors.As(err, &refused) && refused.Frame.Code == want {
		return nil
	}
	if err == nil && want != "" {
		return fmt.Errorf("a frame of %s was accepted, want %s", user, want)
	}
	return err
}

func (w *unreadWorld) read() error {
	u, r := w.anyUser(), w.anyRoom()
	seq := w.random.Int64N(int64(len(r.messages)) + 1)
	want := r.allowed(u.ID, http.StatusOK)
	if _, err := u.Call(http.MethodPost, "/rooms/"+r.id+"/read", map[string]any{"seq": seq}, want, nil); err != nil || want != http.StatusOK {
		return err
	}
	r.read[u.ID] = max(r.read[u.ID], seq)
	return nil
}

func (w *unreadWorld) readFrame() error { return w.receipt("read") }

// ack must change nothing of what is unread.
func (w *unreadWorld) ack() error {
	if w.random.IntN(2) == 0 {
		return w.receipt("ack")
	}
	d, r := w.anyDevice(), w.anyRoom()
	body := map[string]any{"room_id": r.id, "seq": w.random.IntN(len(r.messages) + 1), "device_id": d.name}
	_, err := d.user.Call(http.MethodPost, "/acks", body, r.allowed(d.user.ID, http.StatusOK), nil)
	return err
}

func (w *unreadWorld) receipt(kind string) error {
	d, r := w.anyDevice(), w.anyRoom()
	seq := w.random.Int64N(int64(len(r.messages)) + 1)
	answer, err := d.conn.Request(map[string]any{"type": kind, "room_id": r.id, "seq": seq})
	if err == nil && answer.Type != "reply" {
		err = &harness.FrameError{Frame: answer}
	}
	if err := r.foreseen(d.user.ID, err); err != nil || r.allowed(d.user.ID, 0) != 0 {
		return err
	}
	if kind == "read" {
		r.soon[d.user.ID] = max(r.soon[d.user.ID], seq)
	}
	return nil
}

// edit and remove pick a message, and its sender where the sender is still there.
func (w *unreadWorld) edit() error {
	r, m := w.anyMessage()
	if m == nil {
		return nil
	}
	want := r.allowed(m.sender, http.StatusOK)
	if m.deleted && want == http.StatusOK {
		want = http.StatusConflict
	}
	body := map[string]any{"content": harness.Body("%d", w.random.Int())}
	_, err := w.tenant.User(m.sender).Call(http.MethodPut, "/rooms/"+r.id+"/messages/"+m.id, body, want, nil)
	return err
}

func (w *unreadWorld) remove() error {
	r, m := w.anyMessage()
	if m == nil {
		return nil
	}
	who, want := w.tenant.User(m.sender).Client, r.allowed(m.sender, http.StatusNoContent)
	if w.random.IntN(3) == 0 { // or the backend, to whom nobody is a stranger
		who, want = w.tenant.Backend(), http.StatusNoContent
		if r.removed {
			want = http.StatusNotFound
		}
	}
	if _, err := who.Call(http.MethodDelete, "/rooms/"+r.id+"/messages/"+m.id, nil, want, nil); err != nil {
		return err
	}
	m.deleted = m.deleted || want == http.StatusNoContent
	return nil
}

func (w *unreadWorld) anyMessage() (*unreadRoom, *unreadMessage) {
	r := w.anyRoom()
	if len(r.messages) == 0 {
		return r, nil
	}
	return r, &r.messages[w.random.IntN(len(r.messages))]
}

func (w *unreadWorld) join() error {
	u, r := w.anyUser(), w.anyRoom()
	want := http.StatusNoContent
	switch {
	case r.removed:
		want = http.StatusNotFound
	case r.kind == "group" && r.in[u.ID]:
		want = http.StatusConflict
	case r.kind == "group":
		want = http.StatusForbidden
	}
	if _, err := u.Call(http.MethodPost, "/rooms/"+r.id+"/join", nil, want, nil); err != nil || want != http.StatusNoContent {
		return err
	}
	r.add(u.ID)
	return nil
}

func (w *unreadWorld) leave() error {
	u, r := w.anyUser(), w.anyRoom()
	return w.takeOut(u.Client, r, u.ID, r.allowed(u.ID, http.StatusNoContent))
}

func (w *unreadWorld) removeMember() error {
	r, u := w.anyRoom(), w.anyUser()
	want := http.StatusNoContent
	if r.removed || !r.in[u.ID] {
		want = http.StatusNotFound
	}
	return w.takeOut(w.tenant.Backend(), r, u.ID, want)
}

func (w *unreadWorld) takeOut(as *harness.Client, r *unreadRoom, user string, want int) error {
	_, err := as.Call(http.MethodDelete, "/rooms/"+r.id+"/members/"+user, nil, want, nil)
	if err == nil && want == http.StatusNoContent {
		delete(r.in, user)
	}
	return err
}

func (w *unreadWorld) addMember() error {
	r, u := w.anyRoom(), w.anyUser()
	want := http.StatusNoContent
	if r.removed {
		want = http.StatusNotFound
	}
	body := map[string]any{"user_id": u.ID}
	if _, err := w.tenant.Backend().Call(http.MethodPost, "/rooms/"+r.id+"/members", body, want, nil); err != nil || r.removed {
		return err
	}
	r.add(u.ID)
	return nil
}

func (w *unreadWorld) newRoom() error {
	r := &unreadRoom{kind: []string{"group", "channel"}[w.random.IntN(2)], in: map[string]bool{}, joined: map[string]int64{},
		read: map[string]int64{}, soon: map[string]int64{}}
	members := []string{w.anyUser().ID, w.anyUser().ID}
	made, err := w.tenant.Backend().CreateRoom(r.kind, slices.Compact(members)...)
	if err != nil {
		return err
	}
	for _, m := range members {
		r.add(m)
	}
	r.id = made.RoomID
	w.rooms = append(w.rooms, r)
	return nil
}

func (w *unreadWorld) removeRoom() error {
	r := w.anyRoom()
	want := http.StatusNoContent
	if r.removed {
		want = http.StatusNotFound
	}
	_, err := w.tenant.Backend().Call(http.MethodDelete, "/rooms/"+r.id, nil, want, nil)
	r.removed = true
	return err
}

// list holds the list of one user against the model, as far as the model can know it yet.
func (w *unreadWorld) list() error {
	return asError(w.differences(w.anyUser(), false))
}

// compare holds every user's list against the model. What was read over a socket is durable within a second.
func (w *unreadWorld) compare(operations int) error {
	var differences []string
	err := harness.Until(30*time.Second, "the counts equal the recount", func() bool {
		differences = nil
		for _, u := range w.users {
			differences = append(differences, w.differences(u, true)...)
		}
		return len(differences) == 0
	})
	if err != nil {
		return fmt.Errorf("after %d operations: %w: %w", operations, err, asError(differences))
	}
	for _, r := range w.rooms {
		for user, mark := range r.soon {
			r.read[user] = max(r.read[user], mark)
		}
	}
	return nil
}

func asError(differences []string) error {
	if len(differences) == 0 {
		return nil
	}
	return errors.New(strings.Join(differences, "\n"))
}

// differences are those of one user's list; settled: the marks told over sockets are durable by now.
func (w *unreadWorld) differences(u *harness.User, settled bool) (found []string) {
	got, err := u.Rooms("")
	if err != nil {
		return []string{err.Error()}
	}
	counts := map[string]int64{}
	for _, r := range got {
		counts[r.RoomID] = r.Unread
	}
	for _, r := range w.rooms {
		count, listed := counts[r.id]
		delete(counts, r.id)
		least := r.unread(u.ID, max(r.read[u.ID], r.soon[u.ID]))
		most := least
		if !settled {
			most = r.unread(u.ID, r.read[u.ID])
		}
		switch mine := r.in[u.ID] && !r.removed; {
		case listed != mine:
			found = append(found, fmt.Sprintf("%s has %s in the list: %v, want %v", u.ID, r.id, listed, mine))
		case mine && (count < least || count > most):
			found = append(found, fmt.Sprintf("%s has %d unread in %s, want %d to %d (read %d, joined at %d, %d messages)",
				u.ID, count, r.id, least, most, r.read[u.ID], r.joined[u.ID], len(r.messages)))
		}
	}
	for room := range counts {
		found = append(found, fmt.Sprintf("%s has a room that nobody knows: %s", u.ID, room))
	}
	return found
}

func TestUnreadCountsStopAtTenThousand(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	const most, beyond = 10_000, 20
	fill(t, alice, room, most+beyond)
	for _, c := range []struct{ read, want int64 }{{0, most}, {beyond, most}, {beyond + 1, most - 1}, {most + beyond, 0}} {
		harness.Check(t, bob.Read(room, c.read))
		if got := harness.Must(bob.Rooms(""))(t); len(got) != 1 || got[0].Unread != c.want {
			t.Errorf("read to %d of %d: got %+v, want %d unread", c.read, most+beyond, got, c.want)
		}
	}
	if got := harness.Must(alice.Rooms(""))(t); len(got) != 1 || got[0].Unread != 0 {
		t.Errorf("one's own messages are unread: %+v", got)
	}
}
