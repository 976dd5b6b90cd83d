package rest_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// configure changes the config of the fixture's tenant.
func (f *fixture) configure(config string) {
	f.t.Helper()
	f.operator().patch("/admin/tenants/"+f.tenant, `{"config":`+config+`}`).want(http.StatusOK)
}

// failedNotifications are the dead letters of notifications that an answer lists.
func (a *answer) failedNotifications() []map[string]any {
	a.t.Helper()
	var got struct {
		Notifications []map[string]any `json:"failed_notifications"`
	}
	a.want(http.StatusOK).decode(&got)
	return got.Notifications
}

// failed is the only dead letter of the fixture's tenant.
func (f *fixture) failed() map[string]any {
	f.t.Helper()
	list := f.backend().get("/admin/dead-letters")
	got := list.failedNotifications()
	if len(got) != 1 || len(list.failedMessages()) != 0 {
		f.t.Fatalf("%s, want one notification", list.body)
	}
	return got[0]
}

func (f *fixture) wantNoneFailed() {
	f.t.Helper()
	const none = `{"failed_messages":[],"failed_notifications":[]}`
	if got := f.backend().get("/admin/dead-letters").want(http.StatusOK); string(got.body) != none {
		f.t.Errorf("%s, want %s", got.body, none)
	}
}

// health is how the endpoint of the only subscription is doing.
func (f *fixture) health() map[string]any {
	f.t.Helper()
	return f.backend().get("/subscriptions").list()[0]["health"].(map[string]any)
}

func (r received) event(t *testing.T) (event map[string]any) {
	t.Helper()
	if err := json.Unmarshal(r.body, &event); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return event
}

// isSigned reports whether a secret verifies a call, as Standard Webhooks says.
func (r received) isSigned(t *testing.T, secret string) bool {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return verifier.Verify(r.body, r.header) == nil
}

func TestEndpointsOfSubscriptionsAreCalledWithTheNotification(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.configure(`{"webhook_secret":"` + webhookSecret + `"}`) // no webhook_url: the endpoints are their own
	users, backends := newReceiver(t), newReceiver(t)
	f.backend().subscribe(`{"topic":"orders","user_id":"bob","endpoint":"` + users.url + `"}`)
	f.backend().subscribe(`{"topic":"orders","endpoint":"` + backends.url + `"}`)
	f.backend().subscribe(`{"topic":"other","endpoint":"` + backends.url + `"}`)
	f.deliver()
	made := f.backend().post("/notify", `{"topic":"orders","payload":"{\"order\": 4711}","targets":{"topic_subscribers":true}}`).
		want(http.StatusAccepted).object()
	if made["recipients"] != 2.0 {
		t.Errorf("%v, want two recipients", made)
	}
	f.wantSettled()
	f.wantSettled()
	ids := map[string]bool{}
	for to, user := range map[*receiver]any{users: "bob", backends: nil} {
		call := <-to.calls
		want := map[string]any{
			"type": "notification", "tenant_id": f.tenant, "notification_id": made["notification_id"], "topic": "orders",
			"payload": map[string]any{"order": 4711.0}, "user_id": user, "created_at": made["created_at"],
		}
		if diff := cmp.Diff(want, call.event(t)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", user, diff)
		}
		id := call.header.Get("webhook-id")
		if ids[id] = true; !regexp.MustCompile(`^evt_` + aUUID.String() + `\.0$`).MatchString(id) {
			t.Errorf("webhook-id %q", id)
		}
		if !call.isSigned(t, webhookSecret) || !strings.HasPrefix(call.header.Get("X-ChatAPI-Signature"), "sha256=") {
			t.Errorf("%v: signed by %v", user, call.header)
		}
	}
	if len(ids) != 2 {
		t.Errorf("two calls have the ids %v", ids)
	}
	if got := f.waiting("bob"); got != nil {
		t.Errorf("bob's sockets are told too: %v", got)
	}
	for _, s := range f.backend().get("/subscriptions").list() {
		if health := s["health"].(map[string]any); health["circuit"] != "closed" || health["failures"] != 0.0 || s["user_id"] == "bob" && health["last_success_at"] == nil {
			t.Errorf("%v", s)
		}
	}
	f.wantNoneFailed()
}

// undeliveredNotification is a notification that its only recipient, a subscription's endpoint, has answered 500.
func (f *fixture) undeliveredNotification(subscriber string) (subscription, notification string, to *receiver) {
	f.t.Helper()
	f.configure(`{"retry_limit":1}`)
	to = newReceiver(f.t)
	to.status.Store(http.StatusInternalServerError)
	subscription = f.backend().subscribe(`{"topic":"orders"` + subscriber + `,"endpoint":"` + to.url + `"}`)
	f.deliver()
	notification = f.notify(`{"topic_subscribers":true}`)
	f.wantSettled()
	return subscription, notification, to
}

func TestANotificationThatFailsIsADeadLetterAndItsReplayArrivesOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		subscriber string
		user       any
	}{"of a user": {`,"user_id":"bob"`, "bob"}, "of the backend": {"", nil}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			_, notification, to := f.undeliveredNotification(c.subscriber)
			got := f.failed()
			wantRecent(t, got["last_attempt_at"])
			want := map[string]any{
				"id": got["id"], "notification_id": notification, "topic": "orders", "user_id": c.user, "attempts": 1.0,
				"last_attempt_at": got["last_attempt_at"], "error": "http 500",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			health := f.health()
			if health["failures"] != 1.0 || health["last_error"] != "http 500" {
				t.Errorf("the endpoint: %v", health)
			}

			f.replay(got["id"].(string)) // which fails too
			again := f.failed()
			if again["id"] == got["id"] || again["notification_id"] != notification || again["attempts"] != 1.0 {
				t.Errorf("after a replay that failed: %v", again)
			}
			to.status.Store(http.StatusNoContent)
			f.replay(again["id"].(string))
			f.wantNoneFailed()
			f.backend().post("/admin/dead-letters/"+again["id"].(string)+"/replay", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")
			first, second, third := <-to.calls, <-to.calls, <-to.calls
			if len(to.calls) != 0 {
				t.Error("it was delivered twice")
			}
			for _, call := range []received{second, third} {
				if call.header.Get("webhook-id") != first.header.Get("webhook-id") {
					t.Errorf("webhook-id %q, then %q", first.header.Get("webhook-id"), call.header.Get("webhook-id"))
				}
			}
			if diff := cmp.Diff(string(first.body), string(third.body)); diff != "" {
				t.Errorf("the body of the replay (-first +then):\n%s", diff)
			}
		})
	}
}

func TestAReplayToASubscriptionThatWasRemovedIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	subscription, _, _ := f.undeliveredNotification(`,"user_id":"bob"`)
	id := f.failed()["id"].(string)
	f.backend().del("/subscriptions/" + subscription).want(http.StatusNoContent)
	f.backend().subscribe(`{"topic":"orders","user_id":"bob"}`) // another one
	for _, c := range []*answer{
		f.backend().post("/admin/dead-letters/"+id+"/replay", ""), f.operator().post("/admin/dead-letters/"+id+"/replay?tenant_id="+f.tenant, ""),
	} {
		c.wantError(http.StatusConflict, domain.CodeConflict, "")
	}
	if got := f.failed(); got["id"] != id {
		t.Errorf("%v, want the letter to stay", got)
	}
	f.backend().del("/admin/dead-letters/" + id).want(http.StatusNoContent)
	f.wantNoneFailed()
}

func TestAnEndpointThatAnswers410EndsItsSubscription(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	to := newReceiver(t)
	to.status.Store(http.StatusGone)
	f.backend().subscribe(`{"topic":"orders","endpoint":"` + to.url + `"}`)
	f.deliver()
	f.notify(`{"topic_subscribers":true}`)
	f.wantSettled()
	if got := f.failed(); got["error"] != "http 410" {
		t.Errorf("%v", got)
	}
	deadline := time.Now().Add(30 * time.Second)
	for len(f.backend().subscriptions("")) > 0 { // it ends a moment after its call is settled
		if time.Now().After(deadline) {
			t.Fatal("the subscription is still there")
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestAnEndpointThatFailsFiveTimesRests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.undeliveredNotification("")
	for range 4 {
		f.replay(f.failed()["id"].(string))
	}
	got := f.health()
	if got["circuit"] != "open" || got["failures"] != 5.0 || got["last_error"] != "http 500" || got["retry_at"] == nil {
		t.Errorf("after five failures: %v", got)
	}
}

// giveUp makes a dead letter of a notification that a user has not acknowledged on a socket, as redelivery does, and
// returns its id.
func (f *fixture) giveUp(user domain.UserID, notification string) string {
	f.t.Helper()
	id, ok := domain.ParseNotificationID(notification)
	if !ok {
		f.t.Fatalf("%q is no id", notification)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	letter := domain.DeadLetter{
		ID: domain.DeadLetterID(system.IDs{}.NewUUID()), Job: domain.Job{Lane: domain.LaneSocket, Notification: id, CreatedAt: at},
		User: user, Attempts: 5, LastAttemptAt: at, Error: domain.NotAcknowledged, At: at,
	}
	err := f.store.Update(f.t.Context(), domain.TenantID(f.tenant), func(tx ports.Tx) error {
		if _, err := tx.SettleNotice(user, id); err != nil {
			return err
		}
		return tx.AddDeadLetter(letter)
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return letter.ID.String()
}

func TestANotificationThatWasNotAcknowledgedIsReplayedToItsUserAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	notification := f.notify(`{"user_ids":["alice","bob"]}`)
	id := f.giveUp("bob", notification)
	got := f.failed()
	want := map[string]any{
		"id": id, "notification_id": notification, "topic": "orders", "user_id": "bob", "attempts": 5.0,
		"last_attempt_at": got["last_attempt_at"], "error": "not acknowledged",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if waits := f.waiting("bob"); waits != nil {
		t.Errorf("what was given up waits for bob: %v", waits)
	}
	f.backend().post("/admin/dead-letters/"+id+"/replay", "").want(http.StatusAccepted)
	f.wantNoneFailed()
	for _, user := range []domain.UserID{"alice", "bob"} {
		if diff := cmp.Diff([]string{notification}, f.waiting(user)); diff != "" {
			t.Errorf("%s (-want +waits):\n%s", user, diff)
		}
	}
	f.backend().post("/admin/dead-letters/"+id+"/replay", "").wantError(http.StatusNotFound, domain.CodeNotFound, "")

	f.backend().del("/admin/dead-letters/" + f.giveUp("bob", notification)).want(http.StatusNoContent)
	f.wantNoneFailed()
	if waits := f.waiting("bob"); waits != nil {
		t.Errorf("what was deleted waits for bob: %v", waits)
	}
}

func TestMessagesThatWereNotAcknowledgedAreListedAsOneGrowingRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	room := f.newRoom("alice", "bob")
	var messages []string
	for range 3 {
		messages = append(messages, f.newMessage("alice", room, "Hello"))
	}
	grow := func(message string, from, to int64) {
		roomID, _ := domain.ParseRoomID(room)
		messageID, _ := domain.ParseMessageID(message)
		at := time.Now().UTC().Truncate(time.Millisecond)
		err := f.store.Update(t.Context(), domain.TenantID(f.tenant), func(tx ports.Tx) error {
			return tx.GrowDeadLetter(domain.DeadLetter{
				ID: domain.DeadLetterID(system.IDs{}.NewUUID()), Job: domain.Job{Lane: domain.LaneSocket, Room: roomID, Message: messageID, CreatedAt: at},
				User: "bob", FromSeq: from, ToSeq: to, Attempts: 5, LastAttemptAt: at, Error: domain.NotAcknowledged, At: at,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	grow(messages[0], 1, 2)
	first := f.backend().get("/admin/dead-letters").failedMessages()[0]
	grow(messages[2], 3, 3)
	list := f.backend().get("/admin/dead-letters")
	got := list.failedMessages()
	if len(got) != 1 || len(list.failedNotifications()) != 0 {
		t.Fatalf("%s, want one run", list.body)
	}
	want := map[string]any{
		"id": first["id"], "message_id": messages[0], "user_id": "bob", "room_id": room, "from_seq": 1.0, "to_seq": 3.0, "attempts": 5.0,
		"last_attempt_at": got[0]["last_attempt_at"], "error": "not acknowledged",
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.backend().post("/admin/dead-letters/"+first["id"].(string)+"/replay", "").want(http.StatusAccepted) // without a webhook
	f.wantNoneFailed()
}

func TestARotatedSecretSignsForADayBesideTheNewOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	to := newReceiver(t)
	f.backend().subscribe(`{"topic":"orders","endpoint":"` + to.url + `"}`)
	f.deliver()
	const newest = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	call := func(change string) received {
		f.configure(change)
		f.notify(`{"topic_subscribers":true}`)
		f.wantSettled()
		return <-to.calls
	}
	for _, c := range []struct {
		change string
		signed map[string]bool
	}{
		{`{"webhook_secret":"` + webhookSecret + `"}`, map[string]bool{webhookSecret: true, newest: false}},
		{`{"webhook_secret":"` + newest + `"}`, map[string]bool{webhookSecret: true, newest: true}},
		{`{"webhook_secret":"` + newest + `","retry_limit":3}`, map[string]bool{webhookSecret: true, newest: true}}, // the same is no rotation
		{`{"webhook_secret":null}`, map[string]bool{webhookSecret: false, newest: false}},
	} {
		got := call(c.change)
		for secret, want := range c.signed {
			if got.isSigned(t, secret) != want {
				t.Errorf("after %s: signed with %s is %v, want %v", c.change, secret, !want, want)
			}
		}
		for _, shown := range []*answer{f.operator().get("/admin/tenants/" + f.tenant), f.operator().get("/admin/tenants")} {
			if strings.Contains(string(shown.want(http.StatusOK).body), "secret") {
				t.Errorf("after %s: %s", c.change, shown.body)
			}
		}
	}
	for _, key := range []string{"webhook_secret_old", "webhook_secret_until"} {
		f.operator().patch("/admin/tenants/"+f.tenant, `{"config":{"`+key+`":"2026-01-02T03:04:05.000Z"}}`).invalid("config." + key)
	}
}

// TestPayloadsAreInNoListAndNoLog: what a notification says is between its maker and its recipients.
func TestPayloadsAreInNoListAndNoLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.configure(`{"retry_limit":1,"webhook_secret":"` + webhookSecret + `"}`)
	to := newReceiver(t)
	to.status.Store(http.StatusInternalServerError)
	f.backend().subscribe(`{"topic":"orders","endpoint":"` + to.url + `/path-canary?query-canary=1"}`)
	f.deliver()
	f.backend().post("/notify", `{"topic":"orders","payload":{"a":"payload-canary"},"targets":{"topic_subscribers":true}}`).want(http.StatusAccepted)
	f.wantSettled()
	texts := []string{f.log.String(), string(f.backend().get("/admin/dead-letters").want(http.StatusOK).body)}
	if slices.ContainsFunc(texts, func(text string) bool {
		return strings.Contains(text, "canary") || strings.Contains(text, webhookSecret)
	}) {
		t.Errorf("a canary in %s", texts)
	}
	if !strings.Contains(texts[0], "http 500") {
		t.Errorf("the log says nothing of the failure: %s", texts[0])
	}
}
