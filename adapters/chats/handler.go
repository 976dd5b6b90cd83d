package chats

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/ports"
)

// Deps are what the handler calls and is told.
type Deps struct {
	Identity *application.Identity
	Chats    *application.Chats
	Limits   *application.Limits
	Clock    ports.Clock
	IDs      ports.IDs
	Logger   *slog.Logger
	Config   Config
}

// Config is the operator's.
type Config struct {
	AllowedOrigins []string // exact origins of pages that may open sockets, for all tenants; api.AnyOrigin counts only with Dev
	Dev            bool
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
}

// Handler answers api.ChatsPath, what lies below it, and api.ChatSocketPath. Calls come to it with the headers that every answer has and
// those of CORS for the operator's origins; sockets with no writer wrapped. Mount it, Run it, and Drain it before Run's
// context ends.
type Handler struct {
	Deps
	draining atomic.Bool
	slots    chan struct{} // of sockets that are being opened
	partings chan struct{} // of refused ones that wait for their client's goodbye
	sessions sync.WaitGroup
	stats    counters

	mu   sync.Mutex
	open map[*session]struct{}
	shut bool // no more sessions
}

// Stats are the sockets open now, and counters since the start.
type Stats struct {
	Open     int
	Accepted int64 // upgrades
	Refused  int64 // sockets that were told why not, and closed
	Received int64 // frames of clients
	Events   int64 // written
}

type counters struct{ accepted, refused, received, events atomic.Int64 }

// New wires the handler.
func New(d Deps) *Handler {
	d.Config.AllowedOrigins = api.Origins(d.Config.AllowedOrigins, d.Config.Dev)
	return &Handler{Deps: d, slots: make(chan struct{}, handshakes), partings: make(chan struct{}, handshakes), open: map[*session]struct{}{}}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isSocket(r) {
		h.serveSocket(w, r)
		return
	}
	h.serveREST(w, r)
}

// isSocket reports whether a request is for the socket.
func isSocket(r *http.Request) bool {
	return api.Bare(r.URL.Path) == api.ChatSocketPath
}

// Run holds the sockets until ctx ends; then it ends those that are left.
func (h *Handler) Run(ctx context.Context) error {
	<-ctx.Done()
	for _, s := range h.close() {
		s.hangUp()
	}
	h.sessions.Wait()
	return nil
}

// Drain ends all sockets in peace: new ones are refused with 503, each open one finishes the message it is at and gets what
// is queued for it and close 1001. Drain returns when all are gone; after timeout, or when ctx ends, it cuts the rest.
func (h *Handler) Drain(ctx context.Context, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, s := range h.close() {
		s.leave()
	}
	gone := make(chan struct{})
	go func() {
		h.sessions.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return
	case <-ctx.Done():
	}
	for _, s := range h.close() {
		s.hangUp()
	}
	<-gone
}

// close refuses new sessions, and returns those there are.
func (h *Handler) close() []*session {
	h.draining.Store(true)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut = true
	all := make([]*session, 0, len(h.open))
	for s := range h.open {
		all = append(all, s)
	}
	return all
}

// add registers a session; false when the server is draining.
func (h *Handler) add(s *session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return false
	}
	h.open[s] = struct{}{}
	h.sessions.Add(1)
	return true
}

func (h *Handler) remove(s *session) {
	h.mu.Lock()
	delete(h.open, s)
	h.mu.Unlock()
	h.sessions.Done()
}

// Stats reads the counters.
func (h *Handler) Stats() Stats {
	h.mu.Lock()
	open := len(h.open)
	h.mu.Unlock()
	c := &h.stats
	return Stats{
		Open: open, Accepted: c.accepted.Load(), Refused: c.refused.Load(), Received: c.received.Load(), Events: c.events.Load(),
	}
}
