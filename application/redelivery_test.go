package application_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTheWholeScheduleOfAMessageThatIsNotAcknowledged: five times in all, then one dead letter, and silence.
func TestTheWholeScheduleOfAMessageThatIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann, bob := h.connect("ann", "desk"), h.connect("bob", "desk")
		begun := time.Since(ann.begun).Seconds()
		m := h.send("bob", room)
		bob.ack(room, 1)
		time.Sleep(15 * time.Minute)
		if got := ann.repeats(); !near(got, 12, begun+30, begun+90, begun+210, begun+450) {
			t.Errorf("sent again at %v after %v", got, begun)
		}
		if n := len(h.dead()); n != 0 {
			t.Errorf("%d dead before the last wait is over", n)
		}
		time.Sleep(2 * time.Hour)
		dead := h.dead()
		if len(dead) != 1 || dead[0].Attempts != 5 || dead[0].Error != "not acknowledged" || dead[0].User != "ann" ||
			dead[0].Job.Room != room || dead[0].Job.Message != m.ID || dead[0].FromSeq != 1 || dead[0].ToSeq != 1 {
			t.Fatalf("dead %+v", dead)
		}
		if n := len(ann.repeats()); n != 4 || len(bob.repeats()) != 0 {
			t.Errorf("sent again %d times to ann, %v to bob", n, bob.repeats())
		}
		h.send("bob", room) // after that only new messages
		bob.ack(room, 2)
		time.Sleep(2 * time.Hour)
		if got := ann.texts(); got[len(got)-1] != "hi#2" || len(ann.repeats()) != 4 || len(h.dead()) != 1 {
			t.Errorf("after it was given up: %q, dead %+v", got, h.dead())
		}
		ann.ack(room, 1) // until an ack
		h.send("bob", room)
		bob.ack(room, 3)
		time.Sleep(80 * time.Second)
		if got := ann.texts(); !slices.Contains(got, "again hi#2") || slices.Contains(got[7:], "again hi#1") {
			t.Errorf("after an ack: %q", got)
		}
	})
}

// TestARunTakesInWhatBecomesLate before it is pushed for the last time; what comes after that is new, and left to the next
// acknowledgement or connection.
func TestARunTakesInWhatBecomesLate(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		for _, wait := range []time.Duration{20 * time.Second, 9 * time.Minute, 2 * time.Hour} {
			h.send("bob", room)
			time.Sleep(wait)
		}
		again := slices.DeleteFunc(ann.texts(), func(text string) bool { return !strings.HasPrefix(text, "again ") })
		want := append([]string{"again hi#1"}, slices.Repeat([]string{"again hi#1", "again hi#2"}, 3)...)
		dead := h.dead()
		if !slices.Equal(again, want) || len(dead) != 1 || dead[0].FromSeq != 1 || dead[0].ToSeq != 2 || dead[0].Attempts != 5 {
			t.Errorf("sent %q, dead %+v", again, dead)
		}
	})
}

// TestADeadLetterOfARunGrows instead of becoming many; the next run begins with the next connection.
func TestADeadLetterOfARunGrows(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		h.send("bob", room)
		time.Sleep(2 * time.Hour)
		first := h.dead()
		ann.peer.Close()
		h.send("bob", room)
		h.connect("ann", "desk")
		time.Sleep(2 * time.Hour)
		grown := h.dead()
		if len(first) != 1 || len(grown) != 1 || grown[0].ID != first[0].ID || grown[0].FromSeq != 1 || grown[0].ToSeq != 2 ||
			!grown[0].LastAttemptAt.After(first[0].LastAttemptAt) {
			t.Errorf("first %+v, then %+v", first, grown)
		}
	})
}

func TestWhatIsAcknowledgedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann, other, twin := h.connect("ann", "desk"), h.connect("ann", "phone"), h.connect("ann", "desk")
		for range 3 {
			h.send("bob", room)
		}
		ann.ack(room, 3)
		time.Sleep(40 * time.Second)
		if a, b, c := ann.repeats(), twin.repeats(), other.repeats(); len(a) != 0 || len(b) != 0 || len(c) != 3 {
			t.Errorf("again: %v to the one that acknowledged, %v to its device's other socket, %v to another device", a, b, c)
		}
	})
}

// TestAPartOfARunIsAcknowledged: what is left has its time, and its attempts.
func TestAPartOfARunIsAcknowledged(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		for range 4 {
			h.send("bob", room)
		}
		time.Sleep(60 * time.Second)
		ann.ack(room, 2)
		before := len(ann.texts())
		time.Sleep(5 * time.Minute)
		again := ann.texts()[before:]
		if len(again) < 4 || len(again)%2 != 0 || slices.Contains(again, "again hi#2") || again[0] != "again hi#3" || again[1] != "again hi#4" {
			t.Errorf("sent again %q", again)
		}
	})
}

// TestARunHasAtMostAHundredMessages, the oldest; the next are sent again once those are acknowledged.
func TestARunHasAtMostAHundredMessages(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		for range 130 {
			h.send("bob", room)
		}
		time.Sleep(50 * time.Second)
		if again := ann.texts()[131:]; len(again) != 100 || again[0] != "again hi#1" || again[99] != "again hi#100" {
			t.Fatalf("%d sent again: %q", len(again), again[:min(2, len(again))])
		}
		ann.ack(room, 100)
		time.Sleep(60 * time.Second)
		if again := ann.texts()[231:]; len(again) != 30 || again[0] != "again hi#101" {
			t.Errorf("%d sent again after an ack: %q", len(again), again[:min(2, len(again))])
		}
	})
}

func TestWhatWasReplayedIsSentAgain(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		for range 3 {
			h.send("bob", room)
		}
		time.Sleep(time.Hour)
		ann := h.connect("ann", "desk")
		time.Sleep(45 * time.Second)
		if got := ann.texts(); !slices.Equal(got, []string{"hi#1", "hi#2", "hi#3", "synced", "again hi#1", "again hi#2", "again hi#3"}) {
			t.Errorf("ann got %q", got)
		}
	})
}

func TestWhoWasRemovedGetsNothingAgain(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		h.send("bob", room)
		if err := h.rooms.RemoveMember(h.t.Context(), h.as("bob"), room, "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if got := ann.repeats(); len(got) != 0 || len(h.dead()) != 0 {
			t.Errorf("sent again at %v, dead %+v", got, h.dead())
		}
	})
}

// TestAReplayOfARunSendsItOnceMore to the user's open sockets, and when that is not acknowledged it is given up again.
func TestAReplayOfARunSendsItOnceMore(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		h.send("bob", room)
		time.Sleep(2 * time.Hour)
		before := len(ann.repeats())
		if err := h.replay(h.dead()[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if n := len(ann.repeats()); n != before+1 || len(h.dead()) != 0 {
			t.Errorf("sent %d times by a replay, dead %+v", n-before, h.dead())
		}
		time.Sleep(time.Hour)
		dead := h.dead()
		if len(dead) != 1 || dead[0].Attempts != 1 || len(ann.repeats()) != before+1 {
			t.Fatalf("after a replay that was not acknowledged: dead %+v, %d repeats", dead, len(ann.repeats())-before)
		}
		if err := h.replay(dead[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		ann.ack(room, 1)
		time.Sleep(time.Hour)
		if len(h.dead()) != 0 || len(ann.repeats()) != before+2 {
			t.Errorf("after a replay that was acknowledged: dead %+v, %d repeats", h.dead(), len(ann.repeats())-before)
		}
	})
}

// TestAFullSocketSpendsNoAttempt: it is caught up first, and its time begins then.
func TestAFullSocketSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connectAs(&client{h: h, user: "ann", device: "desk", capacity: 3})
		for range 10 {
			h.send("bob", room)
		}
		time.Sleep(2 * time.Hour)
		if len(h.dead()) != 0 || len(ann.repeats()) != 0 {
			t.Errorf("dead %+v, repeats %v of a socket that takes nothing", h.dead(), ann.repeats())
		}
		ann.roomier(1000)
		time.Sleep(45 * time.Second)
		var want []string
		for i := range 10 {
			want = append(want, fmt.Sprintf("again hi#%d", i+1))
		}
		got := ann.texts()
		if len(got) != 21 || !slices.Equal(got[11:], want) {
			t.Errorf("got %q", got)
		}
	})
}

// TestTheTenantsRetryLimitHolds on sockets too.
func TestTheTenantsRetryLimitHolds(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		if _, err := h.tenancy.Update(h.t.Context(), h.tenant, nil, []byte(`{"retry_limit":1}`)); err != nil {
			t.Fatal(err)
		}
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		h.send("bob", room)
		h.notify(`{"n":1}`, "ann")
		time.Sleep(time.Minute)
		given := h.given()
		if len(ann.repeats()) != 0 || len(given.Messages) != 1 || given.Messages[0].Attempts != 1 || len(given.Notifications) != 1 ||
			given.Notifications[0].Attempts != 1 {
			t.Errorf("repeats %v, given up %+v", ann.repeats(), given)
		}
	})
}
