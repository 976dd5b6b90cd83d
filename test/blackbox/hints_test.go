package blackbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// of selects frames of a type in a room.
func of(kind, room string) func(harness.Frame) bool {
	return func(f harness.Frame) bool { return f.Type == kind && f.RoomID == room }
}

// chosen are the frames that match.
func chosen(c *harness.Conn, match func(harness.Frame) bool) (found []harness.Frame) {
	for _, f := range c.Frames() {
		if match(f) {
			found = append(found, f)
		}
	}
	return found
}

// requested sends a frame and wants a reply.
func requested(t *testing.T, c *harness.Conn, fields map[string]any) {
	t.Helper()
	if f := harness.Must(c.Request(fields))(t); f.Type != "reply" {
		t.Fatalf("%v: %s", fields, f.Raw)
	}
}

func TestTypingIsToldToTheOthersOnceASecondAndStopsByItself(t *testing.T) {
	t.Parallel()
	const silence = 6 * time.Second
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	_, ids := users(tenant, "m", small)
	large := roomOfSize(t, tenant, "alice", append([]string{"bob"}, ids[:small-1]...)) // 101
	full := roomOfSize(t, tenant, "alice", append([]string{"bob"}, ids[:small-2]...))  // 100
	typist, own, other := connect(t, alice), connect(t, alice), connect(t, bob)

	requested(t, typist, map[string]any{"type": "typing.start", "room_id": large})
	began := time.Now()
	var last time.Time
	const starts = 20
	for range starts { // slower than the frames a socket has, faster than one a second
		last = time.Now()
		requested(t, typist, map[string]any{"type": "typing.start", "room_id": room})
		<-time.After(50 * time.Millisecond)
	}
	requested(t, typist, map[string]any{"type": "typing.start", "room_id": full})
	if said := harness.Must(other.Await("typing", of("typing", room)))(t); said.UserID != "alice" || said.Action != "start" {
		t.Errorf("bob was told %s, want that alice types", said.Raw)
	}
	stopped := harness.Must(other.Await("the end of typing", func(f harness.Frame) bool {
		return of("typing", room)(f) && f.Action == "stop"
	}))(t)
	if lasted := stopped.At.Sub(last); lasted < silence {
		t.Errorf("the typing of one who says nothing more ended after %s, want %s", lasted, silence)
	}
	span := stopped.At.Sub(began)
	if told, most := len(chosen(other, of("typing", room))), int(span/time.Second)+2; told > most {
		t.Errorf("%d starts within %s were told in %d frames, at most one a second: %d", starts, span, told, most)
	}
	harness.Must(other.Await("typing in a room of 100", of("typing", full)))(t)
	for who, c := range map[string]*harness.Conn{"the typist": typist, "the typist's other device": own} {
		if hasType(c, "typing") {
			t.Errorf("%s was told of the typing", who)
		}
	}
	if got := chosen(other, of("typing", large)); len(got) > 0 {
		t.Errorf("told of typing in a room of 101: %s", got[0].Raw)
	}

	after := func(at time.Time, action string) func(harness.Frame) bool {
		return func(f harness.Frame) bool { return of("typing", room)(f) && f.At.After(at) && f.Action == action }
	}
	requested(t, typist, map[string]any{"type": "typing.start", "room_id": room})
	harness.Must(other.Await("another start", after(stopped.At, "start")))(t)
	asked := time.Now()
	requested(t, typist, map[string]any{"type": "typing.stop", "room_id": room})
	if ended := harness.Must(other.Await("a stop that was asked for", after(asked, "stop")))(t).At.Sub(asked); ended >= silence {
		t.Errorf("a stop that was asked for came after %s", ended)
	}
}

func TestReceiptsAreToldOnceASecondAndTheLatestArrives(t *testing.T) {
	t.Parallel()
	const messages = 60
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	_, ids := users(tenant, "m", small)
	little := roomOfSize(t, tenant, "alice", append([]string{"bob"}, ids[:small-2]...)) // 100
	large := roomOfSize(t, tenant, "alice", append([]string{"bob"}, ids[:small-1]...))  // 101
	for _, room := range []string{little, large} {
		fill(t, alice, room, messages)
	}
	watching, reading, second := connect(t, alice), connect(t, bob, "device_id", "first"), connect(t, bob, "device_id", "second")
	for _, kind := range []string{"ack", "read"} {
		began := time.Now()
		for n := 1; n <= messages; n++ {
			for _, room := range []string{large, little} {
				fields := map[string]any{"type": kind, "room_id": room, "seq": n}
				requested(t, reading, fields)
			}
			<-time.After(45 * time.Millisecond) // two frames each: below 50 a second
		}
		told := kind + ".received"
		latest := func(room string) func(harness.Frame) bool {
			return func(f harness.Frame) bool { return of(told, room)(f) && f.UserID == "bob" && f.Seq == messages }
		}
		for who, c := range map[string]*harness.Conn{"alice": watching, "bob's other device": second} {
			harness.Must(c.Await(fmt.Sprintf("%s of the last message at %s", told, who), latest(little)))(t)
			wantRareAndRising(t, who, chosen(c, of(told, little)), time.Since(began))
		}
		harness.Must(second.Await(told+" in a large room", latest(large)))(t)
		wantRareAndRising(t, "bob's other device", chosen(second, of(told, large)), time.Since(began))
		if got := chosen(watching, of(told, large)); len(got) > 0 {
			t.Errorf("alice was told of bob's receipt in a room of 101: %s", got[0].Raw)
		}
	}
}

// wantRareAndRising fails when receipts came more often than one a second, or one below another.
func wantRareAndRising(t *testing.T, who string, receipts []harness.Frame, span time.Duration) {
	t.Helper()
	if most := int(span/time.Second) + 2; len(receipts) > most {
		t.Errorf("%s got %d receipts of one user and room in %s, at most %d", who, len(receipts), span, most)
	}
	for i := 1; i < len(receipts); i++ {
		if receipts[i].Seq < receipts[i-1].Seq {
			t.Errorf("%s was told of seq %d after %d", who, receipts[i].Seq, receipts[i-1].Seq)
		}
	}
}

func TestReceiptsOverRESTAreToldToo(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, 3)
	c := connect(t, alice)
	harness.Check(t, bob.Ack(room, 2, ""))
	acked := harness.Must(c.Await("ack.received", of("ack.received", room)))(t)
	if acked.UserID != "bob" || acked.Seq != 2 {
		t.Errorf("got %s, want bob's ack of 2", acked.Raw)
	}
	harness.Check(t, bob.Read(room, 3))
	read := harness.Must(c.Await("read.received", of("read.received", room)))(t)
	if read.UserID != "bob" || read.Seq != 3 {
		t.Errorf("got %s, want that bob has read 3", read.Raw)
	}
	// Reading is receiving: the mark of delivery rose with it; and receiving is not reading.
	rooms := harness.Must(bob.Rooms("&device_id="))(t)
	if len(rooms) != 1 || rooms[0].LastAck != 3 || rooms[0].Unread != 0 {
		t.Errorf("after reading all: %+v, want last_ack 3 and nothing unread", rooms)
	}
	fill(t, alice, room, 2)
	harness.Check(t, bob.Ack(room, 5, ""))
	if rooms = harness.Must(bob.Rooms(""))(t); rooms[0].Unread != 2 {
		t.Errorf("after an ack of unread messages: %+v, want 2 unread", rooms[0])
	}
}
