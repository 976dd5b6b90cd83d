package blackbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestAClientThatDropsAHundredTimesSeesEachSeqOnceInOrder(t *testing.T) {
	t.Parallel()
	const drops, perDrop, rooms = 100, 12, 2
	tenant := tenantOf(t, harness.Options{})
	sender := tenant.User("sender")
	ids := make([]string, rooms)
	for i := range ids {
		ids[i] = harness.Must(sender.CreateRoom("group", "mobile"))(t).RoomID
	}
	f := harness.NewFollower(tenant.User("mobile"))
	harness.Check(t, f.Connect())
	f.Drop()

	rounds := make([]chan struct{}, rooms) // a sender's round begins with the client's, so that the client is never far behind
	for i := range rounds {
		rounds[i] = make(chan struct{})
	}
	errs := make([]error, rooms)
	var wg sync.WaitGroup
	for i, room := range ids { // each round sends a few messages per room while the client comes and goes
		wg.Go(func() {
			for range rounds[i] {
				for n := range perDrop / rooms {
					if _, err := sender.Send(room, harness.Body("%d", n)); err != nil {
						errs[i] = errors.Join(errs[i], err)
					}
				}
			}
		})
	}
	for n := range drops {
		before := f.Seq(ids[0])
		for _, round := range rounds {
			round <- struct{}{}
		}
		harness.Check(t, f.Open())
		if n%4 == 3 { // however slow the machine, some of the connections last until something came
			harness.Eventually(t, 30*time.Second, "anything new", func() bool { return f.Seq(ids[0]) > before })
		}
		<-time.After(rand.N(20 * time.Millisecond))
		f.Drop()
	}
	for _, round := range rounds {
		close(round)
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
	harness.Check(t, f.Connect())
	for _, room := range ids {
		const last = drops * perDrop / rooms
		harness.Eventually(t, 30*time.Second, "the last message", func() bool { return f.Seq(room) >= last })
		wantDense(t, f.Got(room), 1, last)
	}
	f.Drop()
	for _, v := range f.Violations() {
		t.Error(v)
	}
	t.Logf("%d duplicates were dropped in %d reconnects", f.Duplicates(), drops)
}

func TestAClientFromAnotherLogIsToldToFetchAnew(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	harness.Must(alice.Send(room, harness.Body("one")))(t)
	now := harness.Must(alice.Room(room))(t)
	bob := tenant.User("bob")
	epoch := harness.Must(connect(t, bob).AwaitType("connected"))(t).Epoch

	for _, c := range []struct {
		name, epoch string
		rev         int64
		resync      bool
	}{
		{"another epoch", "not-this-log", now.LastRev, true},
		{"a position above the room's", epoch, now.LastRev + 1, true},
		{"the room's own position", epoch, now.LastRev, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := harness.Must(bob.Dial("resume", "1"))(t)
			t.Cleanup(conn.Drop)
			harness.Check(t, conn.Write(map[string]any{
				"type": "resume", "epoch": c.epoch, "rooms": []map[string]any{{"room_id": room, "rev": c.rev}},
			}))
			if !c.resync {
				harness.Must(conn.AwaitType("sync.complete"))(t)
				if got := conn.Messages(room); len(got) != 0 {
					t.Errorf("a client that has everything was sent %v", seqs(got))
				}
				return
			}
			told := harness.Must(conn.AwaitType("resync_required"))(t)
			rooms := harness.Must(told.RoomIDs())(t)
			if told.Epoch != epoch || !slices.Contains(rooms, room) {
				t.Errorf("got %s, want epoch %s and room %s", told.Raw, epoch, room)
			}
		})
	}
}

func TestAReplayHasTheNewestFiveHundredAndSaysWhatItLeftOut(t *testing.T) {
	t.Parallel()
	const sent, replayed = 620, 500
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, sent)

	c := connect(t, tenant.User("bob"))
	done := harness.Must(c.AwaitType("sync.complete"))(t)
	want := []harness.Gap{{RoomID: room, FromSeq: 1, ToSeq: sent - replayed}}
	if !slices.Equal(done.Truncated, want) || done.Messages != replayed {
		t.Errorf("sync.complete: %s, want %d messages and truncated %+v", done.Raw, replayed, want)
	}
	wantDense(t, c.Messages(room), sent-replayed+1, sent)
}

// fill sends n messages from 8 goroutines.
func fill(t *testing.T, u *harness.User, room string, n int) {
	t.Helper()
	const senders = 8
	errs := make([]error, senders)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for m := i; m < n; m += senders {
				_, err := u.Send(room, harness.Body("%d", m))
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
}

func TestSubscribeReplaysARoomFromASeq(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, 10)
	harness.Check(t, bob.Ack(room, 10, ""))
	c := connect(t, bob)
	if got := c.Messages(room); len(got) != 0 {
		t.Fatalf("an acked room was replayed: %v", seqs(got))
	}
	answer := harness.Must(c.Request(map[string]any{"type": "subscribe", "room_id": room, "after_seq": 6}))(t)
	if answer.Type != "reply" {
		t.Fatalf("subscribe: %s", answer.Raw)
	}
	harness.Must(c.AwaitMessage(room, 10))(t)
	wantDense(t, c.Messages(room), 7, 10)
	harness.Must(alice.Send(room, harness.Body("live")))(t)
	harness.Must(c.AwaitMessage(room, 11))(t)
	wantDense(t, c.Messages(room), 7, 11)
}

func TestEachDeviceContinuesWhereItsOwnMarkIs(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, 3)
	phone, tablet := connect(t, bob, "device_id", "phone"), connect(t, bob, "device_id", "tablet")
	harness.Must(phone.AwaitMessage(room, 3))(t)
	harness.Must(tablet.AwaitMessage(room, 3))(t)
	ack := map[string]any{"type": "ack", "room_id": room, "seq": 3}
	if answer := harness.Must(phone.Request(ack))(t); answer.Type != "reply" {
		t.Fatalf("ack of the phone: %s", answer.Raw)
	}
	awaitAck(t, bob, room, "phone", 3)
	harness.Check(t, bob.Ack(room, 3, "tablet"))
	phone.Close()
	tablet.Close()
	fill(t, alice, room, 5)

	phone = connect(t, bob, "device_id", "phone")
	wantDense(t, phone.Messages(room), 4, 8)
	harness.Check(t, bob.Ack(room, 8, "phone"))
	phone.Close()
	phone = connect(t, bob, "device_id", "phone")
	if got := phone.Messages(room); len(got) != 0 {
		t.Errorf("the phone has acked everything and was sent %v", seqs(got))
	}
	wantDense(t, connect(t, bob, "device_id", "tablet").Messages(room), 4, 8)
	if got := connect(t, bob, "device_id", "watch").Messages(room); len(got) != 0 {
		t.Errorf("a new device starts at the user's highest mark, and was sent %v", seqs(got))
	}
}

// awaitAck waits until a device's mark is stored: an ack over a socket is durable within a second.
func awaitAck(t *testing.T, u *harness.User, room, device string, seq int64) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, fmt.Sprintf("the mark of %s is stored", device), func() bool {
		return lastAck(t, u, room, device) == seq
	})
}

// lastAck is a device's mark as it is stored, of the only room of its user.
func lastAck(t *testing.T, u *harness.User, room, device string) int64 {
	t.Helper()
	var rooms []struct {
		RoomID  string `json:"room_id"`
		LastAck int64  `json:"last_ack"`
	}
	harness.Must(u.Call(http.MethodGet, "/rooms?device_id="+device, nil, 200, &rooms))(t)
	if len(rooms) != 1 || rooms[0].RoomID != room {
		t.Fatalf("the user's rooms: %+v, want %s alone", rooms, room)
	}
	return rooms[0].LastAck
}

func TestWhatWasSentWhileAwayComesOnReconnectAcrossARestart(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	f := harness.NewFollower(tenant.User("bob"))
	fill(t, alice, room, 5)
	harness.Check(t, f.Connect())
	harness.Eventually(t, 30*time.Second, "five messages", func() bool { return f.Seq(room) == 5 })
	f.Drop()
	fill(t, alice, room, 5)
	code, err := tenant.Server().Terminate(30 * time.Second)
	if err != nil || code != 0 {
		t.Fatalf("SIGTERM: code %d, %v", code, err)
	}
	harness.Check(t, tenant.Server().Start())
	harness.Check(t, f.Connect())
	harness.Eventually(t, 30*time.Second, "ten messages", func() bool { return f.Seq(room) == 10 })
	f.Drop()
	wantDense(t, f.Got(room), 1, 10)
	for _, v := range f.Violations() {
		t.Error(v)
	}
}
