package blackbox

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestAutoAckMarksWhatWasWritten(t *testing.T) {
	t.Parallel()
	const messages = 20
	tenant := impatient(t)
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, messages/2) // for the replay
	c := connect(t, bob, "device_id", "feed", "ack", "auto")
	fill(t, alice, room, messages/2)
	harness.Must(c.AwaitMessage(room, messages))(t)
	first := harness.Must(alice.Page(room, 0, 1))(t)[0]
	edit := harness.Must(alice.Edit(room, first.MessageID, harness.Body("edited")))(t)
	harness.Must(c.Await("the edit", of("message.edited", room)))(t)
	n := notified(t, tenant, "told", map[string]any{"user_ids": []string{"bob"}})
	harness.Must(c.Await("the notification", ofNotice(n.ID)))(t)
	awaitAck(t, bob, room, "feed", messages)
	<-time.After(3 * retryEvery)
	if again := chosen(c, func(f harness.Frame) bool { return f.Redelivered }); len(again) > 0 {
		t.Errorf("sent again: %s", again[0].Raw)
	}
	wantDense(t, c.Messages(room), 1, messages)
	c.Close()

	// The marks stand: of messages, of changes (rev) and of notifications.
	for _, ack := range []string{"auto", ""} {
		query := []string{"device_id", "feed"}
		if ack != "" {
			query = append(query, "ack", ack)
		}
		back := connect(t, bob, query...)
		if got := chosen(back, func(f harness.Frame) bool { return f.Rev > 0 || f.Type == "notification" }); len(got) > 0 {
			t.Errorf("ack=%q: a device that was acknowledged everything up to rev %d was sent %s", ack, edit.Rev, got[0].Raw)
		}
		back.Close()
	}
	if messages, notifications := deadLetters(t, tenant); len(messages)+len(notifications) != 0 {
		t.Errorf("dead letters: %+v, %+v", messages, notifications)
	}
}

// TestAutoAckDoesNotRunAheadOfASocketThatIsNotRead: its mark stands where the kernel's buffers end, and what lies beyond
// comes when it is read, or on the next connect.
func TestAutoAckDoesNotRunAheadOfASocketThatIsNotRead(t *testing.T) {
	t.Parallel()
	const messages = 400
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob", "reader"))(t).RoomID
	reader := connect(t, tenant.User("reader"))
	open := func(device string) *harness.Conn {
		c := harness.Must(bob.DialWith(harness.DialOptions{
			Query: url.Values{"device_id": {device}, "ack": {"auto"}}, Stalled: true, ReadBuffer: trickle,
		}))(t)
		t.Cleanup(c.Drop)
		return c
	}
	connect(t, bob, "device_id", "slow").Close() // so that it has a place of its own
	cut := open("cut")
	harness.Must(burst(alice, reader, room, messages))(t)
	mark := settledMark(t, bob, room, "cut")
	if mark >= messages {
		t.Fatalf("a socket that reads nothing was acknowledged all %d messages", messages)
	}

	slow := open("slow") // not for so long that it would be closed
	slow.Read()
	harness.Must(slow.AwaitMessage(room, messages))(t)
	wantDense(t, slow.Messages(room), 1, messages)
	awaitAck(t, bob, room, "slow", messages)

	cut.Drop()
	back := connect(t, bob, "device_id", "cut")
	got := back.Messages(room)
	if len(got) == 0 || got[0].Seq > mark+1 {
		t.Fatalf("after the mark %d came %v", mark, seqs(got))
	}
	wantDense(t, got, got[0].Seq, messages)
}

// settledMark is a device's mark once it no longer rises.
func settledMark(t *testing.T, u *harness.User, room, device string) (mark int64) {
	t.Helper()
	var since time.Time
	harness.Eventually(t, 30*time.Second, "the mark settles", func() bool {
		rooms := harness.Must(u.Rooms("&device_id=" + device))(t)
		i := slices.IndexFunc(rooms, func(r harness.Summary) bool { return r.RoomID == room })
		if at := rooms[i].LastAck; at != mark || since.IsZero() {
			mark, since = at, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond // thrice the time in which a mark is written
	})
	return mark
}

func TestAckParameterIsAutoOrLeftOut(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	for _, value := range []string{"", "manual", "AUTO", "1"} {
		_, err := tenant.User("alice").Dial("ack", value)
		wantRefused(t, "ack="+value, err, http.StatusBadRequest)
	}
	_, err := tenant.User("alice").Dial("ack", "auto", "ack", "auto")
	wantRefused(t, "ack twice", err, http.StatusBadRequest)
}
