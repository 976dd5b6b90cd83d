package application_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// receiver is a webhook's far end: it answers as it is told, and remembers what came, in virtual time.
type receiver struct {
	mu     sync.Mutex
	begun  time.Time
	answer func(n int, a ports.Attempt) ports.Outcome
	calls  []received
}

type received struct {
	at         time.Duration
	id         string
	url        string
	recipients []domain.UserID
	message    domain.MessageID
	notice     domain.NotificationID
	secrets    int
}

func (r *receiver) Send(_ context.Context, a ports.Attempt) ports.Outcome {
	var e struct {
		ports.OfflineEvent
		Notification domain.Notification
		User         domain.UserID
	}
	if err := json.Unmarshal(a.Body, &e); err != nil {
		panic(err)
	}
	if e.User != "" {
		e.Recipients = []domain.UserID{e.User}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, received{time.Since(r.begun), a.ID, a.URL, e.Recipients, e.Message.ID, e.Notification.ID, len(a.Secrets)})
	return r.answer(len(r.calls), a)
}

func (r *receiver) answers(answer func(n int, a ports.Attempt) ports.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) got() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

var (
	accepted = ports.Outcome{Result: ports.Delivered, Status: 200}
	broken   = ports.Outcome{Result: ports.Retryable, Status: 500, Cause: ports.StatusCause(500)}
)

// jsonEncoder writes events so that the receiver can read them.
type jsonEncoder struct{}

func (jsonEncoder) Offline(e ports.OfflineEvent) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return body
}

func (jsonEncoder) Notification(e ports.NotificationEvent) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return body
}

func (jsonEncoder) Context(e ports.ContextEvent) []byte {
	body, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return body
}

// noPlaces accepts every URL.
type noPlaces struct{}

func (noPlaces) CheckURL(ports.OutboundKind, string, string) error { return nil }
func (noPlaces) CheckSecret(string, string) error                  { return nil }
func (noPlaces) Health(ports.OutboundKind, string) ports.Health    { return ports.Health{} }
func (noPlaces) Forget(ports.OutboundKind, string)                 {}

// leaving is a presence that is away at times.
type leaving struct {
	ports.Presence
	away *atomic.Bool
}

func (l leaving) Online(ctx context.Context, tenant domain.TenantID, users []domain.UserID) (map[domain.UserID]bool, error) {
	if l.away.Load() {
		return nil, fmt.Errorf("look up presence: %w", domain.ErrAlone)
	}
	return l.Presence.Online(ctx, tenant, users)
}

// settling is an outbox that has no time for so many settlements.
type settling struct {
	ports.Outbox
	unkept *atomic.Int64
}

func (s settling) Settle(ctx context.Context, all []ports.Settlement) ([]domain.JobID, error) {
	if s.unkept.Add(-1) >= 0 {
		return nil, domain.ErrUnavailable
	}
	return s.Outbox.Settle(ctx, all)
}

// warnings counts the lines of a log that call for somebody.
type warnings struct{ n *atomic.Int64 }

func (w warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w warnings) WithAttrs([]slog.Attr) slog.Handler               { return w }
func (w warnings) WithGroup(string) slog.Handler                    { return w }
func (w warnings) Handle(context.Context, slog.Record) error        { w.n.Add(1); return nil }

// post is a node with a courier and a tenant whose webhook is the receiver, in virtual time.
type post struct {
	*receiver
	t         *testing.T
	store     *sqlite.Store
	over      func(ports.Store) ports.Store // what the node's own work goes through; nil = the store itself
	through   ports.Store
	presence  *inproc.Presence
	away      atomic.Bool  // the courier cannot ask it
	unkept    atomic.Int64 // settlements that the store has no time for
	warnings  atomic.Int64 // lines of the log
	rooms     *application.Rooms
	messaging *application.Messaging
	letters   *application.DeadLetters
	notices   *application.Notifications
	topics    *application.Subscriptions
	hints     *application.Hints
	bus       ports.Bus
	identity  *application.Identity
	courier   *application.Courier
	tenancy   *application.Tenancy
	tenant    domain.TenantID
	stop      func()
}

// inPost runs a scenario over a real store in virtual time.
func inPost(t *testing.T, answer func(n int, a ports.Attempt) ports.Outcome, scenario func(p *post)) {
	t.Helper()
	inPostOver(t, nil, answer, scenario)
}

// inPostOver runs a scenario in which courier, fan-out and delivery work through a store of the test's.
func inPostOver(t *testing.T, over func(ports.Store) ports.Store, answer func(n int, a ports.Attempt) ports.Outcome, scenario func(p *post)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chat.db")
	synctest.Test(t, func(t *testing.T) {
		p := &post{receiver: &receiver{begun: time.Now(), answer: answer}, t: t, over: over, presence: inproc.NewPresence()}
		p.open(path)
		scenario(p)
		p.stop()
	})
}

func (p *post) open(path string) {
	t := p.t
	log := slog.New(warnings{&p.warnings})
	store, err := sqlite.Open(context.Background(), sqlite.Config{DSN: path, Logger: log, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := secrets.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	ids, clock := system.IDs{}, system.Clock{}
	identity := application.NewIdentity(store, store, token.New(), inproc.NewTickets(), sealer, ids, clock, application.IdentityConfig{})
	upkeep := application.NewUpkeep(store, store, identity, log)
	p.store, p.through = store, store
	if p.over != nil {
		p.through = p.over(store)
	}
	p.tenancy = application.NewTenancy(store, store, store, sealer, ids, clock,
		application.NewRevocations(inproc.NewBus(), identity, noSockets{}, noPlaces{}, log), application.NewUsage(store, clock, log), upkeep, noSockets{}, noPlaces{})
	courier := application.NewCourier(settling{store, &p.unkept}, p.through, identity, leaving{p.presence, &p.away}, p.receiver, sealer, ids, jsonEncoder{}, p.tenancy, clock, log,
		application.CourierConfig{Retry: domain.Retry{Max: 5, Interval: 30 * time.Second}, Idle: 30 * time.Second})
	p.rooms = application.NewRooms(store, ids, clock, upkeep)
	p.messaging = application.NewMessaging(store, store, identity, ids, clock, courier, nil)
	p.bus = inproc.NewBus()
	p.hints = application.NewHints(p.bus, plainEncoder{}, log)
	p.letters = application.NewDeadLetters(store, identity, ids, clock, courier, p.hints, noPlaces{})
	p.notices = application.NewNotifications(store, store, ids, clock, courier, log)
	p.topics = application.NewSubscriptions(store, noPlaces{}, ids, clock)
	p.identity, p.courier = identity, courier
	if p.tenant == "" {
		made, err := p.tenancy.Create(context.Background(), "test", []byte(`{"webhook_url":"https://example.com/hook","webhook_secret":"shh"}`))
		if err != nil {
			t.Fatal(err)
		}
		p.tenant = made.ID
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = courier.Run(ctx) }()
	p.stop = func() {
		cancel()
		<-done
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (p *post) as(user string) application.Caller {
	tenant, err := p.store.Tenant(context.Background(), p.tenant)
	if err != nil {
		p.t.Fatal(err)
	}
	return application.Caller{Actor: domain.Actor{Tenant: p.tenant, Kind: domain.ActorUser, User: domain.UserID(user)}, Tenant: tenant}
}

func (p *post) group(creator string, members ...string) domain.RoomID {
	made, err := p.rooms.Create(context.Background(), p.as(creator), domain.RoomDraft{Type: "group", Members: members}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return made.Room.ID
}

func (p *post) send(user string, room domain.RoomID) domain.Message {
	sent, err := p.messaging.Send(context.Background(), p.as(user), room, domain.Draft{Content: "hi"}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return sent.Message
}

func (p *post) arrive(users ...string) {
	for _, u := range users {
		_, _ = p.presence.Arrive(context.Background(), "n", []ports.TenantUser{{Tenant: p.tenant, User: domain.UserID(u)}}, 24*time.Hour)
	}
}

func (p *post) backend() application.Caller {
	c := p.as("")
	c.Kind = domain.ActorBackend
	return c
}

func (p *post) given() application.Given {
	letters, err := p.letters.List(context.Background(), application.Overseer{Caller: p.backend()}, 100)
	if err != nil {
		p.t.Fatal(err)
	}
	return letters
}

func (p *post) dead() []domain.DeadLetter { return p.given().Messages }

func (p *post) replay(letter domain.DeadLetter) error {
	return p.letters.Replay(context.Background(), application.Overseer{Caller: p.backend()}, letter.ID)
}

// waiting is how many jobs of a lane there are.
func (p *post) waiting(lane domain.Lane) int64 {
	stats, err := p.store.OutboxStats(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	return stats[lane].Waiting
}

func TestAbsentMembersAreToldOfOnceAfterTheGrace(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		room := p.group("ann", "bob", "cat", "dan")
		p.arrive("cat")
		m := p.send("ann", room)
		time.Sleep(4 * time.Second)
		if n := len(p.got()); n != 0 {
			t.Errorf("%d calls within the grace", n)
		}
		time.Sleep(30 * time.Second)
		got := p.got()
		if len(got) != 1 || got[0].message != m.ID || !slices.Equal(got[0].recipients, []domain.UserID{"bob", "dan"}) ||
			got[0].id != domain.JobID(m.ID).String()+".0" || got[0].at > 9*time.Second {
			t.Errorf("told %+v", got)
		}
		if n := p.waiting(domain.LaneWebhook); n != 0 {
			t.Errorf("%d jobs are left", n)
		}
	})
}

func TestNobodyIsToldOfWhatEverybodyHas(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		room := p.group("ann", "bob")
		p.arrive("bob")
		p.send("ann", room)
		gone := p.send("bob", room)
		if err := p.messaging.Delete(context.Background(), p.as("bob"), room, gone.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := p.got(); len(got) != 0 || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("told %+v, %d left", got, p.waiting(domain.LaneWebhook))
		}
	})
}

// TestTheWholeScheduleOfACallThatFails: five attempts, 30 s doubling with a tenth to both sides, then one dead letter with
// the cause; a replay makes one more under the same id.
func TestTheWholeScheduleOfACallThatFails(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return broken }, func(p *post) {
		m := p.send("ann", p.group("ann", "bob"))
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
		dead := p.dead()
		if len(dead) != 1 || dead[0].Attempts != 5 || dead[0].Error != "http 500" || dead[0].User != "bob" || dead[0].Job.Message != m.ID ||
			dead[0].FromSeq != 1 || dead[0].ToSeq != 1 || dead[0].LastAttemptAt.IsZero() || p.waiting(domain.LaneWebhook) != 0 {
			t.Fatalf("dead letters %+v, %d left", dead, p.waiting(domain.LaneWebhook))
		}
		for try, want := range []int{6, 7} { // fails once more, then arrives
			if try == 1 {
				p.answers(func(int, ports.Attempt) ports.Outcome { return accepted })
			}
			if err := p.replay(p.dead()[0]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			if got := p.got(); len(got) != want || got[want-1].id != got[0].id || !slices.Equal(got[want-1].recipients, got[0].recipients) {
				t.Fatalf("replayed %+v", got)
			}
		}
		if dead := p.dead(); len(dead) != 0 || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("left %+v", dead)
		}
	})
}

func TestRetryAfterIsHeeded(t *testing.T) {
	t.Parallel()
	slow := broken
	slow.RetryAfter = 10 * time.Minute
	inPost(t, func(n int, _ ports.Attempt) ports.Outcome {
		if n == 1 {
			return slow
		}
		return accepted
	}, func(p *post) {
		p.send("ann", p.group("ann", "bob"))
		time.Sleep(time.Hour)
		if got := p.got(); len(got) != 2 || got[1].at-got[0].at < 10*time.Minute || got[1].at-got[0].at > 11*time.Minute {
			t.Errorf("attempts %+v", got)
		}
	})
}

// TestAnEndpointThatTakesNoCallsSpendsNoAttempts, however long, up to the end of a job's life.
func TestAnEndpointThatTakesNoCallsSpendsNoAttempts(t *testing.T) {
	t.Parallel()
	open := ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit, RetryAfter: 10 * time.Minute}
	inPost(t, func(int, ports.Attempt) ports.Outcome { return open }, func(p *post) {
		room := p.group("ann", "bob")
		for range 20 {
			p.send("ann", room)
		}
		time.Sleep(23 * time.Hour)
		if dead := p.dead(); len(dead) != 0 || p.waiting(domain.LaneWebhook) != 20 {
			t.Errorf("dead within the day %+v, %d wait", dead, p.waiting(domain.LaneWebhook))
		}
		time.Sleep(2 * time.Hour)
		dead := p.dead()
		if len(dead) != 20 || dead[0].Attempts != 0 || dead[0].Error != "circuit open" || !dead[0].LastAttemptAt.IsZero() || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("%d dead after the day, %d wait: %+v", len(dead), p.waiting(domain.LaneWebhook), dead[:min(1, len(dead))])
		}
	})
}

// TestACallThatWasNeverMadeIsMadeOnceHoweverOldItIs: what it waited for was here, and not with its receiver.
func TestACallThatWasNeverMadeIsMadeOnceHoweverOldItIs(t *testing.T) {
	t.Parallel()
	timeout := ports.Outcome{Result: ports.Retryable, Cause: ports.CauseTimeout}
	for dead, outcome := range []ports.Outcome{accepted, timeout} {
		inPost(t, func(n int, _ ports.Attempt) ports.Outcome {
			if n == 1 {
				return accepted
			}
			return outcome
		}, func(p *post) {
			room := p.group("ann", "bob")
			m := p.send("ann", room)
			time.Sleep(time.Minute)
			old := domain.Job{ID: domain.JobID{1}, Event: domain.JobID{1}, Lane: domain.LaneWebhook, Room: room, Message: m.ID, Due: time.Now(), CreatedAt: time.Now().Add(-25 * time.Hour)}
			if err := p.store.Update(context.Background(), p.tenant, func(tx ports.Tx) error { return tx.Enqueue(old) }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			letters := p.dead()
			if len(p.got()) != 2 || len(letters) != dead || p.waiting(domain.LaneWebhook) != 0 {
				t.Errorf("%d calls, want one of each job; dead %+v, want %d; %d wait", len(p.got()), letters, dead, p.waiting(domain.LaneWebhook))
			}
			for _, letter := range letters {
				if letter.Attempts != 1 || letter.Error != "connection timeout" {
					t.Errorf("dead %+v", letter)
				}
			}
		})
	}
}

// TestAnOutageLosesNothing: ten minutes without the receiver, a message every five seconds.
func TestAnOutageLosesNothing(t *testing.T) {
	t.Parallel()
	inPost(t, nil, func(p *post) {
		p.answers(func(int, ports.Attempt) ports.Outcome {
			if at := time.Since(p.begun); at > time.Minute && at < 11*time.Minute {
				return ports.Outcome{Result: ports.Deferred, Cause: ports.CauseCircuit, RetryAfter: 30 * time.Second}
			}
			return accepted
		})
		room := p.group("ann", "bob")
		var sent []domain.MessageID
		for range 180 {
			sent = append(sent, p.send("ann", room).ID)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		arrived := map[domain.MessageID]int{}
		for _, call := range p.got() {
			if call.at <= time.Minute || call.at >= 11*time.Minute {
				arrived[call.message]++
			}
		}
		for i, id := range sent {
			if arrived[id] != 1 {
				t.Errorf("message %d arrived %d times", i+1, arrived[id])
			}
		}
		if dead := p.dead(); len(dead) != 0 || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("dead %+v, %d wait", dead, p.waiting(domain.LaneWebhook))
		}
	})
}

// TestALargeRoomIsOneJobInSmallCalls: each member is named once, whatever fails in between.
func TestAnOutcomeIsKeptThoughTheStoreWasAwayForAMoment(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		p.send("ann", p.group("ann", "bob"))
		p.unkept.Store(20)
		time.Sleep(5 * time.Minute) // the lease of a call has passed
		if calls := len(p.got()); calls != 1 || p.waiting(domain.LaneWebhook) != 0 || p.warnings.Load() != 0 {
			t.Errorf("%d calls, %d jobs wait, %d lines in the log; want one call that is over", calls, p.waiting(domain.LaneWebhook), p.warnings.Load())
		}
	})
}

func TestCallsWaitWhilePresenceCannotBeAsked(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		room := p.group("ann", "bob", "carl")
		p.arrive("carl")
		const messages = 20
		for range 2 {
			before := p.warnings.Load()
			p.away.Store(true)
			for range messages {
				p.send("ann", room)
			}
			time.Sleep(40 * time.Second)
			if n := p.warnings.Load() - before; n != 1 || p.waiting(domain.LaneWebhook) != messages {
				t.Errorf("%d lines in the log for one outage, %d jobs wait", n, p.waiting(domain.LaneWebhook))
			}
			calls := len(p.got())
			p.away.Store(false)
			time.Sleep(11 * time.Second)
			got := p.got()[calls:]
			if len(got) != messages || p.waiting(domain.LaneWebhook) != 0 || len(p.dead()) != 0 {
				t.Errorf("%d calls within moments of the end, want %d; %d wait", len(got), messages, p.waiting(domain.LaneWebhook))
			}
			for _, call := range got {
				if !slices.Equal(call.recipients, []domain.UserID{"bob"}) {
					t.Errorf("a call for %v, want bob", call.recipients)
				}
			}
		}
	})
}

func TestALargeRoomIsOneJobInSmallCalls(t *testing.T) {
	t.Parallel()
	const size = 950
	inPost(t, func(n int, _ ports.Attempt) ports.Outcome {
		if n%3 == 0 {
			return broken
		}
		return accepted
	}, func(p *post) {
		room := p.group("ann")
		for at := 0; at < size; at += 50 {
			var ids []string
			for i := range 50 {
				ids = append(ids, fmt.Sprint("u", at+i))
			}
			if _, err := p.rooms.AddMembers(context.Background(), p.as("ann"), room, application.NewMembers{UserIDs: ids}, nil); err != nil {
				t.Fatal(err)
			}
		}
		p.arrive("u7", "u500")
		p.send("ann", room)
		if n := p.waiting(domain.LaneWebhook); n != 1 {
			t.Errorf("%d jobs", n)
		}
		time.Sleep(2 * time.Hour)
		named, byID := map[domain.UserID]string{}, map[string]int{}
		for _, call := range p.got() {
			byID[call.id] = max(byID[call.id], len(call.recipients))
			for _, u := range call.recipients {
				if was, ok := named[u]; ok && was != call.id {
					t.Errorf("%s is named under %s and %s", u, was, call.id)
				}
				named[u] = call.id
			}
		}
		if len(named) != size-2 || named["u7"] != "" || named["ann"] != "" {
			t.Errorf("%d are named", len(named))
		}
		for id, n := range byID {
			if n > domain.MaxWebhookRecipients {
				t.Errorf("%s names %d", id, n)
			}
		}
		if dead := p.dead(); len(dead) != 0 || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("dead %+v, %d wait", dead, p.waiting(domain.LaneWebhook))
		}
	})
}

func TestAReceiverThatIsGoneIsCalledNoMore(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome {
		return ports.Outcome{Result: ports.Gone, Status: 410, Cause: ports.StatusCause(410)}
	}, func(p *post) {
		room := p.group("ann", "bob")
		for range 10 {
			p.send("ann", room)
		}
		time.Sleep(time.Minute)
		p.send("ann", room) // there is no webhook any more
		time.Sleep(time.Hour)
		if err := p.replay(p.dead()[0]); !errors.Is(err, domain.ErrNoWebhook) {
			t.Errorf("a replay to nobody: %v", err)
		}
		if got, dead := p.got(), p.dead(); len(got) > 4 || len(dead) != 10 || dead[0].Error != "http 410" || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("calls %+v, dead %+v, %d wait", got, dead, p.waiting(domain.LaneWebhook))
		}
		tenant, err := p.store.Tenant(context.Background(), p.tenant)
		if err != nil || tenant.Config.WebhookDisabled == nil {
			t.Errorf("the webhook is not disabled: %+v, %v", tenant.Config, err)
		}
		if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, []byte(`{"webhook_url":"https://example.com/other"}`)); err != nil {
			t.Fatal(err)
		}
		calls := len(p.got())
		p.answers(func(int, ports.Attempt) ports.Outcome { return accepted })
		p.send("ann", room)
		time.Sleep(time.Minute)
		if n := len(p.got()); n != calls+1 {
			t.Errorf("%d calls after a new URL", n)
		}
	})
}

// TestOneTenantsSlowEndpointDelaysNoOther: it has its own few places.
func TestOneTenantsSlowEndpointDelaysNoOther(t *testing.T) {
	t.Parallel()
	inPost(t, nil, func(p *post) {
		slow := p.tenant
		made, err := p.tenancy.Create(context.Background(), "other", []byte(`{"webhook_url":"https://example.com/other"}`))
		if err != nil {
			t.Fatal(err)
		}
		p.answers(func(_ int, a ports.Attempt) ports.Outcome {
			if strings.HasPrefix(a.Endpoint, string(slow)) {
				p.mu.Unlock()
				time.Sleep(15 * time.Second)
				p.mu.Lock()
				return ports.Outcome{Result: ports.Retryable, Cause: ports.CauseTimeout}
			}
			return accepted
		})
		room := p.group("ann", "bob")
		for range 200 {
			p.send("ann", room)
		}
		time.Sleep(20 * time.Second) // the slow one has all it may have
		p.tenant = made.ID
		m := p.send("ann", p.group("ann", "bob"))
		sent := time.Since(p.begun)
		time.Sleep(time.Minute)
		i := slices.IndexFunc(p.got(), func(c received) bool { return c.message == m.ID })
		if i < 0 || p.got()[i].at-sent > 9*time.Second {
			t.Errorf("the other tenant waits: %d", i)
		}
	})
}
