package blackbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// notice is the answer to POST /notify.
type notice struct {
	ID         string `json:"notification_id"`
	CreatedAt  string `json:"created_at"`
	Recipients int    `json:"recipients"`
}

// notified makes a notification of the topic "orders".
func notified(t *testing.T, tenant *harness.Tenant, text string, targets map[string]any) (n notice) {
	t.Helper()
	body := map[string]any{"topic": "orders", "payload": harness.Payload("%s", text), "targets": targets}
	harness.Must(tenant.Backend().Call(http.MethodPost, "/notify", body, http.StatusAccepted, &n))(t)
	return n
}

func toUsers(ids ...string) map[string]any { return map[string]any{"user_ids": ids} }

// ofNotice selects the frames of a notification.
func ofNotice(id string) func(harness.Frame) bool {
	return func(f harness.Frame) bool { return f.Type == "notification" && f.NotificationID == id }
}

// notices are the ids of the notifications a socket was sent, in order, those sent again too.
func notices(c *harness.Conn) (ids []string) {
	for _, f := range chosen(c, func(f harness.Frame) bool { return f.Type == "notification" }) {
		ids = append(ids, f.NotificationID)
	}
	return ids
}

// wantNotices fails unless a socket was sent exactly these notifications.
func wantNotices(t *testing.T, who string, c *harness.Conn, want ...string) {
	t.Helper()
	if got := notices(c); !slices.Equal(got, want) {
		t.Errorf("%s was sent %v, want %v", who, got, want)
	}
}

func ackNotice(t *testing.T, c *harness.Conn, id string) {
	t.Helper()
	requested(t, c, map[string]any{"type": "notification.ack", "notification_id": id})
}

func TestANotificationReachesAllSocketsOfItsTargetsAndNobodyElse(t *testing.T) {
	t.Parallel()
	tenant := impatient(t)
	others := harness.Must(tenant.Server().NewTenant("others"))(t)
	alice, bob := tenant.User("alice"), tenant.User("bob")
	harness.Must(alice.CreateRoom("group", "bob", "carol"))(t)
	phone, tablet := connect(t, bob, "device_id", "phone"), connect(t, bob, "device_id", "tablet")
	second := connect(t, bob, "device_id", "phone")
	strangers := map[string]*harness.Conn{
		"a room mate": connect(t, tenant.User("carol")), "a stranger": connect(t, tenant.User("eve")), "another tenant's bob": connect(t, others.User("bob")),
	}
	n := notified(t, tenant, "for bob", toUsers("bob"))
	if n.Recipients != 1 || n.CreatedAt == "" {
		t.Errorf("the answer to notify: %+v", n)
	}
	for _, c := range []*harness.Conn{phone, tablet, second} {
		got := harness.Must(c.Await("the notification", ofNotice(n.ID)))(t)
		if got.Topic != "orders" || got.CreatedAt != n.CreatedAt || got.Redelivered {
			t.Errorf("bob was sent %s, want %+v", got.Raw, n)
		}
		sameJSON(t, "payload", got.Payload, harness.Must(json.Marshal(harness.Payload("for bob")))(t))
	}

	// One device acknowledges, and again: it is over for all, live and later.
	ackNotice(t, phone, n.ID)
	ackNotice(t, phone, n.ID)
	ackNotice(t, tablet, n.ID)
	<-time.After(3 * retryEvery)
	for who, c := range map[string]*harness.Conn{"the phone": phone, "the tablet": tablet, "the phone's other socket": second} {
		wantNotices(t, who, c, n.ID)
		c.Close()
	}
	for who, c := range strangers {
		wantNotices(t, who, c)
	}
	for _, device := range []string{"phone", "tablet", "watch"} {
		wantNotices(t, device, connect(t, bob, "device_id", device))
	}
	if _, letters := deadLetters(t, tenant); len(letters) != 0 {
		t.Errorf("dead letters: %+v", letters)
	}
}

func TestPendingNotificationsComeInOrderBeforeTheSyncIsComplete(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	fill(t, alice, room, 3)
	var ids []string
	for i := range 5 {
		ids = append(ids, notified(t, tenant, fmt.Sprint(i), toUsers("bob", "carol")).ID)
	}
	c := connect(t, bob)
	wantNotices(t, "bob", c, ids...)
	all := c.Frames()
	at := func(kind string) (i int) {
		for i = len(all) - 1; i >= 0 && all[i].Type != kind; i-- {
		}
		return i
	}
	if at("message") > at("notification") || at("notification") > at("sync.complete") {
		t.Errorf("the last message is frame %d, the last notification %d, sync.complete %d", at("message"), at("notification"), at("sync.complete"))
	}
	// What is acknowledged is gone, what is not stays, on any device, in order; nothing is sent twice on one socket.
	ackNotice(t, c, ids[1])
	ackNotice(t, c, ids[3])
	live := notified(t, tenant, "live", toUsers("bob")).ID
	harness.Must(c.Await("a live one", ofNotice(live)))(t)
	wantNotices(t, "bob", c, append(ids, live)...)
	c.Close()
	harness.Eventually(t, 30*time.Second, "the acknowledgements are stored", func() bool {
		back := connect(t, bob, "device_id", "other")
		defer back.Close()
		return slices.Equal(notices(back), []string{ids[0], ids[2], ids[4], live})
	})
	wantNotices(t, "carol, who has acknowledged nothing,", connect(t, tenant.User("carol")), ids...)
}

func TestAnUnacknowledgedNotificationIsSentAgainGivenUpAndReplayed(t *testing.T) {
	t.Parallel()
	tenant := impatient(t)
	bob := tenant.User("bob")
	c := connect(t, bob)
	began := time.Now()
	n := notified(t, tenant, "for bob", toUsers("bob", "carol"))
	var letter deadLetter
	harness.Eventually(t, givenUp, "a dead letter", func() bool {
		_, letters := deadLetters(t, tenant)
		if len(letters) > 0 {
			letter = letters[0]
		}
		return len(letters) == 1
	})
	want := deadLetter{
		ID: letter.ID, NotificationID: n.ID, Topic: "orders", UserID: "bob", Attempts: retryMost, Error: "not acknowledged", LastAttemptAt: letter.LastAttemptAt,
	}
	if letter != want || letter.LastAttemptAt == "" {
		t.Errorf("the dead letter: %+v, want %+v", letter, want)
	}
	sent := chosen(c, ofNotice(n.ID))
	if len(sent) != retryMost || sent[0].Redelivered {
		t.Fatalf("sent %d times, want %d", len(sent), retryMost)
	}
	for _, again := range sent[1:] {
		if !again.Redelivered || again.CreatedAt != n.CreatedAt || string(again.Payload) != string(sent[0].Payload) {
			t.Errorf("sent again: %s, want %s", again.Raw, sent[0].Raw)
		}
	}
	wantWaits(t, began, sent[1:])
	wantNotices(t, "bob, back after it was given up,", connect(t, bob, "device_id", "other"))

	replayLetter(t, tenant, letter.ID)
	harness.Eventually(t, 30*time.Second, "the replay", func() bool { return len(chosen(c, ofNotice(n.ID))) > retryMost })
	if _, letters := deadLetters(t, tenant); len(letters) != 0 {
		t.Errorf("a replayed letter is on the list: %+v", letters)
	}
	ackNotice(t, c, n.ID)
	<-time.After(3 * retryEvery)
	if got := len(chosen(c, ofNotice(n.ID))); got != retryMost+1 {
		t.Errorf("sent %d times after an acknowledged replay, want %d", got, retryMost+1)
	}
	// The other recipient, away all the time, has it for the first time.
	carol := connect(t, tenant.User("carol"))
	wantNotices(t, "carol", carol, n.ID)
	ackNotice(t, carol, n.ID)
}

func TestNoNotificationIsLostToAKill(t *testing.T) {
	t.Parallel()
	const rounds = 5
	tenant := tenantOf(t, harness.Options{})
	s := tenant.Server()
	bob := tenant.User("bob")
	var ids []string
	for i := range rounds {
		ids = append(ids, notified(t, tenant, fmt.Sprint(i), toUsers("bob")).ID)
		harness.Check(t, s.Kill())
		harness.Check(t, s.Start())
		c := connect(t, bob)
		wantNotices(t, "bob, after a kill,", c, ids...)
		c.Drop()
	}
	c := connect(t, bob)
	ackNotice(t, c, ids[0])
	harness.Check(t, harness.Until(30*time.Second, "the acknowledgement is stored", func() bool {
		back := harness.Must(bob.Dial())(t)
		defer back.Close()
		harness.Must(back.AwaitType("sync.complete"))(t)
		return slices.Equal(notices(back), ids[1:])
	}))
	harness.Check(t, s.Kill())
	harness.Check(t, s.Start())
	wantNotices(t, "bob, after an acknowledgement and a kill,", connect(t, bob), ids[1:]...)
}

func TestAThousandPendingNotificationsReachASlowReader(t *testing.T) {
	t.Parallel()
	const pending, size = 1000, 4000 // far more than a queue and the kernel take
	tenant := tenantOf(t, harness.Options{})
	bob := tenant.User("bob")
	padding := fmt.Sprintf("%0*d", size, 0)
	ids := make([]string, pending)
	for i := range ids {
		ids[i] = notified(t, tenant, padding, toUsers("bob")).ID
	}
	c := harness.Must(bob.DialWith(harness.DialOptions{Stalled: true, ReadBuffer: trickle}))(t)
	t.Cleanup(c.Drop)
	quick := connect(t, bob, "device_id", "quick")
	wantNotices(t, "a reader beside a slow one", quick, ids...)
	live := notified(t, tenant, "live", toUsers("bob")).ID // while the slow one is behind
	c.Read()
	harness.Must(c.AwaitType("sync.complete"))(t)
	harness.Must(c.Await("the live one", ofNotice(live)))(t)
	wantNotices(t, "a slow reader", c, append(ids, live)...)
}

func TestANotificationToALargeRoomReachesItsMembersOfThatMoment(t *testing.T) {
	t.Parallel()
	const members, online = 300, 40
	tenant := tenantOf(t, harness.Options{})
	all, ids := users(tenant, "m", members-1)
	room := roomOfSize(t, tenant, "alice", ids)
	var here []*harness.Conn
	for _, u := range all[:online] {
		here = append(here, connect(t, u))
	}
	eve := connect(t, tenant.User("eve"))
	n := notified(t, tenant, "for the room", map[string]any{"room_id": room})
	if n.Recipients != members {
		t.Errorf("recipients: got %d, want %d", n.Recipients, members)
	}
	harness.Check(t, tenant.Backend().AddMembers(room, "eve"))
	for i, c := range here {
		if _, err := c.Await("the notification", ofNotice(n.ID)); err != nil {
			t.Fatalf("%s: %v", ids[i], err)
		}
	}
	for _, at := range []int{online, members / 2, members - 2} {
		wantNotices(t, ids[at]+", who comes later,", connect(t, all[at]), n.ID)
	}
	wantNotices(t, "eve, a member since", eve)
	wantNotices(t, "eve, a member since,", connect(t, tenant.User("eve"), "device_id", "other"))
	for i, c := range here {
		wantNotices(t, ids[i], c, n.ID)
	}
}
