package blackbox

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// What is not acknowledged is sent after a second and after two more, and given up after a further four.
const (
	retryEvery = time.Second
	retryMost  = 3
	retryLate  = 30 * time.Second // beside all other tests on a busy machine: how fast it is, benchmarks show
	givenUp    = 7*retryEvery + retryLate
)

// impatient is a tenant of a server that retries soon.
func impatient(t *testing.T) *harness.Tenant {
	t.Helper()
	return tenantOf(t, harness.Options{Env: map[string]string{
		"RETRY_INTERVAL": retryEvery.String(), "RETRY_MAX_ATTEMPTS": fmt.Sprint(retryMost),
	}})
}

// deadLetter is an entry of either list of dead letters.
type deadLetter struct {
	ID             string `json:"id"`
	MessageID      string `json:"message_id"`
	NotificationID string `json:"notification_id"`
	Topic          string `json:"topic"`
	UserID         string `json:"user_id"`
	RoomID         string `json:"room_id"`
	FromSeq        int64  `json:"from_seq"`
	ToSeq          int64  `json:"to_seq"`
	Attempts       int    `json:"attempts"`
	LastAttemptAt  string `json:"last_attempt_at"`
	Error          string `json:"error"`
}

// deadLetters are a tenant's, of messages and of notifications.
func deadLetters(t *testing.T, tenant *harness.Tenant) (messages, notifications []deadLetter) {
	t.Helper()
	var lists struct {
		Messages      []deadLetter `json:"failed_messages"`
		Notifications []deadLetter `json:"failed_notifications"`
	}
	harness.Must(tenant.Backend().Call(http.MethodGet, "/admin/dead-letters", nil, 200, &lists))(t)
	return lists.Messages, lists.Notifications
}

// awaitLetter waits for a dead letter of messages that a user has not acknowledged, up to a seq.
func awaitLetter(t *testing.T, tenant *harness.Tenant, user string, to int64) (found deadLetter) {
	t.Helper()
	harness.Eventually(t, givenUp, fmt.Sprintf("a dead letter of %s up to %d", user, to), func() bool {
		messages, _ := deadLetters(t, tenant)
		for _, l := range messages {
			if l.UserID == user && l.ToSeq == to {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// replay has a dead letter delivered once more.
func replayLetter(t *testing.T, tenant *harness.Tenant, id string) {
	t.Helper()
	harness.Must(tenant.Backend().Call(http.MethodPost, "/admin/dead-letters/"+id+"/replay", nil, 202, nil))(t)
}

// ofSeq selects the frames of a message, sent for the first time or again.
func ofSeq(room string, seq int64, again bool) func(harness.Frame) bool {
	return func(f harness.Frame) bool {
		return f.Type == "message" && f.RoomID == room && f.Seq == seq && f.Redelivered == again
	}
}

// awaitAgain waits until a message was sent again so many times.
func awaitAgain(t *testing.T, c *harness.Conn, room string, seq int64, times int) {
	t.Helper()
	limit := retryEvery<<times + retryLate
	harness.Eventually(t, limit, fmt.Sprintf("message %d again, %d times", seq, times), func() bool {
		return len(chosen(c, ofSeq(room, seq, true))) >= times
	})
}

// wantSent fails unless a socket was sent each message from one to another once, and again so many times; all but the
// first may have come into their run a turn later.
func wantSent(t *testing.T, who string, c *harness.Conn, room string, from, to int64, again int) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		if got := len(chosen(c, ofSeq(room, seq, false))); got != 1 {
			t.Errorf("%s was sent message %d %d times, want once", who, seq, got)
		}
		got := len(chosen(c, ofSeq(room, seq, true)))
		if got > again || got < again-1 || seq == from && got < again {
			t.Errorf("%s was sent message %d again %d times, want %d", who, seq, got, again)
		}
	}
}

// acknowledged has a socket acknowledge a room up to a message, and returns the check, for later, that nothing up to there
// was sent again afterwards.
func acknowledged(t *testing.T, who string, c *harness.Conn, room string, seq int64) (check func()) {
	t.Helper()
	requested(t, c, ackFrame(room, seq))
	again := func() int {
		return len(chosen(c, func(f harness.Frame) bool {
			return f.Type == "message" && f.RoomID == room && f.Seq <= seq && f.Redelivered
		}))
	}
	before := again()
	return func() {
		t.Helper()
		if n := again() - before; n != 0 {
			t.Errorf("%s was sent %d messages again that were acknowledged", who, n)
		}
	}
}

// wantOnce fails unless a socket was sent each message up to one for the first time, and only once.
func wantOnce(t *testing.T, who string, c *harness.Conn, room string, to int64) {
	t.Helper()
	for seq := int64(1); seq <= to; seq++ {
		if got := len(chosen(c, ofSeq(room, seq, false))); got != 1 {
			t.Errorf("%s was sent message %d %d times, want once", who, seq, got)
		}
	}
}

func ackFrame(room string, seq int64) map[string]any {
	return map[string]any{"type": "ack", "room_id": room, "seq": seq}
}

// TestOnlyWhatIsNotAcknowledgedIsSentAgain: one room, and a member for each way to deal with its messages.
func TestOnlyWhatIsNotAcknowledgedIsSentAgain(t *testing.T) {
	t.Parallel()
	const last = 3
	tenant := impatient(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "idle", "keen", "late", "half", "auto", "away"))(t).RoomID
	idle := connect(t, tenant.User("idle"), "device_id", "phone")
	tablet := connect(t, tenant.User("idle"), "device_id", "tablet")
	keen, same := connect(t, tenant.User("keen")), connect(t, tenant.User("keen"))
	late, half := connect(t, tenant.User("late")), connect(t, tenant.User("half"))
	auto := connect(t, tenant.User("auto"), "ack", "auto")
	began := time.Now()
	fill(t, alice, room, last)
	for _, c := range []*harness.Conn{idle, tablet, keen, same, late, half, auto} {
		harness.Must(c.AwaitMessage(room, last))(t)
	}
	checks := []func(){
		acknowledged(t, "idle's tablet", tablet, room, last),
		acknowledged(t, "keen", keen, room, last),
	}
	inTime := time.Since(began) < retryEvery
	awaitAgain(t, late, room, last, 1) // all of the run: what is on its way while it is acknowledged may still come
	checks = append(checks, acknowledged(t, "late", late, room, last))
	awaitAgain(t, half, room, last, 1)
	checks = append(checks, acknowledged(t, "half", half, room, last-1))

	gone := awaitLetter(t, tenant, "idle", last)
	if gone.FromSeq != 1 || gone.RoomID != room || gone.MessageID == "" || gone.Attempts != retryMost || gone.Error != "not acknowledged" || gone.LastAttemptAt == "" {
		t.Errorf("the dead letter of one who never acknowledged: %+v", gone)
	}
	if took := time.Since(began); took < 7*retryEvery {
		t.Errorf("given up after %s", took)
	}
	rest := awaitLetter(t, tenant, "half", last)
	if rest.FromSeq != last {
		t.Errorf("the dead letter of one who has acknowledged all but the last: %+v", rest)
	}
	<-time.After(2 * retryEvery) // nothing more, of anybody
	if messages, notifications := deadLetters(t, tenant); len(messages) != 2 || len(notifications) != 0 {
		t.Errorf("dead letters: %+v, want those of idle and half", messages)
	}
	for _, check := range checks {
		check()
	}
	wantSent(t, "idle", idle, room, 1, last, retryMost-1)
	wantSent(t, "auto", auto, room, 1, last, 0)
	if inTime {
		wantSent(t, "idle's tablet", tablet, room, 1, last, 0)
		wantSent(t, "keen", keen, room, 1, last, 0)
		wantSent(t, "keen's other socket of the same device", same, room, 1, last, 0)
	}
	wantOnce(t, "late", late, room, last)
	wantOnce(t, "half", half, room, last)
	if got := len(chosen(half, ofSeq(room, last, true))); got < retryMost-1 || got > retryMost {
		t.Errorf("half was sent the message left over again %d times, want %d, and once with the others", got, retryMost-1)
	}
	wantWaits(t, began, chosen(idle, ofSeq(room, 1, true)))

	// Who was away all that time has all attempts left.
	away := connect(t, tenant.User("away"))
	wantOnce(t, "away", away, room, last)
	awaitAgain(t, away, room, 1, 1)
	requested(t, away, ackFrame(room, last))
}

// wantWaits fails unless messages came again after the interval, and after twice as long, less what the reading of the one
// before was late.
func wantWaits(t *testing.T, began time.Time, again []harness.Frame) {
	t.Helper()
	before, wait := began, retryEvery
	for i, f := range again {
		if waited := f.At.Sub(before); waited < wait*3/4 || waited > wait+retryLate {
			t.Errorf("sent again for the %d. time after %s, want %s", i+1, waited, wait)
		}
		before, wait = f.At, 2*wait
	}
}

func TestWhatIsGivenUpIsOneDeadLetterThatGrowsAndCanBeReplayed(t *testing.T) {
	t.Parallel()
	tenant := impatient(t)
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c := connect(t, bob)
	fill(t, alice, room, 2)
	first := awaitLetter(t, tenant, "bob", 2)

	// Given up, the socket is sent what is new, and only that.
	fill(t, alice, room, 1)
	harness.Must(c.AwaitMessage(room, 3))(t)
	<-time.After(2*retryEvery + retryEvery/2)
	wantSent(t, "bob", c, room, 1, 2, retryMost-1)
	wantSent(t, "bob", c, room, 3, 3, 0)
	c.Close()

	c = connect(t, bob)
	wantDense(t, c.Messages(room), 1, 3)
	grown := awaitLetter(t, tenant, "bob", 3)
	if grown.FromSeq != 1 || grown.ID != first.ID {
		t.Errorf("after the next run the dead letter is %+v, want the first grown: %+v", grown, first)
	}
	if messages, _ := deadLetters(t, tenant); len(messages) != 1 {
		t.Errorf("dead letters: %+v, want one", messages)
	}
	wantSent(t, "bob, back again,", c, room, 1, 3, retryMost-1)

	before, asked := len(c.Frames()), time.Now()
	replayLetter(t, tenant, grown.ID)
	replayed := func() (numbers []int64) {
		for _, f := range c.Frames()[before:] {
			if f.Type == "message" && f.Redelivered {
				numbers = append(numbers, f.Seq)
			}
		}
		return numbers
	}
	harness.Eventually(t, retryLate, "the replay", func() bool { return len(replayed()) >= 3 })
	if messages, _ := deadLetters(t, tenant); len(messages) != 0 {
		t.Errorf("a replayed letter is on the list: %+v", messages)
	}
	requested(t, c, ackFrame(room, 3))
	inTime := time.Since(asked) < retryEvery
	<-time.After(4*retryEvery + retryEvery/2) // a replay that was not acknowledged would be given up by now
	if messages, _ := deadLetters(t, tenant); inTime && len(messages) != 0 {
		t.Errorf("an acknowledged replay was given up: %+v", messages)
	}
	if got := replayed(); !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("the replay sent %v, want each once", got)
	}
	c.Close()
	if got := connect(t, bob).Messages(room); len(got) != 0 {
		t.Errorf("bob has acknowledged everything, and was sent %v", seqs(got))
	}
}

func TestARunHasAtMostAHundredMessagesAndMovesOn(t *testing.T) {
	t.Parallel()
	const run, all = 100, 130
	tenant := impatient(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, all)
	c := connect(t, tenant.User("bob"))
	again := func() (numbers []int64) {
		for _, f := range chosen(c, func(f harness.Frame) bool { return f.Type == "message" && f.Redelivered }) {
			numbers = append(numbers, f.Seq)
		}
		slices.Sort(numbers)
		return slices.Compact(numbers)
	}
	awaitAgain(t, c, room, run, 1)
	if got := again(); len(got) != run || got[run-1] != run {
		t.Errorf("sent again in the first run: %v, want 1 to %d", got, run)
	}
	requested(t, c, ackFrame(room, run))
	harness.Eventually(t, retryLate, "the next run", func() bool { return slices.Contains(again(), all) })
	requested(t, c, ackFrame(room, all))
	sent := len(chosen(c, func(f harness.Frame) bool { return f.Redelivered }))
	<-time.After(3 * retryEvery)
	if got := len(chosen(c, func(f harness.Frame) bool { return f.Redelivered })); got != sent || len(again()) != all {
		t.Errorf("%d were sent again, and %d after all was acknowledged; want %d different ones", sent, got-sent, all)
	}
	if messages, _ := deadLetters(t, tenant); len(messages) != 0 {
		t.Errorf("dead letters: %+v", messages)
	}
}

func TestWhatIsSentAgainReadsAsItIsNowUnderTheSameNumbers(t *testing.T) {
	t.Parallel()
	tenant := impatient(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c := connect(t, tenant.User("bob"))
	edited := harness.Must(alice.Send(room, harness.Body("before")))(t)
	deleted := harness.Must(alice.Send(room, harness.Body("gone")))(t)
	harness.Must(alice.Edit(room, edited.MessageID, harness.Body("after")))(t)
	harness.Check(t, alice.Delete(room, deleted.MessageID))
	as := func(sent harness.Message, is func(harness.Frame) bool) {
		t.Helper()
		got := harness.Must(c.AwaitFor(retryLate, "a message sent again as it is now", func(f harness.Frame) bool {
			return ofSeq(room, sent.Seq, true)(f) && is(f)
		}))(t)
		if got.MessageID != sent.MessageID || got.Rev != sent.Rev || got.CreatedAt != sent.CreatedAt {
			t.Errorf("sent again: %s, want the ids and numbers of %+v", got.Raw, sent)
		}
	}
	as(edited, func(f harness.Frame) bool { return f.Content == harness.Body("after") })
	as(deleted, func(f harness.Frame) bool { return f.Content == "" && f.DeletedAt != "" })
	told := map[string]bool{}
	for _, f := range c.Frames() {
		told[f.Type] = true
		if f.Redelivered && (told["message.edited"] && f.Content == harness.Body("before") || told["message.deleted"] && f.Content == harness.Body("gone")) {
			t.Errorf("an old text after what it was changed to: %s", f.Raw)
		}
	}
}
