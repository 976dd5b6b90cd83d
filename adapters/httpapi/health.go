package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/chatapi/chatapi/ports"
)

type healthShape struct {
	Status     string   `json:"status"`
	Service    string   `json:"service"`
	Version    string   `json:"version"`
	Uptime     string   `json:"uptime"`
	DBWritable bool     `json:"db_writable"`
	Missing    []string `json:"missing,omitempty"` // what it goes on without
}

type statusShape struct {
	Status string `json:"status"`
}

// health makes a real write to the store, at most one a second. A server that goes on without something else is degraded,
// and good for use.
func (h *handler) health(x *exchange) (reply, error) {
	shape := healthShape{
		Status: "ok", Service: "chatapi", Version: h.Config.Version,
		Uptime: time.Since(h.started).Truncate(time.Second).String(), DBWritable: true,
	}
	if err := h.probe.check(x.r.Context()); err != nil {
		shape.Status, shape.DBWritable = "error", false
		return x.unhealthy(shape)
	}
	if shape.Missing = h.Missing(); len(shape.Missing) > 0 {
		shape.Status = "degraded"
	}
	return encoded(http.StatusOK, shape)
}

// live says that the process runs and answers.
func (h *handler) live(*exchange) (reply, error) {
	return encoded(http.StatusOK, statusShape{"ok"})
}

// ready says whether new connections should come here.
func (h *handler) ready(x *exchange) (reply, error) {
	if h.Draining() {
		return x.unhealthy(statusShape{"draining"})
	}
	return encoded(http.StatusOK, statusShape{"ok"})
}

func (x *exchange) unhealthy(shape any) (reply, error) {
	x.Header().Set("Retry-After", "1")
	return encoded(http.StatusServiceUnavailable, shape)
}

const (
	probeMemory  = time.Second
	probeTimeout = 5 * time.Second
)

// probe asks the store at most once per probeMemory; all who ask meanwhile wait for the same answer, none longer than
// probeTimeout: a disk that stands still is a store that cannot be written.
type probe struct {
	prober ports.Prober
	log    *slog.Logger

	mu   sync.Mutex
	last *probeRun
}

type probeRun struct {
	done chan struct{} // closed when at and err are set
	at   time.Time
	err  error
}

func newProbe(p ports.Prober, log *slog.Logger) *probe { return &probe{prober: p, log: log} }

func (p *probe) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	run := p.current()
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// current returns the run that answers now: one under way, one that is recent, or a new one.
func (p *probe) current() *probeRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && !p.last.isOld() {
		return p.last
	}
	p.last = &probeRun{done: make(chan struct{})}
	// The run outlives a caller that gives up, and is bounded by its own deadline while it waits for its turn.
	go p.last.ask(p.prober, p.log)
	return p.last
}

func (r *probeRun) isOld() bool {
	select {
	case <-r.done:
		return time.Since(r.at) >= probeMemory
	default:
		return false
	}
}

func (r *probeRun) ask(prober ports.Prober, log *slog.Logger) {
	defer close(r.done)
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if r.err = prober.Probe(ctx); r.err != nil {
		log.Warn("health probe failed", "error", r.err)
	}
	r.at = time.Now()
}
