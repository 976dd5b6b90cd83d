package redis_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/redis"
	"github.com/chatapi/chatapi/ports"
)

// ear keeps what a subscription was told.
type ear struct {
	mu       sync.Mutex
	payloads []string
	lost     int
}

func (e *ear) deliver(s ports.Signal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Lost {
		e.lost++
		return
	}
	e.payloads = append(e.payloads, string(s.Payload))
}

func (e *ear) heard() (payloads []string, lost int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.payloads), e.lost
}

func (e *ear) has(payload string) bool {
	payloads, _ := e.heard()
	return slices.Contains(payloads, payload)
}

func (e *ear) losses() int {
	_, lost := e.heard()
	return lost
}

func listen(t testing.TB, b *redis.Bus, channel string) *ear {
	t.Helper()
	e := &ear{}
	cancel, err := b.Subscribe(channel, e.deliver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return e
}

func publish(t testing.TB, b *redis.Bus, channel, payload string) {
	t.Helper()
	if err := b.Publish(t.Context(), channel, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

// pair is two nodes on one server.
func pair(t testing.TB, first, second string) (one, two *redis.Bus) {
	t.Helper()
	epoch := newEpoch()
	return redis.NewBus(open(t, first, epoch)), redis.NewBus(open(t, second, epoch))
}

func TestTwoNodesHearEachOtherInOrderAndNothingTwice(t *testing.T) {
	t.Parallel()
	const each = 2000
	one, two := pair(t, shared.url(), shared.url())
	ears := []*ear{listen(t, one, "c"), listen(t, two, "c")}
	var running sync.WaitGroup
	for name, bus := range map[string]*redis.Bus{"one": one, "two": two} {
		running.Go(func() {
			for n := range each {
				publish(t, bus, "c", fmt.Sprintf("%s %d", name, n))
			}
		})
	}
	running.Wait()
	for at, e := range ears {
		eventually(t, fmt.Sprintf("node %d has heard the last of both", at), func() bool {
			return e.has(fmt.Sprint("one ", each-1)) && e.has(fmt.Sprint("two ", each-1))
		})
		payloads, lost := e.heard()
		next := map[string]int{}
		for _, p := range payloads {
			var from string
			var n int
			if _, err := fmt.Sscan(p, &from, &n); err != nil || n != next[from] {
				t.Fatalf("node %d: %q came when %d was next", at, p, next[from])
			}
			next[from]++
		}
		if lost != 0 || next["one"] != each || next["two"] != each {
			t.Errorf("node %d: heard %v, and Lost %d times", at, next, lost)
		}
	}
	if s := one.Stats(); s.Received != each || s.Published != each || s.Frames == 0 || s.Frames > each || !s.Connected {
		t.Errorf("stats %+v", s)
	}
}

func TestInstallationsDoNotHearEachOther(t *testing.T) {
	t.Parallel()
	one, _ := pair(t, shared.url(), shared.url())
	other, _ := pair(t, shared.url(), shared.url())
	mine, others := listen(t, one, "c"), listen(t, other, "c")
	publish(t, one, "c", "hello")
	publish(t, other, "c", "bye")
	eventually(t, "both have heard their own", func() bool { return mine.has("hello") && others.has("bye") })
	for _, e := range []*ear{mine, others} {
		if payloads, _ := e.heard(); len(payloads) != 1 {
			t.Errorf("heard %q", payloads)
		}
	}
}

func TestKilledConnectionsAreToldOfAndComeBack(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	one, two := pair(t, s.url(), s.url())
	ears := []*ear{listen(t, two, "a"), listen(t, two, "b")}
	for round := range 3 {
		before := []int{ears[0].losses(), ears[1].losses()}
		s.do(t, "CLIENT", "KILL", "TYPE", "pubsub")
		for i, e := range ears {
			eventually(t, "Lost, at the break and when it is there again", func() bool { return e.losses() >= before[i]+2 })
			hello := fmt.Sprint("hello ", round)
			publish(t, one, string(rune('a'+i)), hello)
			eventually(t, "it is heard again", func() bool { return e.has(hello) })
		}
	}
	if s := two.Stats(); s.Reconnects < 3 || s.Lost < 6 || !s.Connected {
		t.Errorf("stats %+v", s)
	}
}

func TestTheOwnNodeHearsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	one, two := pair(t, s.url(), s.url())
	own, others := listen(t, one, "c"), listen(t, two, "c")
	s.kill()
	eventually(t, "both are told", func() bool { return own.losses() > 0 && others.losses() > 0 })
	for n := range 100 {
		began := time.Now()
		publish(t, one, "c", fmt.Sprint("away ", n))
		if took := time.Since(began); took > time.Second {
			t.Fatalf("Publish took %s", took)
		}
	}
	if payloads, _ := own.heard(); len(payloads) != 100 {
		t.Errorf("the own node heard %d of 100 at once", len(payloads))
	}
	if one.Stats().Connected {
		t.Error("Connected while Redis is away")
	}
	before := others.losses()
	s.restart(t)
	eventually(t, "the other is told once more", func() bool { return others.losses() > before && two.Stats().Connected })
	publish(t, one, "c", "back")
	eventually(t, "the other hears again", func() bool { return others.has("back") })
	if payloads, _ := own.heard(); len(payloads) != 101 {
		t.Errorf("the own node heard %d of 101", len(payloads))
	}
}

func TestSubscribingWhileRedisIsAwayDoesNotWaitLong(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	p.setSilent(true)
	bus := redis.NewBus(open(t, p.url(), newEpoch()))
	began := time.Now()
	var ears []*ear
	for n := range 66 {
		ears = append(ears, listen(t, bus, fmt.Sprint("channel ", n)))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("66 subscriptions took %s", took)
	}
	p.setSilent(false)
	for _, e := range ears {
		eventually(t, "told Lost when Redis has heard of it", func() bool { return e.losses() > 0 })
	}
}

func TestASilentConnectionIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	one, two := pair(t, s.url(), p.url())
	e := listen(t, two, "c")
	p.setSilent(true)
	eventually(t, "told Lost though nothing was closed", func() bool { return e.losses() > 0 })
	p.setSilent(false)
	eventually(t, "connected again", func() bool { return two.Stats().Connected })
	publish(t, one, "c", "hello")
	eventually(t, "it is heard", func() bool { return e.has("hello") })
}

// TestWhatAPublisherCouldNotSendIsToldToTheOthers, whose own connections were well all the time.
func TestWhatAPublisherCouldNotSendIsToldToTheOthers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	one, two := pair(t, p.url(), s.url())
	e := listen(t, two, "c")
	publish(t, one, "c", "first")
	eventually(t, "the first is heard", func() bool { return e.has("first") })
	p.setSilent(true)
	for n := range 2*redis.MaxOutgoing + 2000 { // more than the writer and the queue hold together
		publish(t, one, "c", fmt.Sprint("dropped ", n))
	}
	eventually(t, "some are dropped", func() bool { return one.Stats().Dropped > 0 })
	p.setSilent(false)
	eventually(t, "the other is told, with nothing more published", func() bool { return e.losses() > 0 })
	publish(t, one, "c", "last")
	eventually(t, "the last is heard", func() bool { return e.has("last") })
	payloads, _ := e.heard()
	seen := map[string]bool{}
	for _, p := range payloads {
		if seen[p] {
			t.Errorf("%q came twice", p)
		}
		seen[p] = true
	}
}

func TestTheFirstThatAPublisherCouldNotSendIsToldToo(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr())
	cut, other := pair(t, p.url(), s.url())
	e := listen(t, other, "c")
	p.setSilent(true)
	publish(t, cut, "c", "nobody has heard of this node before")
	eventually(t, "the payload is given up", func() bool { return cut.Stats().Dropped > 0 })
	p.close() // it never arrives
	again := newProxyAt(t, p.listen.Addr().String(), s.addr())
	eventually(t, "the other node is told Lost", func() bool { return e.losses() > 0 })
	publish(t, cut, "c", "on")
	eventually(t, "the other node hears", func() bool { return e.has("on") })
	again.close()
}

func TestASlowSubscriberKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	one, two := pair(t, shared.url(), shared.url())
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := &ear{}
	first := sync.OnceFunc(func() { close(entered); <-leave })
	cancel, err := two.Subscribe("c", func(s ports.Signal) { first(); slow.deliver(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	quick := listen(t, two, "c")
	publish(t, one, "c", "begin")
	<-entered
	const many, pace = redis.MaxQueued + 100, 400 // which a busy machine's quick one follows
	for n := range many {
		publish(t, one, "c", fmt.Sprint(n))
		if n%pace == 0 || n == many-1 {
			eventually(t, "the quick one has heard it", func() bool { return quick.has(fmt.Sprint(n)) })
		}
	}
	if _, lost := quick.heard(); lost != 0 {
		t.Errorf("the quick one was told Lost %d times", lost)
	}
	close(leave)
	eventually(t, "the slow one is told", func() bool { return slow.losses() == 1 })
	publish(t, one, "c", "end")
	eventually(t, "and hears what comes then", func() bool { return slow.has("end") })
	if s := two.Stats(); s.Overflows != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestWhatIsNoFrameHarmsNothing(t *testing.T) {
	t.Parallel()
	epoch := newEpoch()
	bus := redis.NewBus(open(t, shared.url(), epoch))
	e := listen(t, bus, "c")
	for _, text := range []string{"", "short", "12345678", "12345678\xff", "12345678\x01\x05abc", "12345678\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc"} {
		shared.do(t, "PUBLISH", bus.Name("c"), text)
	}
	shared.do(t, "PUBLISH", bus.Name("c"), "12345678\x01\x03abc\x00\x02de")
	eventually(t, "a frame is heard", func() bool { return e.has("de") })
	if payloads, lost := e.heard(); lost != 0 || !slices.Equal(payloads, []string{"abc", "", "de"}) {
		t.Errorf("heard %q, Lost %d times", payloads, lost)
	}
	for _, text := range []string{"12345678\x01\x01x", "12345678\x03\x01y"} { // again, and one is missing
		shared.do(t, "PUBLISH", bus.Name("c"), text)
	}
	eventually(t, "the next is heard", func() bool { return e.has("y") })
	if payloads, lost := e.heard(); lost != 1 || len(payloads) != 4 {
		t.Errorf("heard %q, Lost %d times", payloads, lost)
	}
}

// BenchmarkPublishToDeliver is one payload after another, to another node of the same process.
func BenchmarkPublishToDeliver(b *testing.B) {
	one, two := pair(b, shared.url(), shared.url())
	came := make(chan struct{}, 1)
	cancel, err := two.Subscribe("c", func(ports.Signal) { came <- struct{}{} })
	if err != nil {
		b.Fatal(err)
	}
	defer cancel()
	payload := make([]byte, 400)
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		_ = one.Publish(b.Context(), "c", payload)
		<-came
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkThroughput has four publishers and two other nodes that hear all of it, as fast as nothing is dropped.
func BenchmarkThroughput(b *testing.B) {
	for _, c := range []struct {
		name     string
		channels int
		frame    int
	}{{"joined, 64 channels", 64, 256 << 10}, {"joined, 1 channel", 1, 256 << 10}, {"each alone, 64 channels", 64, 0}} {
		b.Run(c.name, func(b *testing.B) { throughput(b, c.channels, c.frame) })
	}
}

func throughput(b *testing.B, channels, frame int) {
	epoch := newEpoch()
	from := redis.NewBus(open(b, shared.url(), epoch))
	from.SetFrameSize(frame)
	var got [2]atomic.Int64
	for at := range got {
		bus := redis.NewBus(open(b, shared.url(), epoch))
		for n := range channels {
			cancel, err := bus.Subscribe(fmt.Sprint("channel ", n), func(s ports.Signal) {
				if s.Lost {
					b.Error("something was lost")
				}
				got[at].Add(1)
			})
			if err != nil {
				b.Fatal(err)
			}
			defer cancel()
		}
	}
	names := make([]string, channels)
	for n := range names {
		names[n] = fmt.Sprint("channel ", n)
	}
	payload := make([]byte, 400)
	var sent atomic.Int64
	total := int64(b.N)
	var publishing sync.WaitGroup
	b.ResetTimer()
	for range 4 {
		publishing.Go(func() {
			for n := sent.Add(1); n <= total; n = sent.Add(1) {
				for n-min(got[0].Load(), got[1].Load()) > 2048 {
					time.Sleep(20 * time.Microsecond)
				}
				_ = from.Publish(b.Context(), names[int(n)%channels], payload)
			}
		})
	}
	publishing.Wait()
	for min(got[0].Load(), got[1].Load()) < total {
		time.Sleep(20 * time.Microsecond)
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "payloads/s")
	b.ReportMetric(float64(total)/float64(from.Stats().Frames), "payloads/frame")
}
