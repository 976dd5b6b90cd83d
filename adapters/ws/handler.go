package ws

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Deps are what the handler calls and is told.
type Deps struct {
	Identity  *application.Identity
	Fanout    *application.Fanout
	Messaging *application.Messaging
	Delivery  *application.Delivery
	Limits    *application.Limits
	Clock     ports.Clock
	IDs       ports.IDs
	Logger    *slog.Logger
	Config    Config
}

// Config is the operator's.
type Config struct {
	AllowedOrigins []string // exact origins of pages that may open sockets, for all tenants; api.AnyOrigin counts only with Dev
	Dev            bool
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
}

// Handler serves /ws. Mount it, Run it, and Drain it before Run's context ends.
type Handler struct {
	identity  authenticator
	fanout    fanout
	messaging messaging
	delivery  delivery
	limits    limits
	clock     ports.Clock
	ids       ports.IDs
	log       *slog.Logger
	cfg       Config

	started  time.Time // of the monotonic clock that deadlines are on
	slots    chan struct{}
	draining atomic.Bool
	ready    *readyList
	registry registry
	sessions sync.WaitGroup // readers, and the writers of slow sockets
	stats    counters
}

// The use cases as the sockets use them.
type (
	authenticator interface {
		Authenticate(ctx context.Context, c application.Credentials) (application.Caller, error)
		Confirm(ctx context.Context, c application.Caller) error
	}
	fanout interface {
		Connect(ctx context.Context, caller application.Caller, client application.Client, sink ports.Sink) (peer, error)
		Epoch() domain.Epoch
	}
	peer interface {
		Start(ctx context.Context, resume *application.Resume) error
		Subscribe(ctx context.Context, room domain.RoomID, afterSeq *int64) (application.Subscribed, error)
		Typing(ctx context.Context, room domain.RoomID, action string) error
		Renew(c application.Caller)
		Drained()
		Wrote(f ports.Frame)
		Confirmed()
		Close()
	}
	messaging interface {
		Send(ctx context.Context, c application.Caller, room domain.RoomID, draft domain.Draft,
			key *domain.Idempotency) (ports.Appended, error)
	}
	delivery interface {
		AckSoon(ctx context.Context, c application.Caller, room domain.RoomID, device domain.DeviceID, seq, rev int64) error
		ReadSoon(ctx context.Context, c application.Caller, room domain.RoomID, device domain.DeviceID, seq int64) error
		AckNotices(ctx context.Context, c application.Caller, device domain.DeviceID, ids []domain.NotificationID) error
	}
	limits interface {
		Address(ctx context.Context, address string) domain.Allowance
		Failed(ctx context.Context, address string)
		Frame(ctx context.Context, c application.Caller) domain.Allowance
	}
)

// liveFanout is the application's fan-out behind the interface.
type liveFanout struct{ *application.Fanout }

func (f liveFanout) Connect(ctx context.Context, caller application.Caller, client application.Client, sink ports.Sink) (peer, error) {
	p, err := f.Fanout.Connect(ctx, caller, client, sink)
	if err != nil {
		return nil, err // not a nil *Peer in an interface
	}
	return p, nil
}

// New wires the handler.
func New(d Deps) *Handler {
	return newHandler(&Handler{
		identity: d.Identity, fanout: liveFanout{d.Fanout}, messaging: d.Messaging, delivery: d.Delivery,
		limits: d.Limits, clock: d.Clock, ids: d.IDs, log: d.Logger, cfg: d.Config,
	})
}

func newHandler(h *Handler) *Handler {
	h.cfg.AllowedOrigins = api.Origins(h.cfg.AllowedOrigins, h.cfg.Dev)
	h.started = time.Now()
	h.slots = make(chan struct{}, handshakes)
	h.ready = newReadyList()
	return h
}

// Run writes and watches until ctx ends; then it ends the sockets that are left.
func (h *Handler) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(newFlusher(h).run)
	}
	running.Go(func() { h.sweep(ctx) })
	<-ctx.Done()
	h.draining.Store(true)
	h.cut()
	h.sessions.Wait()
	h.ready.close()
	running.Wait()
	return nil
}

// now is the time since the start in nanoseconds, never 0: moments of deadlines, which no wall clock can move.
func (h *Handler) now() int64 { return int64(time.Since(h.started)) + 1 }
