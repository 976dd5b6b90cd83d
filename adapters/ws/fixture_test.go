package ws

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(readersEnv); spec != "" {
		readMany(spec)
	}
	goleak.VerifyTestMain(m)
}

// fixture is a handler whose use cases are stand-ins that the test scripts and reads.
type fixture struct {
	*Handler
	auth   *fakeIdentity
	rooms  *fakeFanout
	sends  *fakeMessaging
	acks   *fakeDelivery
	rates  *fakeLimits
	stop   func() // ends Run and waits for it
	server *httptest.Server
}

// newFixture makes a handler and runs it until the test ends, or until stop.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{auth: &fakeIdentity{}, rooms: &fakeFanout{}, sends: &fakeMessaging{}, acks: &fakeDelivery{}, rates: &fakeLimits{}}
	f.Handler = newHandler(&Handler{
		identity: f.auth, fanout: f.rooms, messaging: f.sends, delivery: f.acks, limits: f.rates,
		clock: wallClock{}, ids: randomIDs{}, log: slog.New(slog.DiscardHandler),
		cfg: Config{AllowedOrigins: []string{"https://app.example"}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Run(ctx)
	}()
	f.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(f.stop)
	return f
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

type randomIDs struct{}

func (randomIDs) NewUUID() domain.UUID { return domain.UUID(uuid.New()) }
func (randomIDs) Secret(n int) []byte  { return make([]byte, n) }

// fakeIdentity accepts the token "good" of user alice, and each ticket once. In auth frames it accepts "fresh", alice's
// too, and those of others.
type fakeIdentity struct {
	mu      sync.Mutex
	expires time.Time // of "good" and of tickets
	fresh   time.Time // of "fresh"
	used    map[string]bool
	asked   int
	revoke  int   // the call from which on nothing is accepted; 0 = never
	confirm error // of Confirm
}

func (f *fakeIdentity) Authenticate(_ context.Context, c application.Credentials) (application.Caller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	tenant := domain.Tenant{ID: "tenant_1", Config: domain.TenantConfig{AllowedOrigins: []string{"https://tenant.example"}}}
	actor := domain.Actor{Tenant: "tenant_1", Kind: domain.ActorUser, User: "alice", Expires: f.expires}
	f.asked++
	switch {
	case f.revoke > 0 && f.asked >= f.revoke:
		return application.Caller{}, domain.ErrUnauthenticated
	case c.APIKey == "key":
		actor.Kind, actor.User = domain.ActorBackend, domain.UserID(c.UserID)
	case c.Ticket != "" && !f.used[c.Ticket]:
		f.used = map[string]bool{c.Ticket: true}
	case c.Bearer == "fresh":
		actor.Expires, actor.Credential = f.fresh, "key_fresh"
	case c.Bearer == "bob's":
		actor.User = "bob"
	case c.Bearer == "elsewhere":
		actor.Tenant, tenant.ID = "tenant_2", "tenant_2"
	case c.Bearer == "expired":
		return application.Caller{}, domain.ErrTokenExpired
	case c.Bearer != "good":
		return application.Caller{}, domain.ErrUnauthenticated
	}
	return application.Caller{Actor: actor, Tenant: tenant}, nil
}

func (f *fakeIdentity) Confirm(context.Context, application.Caller) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.revoke > 0 && f.asked >= f.revoke {
		return domain.ErrUnauthenticated
	}
	return f.confirm
}

// set changes what the fake says, while sockets ask it.
func (f *fakeIdentity) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// fakeLimits allows everything until the test says otherwise.
type fakeLimits struct {
	mu      sync.Mutex
	address domain.Allowance // what Address says; the zero value stands for OK
	frames  int              // how many frames are allowed; 0 = all
	taken   int
	failed  []string
}

func (f *fakeLimits) Address(context.Context, string) domain.Allowance {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.address.Limit == 0 {
		return domain.Allowance{OK: true, Limit: 50, Remaining: 50 - len(f.failed)}
	}
	return f.address
}

func (f *fakeLimits) Failed(_ context.Context, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, address)
}

func (f *fakeLimits) failures() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.failed)
}

// bar makes every address one that has failed too often.
func (f *fakeLimits) bar() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.address = domain.Allowance{Limit: 50}
}

func (f *fakeLimits) Frame(context.Context, application.Caller) domain.Allowance {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.taken++; f.frames > 0 && f.taken > f.frames {
		return domain.Allowance{Limit: 1, RetryAfter: 1500*time.Microsecond + 250*time.Millisecond}
	}
	return domain.Allowance{OK: true}
}

// fakeFanout keeps the peers it made.
type fakeFanout struct {
	mu    sync.Mutex
	err   error // of Connect
	start error // of Start
	made  []*fakePeer

	confirmed *application.Delivery // of the peers
}

func (f *fakeFanout) Connect(_ context.Context, _ application.Caller, client application.Client, sink ports.Sink) (peer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	p := &fakePeer{client: client, sink: sink, start: f.start, confirmed: f.confirmed, events: make(chan string, 8)}
	f.made = append(f.made, p)
	return p, nil
}

func (f *fakeFanout) Epoch() domain.Epoch { return "epoch-1" }

// peer is the n-th peer that connected.
func (f *fakeFanout) peer(n int) *fakePeer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.made[n]
}

// fakePeer tells on events what was called.
type fakePeer struct {
	client application.Client
	sink   ports.Sink
	start  error
	events chan string

	confirmed *application.Delivery // when set, told instead of keeping

	mu    sync.Mutex
	wrote []ports.Frame
}

func (p *fakePeer) say(what string) {
	select {
	case p.events <- what:
	default:
	}
}

func (p *fakePeer) Start(_ context.Context, r *application.Resume) error {
	if r == nil {
		p.say("start")
		return p.start
	}
	p.say(fmt.Sprintf("resume %s %v %q", r.Epoch, r.Rooms, r.Cursor))
	if r.Cursor == "bad" {
		return domain.Invalid("cursor", "bad cursor")
	}
	return p.start
}

func (p *fakePeer) Subscribe(_ context.Context, room domain.RoomID, after *int64) (application.Subscribed, error) {
	if room == strangeRoom {
		return application.Subscribed{}, domain.ErrNotMember
	}
	if after == nil {
		return application.Subscribed{LastSeq: 7, LastRev: 9}, nil
	}
	return application.Subscribed{LastSeq: 7, LastRev: 9, Truncated: &domain.Gap{Room: room, FromSeq: *after + 1, ToSeq: 3}}, nil
}

func (p *fakePeer) Typing(_ context.Context, room domain.RoomID, action string) error {
	if room == strangeRoom {
		return domain.ErrNotMember
	}
	p.say("typing " + action)
	return nil
}

func (p *fakePeer) Renew(c application.Caller) { p.say("renew " + c.Credential) }

// Wrote keeps what was written, in order, or tells the application.
func (p *fakePeer) Wrote(f ports.Frame) {
	if p.confirmed != nil {
		p.confirmed.Wrote(application.Caller{}, p.client.Device, f)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrote = append(p.wrote, f)
}

// written is what Wrote was told so far.
func (p *fakePeer) written() []ports.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.wrote)
}

func (p *fakePeer) Drained()   { p.say("drained") }
func (p *fakePeer) Confirmed() {}
func (p *fakePeer) Close()     { p.say("closed") }

// await waits for a call, over others.
func (p *fakePeer) await(t *testing.T, what string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case got := <-p.events:
			if got == what {
				return
			}
		case <-limit:
			t.Fatalf("the peer was not told %q", what)
		}
	}
}

// fakeMessaging numbers messages and keeps their contents.
type fakeMessaging struct {
	mu       sync.Mutex
	contents []string
	gate     chan struct{} // when set, Send waits for it
}

var (
	knownRoom   = domain.RoomID{1}
	strangeRoom = domain.RoomID{2}
	knownNotice = domain.NotificationID{3}
)

func (f *fakeMessaging) Send(_ context.Context, c application.Caller, room domain.RoomID, d domain.Draft,
	_ *domain.Idempotency) (ports.Appended, error) {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		<-gate
	}
	switch {
	case d.Content == "fail":
		return ports.Appended{}, errors.New("disk: /var/lib/secret")
	case d.Content == "panic":
		panic("scripted")
	case room == strangeRoom:
		return ports.Appended{}, domain.ErrNotMember
	case d.Content == "tenant gone":
		return ports.Appended{}, domain.ErrUnauthenticated
	}
	if err := d.Check(domain.DefaultMaxMessage); err != nil {
		return ports.Appended{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contents = append(f.contents, d.Content)
	n := int64(len(f.contents))
	m := domain.Message{
		Room: room, Sender: c.User, SenderType: domain.SenderUser, Seq: n, Rev: n,
		Content: d.Content, Meta: d.Meta, ClientID: d.ClientID,
	}
	return ports.Appended{Message: m, Duplicate: d.ClientID == "again"}, nil
}

type fakeDelivery struct {
	mu   sync.Mutex
	acks []string
}

func (f *fakeDelivery) AckSoon(_ context.Context, _ application.Caller, _ domain.RoomID, device domain.DeviceID,
	seq, rev int64) error {
	if seq > 100 {
		return domain.Invalid("seq", "seq must be between 0 and the room's last_seq")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acks = append(f.acks, fmt.Sprintf("%s/%d/%d", device, seq, rev))
	return nil
}

func (f *fakeDelivery) ReadSoon(ctx context.Context, c application.Caller, room domain.RoomID, device domain.DeviceID, seq int64) error {
	if room == strangeRoom {
		return domain.ErrNotMember
	}
	return f.AckSoon(ctx, c, room, "read by "+device, seq, 0)
}

func (f *fakeDelivery) AckNotices(_ context.Context, c application.Caller, device domain.DeviceID, ids []domain.NotificationID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if id != knownNotice {
			return domain.ErrNoNotification
		}
		f.acks = append(f.acks, fmt.Sprintf("%s's %s/%s", c.User, device, id))
	}
	return nil
}

// client is a socket of a test: gorilla's client, which checks all framing.
type client struct {
	t testing.TB
	*websocket.Conn
}

// dialPipe opens a socket over an in-memory connection, for tests in synctest bubbles.
func (f *fixture) dialPipe(t testing.TB, query string) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	go f.servePipe(theirs)
	ws, res, err := dialerOver(ours).Dial("ws://chat.example/ws?token=good&"+query, nil)
	if err != nil {
		t.Fatalf("handshake: %v (%v)", err, res)
	}
	t.Cleanup(func() { _ = ours.Close() })
	return &client{t, ws}
}

// dialerOver does its handshake on a connection that stands.
func dialerOver(conn net.Conn) *websocket.Dialer {
	return &websocket.Dialer{
		NetDial: func(string, string) (net.Conn, error) { return conn, nil }, ReadBufferSize: 1024, WriteBufferSize: 1024,
	}
}

func (f *fixture) servePipe(conn net.Conn) {
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	f.ServeHTTP(&pipeWriter{httptest.NewRecorder(), conn, in}, r)
}

type pipeWriter struct {
	*httptest.ResponseRecorder
	conn net.Conn
	in   *bufio.Reader
}

func (w *pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.in, bufio.NewWriter(w.conn)), nil
}

// listen starts a real server.
func (f *fixture) listen(t testing.TB) string {
	t.Helper()
	f.server = httptest.NewServer(f.Handler)
	t.Cleanup(f.server.Close)
	return "ws" + strings.TrimPrefix(f.server.URL, "http")
}

// dial opens a socket over TCP.
func (f *fixture) dial(t testing.TB, query string) *client {
	t.Helper()
	if f.server == nil {
		f.listen(t)
	}
	dialer := websocket.Dialer{HandshakeTimeout: 10 * time.Second}
	target := "ws" + strings.TrimPrefix(f.server.URL, "http") + "/ws?token=good&" + query
	ws, res, err := dialer.Dial(target, nil)
	if err != nil {
		t.Fatalf("handshake: %v (%v)", err, res)
	}
	t.Cleanup(func() { _ = ws.Close() })
	return &client{t, ws}
}

// greeted reads the connected frame.
func (c *client) greeted() *client {
	c.t.Helper()
	if got := c.next()["type"]; got != "connected" {
		c.t.Fatalf("first frame: got %v, want connected", got)
	}
	return c
}

// next reads one frame.
func (c *client) next() map[string]any {
	c.t.Helper()
	kind, raw, err := c.ReadMessage()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	var frame map[string]any
	if err := json.Unmarshal(raw, &frame); err != nil || kind != websocket.TextMessage {
		c.t.Fatalf("frame of kind %d: %v: %s", kind, err, raw)
	}
	return frame
}

// say sends one text frame.
func (c *client) say(frame string) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// ending reads until the socket ends, and returns the close code and reason; 1006 when the connection was lost.
func (c *client) ending() (int, string) {
	for {
		_, _, err := c.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) {
			return closed.Code, closed.Text
		}
		if err != nil {
			return closeAbnormal, err.Error()
		}
	}
}

// wantClose reads until the socket ends with a code.
func (c *client) wantClose(code int) {
	c.t.Helper()
	if got, reason := c.ending(); got != code {
		c.t.Fatalf("close: got %d (%s), want %d", got, reason, code)
	}
}

// event is a frame as the fan-out pushes it, with a payload of about size bytes.
func event(n, size int) ports.Frame {
	return ports.Frame{Bytes: textFrame(func(dst []byte) []byte {
		dst = fmt.Appendf(dst, `{"type":"message","seq":%d,"content":"`, n)
		return append(append(dst, strings.Repeat("x", size)...), `"}`...)
	})}
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }
