package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// breakable starts a cluster on a Postgres that syncs and a Redis, both its own, with proxies in between.
func breakable(t *testing.T) (*harness.Server, *harness.Backends) {
	t.Helper()
	b := harness.Must(harness.LaunchBackends(true))(t)
	t.Cleanup(func() { harness.Check(t, b.Close()) })
	return harness.Start(t, harness.Options{
		Topology: harness.Clustered, Backends: b, Proxied: true, // of those who watch there are some at each node, and more for as long as a node is dead
		Env: map[string]string{"WS_MAX_CONNECTIONS_PER_USER": "50"},
	}), b
}

func TestNothingIsLostWhenNodesAreKilled(t *testing.T) {
	t.Parallel()
	rounds := harness.Lasting(4, 20)
	s, _ := breakable(t)
	l := startLoad(t, s)
	for i := range rounds {
		during(700 * time.Millisecond)
		n := s.Nodes[i%len(s.Nodes)]
		harness.Check(t, n.Kill())
		l.goesOn(t, 20) // at the others
		harness.Check(t, n.Start())
		l.goesOn(t, 20)
	}
	l.judge(t)
}

func TestNothingIsLostInARollingRestart(t *testing.T) {
	t.Parallel()
	rounds := harness.Lasting(2, 5)
	s, _ := breakable(t)
	l := startLoad(t, s)
	var longest time.Duration
	for range rounds {
		for _, n := range s.Nodes {
			during(300 * time.Millisecond)
			began := time.Now()
			code, err := n.Terminate(15 * time.Second)
			if err != nil || code != 0 {
				t.Errorf("SIGTERM under load: exit code %d, %v", code, err)
			}
			longest = max(longest, time.Since(began))
			l.goesOn(t, 20) // at the others
			harness.Check(t, n.Start())
			s.Balancer.Look()
		}
	}
	l.judge(t)
	t.Logf("the longest drain took %s", longest.Round(time.Millisecond))
}

// TestADrainingNodeSendsItsSocketsAwayInOrder: each is told when to come back, then closed with 1001.
func TestADrainingNodeSendsItsSocketsAwayInOrder(t *testing.T) {
	t.Parallel()
	tenant, nodes := nodesOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t).RoomID
	leaving, staying := connect(t, bob.At(nodes[0])), connect(t, bob.At(nodes[1]), "device_id", "other")
	code, err := nodes[0].Terminate(15 * time.Second)
	if err != nil || code != 0 {
		t.Errorf("SIGTERM: exit code %d, %v", code, err)
	}
	told := harness.Must(leaving.AwaitType("server.shutdown"))(t)
	if told.ReconnectMS < 500 || told.ReconnectMS > 5000 {
		t.Errorf("told to come back after %d ms, want 500 to 5000", told.ReconnectMS)
	}
	if code, err := leaving.CloseCode(time.Second); err != nil || code != 1001 {
		t.Errorf("closed with %d, %v, want 1001", code, err)
	}
	sent := harness.Must(alice.Send(room, harness.Body("while one node is away")))(t)
	harness.Must(staying.AwaitMessage(room, sent.Seq))(t)
	harness.Must(connect(t, bob).AwaitMessage(room, sent.Seq))(t) // wherever the balancer leads
}

func TestNothingIsLostWhenRedisIsAwayOrForgets(t *testing.T) {
	t.Parallel()
	away := harness.Lasting(10*time.Second, 60*time.Second)
	s, b := breakable(t)
	l := startLoad(t, s)
	during(time.Second)
	if keys := harness.Must(b.Redis.Lasting())(t); len(keys) > 0 {
		t.Errorf("%d keys have no end, such as %q: nothing in Redis may be durable", len(keys), keys[0])
	}
	killed := harness.Must(b.Redis.KillSubscribers())(t)
	if killed < int64(len(s.Nodes)) {
		t.Errorf("%d subscribers were killed, each of %d nodes should be one", killed, len(s.Nodes))
	}
	l.goesOn(t, 50)
	harness.Check(t, b.Redis.Flush())
	l.goesOn(t, 50)

	before := l.acked()
	unknown := l.unanswered()
	harness.Check(t, b.Redis.Stop())
	stopped := time.Now()
	wantHealth(t, s.Nodes, "degraded")
	t.Logf("every node says that it is degraded %s after the end of Redis", time.Since(stopped).Round(time.Millisecond))
	during(away - time.Since(stopped))
	t.Logf("%d messages were acknowledged in the %s without Redis", l.acked()-before, away)
	if n := l.unanswered() - unknown; n > 0 {
		t.Errorf("%d attempts to send failed while Redis was away: sending does not need it", n)
	}
	harness.Check(t, b.Redis.Start())
	wantHealth(t, s.Nodes, "ok")
	l.goesOn(t, 50)
	l.judge(t)
}

// wantHealth waits until every node says how it is.
func wantHealth(t *testing.T, nodes []*harness.Node, want string) {
	t.Helper()
	for _, n := range nodes {
		harness.Eventually(t, 20*time.Second, n.Base+" is "+want, func() bool {
			var health struct{ Status string }
			_, err := n.Anonymous().Call(http.MethodGet, "/health", nil, http.StatusOK, &health)
			return err == nil && health.Status == want
		})
	}
}

func TestNothingIsLostWhenPostgresCrashes(t *testing.T) {
	t.Parallel()
	rounds := harness.Lasting(2, 5)
	s, b := breakable(t)
	l := startLoad(t, s)
	prober := &prober{user: l.tenant.User("prober")}
	room := harness.Must(prober.user.CreateRoom("group", "watcher"))(t).RoomID
	for round := range rounds {
		during(time.Second)
		harness.Check(t, b.Postgres.Stop())
		down := time.Now()
		for i, n := range s.Nodes {
			prober.wantUnavailable(t, n, room, fmt.Sprintf("round%d-node%d", round, i+1))
		}
		t.Logf("every node has answered 503 %s after the crash", time.Since(down).Round(time.Millisecond))
		during(time.Second)
		harness.Check(t, b.Postgres.Start())
		up := time.Now()
		for i, n := range s.Nodes {
			prober.wantOnce(t, n, room, fmt.Sprintf("round%d-node%d", round, i+1))
		}
		t.Logf("every node has stored a message %s after Postgres was back", time.Since(up).Round(time.Millisecond))
		l.goesOn(t, 50)
	}
	l.judge(t)
	sent := map[string]int{}
	for _, m := range harness.Must(prober.user.History(room, 0, 100))(t) {
		sent[m.ClientID]++
	}
	for id, n := range sent {
		if n != 1 || len(sent) != rounds*len(s.Nodes) {
			t.Errorf("client_id %s is stored %d times, among %d", id, n, len(sent))
		}
	}
}

func TestNothingIsLostWhenANodeIsCutOffFromPostgres(t *testing.T) {
	t.Parallel()
	away := harness.Lasting(3*time.Second, 30*time.Second)
	s, _ := breakable(t)
	l := startLoad(t, s)
	alone := s.Nodes[1]
	prober := &prober{user: l.tenant.User("prober")}
	room := harness.Must(prober.user.CreateRoom("group", "watcher"))(t).RoomID
	during(time.Second)
	for what, end := range map[string]func(){"refused": alone.ToPostgres.Cut, "swallowed": alone.ToPostgres.Silence} {
		before := l.acked()
		end()
		prober.wantUnavailable(t, alone, room, what)
		prober.wantOnce(t, s.Nodes[0], room, what)
		during(away)
		t.Logf("connections to Postgres are %s: %d messages were acknowledged meanwhile", what, l.acked()-before)
		alone.ToPostgres.Restore()
		restored := time.Now()
		prober.wantOnce(t, alone, room, what)
		t.Logf("the node has stored a message %s after it was let in again", time.Since(restored).Round(time.Millisecond))
		wantHealth(t, s.Nodes, "ok")
		l.goesOn(t, 50)
	}
	l.judge(t)
}

// unavailableWithin is how long a node may take to find that its database says nothing, in which nothing tells it so.
const unavailableWithin = 29 * time.Second

// prober sends while the database is away, and again when it is back.
type prober struct{ user *harness.User }

func (p *prober) send(t *testing.T, n *harness.Node, room, id string) *harness.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), unavailableWithin)
	defer cancel()
	body := map[string]any{"content": harness.Body("%s", id), "client_id": id}
	return harness.Must(p.user.At(n).Do(ctx, http.MethodPost, "/rooms/"+room+"/messages", body))(t)
}

// wantUnavailable: no node may hang, or say what it does not know.
func (p *prober) wantUnavailable(t *testing.T, n *harness.Node, room, id string) {
	t.Helper()
	began := time.Now()
	res := p.send(t, n, room, id)
	problem := harness.Must(res.Problem())(t)
	if res.Status != http.StatusServiceUnavailable || problem.Error.Code != "SERVICE_UNAVAILABLE" || res.Header.Get("Retry-After") == "" {
		t.Errorf("a send without a database: %d %s, Retry-After %q, want 503", res.Status, res.Body, res.Header.Get("Retry-After"))
	}
	t.Logf("answered %d after %s", res.Status, time.Since(began).Round(time.Millisecond))
}

// wantOnce sends what was refused before until it is stored, and once more.
func (p *prober) wantOnce(t *testing.T, n *harness.Node, room, id string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, "a send after the database is back", func() bool {
		res := p.send(t, n, room, id)
		if res.Status != http.StatusCreated && res.Status != http.StatusServiceUnavailable {
			t.Fatalf("a send after the database is back: %d %s", res.Status, res.Body)
		}
		return res.Status == http.StatusCreated
	})
	if again := p.send(t, n, room, id); again.Status != http.StatusCreated || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same client_id once more: %d %s", again.Status, again.Body)
	}
}

func TestNothingIsLostWhenANodeIsCutOffFromRedis(t *testing.T) {
	t.Parallel()
	away := harness.Lasting(5*time.Second, 30*time.Second)
	s, _ := breakable(t)
	l := startLoad(t, s)
	alone := s.Nodes[1]
	during(time.Second)
	for what, end := range map[string]func(){"refused": alone.ToRedis.Cut, "swallowed": alone.ToRedis.Silence} {
		before, unknown := l.acked(), l.unanswered()
		end()
		wantHealth(t, []*harness.Node{alone}, "degraded")
		wantHealth(t, []*harness.Node{s.Nodes[0], s.Nodes[2]}, "ok")
		during(away)
		t.Logf("connections to Redis are %s: %d messages were acknowledged meanwhile", what, l.acked()-before)
		if n := l.unanswered() - unknown; n > 0 {
			t.Errorf("%d attempts to send failed while one node was without Redis", n)
		}
		alone.ToRedis.Restore()
		wantHealth(t, s.Nodes, "ok")
		l.goesOn(t, 50)
	}
	l.judge(t)
}

func TestNothingIsLostWhenANodeIsPaused(t *testing.T) {
	t.Parallel()
	span := harness.Lasting(35*time.Second, 60*time.Second) // beyond the leases of runs and presence
	s, _ := breakable(t)
	l := startLoad(t, s)
	during(time.Second)
	paused := s.Nodes[2]
	harness.Check(t, paused.Pause())
	during(2 * time.Second)
	l.goesOn(t, 50) // at the others
	during(span - 2*time.Second)
	harness.Check(t, paused.Resume())
	l.goesOn(t, 50)
	wantHealth(t, s.Nodes, "ok")
	l.judge(t)
}

// TestDeliveryCompletesWithoutASingleHint: subscriptions stand, and nothing comes on them.
func TestDeliveryCompletesWithoutASingleHint(t *testing.T) {
	t.Parallel()
	const messages, pace = 150, 30 * time.Millisecond
	s, _ := breakable(t)
	for _, n := range s.Nodes {
		n.ToRedis.Filter(harness.WithoutMessages)
	}
	wantHealth(t, s.Nodes, "ok")
	tenant := harness.Must(s.NewTenant("no hints"))(t)
	alice, bob := tenant.User("alice").At(s.Nodes[0]), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t).RoomID
	var mu sync.Mutex
	sent := map[string]time.Time{}
	var followers []*harness.Follower
	var took []time.Duration
	for _, n := range s.Nodes[1:] {
		f := harness.NewFollower(bob.At(n))
		harness.Check(t, f.Connect())
		t.Cleanup(f.Drop)
		followers = append(followers, f)
		listener := harness.Must(bob.At(n).DialWith(harness.DialOptions{Keep: harness.Answers, OnFrame: func(f harness.Frame) {
			mu.Lock()
			defer mu.Unlock()
			if at, known := sent[f.ClientID]; known && f.Type == "message" {
				took = append(took, f.At.Sub(at))
			}
		}}))(t)
		t.Cleanup(listener.Drop)
	}
	for i := range messages {
		id := fmt.Sprint(i)
		mu.Lock()
		sent[id] = time.Now()
		mu.Unlock()
		harness.Must(alice.SendAs(room, map[string]any{"content": harness.Body("%d", i), "client_id": id}))(t)
		<-time.After(pace)
	}
	for _, f := range followers {
		harness.Eventually(t, 20*time.Second, "all messages arrive", func() bool { return f.Seq(room) == messages })
		for _, v := range f.Violations() {
			t.Error(v)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(took) < messages {
		t.Fatalf("%d deliveries, want %d at each of %d nodes", len(took), messages, len(followers))
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	t.Logf("without a hint: p50 %s, p99 %s", p50.Round(time.Millisecond), p99.Round(time.Millisecond))
	const middle = 2500 * time.Millisecond // half a second on a machine that does nothing else
	if most := harness.Lasting(5*time.Second, 2*time.Second); p50 > middle || p99 > most {
		t.Errorf("delivery without hints took %s in the middle and %s at p99, want at most %s and %s", p50, p99, middle, most)
	}
	if hints := p50 < 50*time.Millisecond; hints {
		t.Error("hints have come: nothing was tested")
	}
}

// TestNoSendWaitsForASlowRedis: it answers, and just within what nodes wait for it.
func TestNoSendWaitsForASlowRedis(t *testing.T) {
	t.Parallel()
	const messages, late = 60, 800 * time.Millisecond
	s, _ := breakable(t)
	tenant := harness.Must(s.NewTenantWith("slow", map[string]any{"rate_limit": 1000}))(t) // so that the limiter asks too
	alice, bob := tenant.User("alice").At(s.Nodes[0]), tenant.User("bob").At(s.Nodes[1])
	room := harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t).RoomID
	f := harness.NewFollower(bob)
	harness.Check(t, f.Connect())
	t.Cleanup(f.Drop)
	for _, n := range s.Nodes {
		n.ToRedis.Delay(late)
	}
	var took []time.Duration
	for i := range messages {
		began := time.Now()
		harness.Must(alice.Send(room, harness.Body("%d", i)))(t)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("sends beside a Redis that answers after %s: median %s, longest %s", late, took[messages/2].Round(time.Millisecond), took[messages-1].Round(time.Millisecond))
	if p90 := took[messages*9/10]; p90 >= late {
		t.Errorf("one send in ten took %s or longer: they wait for Redis", p90)
	}
	harness.Eventually(t, 10*time.Second, "all messages arrive", func() bool { return f.Seq(room) == messages })
	for _, v := range f.Violations() {
		t.Error(v)
	}
}

// unanswered is how many attempts have had no definite answer so far.
func (l *load) unanswered() int { return l.rec.Unknown() }
