package blackbox

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// small is the most members of a room in which everybody is told of everybody.
const small = 100

// awayFor is how long after the last socket a user is told to be offline.
const awayFor = 5 * time.Second

// hearing counts what sockets are told of presence.
type hearing struct {
	mu     sync.Mutex
	total  int
	told   map[string]int // by status and user, of all sockets together
	errors []string
}

func newHearing() *hearing { return &hearing{told: map[string]int{}} }

// of is a function for a socket's frames. A user is never told of itself.
func (h *hearing) of(user string) func(harness.Frame) {
	return func(f harness.Frame) {
		if f.Type != "presence.update" {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.total++
		h.told[f.Status+" "+f.UserID]++
		if f.UserID == user {
			h.errors = append(h.errors, fmt.Sprintf("%s was told %s", user, f.Raw))
		}
	}
}

func (h *hearing) count(status, user string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told[status+" "+user]
}

func (h *hearing) sum() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.total
}

func (h *hearing) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total = 0
	clear(h.told)
}

func (h *hearing) wantNoErrors(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.errors {
		t.Error(e)
	}
}

// attend opens a socket for each user at once, some at a time.
func attend(all []*harness.User, onFrame func(user string) func(harness.Frame)) ([]*harness.Conn, error) {
	const atOnce = 32
	conns, errs := make([]*harness.Conn, len(all)), make([]error, len(all))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, u := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			isSync := func(f harness.Frame) bool { return f.Type == "sync.complete" }
			if conns[i], errs[i] = u.DialWith(harness.DialOptions{OnFrame: onFrame(u.ID), Keep: isSync}); errs[i] == nil {
				_, errs[i] = conns[i].AwaitType("sync.complete")
			}
		})
	}
	wg.Wait()
	return conns, errors.Join(errs...)
}

func leaveAll(conns []*harness.Conn) {
	var wg sync.WaitGroup
	for _, c := range conns {
		if c != nil {
			wg.Go(c.Close)
		}
	}
	wg.Wait()
}

// roomOfSize makes a room with n members, the observer first.
func roomOfSize(t *testing.T, tenant *harness.Tenant, observer string, ids []string) string {
	t.Helper()
	room := harness.Must(tenant.Backend().CreateRoom("group", observer))(t).RoomID
	harness.Check(t, tenant.Backend().AddMembers(room, ids...))
	return room
}

// TestPresenceIsToldInRoomsOfAHundredOnceForEachTransition counts every frame at every socket: each coming and each going
// costs one frame a member that is there, a coming back within the grace none.
func TestPresenceIsToldInRoomsOfAHundredOnceForEachTransition(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	others, ids := users(tenant, "u", small-1)
	room := roomOfSize(t, tenant, "observer", ids)
	heard, rest := newHearing(), newHearing()
	observer := tenant.User("observer")
	watching := harness.Must(observer.DialWith(harness.DialOptions{OnFrame: heard.of("observer")}))(t)
	t.Cleanup(watching.Drop)
	harness.Must(watching.AwaitType("sync.complete"))(t)

	conns, err := attend(others, rest.of)
	t.Cleanup(func() { leaveAll(conns) })
	harness.Check(t, err)
	wantEach(t, heard, "online", ids)
	// A newcomer is told of those who come after it, and perhaps of some who came just before: at most all others.
	if most := (small - 1) * (small - 2); rest.sum() > most {
		t.Errorf("%d members came: told %d times among themselves, at most %d", small-1, rest.sum(), most)
	}

	heard.reset()
	gone := flap(t, others, conns, rest)
	t.Logf("the longest was away for %s", gone)
	leaveAll(conns[1:])
	left := time.Now()
	wantEach(t, heard, "offline", ids[1:])
	if took := time.Since(left); took < awayFor-time.Second {
		t.Errorf("told to be offline %s after the last socket, want at least %s", took, awayFor)
	}
	if gone < awayFor && heard.sum() != small-2 {
		t.Errorf("%d members left after a short absence of all: the observer was told %d times, want %d", small-2, heard.sum(), small-2)
	}
	wantStatuses(t, observer, ids, left)
	heard.wantNoErrors(t)
	rest.wantNoErrors(t)
	if _, err := tenant.Backend().Room(room); err != nil {
		t.Error(err)
	}
}

// wantEach waits until a socket was told of each user once, and fails when it was told more.
func wantEach(t *testing.T, h *hearing, status string, ids []string) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, "everybody is told to be "+status, func() bool {
		for _, id := range ids {
			if h.count(status, id) == 0 {
				return false
			}
		}
		return true
	})
	for _, id := range ids {
		if n := h.count(status, id); n != 1 {
			t.Errorf("told %d times that %s is %s, want once", n, id, status)
		}
	}
}

// flap has every user leave and come back, and returns the longest absence.
func flap(t *testing.T, all []*harness.User, conns []*harness.Conn, h *hearing) (longest time.Duration) {
	t.Helper()
	const steps = 11 // some at a time, so that nobody is away for long
	for from := 0; from < len(all); from += steps {
		to := min(from+steps, len(all))
		left := time.Now()
		leaveAll(conns[from:to])
		back, err := attend(all[from:to], h.of)
		copy(conns[from:], back)
		harness.Check(t, err)
		longest = max(longest, time.Since(left))
	}
	return longest
}

// wantStatuses fails unless GET /presence says what the sockets were told: the first is there, the others left when they did.
func wantStatuses(t *testing.T, observer *harness.User, ids []string, left time.Time) {
	t.Helper()
	statuses := harness.Must(observer.Presence(append([]string{observer.ID}, ids...)...))(t)
	if len(statuses) != len(ids)+1 {
		t.Errorf("asked for %d and got %d", len(ids)+1, len(statuses))
	}
	for _, s := range statuses {
		want := "offline"
		if s.UserID == observer.ID || s.UserID == ids[0] {
			want = "online"
		}
		if s.Status != want || s.LastSeenAt == nil {
			t.Errorf("presence: got %+v, want %s and a time", s, want)
			continue
		}
		seen, err := time.Parse(time.RFC3339Nano, *s.LastSeenAt)
		if ago := time.Since(left) + time.Second; err != nil || time.Since(seen) > ago || time.Until(seen) > time.Second {
			t.Errorf("%s was last seen at %s, %v: want within the last %s", s.UserID, *s.LastSeenAt, err, ago)
		}
	}
}

// TestNobodyIsToldOfPresenceInALargeRoom has a thousand members of one room, and exactly one more than a small room has
// of another, come and go.
func TestNobodyIsToldOfPresenceInALargeRoom(t *testing.T) {
	t.Parallel()
	for _, size := range []int{small + 1, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			tenant := tenantOf(t, harness.Options{})
			others, ids := users(tenant, "u", size-2)
			roomOfSize(t, tenant, "observer", append(ids, "friend"))
			harness.Must(tenant.Backend().CreateRoom("group", "observer", "friend"))(t)
			heard := newHearing()
			observer := tenant.User("observer")
			watching := harness.Must(observer.DialWith(harness.DialOptions{OnFrame: heard.of("observer")}))(t)
			t.Cleanup(watching.Drop)
			harness.Must(watching.AwaitType("sync.complete"))(t)

			conns, err := attend(others, heard.of)
			t.Cleanup(func() { leaveAll(conns) })
			harness.Check(t, err)
			online := harness.Must(observer.Presence(ids[0], ids[len(ids)-1], ids[len(ids)/2]))(t)
			for _, s := range online {
				if s.Status != "online" {
					t.Errorf("presence of a member of a large room: %+v, want online", s)
				}
			}
			if len(online) != 3 {
				t.Errorf("asked for three members of a large room, got %+v", online)
			}
			leaveAll(conns)
			harness.Eventually(t, 30*time.Second, "the last is offline", func() bool {
				asked := harness.Must(observer.Presence(ids[:min(len(ids), 100)]...))(t)
				for _, s := range asked {
					if s.Status != "offline" {
						return false
					}
				}
				return len(asked) == min(len(ids), 100)
			})
			// A friend comes last: whatever was on its way before has come by then.
			connect(t, tenant.User("friend"))
			harness.Eventually(t, 30*time.Second, "a friend comes", func() bool { return heard.count("online", "friend") == 1 })
			if heard.sum() != 1 {
				t.Errorf("%d members of a large room came and went: told %d times, want only of the friend", size, heard.sum()-1)
			}
			heard.wantNoErrors(t)
		})
	}
}

func TestPresenceIsForThoseWhoShareARoom(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	others := harness.Must(tenant.Server().NewTenant("others"))(t)
	alice, bob, eve := tenant.User("alice"), tenant.User("bob"), tenant.User("eve")
	foreigner := others.User("bob")
	dm := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t).RoomID
	harness.Must(eve.CreateRoom("group", "eve"))(t)
	harness.Must(foreigner.CreateRoom("dm", "alice", "bob"))(t)
	e, f, own, a := connect(t, eve), connect(t, foreigner), connect(t, bob), connect(t, alice)
	own2 := connect(t, bob, "device_id", "second") // bob is there already: nobody is told
	told := harness.Must(own.Await("alice's coming", func(f harness.Frame) bool { return f.Type == "presence.update" }))(t)
	if told.UserID != "alice" || told.Status != "online" {
		t.Errorf("bob was told %s, want that alice is online", told.Raw)
	}
	for who, want := range map[*harness.User]int{alice: 2, bob: 2, eve: 0, foreigner: 2} {
		if got := harness.Must(who.Presence("alice", "bob"))(t); len(got) != want {
			t.Errorf("%s of %s asks for alice and bob: got %+v, want %d", who.ID, who.Base, got, want)
		}
	}
	if got := harness.Must(tenant.Backend().Presence("alice", "eve", "nobody"))(t); len(got) != 2 {
		t.Errorf("the backend asks for those it has and one it has not: got %+v", got)
	}
	if got := harness.Must(eve.Presence("eve"))(t); len(got) != 1 || got[0].Status != "online" {
		t.Errorf("eve asks for herself: got %+v", got)
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("u%d", i)
	}
	var refused *harness.StatusError
	if _, err := alice.Presence(many...); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("presence of 101 users: %v, want 400", err)
	}

	a.Close()
	offline := harness.Must(own.Await("alice's going", func(f harness.Frame) bool {
		return f.Type == "presence.update" && f.Status == "offline"
	}))(t)
	if offline.UserID != "alice" {
		t.Errorf("bob was told %s, want that alice is offline", offline.Raw)
	}
	harness.Must(own2.Await("alice's going", func(f harness.Frame) bool { return f.Type == "presence.update" }))(t)
	for who, c := range map[string]*harness.Conn{"eve": e, "a foreigner": f} {
		harness.Must(c.Request(map[string]any{"type": "ping"}))(t)
		if hasType(c, "presence.update") {
			t.Errorf("%s was told of the presence of people who share no room with them", who)
		}
	}
	// A member no more is somebody to hide from.
	harness.Check(t, tenant.Backend().RemoveRoom(dm))
	if got := harness.Must(alice.Presence("bob"))(t); len(got) != 0 {
		t.Errorf("alice shares no room with bob any more, and was told %+v", got)
	}
}
