package blackbox

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

// meter records every call that asks one bucket, and how it came out.
type meter struct {
	from time.Time

	mu    sync.Mutex
	calls []checker.Taken
}

func newMeter() *meter { return &meter{from: time.Now()} }

// take makes a call that reports whether it was let through.
func (m *meter) take(call func() (bool, error)) error {
	invoked := time.Since(m.from)
	ok, err := call()
	answered := time.Since(m.from)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, checker.Taken{Invoked: int64(invoked), Answered: int64(answered), OK: ok})
	return nil
}

// counts are how many calls were let through and how many not.
func (m *meter) counts() (passed, refused int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.calls {
		if c.OK {
			passed++
		} else {
			refused++
		}
	}
	return passed, refused
}

// want fails unless the bucket let through as much as it promises, and refused something.
func (m *meter) want(t *testing.T, rate int64) {
	t.Helper()
	passed, refused := m.counts()
	t.Logf("%d calls let through and %d refused in %s", passed, refused, time.Since(m.from).Round(time.Millisecond))
	if refused == 0 {
		t.Errorf("nothing was refused: nothing was tested")
	}
	for _, v := range (checker.Bucket{PerSecond: rate, Burst: rate, Tenth: harness.DefaultTopology() == harness.Clustered}).Check(m.calls) {
		t.Error(v)
	}
}

// limits are the headers that tell a client where it stands.
type limits struct {
	limit, remaining int64
	reset            time.Time
}

func limitsOf(res *harness.Response) (l limits, err error) {
	var numbers [3]int64
	for i, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		var failed error
		numbers[i], failed = strconv.ParseInt(res.Header.Get(name), 10, 64)
		err = errors.Join(err, failed)
	}
	return limits{numbers[0], numbers[1], time.Unix(numbers[2], 0)}, err
}

// rest is a call that asks the bucket over REST; every answer must tell the truth about the limit.
func rest(u *harness.Client, method, path string, body any, limit int64) func() (bool, error) {
	return func() (bool, error) {
		ctx, cancel := harness.WithTimeout()
		defer cancel()
		res, err := u.Do(ctx, method, path, body)
		if err != nil {
			return false, err
		}
		told, err := limitsOf(res)
		switch refused := res.Status == http.StatusTooManyRequests; {
		case err != nil:
			return false, err
		case told.limit != limit || told.remaining < 0 || told.remaining > limit || refused && told.remaining != 0:
			return false, fmt.Errorf("status %d with %+v, want limit %d and what remains of it", res.Status, told, limit)
		case told.reset.Before(time.Now().Add(-5*time.Second)) || told.reset.After(time.Now().Add(5*time.Second)):
			return false, fmt.Errorf("reset at %s: a bucket of one second is full again within two", told.reset)
		case refused:
			return false, refusedAsPromised(res)
		case res.Status/100 != 2:
			return false, fmt.Errorf("%s %s: status %d %.200s", method, path, res.Status, res.Body)
		}
		return true, nil
	}
}

func refusedAsPromised(res *harness.Response) error {
	problem, err := res.Problem()
	after, convErr := strconv.Atoi(res.Header.Get("Retry-After"))
	if err = errors.Join(err, convErr); err == nil && (problem.Error.Code != "RATE_LIMIT_EXCEEDED" || after < 1) {
		err = fmt.Errorf("429 with Retry-After %d and %s", after, res.Body)
	}
	return err
}

// frame is a frame that asks the bucket.
func frame(c *harness.Conn, fields map[string]any) func() (bool, error) {
	return func() (bool, error) {
		answer, err := c.Request(fields)
		if err != nil || answer.Type == "reply" {
			return true, err
		}
		if wait := retryAfter(answer); answer.Code != "RATE_LIMIT_EXCEEDED" || wait <= 0 || wait > 10*time.Second {
			return false, &harness.FrameError{Frame: answer}
		}
		return false, nil
	}
}

// retryAfter is the time to wait that a refused frame tells.
func retryAfter(f harness.Frame) time.Duration { return time.Duration(f.RetryMS) * time.Millisecond }

// hammer makes calls from several sides for a while, each side one every pace at most.
func hammer(span, pace time.Duration, m *meter, sides ...func() (bool, error)) error {
	errs := make([]error, len(sides))
	var wg sync.WaitGroup
	for i, call := range sides {
		wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for began := time.Now(); time.Since(began) < span && errs[i] == nil; <-tick.C {
				errs[i] = m.take(call)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// awaitFull waits until a tenant's bucket is full by its own account: the moment that the headers promise.
func awaitFull(t *testing.T, u *harness.Client) {
	t.Helper()
	told := harness.Must(limitsOf(harness.Must(u.Do(t.Context(), http.MethodGet, "/rooms", nil))(t)))(t)
	<-time.After(time.Until(told.reset))
}

// limited is a tenant with a rate limit on a server.
func limited(t *testing.T, s *harness.Server, rate int) *harness.Tenant {
	t.Helper()
	return harness.Must(s.NewTenantWith("limited", map[string]any{"rate_limit": rate}))(t)
}

func TestAHundredASecondAreAHundredASecondAndTheBurst(t *testing.T) {
	t.Parallel()
	const rate = 100
	tenant := limited(t, harness.Start(t, harness.Options{}), rate)
	m := newMeter()
	list := rest(tenant.User("alice").Client, http.MethodGet, "/rooms", nil, rate)
	another := rest(tenant.Backend(), http.MethodGet, "/rooms?type=dm", nil, rate)
	create := rest(tenant.User("bob").Client, http.MethodPost, "/rooms", `{"type":"group","members":["carol"]}`, rate)
	harness.Check(t, hammer(4*time.Second, 4*time.Millisecond, m, list, list, list, another, another, create))
	m.want(t, rate)
}

func TestFramesThatSendAndTypeCountWithTheCalls(t *testing.T) {
	t.Parallel()
	const rate = 20
	tenant := limited(t, harness.Start(t, harness.Options{}), rate)
	alice, bob := tenant.User("alice"), tenant.User("bob")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	a, b, free := connect(t, alice), connect(t, bob), connect(t, bob)
	awaitFull(t, alice.Client)

	m := newMeter()
	post := rest(alice.Client, http.MethodPost, "/rooms/"+room+"/messages", map[string]any{"content": harness.Body("counted")}, rate)
	send := frame(a, map[string]any{"type": "send_message", "room_id": room, "content": harness.Body("counted too")})
	start := frame(b, map[string]any{"type": "typing.start", "room_id": room})
	stop := frame(b, map[string]any{"type": "typing.stop", "room_id": room})
	const pace = 50 * time.Millisecond // a socket has 50 refused or other frames a second
	var others error
	var wg sync.WaitGroup
	wg.Go(func() { others = otherFramesPass(free, room, 3*time.Second) })
	harness.Check(t, hammer(3*time.Second, pace, m, post, post, send, start, stop))
	wg.Wait()
	harness.Check(t, others)
	m.want(t, rate)
}

// otherFramesPass sends for a while what counts against its socket alone, and wants none of it refused.
func otherFramesPass(c *harness.Conn, room string, span time.Duration) error {
	const pace = 40 * time.Millisecond // half of the socket's 50 a second
	tick := time.NewTicker(pace)
	defer tick.Stop()
	began := time.Now()
	for n := 0; time.Since(began) < span; n++ {
		answer, err := c.Request([]map[string]any{
			{"type": "ping"}, {"type": "ack", "room_id": room, "seq": 0}, {"type": "read", "room_id": room, "seq": 0},
			{"type": "subscribe", "room_id": room},
		}[n%4])
		if err == nil && answer.Type == "error" {
			err = &harness.FrameError{Frame: answer}
		}
		if err != nil {
			return err
		}
		<-tick.C
	}
	return nil
}

func TestWhoStaysUnderTheRateIsNeverRefusedWhateverOthersDo(t *testing.T) {
	t.Parallel()
	const low, high = 20, 100
	s := harness.Start(t, harness.Options{})
	greedy, modest := limited(t, s, low), limited(t, s, high)
	flood := rest(greedy.User("alice").Client, http.MethodGet, "/rooms", nil, low)
	calm := rest(modest.User("alice").Client, http.MethodGet, "/rooms", nil, high)
	flooded, called := newMeter(), newMeter()
	var calmErr error
	var wg sync.WaitGroup
	wg.Go(func() { calmErr = hammer(3*time.Second, 2*time.Second/high, called, calm) })
	harness.Check(t, hammer(3*time.Second, 6*time.Millisecond, flooded, flood, flood, flood, flood, flood, flood))
	wg.Wait()
	harness.Check(t, calmErr)
	flooded.want(t, low)
	if passed, refused := called.counts(); refused > 0 || passed == 0 {
		t.Errorf("a tenant at half its rate beside one far above its own: %d let through, %d refused", passed, refused)
	}
}

func TestARateLimitOfZeroLimitsNothing(t *testing.T) {
	t.Parallel()
	tenant := limited(t, harness.Start(t, harness.Options{}), 0)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c := connect(t, alice)
	const calls = 400 // four times the default
	for range calls {
		res := harness.Must(alice.Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
		if told := harness.Must(limitsOf(res))(t); told.limit != 0 {
			t.Fatalf("told of a limit: %+v", told)
		}
	}
	for range calls / 4 {
		harness.Must(c.Request(map[string]any{"type": "typing.start", "room_id": room}))(t)
	}
	for _, f := range c.Frames() {
		if f.Type == "error" {
			t.Errorf("got %s without a limit", f.Raw)
		}
	}
}

func TestAChangedLimitIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	const operators = 70
	s := harness.Start(t, harness.Options{Env: map[string]string{"DEFAULT_RATE_LIMIT": strconv.Itoa(operators)}})
	tenant := harness.Must(s.NewTenantWith("as the operator says", nil))(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c := connect(t, alice)
	wantLimit(t, alice, operators)

	harness.Check(t, tenant.Configure(map[string]any{"rate_limit": 1}))
	wantLimit(t, alice, 1)
	send := frame(c, map[string]any{"type": "send_message", "room_id": room, "content": harness.Body("over it")})
	m := newMeter()
	harness.Check(t, hammer(2*time.Second, 100*time.Millisecond, m, send))
	if _, refused := m.counts(); refused == 0 {
		t.Error("a socket opened before the limit fell sends as before")
	}
	harness.Check(t, tenant.Configure(map[string]any{"rate_limit": 0}))
	wantLimit(t, alice, 0)
	soon(t, "a frame is let through", func() bool { return harness.Must(send())(t) })
	for range 20 {
		if ok, err := send(); err != nil || !ok {
			t.Fatalf("a frame after the limit was lifted: let through %v, %v", ok, err)
		}
	}
	harness.Check(t, tenant.Configure(map[string]any{"rate_limit": nil}))
	wantLimit(t, alice, operators)
}

func wantLimit(t *testing.T, u *harness.User, limit int64) {
	t.Helper()
	soon(t, fmt.Sprintf("the limit is %d", limit), func() bool {
		for range 3 { // at whichever node
			told := harness.Must(limitsOf(harness.Must(u.Do(t.Context(), http.MethodGet, "/rooms", nil))(t)))(t)
			if told.limit != limit {
				return false
			}
		}
		return true
	})
}

func TestWhoWaitsAsToldIsLetThrough(t *testing.T) {
	t.Parallel()
	const rate = 2
	tenant := limited(t, harness.Start(t, harness.Options{}), rate)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c := connect(t, alice)
	for range 2 {
		refused := untilRefused(t, alice)
		after := harness.Must(strconv.Atoi(refused.Header.Get("Retry-After")))(t)
		<-time.After(time.Duration(after) * time.Second)
		harness.Must(alice.Call(http.MethodGet, "/rooms", nil, 200, nil))(t)

		untilRefused(t, alice)
		send := map[string]any{"type": "send_message", "room_id": room, "content": harness.Body("again")}
		answer := harness.Must(c.Request(send))(t)
		for answer.Type == "error" {
			wait := retryAfter(answer)
			<-time.After(wait)
			if answer = harness.Must(c.Request(send))(t); answer.Type != "reply" {
				t.Fatalf("after waiting %s as told: %s", wait, answer.Raw)
			}
		}
	}
}

// untilRefused calls until the bucket is empty.
func untilRefused(t *testing.T, u *harness.User) *harness.Response {
	t.Helper()
	const bound = 2000
	for range bound {
		if res := harness.Must(u.Do(t.Context(), http.MethodGet, "/rooms", nil))(t); res.Status == http.StatusTooManyRequests {
			return res
		}
	}
	t.Fatalf("%d calls and none refused", bound)
	return nil
}

func TestTheHeadersOfALimitTellTheTruth(t *testing.T) {
	t.Parallel()
	const rate = 30
	tenant := limited(t, harness.Start(t, harness.Options{}), rate)
	alice := tenant.User("alice")
	first := harness.Must(limitsOf(harness.Must(alice.Do(t.Context(), http.MethodGet, "/rooms", nil))(t)))(t)
	if first.limit != rate || first.remaining != rate-1 {
		t.Errorf("the first call of a tenant: told %+v, want %d of %d to remain", first, rate-1, rate)
	}
	for left := first.remaining; left > 0; left-- { // what remains may be used, at once
		harness.Must(alice.Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
	}
	told := harness.Must(limitsOf(untilRefused(t, alice)))(t)
	if told.remaining != 0 || told.limit != rate {
		t.Errorf("a refused call: told %+v, want nothing to remain", told)
	}
	<-time.After(time.Until(told.reset))
	full := harness.Must(limitsOf(harness.Must(alice.Do(t.Context(), http.MethodGet, "/rooms", nil))(t)))(t)
	if full.remaining != rate-1 {
		t.Errorf("at the time of the reset the bucket was not full: told %+v", full)
	}
}

func TestWhoGoesOnSendingOverTheRateIsClosed(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	tenant := limited(t, s, 1)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	c, calm := connect(t, alice), connect(t, tenant.User("bob"))
	raw := fmt.Appendf(nil, `{"type":"typing.start","room_id":%q}`, room)
	for range 2_000 {
		if c.WriteRaw(websocket.TextMessage, raw) != nil {
			break
		}
	}
	if code := harness.Must(c.CloseCode(30 * time.Second))(t); code != 4429 && code != 1006 {
		t.Errorf("close code of a flood of refused frames: got %d, want 4429, or 1006 when the server's side was reset", code)
	}
	if f := harness.Must(calm.Request(map[string]any{"type": "ping"}))(t); f.Type != "pong" {
		t.Errorf("another socket of the tenant: %s", f.Raw)
	}
}

func TestWhoGuessesCredentialsIsSlowedDown(t *testing.T) {
	t.Parallel()
	const rate = 50
	s := harness.Start(t, harness.Options{})
	tenant := limited(t, s, 0)
	m := newMeter()
	node := s.Nodes[0] // each counts for itself
	wrong := s.Anonymous().With("X-API-Key", "sk_0123456789012345678901234567890123456789012").At(node)
	guess := func() (bool, error) {
		ctx, cancel := harness.WithTimeout()
		defer cancel()
		res, err := wrong.Do(ctx, http.MethodGet, "/rooms", nil)
		if err == nil && res.Status != 401 && res.Status != 429 {
			err = fmt.Errorf("a guess was answered %d", res.Status)
		}
		return err == nil && res.Status == 401, err
	}
	harness.Check(t, hammer(3*time.Second, time.Millisecond, m, guess))
	m.want(t, rate)

	// Who has guessed enough is refused with the right credential too, until the bucket of the address has something again.
	valid := harness.Must(tenant.User("alice").At(node).Do(t.Context(), http.MethodGet, "/rooms", nil))(t)
	if valid.Status == http.StatusTooManyRequests {
		after := harness.Must(strconv.Atoi(valid.Header.Get("Retry-After")))(t)
		<-time.After(time.Duration(after) * time.Second)
		valid = harness.Must(tenant.User("alice").At(node).Do(t.Context(), http.MethodGet, "/rooms", nil))(t)
	}
	if valid.Status != http.StatusOK {
		t.Errorf("a valid credential after guesses: status %d %s", valid.Status, valid.Body)
	}
}
