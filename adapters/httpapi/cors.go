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
	exposedHeaders  = "Link, Location, X-Request-Id, Idempotency-Replayed, Retry-After"
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
func (x *exchange) origin() string {
	if values := x.r.Header.Values("Origin"); len(values) == 1 {
		return values[0]
	}
	return ""
}

// allowOrigin lets the page of the request read the answer when the list has its origin. There is no credentials
// mode: nothing a browser would attach by itself counts here.
func (x *exchange) allowOrigin(list []string) {
	if origin := x.origin(); api.OriginListed(origin, list) {
		x.Header().Set("Access-Control-Allow-Origin", origin)
		x.Header().Set("Access-Control-Expose-Headers", exposedHeaders)
	}
}

// tenantOrigins remembers which origins any tenant lists. A known one is believed for originMemory, an unknown one is
// looked up anew after unknownOriginMemory, so that a list just changed works at once and a flood of preflights costs
// one reading of the tenants a second.
type tenantOrigins struct {
	tenancy *application.Tenancy
	log     *slog.Logger
	turn    chan struct{} // held by the one who reads
	known   atomic.Pointer[originTable]
}

type originTable struct {
	read    time.Time
	origins map[string]listing
}

// listing is what tenants say of one origin.
type listing struct {
	listed      bool
	browserKeys bool // one of the tenants that list it lets its pages send API keys
}

const (
	originMemory        = 30 * time.Second
	unknownOriginMemory = time.Second
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

func (t *tenantOrigins) of(ctx context.Context, origin string) listing {
	if l, current := t.known.Load().lookup(origin); current {
		return l
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return listing{}
	}
	l, current := t.known.Load().lookup(origin)
	if current { // somebody else has read meanwhile
		return l
	}
	table, err := t.readAll(ctx)
	if err != nil {
		t.log.Warn("origins of tenants not read", "error", err)
		return l
	}
	t.known.Store(table)
	return table.origins[origin]
}

func (o *originTable) lookup(origin string) (l listing, current bool) {
	l = o.origins[origin]
	age := time.Since(o.read)
	return l, age < unknownOriginMemory || l.listed && age < originMemory
}

func (t *tenantOrigins) readAll(ctx context.Context) (*originTable, error) {
	const page = 500
	table := &originTable{read: time.Now(), origins: map[string]listing{}}
	for offset := 0; ; offset += page {
		tenants, more, err := t.tenancy.List(ctx, offset, page)
		if err != nil {
			return nil, err
		}
		for _, tenant := range tenants {
			table.add(tenant.Config)
		}
		if !more {
			return table, nil
		}
	}
}

func (o *originTable) add(c domain.TenantConfig) {
	keys := c.AllowBrowserKeys != nil && *c.AllowBrowserKeys
	for _, origin := range c.AllowedOrigins {
		o.origins[origin] = listing{listed: true, browserKeys: keys || o.origins[origin].browserKeys}
	}
}
