package application_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// hall is a post with sockets.
type hall struct {
	*post
	fanout   *application.Fanout
	delivery *application.Delivery
	stopHall func()
}

// inHall runs a scenario over a real store in virtual time, with unacknowledged messages resent after 30 s, five times in
// all.
func inHall(t *testing.T, scenario func(h *hall)) {
	t.Helper()
	inHallOver(t, nil, scenario)
}

// inHallOver runs a scenario in which the node works through a store of the test's.
func inHallOver(t *testing.T, over func(ports.Store) ports.Store, scenario func(h *hall)) {
	t.Helper()
	inPostOver(t, over, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		h := &hall{post: p}
		h.openHall()
		scenario(h)
		h.stopHall()
	})
}

func (h *hall) openHall() {
	ids, clock, log := system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler)
	h.delivery = application.NewDelivery(h.through, h.hints, clock, log)
	presence := application.NewPresence(h.store, inproc.NewPresence(), h.bus, plainEncoder{}, ids, clock, log)
	h.fanout = application.NewFanout(h.through, h.store, h.bus, plainEncoder{}, h.delivery, presence, h.hints,
		application.NewUsage(h.store, clock, log), h.identity, ids, clock, log,
		application.FanoutConfig{MaxPerUser: 100, Retry: domain.Retry{Max: 5, Interval: 30 * time.Second}})
	h.store.OnCommit(h.fanout.Committed)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{h.fanout.Run, h.delivery.Run, h.hints.Run, presence.Run, h.notices.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	h.stopHall = func() {
		cancel()
		running.Wait()
	}
}

// client is a socket that takes everything at once and remembers when it came, as long as its capacity lasts.
type client struct {
	h        *hall
	peer     *application.Peer
	user     string
	device   domain.DeviceID
	auto     bool
	mu       sync.Mutex
	capacity int // frames; 0 = any number
	begun    time.Time
	got      []arrival
}

type arrival struct {
	ports.Frame
	at time.Duration
}

func (c *client) Push(f ports.Frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.capacity > 0 && len(c.got) >= c.capacity {
		return false
	}
	c.got = append(c.got, arrival{f, time.Since(c.begun)})
	if c.auto {
		go c.peer.Wrote(f)
	}
	return true
}

func (c *client) Hint(f ports.Frame) bool { return f.Kind != "message.stream.delta" || c.Push(f) }
func (c *client) Close(int, string)       {}

// roomier lets a client take so many frames more, as if it had read those it has.
func (c *client) roomier(by int) {
	c.mu.Lock()
	c.capacity += by
	c.mu.Unlock()
	c.peer.Drained()
}

func (h *hall) connect(user string, device domain.DeviceID) *client {
	return h.connectAs(&client{h: h, user: user, device: device})
}

func (h *hall) connectAs(c *client) *client {
	c.begun = time.Now()
	peer, err := h.fanout.Connect(h.t.Context(), h.as(c.user), application.Client{Device: c.device, AutoAck: c.auto}, c)
	if err != nil {
		h.t.Fatal(err)
	}
	c.peer = peer
	if err := peer.Start(context.Background(), nil); err != nil {
		h.t.Fatal(err)
	}
	time.Sleep(time.Second)
	return c
}

// texts are what a client got of messages and notifications, with the second of each arrival.
func (c *client) texts() (texts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.got {
		switch f.Kind {
		case domain.EventMessage:
			texts = append(texts, fmt.Sprintf("%s#%d", f.Bytes, f.Seq))
		case domain.EventNotification:
			texts = append(texts, string(f.Bytes))
		case "sync.complete":
			texts = append(texts, "synced")
		}
	}
	return texts
}

// repeats are the times, in seconds, at which something was sent again.
func (c *client) repeats() (seconds []float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.got {
		if strings.HasPrefix(string(f.Bytes), "again") {
			seconds = append(seconds, f.at.Seconds())
		}
	}
	return seconds
}

func (c *client) ack(room domain.RoomID, seq int64) {
	if err := c.h.delivery.AckSoon(context.Background(), c.h.as(c.user), room, c.device, seq, 0); err != nil {
		c.h.t.Fatal(err)
	}
}

func (c *client) ackNotice(id domain.NotificationID) {
	if err := c.h.delivery.AckNotices(context.Background(), c.h.as(c.user), c.device, []domain.NotificationID{id}); err != nil {
		c.h.t.Fatal(err)
	}
}

func (h *hall) notify(payload string, users ...string) domain.NotificationID {
	made, err := h.notices.Notify(context.Background(), h.backend(),
		domain.NotificationDraft{Topic: "news", Payload: []byte(payload), Users: users}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if made.Recipients != len(users) {
		h.t.Fatalf("%d recipients, want %d", made.Recipients, len(users))
	}
	return made.Notification.ID
}

// near reports whether times are the wanted ones, never earlier and at most so much later.
func near(got []float64, late float64, want ...float64) bool {
	return slices.EqualFunc(got, want, func(g, w float64) bool { return g >= w && g <= w+late })
}

func TestNotificationsReachTheirRecipientsNowOrWhenTheyConnect(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		ann, phone := h.connect("ann", "desk"), h.connect("ann", "phone")
		eve := h.connect("eve", "desk")
		first := h.notify(`{"n":1}`, "ann", "bob")
		second := h.notify(`{"n":2}`, "bob", "ann")
		bob := h.connect("bob", "desk")
		for _, c := range []*client{ann, phone} {
			if got := c.texts(); !slices.Equal(got, []string{"synced", `{"n":1}`, `{"n":2}`}) {
				t.Errorf("ann got %q", got)
			}
		}
		if got := bob.texts(); !slices.Equal(got, []string{`{"n":1}`, `{"n":2}`, "synced"}) {
			t.Errorf("bob got %q on connecting", got)
		}
		if got := eve.texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("eve, who is no target, got %q", got)
		}
		bob.ackNotice(first)
		time.Sleep(time.Second)
		if got := h.connect("bob", "other").texts(); !slices.Equal(got, []string{`{"n":2}`, "synced"}) {
			t.Errorf("bob got %q after acknowledging the first", got)
		}
		bob.ackNotice(second)
		bob.ackNotice(second)
		time.Sleep(time.Second)
		if got := h.connect("bob", "third").texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("bob got %q after acknowledging all", got)
		}
	})
}

// TestASlowSocketGetsEveryNotificationOnceInOrder, those that come while it is full too.
func TestASlowSocketGetsEveryNotificationOnceInOrder(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		var want []string
		for i := range 250 {
			want = append(want, fmt.Sprintf(`{"n":%d}`, i))
			h.notify(want[i], "ann")
		}
		ann := h.connectAs(&client{h: h, user: "ann", device: "desk", capacity: 7})
		for i := range 20 {
			want = append(want, fmt.Sprintf(`{"later":%d}`, i))
			h.notify(want[250+i], "ann")
			ann.roomier(15)
			time.Sleep(100 * time.Millisecond)
		}
		want = append(want[:250:250], want[250:]...)
		got := slices.DeleteFunc(ann.texts(), func(s string) bool { return s == "synced" })
		if !slices.Equal(got, want) {
			t.Errorf("%d of %d arrived: %q", len(got), len(want), got[max(0, len(got)-5):])
		}
	})
}

// TestANotificationIsSentAgainUntilItIsAcknowledged: after 30 s, doubling, five times in all, then it is a dead letter;
// a replay sends it anew.
func TestANotificationIsSentAgainUntilItIsAcknowledged(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		ann := h.connect("ann", "desk")
		begun := time.Since(ann.begun).Seconds()
		id := h.notify(`{"n":1}`, "ann")
		time.Sleep(7 * time.Minute)
		if got := ann.repeats(); !near(got, 12, begun+30, begun+90, begun+210) {
			t.Errorf("sent again at %v", got)
		}
		time.Sleep(30 * time.Minute)
		dead := h.given().Notifications
		if got := ann.repeats(); len(got) != 4 || len(dead) != 1 || dead[0].Attempts != 5 || dead[0].Error != "not acknowledged" ||
			dead[0].Job.Notification != id || dead[0].User != "ann" || dead[0].Topic != "news" || dead[0].LastAttemptAt.IsZero() {
			t.Fatalf("sent again at %v, dead %+v", got, dead)
		}
		if got := h.connect("ann", "other").texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("what was given up came again: %q", got)
		}
		if err := h.replay(dead[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := ann.texts(); got[len(got)-1] != `{"n":1}` || len(h.given().Notifications) != 0 {
			t.Errorf("replayed: %q, dead %+v", got, h.given().Notifications)
		}
		ann.ackNotice(id)
		before := len(ann.texts())
		time.Sleep(time.Hour)
		if got := ann.texts(); len(got) != before || len(h.given().Notifications) != 0 {
			t.Errorf("sent again after the acknowledgement: %q", got[before:])
		}
	})
}

func TestBeingAwaySpendsNoAttemptOfANotification(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		h.notify(`{"n":1}`, "ann")
		time.Sleep(3 * time.Hour)
		ann := h.connect("ann", "desk")
		if got := ann.texts(); !slices.Equal(got, []string{`{"n":1}`, "synced"}) || len(h.given().Notifications) != 0 {
			t.Errorf("after three hours ann got %q, dead %+v", got, h.given().Notifications)
		}
	})
}

func TestASocketThatAcknowledgesByItselfGetsNothingAgain(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connectAs(&client{h: h, user: "ann", device: "desk", auto: true})
		h.notify(`{"n":1}`, "ann")
		h.send("bob", room)
		time.Sleep(time.Hour)
		if got := ann.repeats(); len(got) != 0 || len(h.given().Notifications) != 0 || len(h.dead()) != 0 {
			t.Errorf("sent again at %v, dead %+v", got, h.given())
		}
		if got := h.connect("ann", "desk").texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("on coming back ann got %q", got)
		}
	})
}
