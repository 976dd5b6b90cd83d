package blackbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// mirrors are one client of a user for each way of coming back, each on a device of its own.
func mirrors(u *harness.User) []*harness.Mirror {
	return []*harness.Mirror{
		harness.NewMirror(u, "marked", harness.ByMark),
		harness.NewMirror(u, "resuming", harness.ByResume),
		harness.NewMirror(u, "cursor", harness.ByCursor),
	}
}

// wantMirrored fails unless a client's copy of a room is what the server has now.
func wantMirrored(t *testing.T, m *harness.Mirror, u *harness.User, room string) {
	t.Helper()
	if found := m.Differences(room, harness.Must(u.History(room, 0, 100))(t)); len(found) > 0 {
		t.Errorf("a client's copy differs from the history:\n%s", strings.Join(found[:min(len(found), 10)], "\n"))
	}
}

// wantTold fails unless a client was told of exactly these events.
func wantTold(t *testing.T, who string, told, want map[string]int) {
	t.Helper()
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("%s was told of %v, want %v", who, told, want)
	}
}

func TestEditsAndDeletesMadeWhileAwayArriveOnEveryDevice(t *testing.T) {
	t.Parallel()
	const before = 30
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, before)
	messages := harness.Must(alice.History(room, 0, 100))(t)
	partly := harness.NewMirror(bob, "partly", harness.ByMark) // has acked a third of it, by seq alone
	clients := append(mirrors(bob), partly)
	for _, m := range clients {
		harness.Check(t, m.Connect())
		harness.Check(t, m.AwaitRev(room, before+1, 30*time.Second))
	}
	harness.Check(t, clients[0].AckAll(room))
	if answer := harness.Must(partly.Conn().Request(map[string]any{"type": "ack", "room_id": room, "seq": 10}))(t); answer.Type != "reply" {
		t.Fatalf("ack: %s", answer.Raw)
	}
	awaitDeviceAck(t, bob, room, "marked", before)
	awaitDeviceAck(t, bob, room, "partly", 10)
	for _, m := range clients {
		m.Drop()
		m.Told(room)
	}

	edit := func(seq int, text string) {
		harness.Must(alice.Edit(room, messages[seq-1].MessageID, harness.Body("%s", text)))(t)
	}
	edit(3, "three")
	edit(5, "five, at first")
	edit(5, "five")
	edit(25, "twenty-five")
	harness.Check(t, alice.Delete(room, messages[6].MessageID))
	harness.Check(t, alice.Delete(room, messages[27].MessageID))
	harness.Must(alice.Send(room, harness.Body("while away")))(t)
	edit(28-1, "the one before the deleted")

	rev := harness.Must(alice.Room(room))(t).LastRev
	for _, m := range clients {
		harness.Check(t, m.Connect())
		harness.Check(t, m.AwaitRev(room, rev, 30*time.Second))
		wantMirrored(t, m, alice, room)
		m.Drop()
	}
	away := map[string]int{"message": 1, "message.edited": 4, "message.deleted": 2} // of each message the latest
	wantTold(t, "a device that had acked everything", clients[0].Told(room), away)
	wantTold(t, "a device that resumed", clients[1].Told(room), away)
	wantTold(t, "a device with the cursor of an empty replay", map[string]int{
		"message.edited": clients[2].Told(room)["message.edited"]}, map[string]int{"message.edited": 4})
	told := partly.Told(room)
	if told["message"] != before-10+1 {
		t.Errorf("a device that had acked 10 of %d was told of %v", before, told)
	}
}

// awaitDeviceAck waits until a device's mark is stored.
func awaitDeviceAck(t *testing.T, u *harness.User, room, device string, seq int64) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, "the mark of "+device, func() bool {
		rooms := harness.Must(u.Rooms("&device_id=" + device))(t)
		return slices.ContainsFunc(rooms, func(r harness.Summary) bool { return r.RoomID == room && r.LastAck == seq })
	})
}

func TestAChangeOfWhatAClientHasIsToldAcrossAGap(t *testing.T) {
	t.Parallel()
	const known, away, replayed = 20, 560, 500
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, known)
	clients := mirrors(bob)
	for _, m := range clients {
		harness.Check(t, m.Connect())
		harness.Check(t, m.AwaitRev(room, known+1, 30*time.Second))
		m.Drop() // the cursor is to be of a replay that had everything
	}
	for _, m := range clients { // later: a device that comes after the acks of another starts behind them
		harness.Check(t, m.Connect())
		harness.Check(t, m.AckAll(room))
		m.Drop()
	}
	awaitDeviceAck(t, bob, room, "marked", known)
	fill(t, alice, room, away)
	messages := harness.Must(alice.History(room, 0, 100))(t)
	harness.Must(alice.Edit(room, messages[2].MessageID, harness.Body("known and edited")))(t)
	harness.Check(t, alice.Delete(room, messages[3].MessageID))
	harness.Must(alice.Edit(room, messages[known+9].MessageID, harness.Body("left out and edited")))(t)
	harness.Must(alice.Edit(room, messages[known+away-5].MessageID, harness.Body("replayed and edited")))(t)

	rev := harness.Must(alice.Room(room))(t).LastRev
	for _, m := range clients {
		harness.Check(t, m.Connect())
		harness.Check(t, m.AwaitRev(room, rev, 30*time.Second))
		want := []harness.Gap{{RoomID: room, FromSeq: known + 1, ToSeq: known + away - replayed}}
		if got := m.Gaps(); !slices.Equal(got, want) {
			t.Errorf("truncated: got %+v, want %+v", got, want)
		}
		wantMirrored(t, m, alice, room)
		m.Drop()
	}
}

// TestClientsThatComeAndGoConvergeBesideEveryChange has writers send, edit and delete while clients are cut and come back
// in each way, and one follows the log over REST.
func TestClientsThatComeAndGoConvergeBesideEveryChange(t *testing.T) {
	t.Parallel()
	const writers, operations, drops = 4, 300, 25 // fewer messages a room than a replay holds
	// A client comes back before the server has noticed that it went.
	tenant := tenantOf(t, harness.Options{Env: map[string]string{"WS_MAX_CONNECTIONS_PER_USER": "100"}})
	all, ids := users(tenant, "writer", writers)
	reader := tenant.User("reader")
	rooms := make([]string, 2)
	for i := range rooms {
		rooms[i] = harness.Must(tenant.Backend().CreateRoom("group", append(ids, "reader")...))(t).RoomID
	}
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	errs := make([]error, writers+3+1)
	for i, u := range all {
		writing.Go(func() { errs[i] = writeAtRandom(u, rooms, operations, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	clients := mirrors(reader)
	for i, m := range clients {
		reading.Go(func() { errs[writers+i] = comeAndGo(m, rooms, drops, done) })
	}
	log := harness.NewMirror(reader, "none", "over REST")
	reading.Go(func() { errs[writers+3] = followChanges(log, reader, rooms, done) })
	writing.Wait()
	close(done)
	reading.Wait()
	harness.Check(t, errors.Join(errs...))
	for _, m := range clients {
		harness.Check(t, m.Connect())
	}
	harness.Check(t, catchUpChanges(log, reader, rooms))
	for _, room := range rooms {
		rev := harness.Must(reader.Room(room))(t).LastRev
		whole := harness.NewMirror(reader, "none", "from the first position on")
		for _, step := range harness.Must(reader.Changes(room, 0, 100))(t) {
			whole.Apply(step)
		}
		for _, m := range append(clients, log, whole) {
			harness.Check(t, m.AwaitRev(room, rev, 30*time.Second))
			wantMirrored(t, m, reader, room)
		}
	}
	for _, m := range clients {
		m.Drop()
	}
}

// writeAtRandom sends, edits and deletes as one user.
func writeAtRandom(u *harness.User, rooms []string, operations int, random *rand.Rand) error {
	var own []harness.Message
	deleted := map[string]bool{}
	for n := range operations {
		if len(own) == 0 || random.IntN(2) == 0 {
			m, err := u.Send(rooms[random.IntN(len(rooms))], harness.Body("%s %d", u.ID, n))
			if err != nil {
				return err
			}
			own = append(own, m)
			continue
		}
		m := own[random.IntN(len(own))]
		if random.IntN(5) == 0 {
			deleted[m.MessageID] = true
			if err := u.Delete(m.RoomID, m.MessageID); err != nil {
				return err
			}
			continue
		}
		if _, err := u.Edit(m.RoomID, m.MessageID, harness.Body("%s %d edited", u.ID, n)); err != nil && !deleted[m.MessageID] {
			return err
		}
	}
	return nil
}

// comeAndGo connects and cuts a client until the writers are done, at least so many times.
func comeAndGo(m *harness.Mirror, rooms []string, drops int, done chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-done:
			if n >= drops {
				return nil
			}
		default:
		}
		if err := m.Open(); err != nil {
			return err
		}
		<-time.After(rand.N(30 * time.Millisecond))
		if n%3 == 0 {
			_ = m.AckAll(rooms[n%len(rooms)]) // of a socket that may be gone: the ack counts or does not
		}
		m.Drop()
	}
}

// followChanges polls the logs of rooms as a client without a socket does.
func followChanges(m *harness.Mirror, u *harness.User, rooms []string, done chan struct{}) error {
	for {
		if err := catchUpChanges(m, u, rooms); err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func catchUpChanges(m *harness.Mirror, u *harness.User, rooms []string) error {
	const pages = 7
	for _, room := range rooms {
		steps, err := u.Changes(room, m.Rev(room), pages)
		if err != nil {
			return err
		}
		for _, step := range steps {
			m.Apply(step)
		}
	}
	return nil
}
