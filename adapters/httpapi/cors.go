package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// What pages of a listed origin may send and read.
const (
	allowedMethods  = "GET, POST, PUT, PATCH, DELETE"
	allowedHeaders  = "Authorization, Content-Type, Idempotency-Key"
	keyHeaders      = ", X-API-Key, X-User-Id"
	preflightMaxAge = "600" // seconds
)

// handleCORS marks answers to pages of the operator's origins and answers preflights, which it reports.
//
// A preflight carries no credentials, so it cannot know its tenant: it is answered by the operator's list plus the
// lists of all tenants. That gives nothing away but that some tenant lists an origin. What decides is the answer to
// the request itself: only the operator's list and the caller's own tenant's (see authenticate) open it to the page.
func (h *handler) handleCORS(x *exchange) (answered bool) {
	x.allowOrigin(h.Config.AllowedOrigins)
	if x.r.Method != http.MethodOptions || x.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header := x.Header()
	header.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	allowKeys := h.Config.Dev
	if origin := x.origin(); origin != "" {
		listed := h.origins.of(x.r.Context(), origin)
		allowKeys = allowKeys || listed.browserKeys
		x.allowOrigin(listed.asList(origin))
	}
	if header.Get("Access-Control-Allow-Origin") != "" {
		header.Set("Access-Control-Allow-Methods", allowedMethods)
		header.Set("Access-Control-Allow-Headers", requestHeaders(allowKeys))
		header.Set("Access-Control-Max-Age", preflightMaxAge)
	}
	x.WriteHeader(http.StatusNoContent)
	return true
}

func requestHeaders(withKeys bool) string {
	if withKeys {
		return allowedHeaders + keyHeaders
	}
	return allowedHeaders
}

// origin is the request's only Origin header; two are none.
func (x *exchange) origin() string { return api.Origin(x.r) }

func (x *exchange) allowOrigin(list []string) { api.AllowOrigin(x.Header(), x.r, list) }

// tenantOrigins remembers which origins any tenant lists. Anybody may ask, and an unknown origin costs the same as a
// known one: all tenants are read at most once in originMemory, however many ask and whatever they ask for, plus once
// after each change that the operator makes through this interface. The reading is by pages of originPage tenants and
// takes well under a second for ten thousand of them. So an origin that was listed or removed in any other way, as by
// a command, is known to preflights within originMemory.
type tenantOrigins struct {
	tenancy *application.Tenancy
	log     *slog.Logger
	turn    chan struct{} // held by the one who reads
	changes atomic.Int64  // counts what makes the table out of date
	known   atomic.Pointer[originTable]
}

type originTable struct {
	read    time.Time // zero: never
	changes int64     // of tenantOrigins, when the reading began
	origins map[string]listing
}

// listing is what tenants say of one origin.
type listing struct {
	listed      bool
	browserKeys bool // one of the tenants that list it lets its pages send API keys
}

const (
	originMemory  = 30 * time.Second
	originTimeout = 10 * time.Second // of one reading
	originPage    = 500
)

func newTenantOrigins(tenancy *application.Tenancy, log *slog.Logger) *tenantOrigins {
	t := &tenantOrigins{tenancy: tenancy, log: log, turn: make(chan struct{}, 1)}
	t.known.Store(&originTable{})
	return t
}

func (l listing) asList(origin string) []string {
	if !l.listed {
		return nil
	}
	return []string{origin}
}

// changed is told of every change of a tenant, so that the next preflight sees it.
func (t *tenantOrigins) changed() { t.changes.Add(1) }

func (t *tenantOrigins) of(ctx context.Context, origin string) listing {
	if table := t.known.Load(); t.isCurrent(table) {
		return table.origins[origin]
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return listing{}
	}
	if !t.isCurrent(t.known.Load()) { // else somebody else has read meanwhile
		t.read(ctx)
	}
	return t.known.Load().origins[origin]
}

func (t *tenantOrigins) isCurrent(table *originTable) bool {
	return time.Since(table.read) < originMemory && table.changes == t.changes.Load()
}

// read replaces the table. It goes on when its client has left, and counts when it has failed: neither may make it
// happen more often.
func (t *tenantOrigins) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), originTimeout)
	defer cancel()
	table := &originTable{changes: t.changes.Load(), origins: map[string]listing{}}
	if err := t.readAll(ctx, table); err != nil {
		t.log.Warn("origins of tenants not read", "error", err)
		table.origins = t.known.Load().origins
	}
	table.read = time.Now()
	t.known.Store(table)
}

func (t *tenantOrigins) readAll(ctx context.Context, table *originTable) error {
	for offset := 0; ; offset += originPage {
		tenants, more, err := t.tenancy.List(ctx, offset, originPage)
		if err != nil {
			return err
		}
		for _, tenant := range tenants {
			table.add(tenant.Config)
		}
		if !more {
			return nil
		}
	}
}

func (o *originTable) add(c domain.TenantConfig) {
	keys := c.AllowBrowserKeys != nil && *c.AllowBrowserKeys
	for _, origin := range c.AllowedOrigins {
		o.origins[origin] = listing{listed: true, browserKeys: keys || o.origins[origin].browserKeys}
	}
}
