package httpapi

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/ports"
)

// Deps are what the interface calls. All but WebSocket and Chats are required.
type Deps struct {
	Identity      *application.Identity
	Messaging     *application.Messaging
	Rooms         *application.Rooms
	Delivery      *application.Delivery
	Users         *application.Users
	Presence      *application.Presence
	Tenancy       *application.Tenancy
	Limits        *application.Limits
	DeadLetters   *application.DeadLetters
	Notifications *application.Notifications
	Subscriptions *application.Subscriptions
	Bots          *application.Bots
	Prober        ports.Prober
	IDs           ports.IDs
	Logger        *slog.Logger
	Draining      func() bool     // readiness answers 503 while it returns true
	Missing       func() []string // what the server goes on without now: /health says that it is degraded
	Docs          http.Handler    // answers /docs and what lies below it
	WebSocket     http.Handler    // mounted at /ws and /v1/ws as it is: no middleware, no wrapped writer; nil leaves both out
	Chats         http.Handler    // answers api.ChatsPath and what lies below it behind the same headers and CORS, and api.ChatSocketPath as it is; under /v1 too; nil leaves all out
	Config        Config
}

// Config is what an operator sets.
type Config struct {
	Version          string         // told by /health
	AllowedOrigins   []string       // exact origins, for all tenants; api.AnyOrigin counts only with Dev
	Dev              bool           // browsers may send API keys
	TrustedProxies   []netip.Prefix // whose X-Forwarded-For is believed
	DefaultRateLimit int            // calls a second of tenants that have no rate_limit, as the operator is told it
}

// handler answers every request of the public listener.
type handler struct {
	Deps
	mux     *http.ServeMux
	origins *tenantOrigins
	probe   *probe
	started time.Time
}

// New builds the handler of the public listener.
func New(d Deps) http.Handler {
	d.Config.AllowedOrigins = api.Origins(d.Config.AllowedOrigins, d.Config.Dev)
	h := &handler{
		Deps:    d,
		mux:     http.NewServeMux(),
		origins: newTenantOrigins(d.Tenancy, d.Logger),
		probe:   newProbe(d.Prober, d.Logger),
		started: time.Now(),
	}
	h.mount()
	return h
}

// isChats reports whether a path is the chats API's, which answers in shapes of its own, unknown paths too.
func (h *handler) isChats(path string) bool {
	rest, ok := strings.CutPrefix(api.Bare(path), api.ChatsPath)
	return ok && h.Chats != nil && (rest == "" || rest[0] == '/')
}

// ServeHTTP implements http.Handler. Sockets leave before anything wraps the writer they hijack.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.WebSocket != nil && (r.URL.Path == "/ws" || r.URL.Path == api.VersionPrefix+"/ws") {
		h.WebSocket.ServeHTTP(w, r)
		return
	}
	if h.Chats != nil && api.Bare(r.URL.Path) == api.ChatSocketPath {
		h.Chats.ServeHTTP(w, r)
		return
	}
	h.serveREST(w, r)
}
