package application_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// subscribe has the backend subscribe a user, or itself, to news.
func (p *post) subscribe(user, endpoint string) domain.Subscription {
	made, err := p.topics.Add(context.Background(), p.backend(), domain.SubscriptionDraft{Topic: "news", User: user, Endpoint: endpoint}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return made.Subscription
}

// publish notifies whoever has subscribed to news.
func (p *post) publish() application.Notified {
	made, err := p.notices.Notify(context.Background(), p.backend(),
		domain.NotificationDraft{Topic: "news", Payload: []byte(`{"n":1}`), Subscribers: true}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

func TestEndpointsOfATopicAreCalledAndItsUsersAreNot(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		h.subscribe("ann", "https://example.com/ann")
		h.subscribe("", "https://example.com/all")
		h.subscribe("bob", "")
		ann, bob := h.connect("ann", "d"), h.connect("bob", "d")
		made := h.publish()
		time.Sleep(time.Minute)
		var urls []string
		for _, call := range h.got() {
			urls = append(urls, call.url)
			if call.notice != made.Notification.ID {
				t.Errorf("a call about %s", call.notice)
			}
		}
		slices.Sort(urls)
		if !slices.Equal(urls, []string{"https://example.com/all", "https://example.com/ann"}) || made.Recipients != 3 || h.waiting(domain.LaneNotification) != 0 {
			t.Errorf("called %q for %d recipients, %d wait", urls, made.Recipients, h.waiting(domain.LaneNotification))
		}
		if a, b := ann.texts(), bob.texts(); len(a) != 1 || b[1] != `{"n":1}` {
			t.Errorf("over sockets ann, who has an endpoint, got %q, bob %q", a, b)
		}
	})
}

// TestTheWholeScheduleOfAnEndpointThatFails is the webhook's: five attempts under one id, a dead letter, a replay.
func TestTheWholeScheduleOfAnEndpointThatFails(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return broken }, func(p *post) {
		s := p.subscribe("ann", "https://example.com/ann")
		made := p.publish()
		time.Sleep(2 * time.Hour)
		got := p.got()
		if len(got) != 5 {
			t.Fatalf("%d attempts", len(got))
		}
		for i, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
			if gap := got[i+1].at - got[i].at; gap < want*9/10 || gap > want*11/10+time.Second || got[i+1].id != got[0].id {
				t.Errorf("attempt %d under %s after %s, want %s later", i+2, got[i+1].id, gap, want)
			}
		}
		dead := p.given().Notifications
		if len(dead) != 1 || dead[0].Attempts != 5 || dead[0].Error != "http 500" || dead[0].User != "ann" || dead[0].Topic != "news" ||
			dead[0].Job.Notification != made.Notification.ID || p.waiting(domain.LaneNotification) != 0 || len(p.dead()) != 0 {
			t.Fatalf("dead letters %+v, %d left", dead, p.waiting(domain.LaneNotification))
		}
		p.answers(func(int, ports.Attempt) ports.Outcome { return accepted })
		if err := p.replay(dead[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := p.got(); len(got) != 6 || got[5].id != got[0].id || len(p.given().Notifications) != 0 {
			t.Errorf("replayed %+v", got)
		}
		p.answers(func(int, ports.Attempt) ports.Outcome { return broken })
		p.publish()
		time.Sleep(2 * time.Hour)
		if err := p.topics.Remove(context.Background(), p.backend(), s.ID); err != nil {
			t.Fatal(err)
		}
		if err := p.replay(p.given().Notifications[0]); !errors.Is(err, domain.ErrNoEndpoint) || len(p.given().Notifications) != 1 {
			t.Errorf("a replay to nobody: %v, %d letters", err, len(p.given().Notifications))
		}
	})
}

func TestAnEndpointThatIsGoneIsUnsubscribed(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome {
		return ports.Outcome{Result: ports.Gone, Status: 410, Cause: ports.StatusCause(410)}
	}, func(p *post) {
		p.subscribe("ann", "https://example.com/ann")
		p.publish()
		time.Sleep(time.Minute)
		if made := p.publish(); made.Recipients != 0 {
			t.Errorf("still subscribed after 410: %d recipients", made.Recipients)
		}
		time.Sleep(time.Hour)
		if dead := p.given().Notifications; len(p.got()) != 1 || len(dead) != 1 || dead[0].Error != "http 410" {
			t.Errorf("%d calls, dead %+v", len(p.got()), dead)
		}
	})
}

// TestAnEndpointThatTakesNoneCostsLittle: its calls are put off more and more seldom, spend no attempt, and end with their
// day.
func TestAnEndpointThatTakesNoneCostsLittle(t *testing.T) {
	t.Parallel()
	open := ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit, RetryAfter: time.Second}
	inPost(t, func(int, ports.Attempt) ports.Outcome { return open }, func(p *post) {
		p.subscribe("ann", "https://example.com/ann")
		p.publish()
		time.Sleep(23*time.Hour + 50*time.Minute)
		if n := len(p.got()); n > 400 || n < 250 || p.waiting(domain.LaneNotification) != 1 {
			t.Errorf("asked %d times within the day, %d wait", n, p.waiting(domain.LaneNotification))
		}
		time.Sleep(time.Hour)
		if dead := p.given().Notifications; len(dead) != 1 || dead[0].Attempts != 0 || dead[0].Error != "circuit open" {
			t.Errorf("dead %+v", dead)
		}
	})
}

// TestACallThatEndsWithItsDaySaysWhatWentWrong, not that the circuit was open in the end.
func TestACallThatEndsWithItsDaySaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	timeout := ports.Outcome{Result: ports.Retryable, Cause: ports.CauseTimeout}
	inPost(t, func(n int, _ ports.Attempt) ports.Outcome {
		if n <= 2 {
			return timeout
		}
		return ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit, RetryAfter: 10 * time.Minute}
	}, func(p *post) {
		p.send("ann", p.group("ann", "bob"))
		time.Sleep(26 * time.Hour)
		dead := p.dead()
		if len(dead) != 1 || dead[0].Attempts != 2 || dead[0].Error != "connection timeout" || dead[0].LastAttemptAt.Sub(p.begun) > 2*time.Minute {
			t.Errorf("dead %+v", dead)
		}
	})
}

// TestARestingEndpointsCallsEndTogether: what is too old is given up whether or not its receiver is being tried.
func TestARestingEndpointsCallsEndTogether(t *testing.T) {
	t.Parallel()
	open := ports.Outcome{Result: ports.Deferred, Cause: ports.CauseRest, RetryAfter: time.Hour}
	inPost(t, func(int, ports.Attempt) ports.Outcome { return open }, func(p *post) {
		room := p.group("ann", "bob")
		for range 300 {
			p.send("ann", room)
		}
		time.Sleep(24*time.Hour + 2*time.Minute)
		if n := p.waiting(domain.LaneWebhook); n != 0 || len(p.dead()) != 100 {
			t.Errorf("%d wait two minutes after their end, %d are listed", n, len(p.dead()))
		}
	})
}

func TestCallsAreSignedWithBothSecretsForADay(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		room := p.group("ann", "bob")
		say := func() int {
			p.send("ann", room)
			time.Sleep(time.Minute)
			got := p.got()
			return got[len(got)-1].secrets
		}
		update := func(config string) {
			if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, []byte(config)); err != nil {
				t.Fatal(err)
			}
		}
		before := say()
		update(`{"webhook_secret":"new"}`)
		update(`{"webhook_secret":"new"}`) // the same again does not end the overlap
		during := say()
		time.Sleep(24 * time.Hour)
		after := say()
		update(`{"webhook_secret":null}`)
		if none := say(); before != 1 || during != 2 || after != 1 || none != 0 {
			t.Errorf("signed with %d secrets, then %d, %d a day later, %d in the end", before, during, after, none)
		}
	})
}

// TestWhatAProcessLeftBehindIsTakenUp: a notification whose recipients were not all written when its process ended.
func TestWhatAProcessLeftBehindIsTakenUp(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		users := make([]domain.UserID, 900)
		for i := range users {
			users[i] = domain.UserID(fmt.Sprint("u", i))
		}
		left := domain.Notification{ID: domain.NotificationID{1}, Topic: "news", Payload: []byte(`{"n":1}`), CreatedAt: time.Now()}
		err := h.store.Update(context.Background(), h.tenant, func(tx ports.Tx) error {
			if err := tx.AddNotification(left, domain.Targets{Users: users}); err != nil {
				return err
			}
			_, err := tx.Expand(left.ID, 500)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		last := h.connect("u899", "d")
		time.Sleep(2 * time.Minute)
		if got := last.texts(); !slices.Contains(got, `{"n":1}`) {
			t.Errorf("the last recipient got %q", got)
		}
	})
}

func TestTargetsAreAUnion(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("ann", "bob", "cat")
		h.subscribe("cat", "")
		h.subscribe("dan", "")
		ann := h.connect("ann", "d")
		made, err := h.notices.Notify(context.Background(), h.backend(), domain.NotificationDraft{
			Topic: "news", Payload: []byte(`{"n":1}`), Users: []string{"ann", "eve", "eve"}, Room: room.String(), Subscribers: true,
		}, nil)
		if err != nil || made.Recipients != 5 {
			t.Fatalf("%d recipients, %v", made.Recipients, err)
		}
		time.Sleep(time.Second)
		if got := ann.texts(); strings.Join(got, " ") != `synced {"n":1}` {
			t.Errorf("ann, who is a target twice, got %q", got)
		}
		for _, user := range []string{"bob", "cat", "dan", "eve"} {
			if got := h.connect(user, "d").texts(); strings.Join(got, " ") != `{"n":1} synced` {
				t.Errorf("%s got %q", user, got)
			}
		}
	})
}

// cutBus drops what it is told to, as a broker does that has lost its connection for a moment.
type cutBus struct {
	ports.Bus
	mu   sync.Mutex
	lose func(channel string) bool
}

func (b *cutBus) Publish(ctx context.Context, channel string, payload []byte) error {
	b.mu.Lock()
	lost := b.lose != nil && b.lose(channel)
	b.mu.Unlock()
	if lost {
		return nil
	}
	return b.Bus.Publish(ctx, channel, payload)
}

// TestALostHintOfANotificationCostsADelayOnly, the last one too.
func TestALostHintOfANotificationCostsADelayOnly(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		lossy := &cutBus{Bus: p.bus}
		p.bus = lossy
		h := &hall{post: p}
		h.openHall()
		ann, bob := h.connect("ann", "d"), h.connect("bob", "d")
		lose := func(yes bool) {
			lossy.mu.Lock()
			defer lossy.mu.Unlock()
			lossy.lose = func(string) bool { return yes }
		}
		h.notify(`{"n":1}`, "ann", "bob")
		lose(true)
		h.notify(`{"n":2}`, "ann")
		time.Sleep(100 * time.Millisecond)
		lose(false)
		h.notify(`{"n":3}`, "bob")
		time.Sleep(100 * time.Millisecond)
		if got := ann.texts(); !slices.Equal(got, []string{"synced", `{"n":1}`, `{"n":2}`}) {
			t.Errorf("a hint was passed over: ann got %q", got)
		}
		lose(true)
		h.notify(`{"n":4}`, "bob")
		time.Sleep(5 * time.Second)
		if got := bob.texts(); !slices.Equal(got, []string{"synced", `{"n":1}`, `{"n":3}`, `{"n":4}`}) {
			t.Errorf("the last hint was lost: bob got %q", got)
		}
		h.stopHall()
	})
}
