package rest_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/chats"
	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/adapters/ws"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

const (
	masterKey = "master-key-of-the-tests-0123456789"
	jwtSecret = "jwt-secret-of-the-tests-0123456789"
	lentKey   = "model-key-of-the-tests-0123456789" // of the operator's, to bots
)

// fixture is a server of its own, with one tenant and its API key.
type fixture struct {
	t        *testing.T
	url      string
	deps     httpapi.Deps
	log      *lockedBuffer
	canary   *harness.Canary
	tenant   string
	key      string
	draining *atomic.Bool
	without  atomic.Pointer[[]string] // what /health is to say is missing
	online   ports.Presence
	store    store
	courier  *application.Courier
	settled  chan struct{} // the outcome of a call to a webhook is stored
	signing  struct {
		once        sync.Once
		kid, secret string
	}
}

// option changes what the handler is built from.
type option func(*httpapi.Deps)

func newFixture(t *testing.T, options ...option) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &lockedBuffer{}, draining: &atomic.Bool{}, settled: make(chan struct{}, 100)}
	f.canary = harness.NewCanary(masterKey, jwtSecret, lentKey)
	f.deps = f.wire(slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, o := range options {
		o(&f.deps)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = httpapi.Server("", httpapi.New(f.deps), f.deps.Logger)
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(f.wantNothingSeen)
	f.url = server.URL
	f.tenant, f.key = f.newTenant("Acme", "{}")
	return f
}

func (f *fixture) wire(log *slog.Logger) httpapi.Deps {
	on := newAdapters(f.t, log)
	store, bus := on.store, on.bus
	f.store, f.online = store, on.presence
	sealer, err := secrets.New(make([]byte, 32))
	if err != nil {
		f.t.Fatal(err)
	}
	clock, ids := system.Clock{}, system.IDs{}
	frames := ws.Encoder{}
	identity := application.NewIdentity(store, store, token.New(), on.tickets, sealer, ids, clock,
		application.IdentityConfig{MasterKey: masterKey, JWTSecret: jwtSecret})
	usage, upkeep := application.NewUsage(store, clock, log), application.NewUpkeep(store, store, identity, log)
	store.OnCommit(usage.Committed)
	allow, err := outbound.ParseAllow([]string{"webhook=127.0.0.1"})
	if err != nil {
		f.t.Fatal(err)
	}
	places := outbound.New(outbound.Config{Allow: allow, Log: log})
	f.t.Cleanup(places.Close)
	tenancy := application.NewTenancy(store, store, store, sealer, ids, clock,
		application.NewRevocations(bus, identity, twoSockets{}, places, log), usage, upkeep, twoSockets{}, places)
	f.courier = application.NewCourier(settling{store, f.settled}, store, identity, f.online, places, sealer, ids,
		httpapi.WebhookEncoder{}, tenancy, clock, log, application.CourierConfig{
			Retry: domain.Retry{Max: domain.DefaultRetryMax, Interval: domain.DefaultRetryInterval}, Idle: time.Minute,
		})
	hints := application.NewHints(bus, frames, log)
	runner := application.NewRunner(application.RunnerDeps{ // it makes no runs: nobody has it Run
		Outbox: store, Log: store, Store: store, Tenants: identity, LLM: llm.New(places), Courier: f.courier, Encoder: httpapi.WebhookEncoder{},
		Sealer: sealer, Bus: bus, IDs: ids, Clock: clock, Usage: usage, Logger: log, Config: application.RunnerConfig{
			Keys: map[string]application.OperatorKey{"LENT_KEY": {Origin: "https://llm.example.com", Key: ports.NewSecret(lentKey)}},
		},
	})
	messaging, rooms := application.NewMessaging(store, store, identity, ids, clock, f.courier, runner), application.NewRooms(store, ids, clock, upkeep)
	delivery, presence := application.NewDelivery(store, hints, clock, log), application.NewPresence(store, f.online, bus, frames, ids, clock, log)
	fanout := application.NewFanout(store, store, bus, frames, delivery, presence, hints, usage, identity, ids, clock, log, application.FanoutConfig{})
	limits := application.NewLimits(on.limiter, identity, usage, application.LimitsConfig{PerSecond: defaultRate})
	talks := application.NewChats(store, rooms, messaging, fanout, identity, f.online, application.NewSlots(f.online, ids, log), ids, clock, log)
	return httpapi.Deps{
		Chats: chats.New(chats.Deps{
			Identity: identity, Chats: talks, Limits: limits, Clock: clock, IDs: ids, Logger: log,
		}),
		Identity:      identity,
		Messaging:     messaging,
		Rooms:         rooms,
		Delivery:      delivery,
		Users:         application.NewUsers(store),
		Presence:      presence,
		Tenancy:       tenancy,
		DeadLetters:   application.NewDeadLetters(store, identity, ids, clock, f.courier, hints, places),
		Notifications: application.NewNotifications(store, store, ids, clock, f.courier, log),
		Subscriptions: application.NewSubscriptions(store, places, ids, clock),
		Bots:          application.NewBots(store, places, sealer, ids, clock, runner),
		Limits:        limits,
		Prober:        store,
		IDs:           ids,
		Logger:        log,
		Draining:      f.draining.Load,
		Missing:       f.missing,
		Docs:          http.HandlerFunc(docs),
		Config: httpapi.Config{
			Version: "1.2.3", AllowedOrigins: []string{"https://operator.example"}, DefaultRateLimit: defaultRate,
		},
	}
}

// defaultRate is never reached here by a tenant that has no limit of its own.
const defaultRate = 100_000

// docs is a page that tells its path.
func docs(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=60")
	_, _ = io.WriteString(w, "page "+r.URL.Path)
}

// twoSockets are the open ones of every tenant.
type twoSockets struct{}

func (twoSockets) CloseCredential(domain.TenantID, string) {}
func (twoSockets) OpenSockets(domain.TenantID) int         { return 2 }
func (twoSockets) Credentials() []application.Caller       { return nil }

// wantNothingSeen fails when a credential or a text of the test is in the log, in an error, or in the dead letters of any
// tenant.
func (f *fixture) wantNothingSeen() {
	if list := f.operator().get("/admin/tenants?limit=100"); list.status == http.StatusOK {
		for _, tenant := range list.list() {
			f.operator().get("/admin/dead-letters?limit=1000&tenant_id=" + url.QueryEscape(tenant["tenant_id"].(string)))
		}
	}
	f.canary.Seen(harness.InLog, []byte(f.log.String()))
	for _, hit := range f.canary.Hits() {
		f.t.Error(hit)
	}
}

// newTenant makes a tenant with a config and returns its id and key.
func (f *fixture) newTenant(name, config string) (id, key string) {
	f.t.Helper()
	made := f.operator().post("/admin/tenants", `{"name":"`+name+`","config":`+config+`}`).want(http.StatusCreated).object()
	return made["tenant_id"].(string), made["api_key"].(string)
}

// client sends requests with the same headers.
type client struct {
	f       *fixture
	headers []string // name, value, …
}

func (f *fixture) anonymous() client      { return client{f: f} }
func (f *fixture) operator() client       { return client{f, []string{"X-Master-Key", masterKey}} }
func (f *fixture) backend() client        { return client{f, []string{"X-API-Key", f.key}} }
func (f *fixture) user(id string) client  { return f.backend().with("X-User-Id", id) }
func (f *fixture) bearer(t string) client { return f.anonymous().with("Authorization", "Bearer "+t) }

func (c client) with(headers ...string) client {
	return client{c.f, append(append([]string(nil), c.headers...), headers...)}
}

func (c client) get(path string) *answer        { return c.send(http.MethodGet, path, "") }
func (c client) post(path, body string) *answer { return c.send(http.MethodPost, path, body) }
func (c client) del(path string) *answer        { return c.send(http.MethodDelete, path, "") }

func (c client) put(path, body string) *answer   { return c.send(http.MethodPut, path, body) }
func (c client) patch(path, body string) *answer { return c.send(http.MethodPatch, path, body) }

// send makes a request, validates its answer and returns it.
func (c client) send(method, path, body string) *answer {
	t := c.f.t
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, c.f.url+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(c.headers); i += 2 {
		r.Header.Add(c.headers[i], c.headers[i+1])
	}
	got, err := noRedirects.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	content, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	c.f.canary.Exchange(r, []byte(body), got.StatusCode, content)
	if err := harness.CheckAnswer(r, got.StatusCode, got.Header, content); err != nil {
		t.Error(err)
	}
	return &answer{t, method + " " + path, got.StatusCode, got.Header, content}
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// answer is what came back.
type answer struct {
	t       *testing.T
	request string
	status  int
	header  http.Header
	body    []byte
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.request, a.status, status, a.body)
	}
	return a
}

// wantError checks status, code and field of an error.
func (a *answer) wantError(status int, code domain.Code, field string) *answer {
	a.t.Helper()
	var got struct {
		Error struct {
			Code  domain.Code
			Field string
		}
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		a.t.Fatalf("%s: %d %q: %v", a.request, a.status, a.body, err)
	}
	if a.status != status || got.Error.Code != code || got.Error.Field != field {
		a.t.Errorf("%s: %d %s, want %d %s field %q", a.request, a.status, a.body, status, code, field)
	}
	return a
}

func (a *answer) invalid(field string) {
	a.t.Helper()
	a.wantError(http.StatusBadRequest, domain.CodeValidation, field)
}

func (a *answer) object() map[string]any {
	a.t.Helper()
	var v map[string]any
	a.decode(&v)
	return v
}

func (a *answer) list() []map[string]any {
	a.t.Helper()
	var v []map[string]any
	a.decode(&v)
	if v == nil {
		a.t.Errorf("%s: %s, want an array", a.request, a.body)
	}
	return v
}

func (a *answer) decode(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: %d %q: %v", a.request, a.status, a.body, err)
	}
}

// withoutRequestID is the body with the id of the request taken out, for comparing answers.
func (a *answer) withoutRequestID() string {
	return strings.ReplaceAll(string(a.body), a.header.Get("X-Request-Id"), "req_")
}

// newMessage sends a message as a user and returns its id.
func (f *fixture) newMessage(sender, room, content string) string {
	f.t.Helper()
	in, err := json.Marshal(map[string]any{"content": harness.Body("%s", content)})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.user(sender).post("/rooms/"+room+"/messages", string(in)).want(http.StatusCreated).object()["message_id"].(string)
}

// newRoom makes a group with a user as its admin and returns its id.
func (f *fixture) newRoom(admin string, members ...string) string {
	f.t.Helper()
	in, err := json.Marshal(map[string]any{"type": "group", "members": members})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.user(admin).post("/rooms", string(in)).want(http.StatusCreated).object()["room_id"].(string)
}

// lockedBuffer is a log that tests read while the server writes.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// missing is what the server goes on without.
func (f *fixture) missing() []string {
	if names := f.without.Load(); names != nil {
		return *names
	}
	return nil
}
