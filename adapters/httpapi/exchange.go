package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// exchange is one request and its answer. It is the writer that handlers behind the mux are given.
type exchange struct {
	http.ResponseWriter
	r        *http.Request
	id       string             // of X-Request-Id; ours, never the client's
	status   int                // 0 until the header is written
	client   string             // where it comes from, see api.ClientAddress
	spare    domain.Allowance   // how many failed authentications the client has left
	caller   application.Caller // with a tenant's credential
	operator bool               // with the master key; then there is no caller
}

// reply is a successful answer. A nil body goes with a status that has none.
type reply struct {
	status int
	body   []byte
}

func noContent() reply { return reply{status: http.StatusNoContent} }

// requestTimeout ends what waits for the store before the listener's WriteTimeout cuts the connection without an
// answer.
const requestTimeout = 25 * time.Second

func (h *handler) serveREST(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	x := &exchange{ResponseWriter: w, r: r.WithContext(ctx), id: "req_" + h.IDs.NewUUID().String()}
	defer h.logAccess(x, time.Now())
	defer h.recoverPanic(x)
	api.SetFixedHeaders(w.Header(), x.id)
	h.meetClient(x)
	switch {
	case h.handleCORS(x):
	case h.isChats(r.URL.Path):
		h.Chats.ServeHTTP(x, x.r)
	case !isClean(r.URL.EscapedPath()):
		h.fail(x, api.ErrNoRoute)
	default:
		h.mux.ServeHTTP(x, x.r)
	}
}

// serve proves the caller, runs a route's handler and writes what it returns.
func (h *handler) serve(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		x.r = r
		if err := h.authenticate(x, rt.access); err != nil {
			h.fail(x, err)
			return
		}
		answer, err := rt.handle(h, x)
		if err != nil {
			h.fail(x, err)
			return
		}
		x.answer(answer)
	}
}

// answer writes a reply, in an envelope when the client asked for one.
func (x *exchange) answer(a reply) {
	if a.body == nil {
		x.WriteHeader(a.status)
		return
	}
	if a.status < 300 && strings.EqualFold(x.r.Header.Get("X-Response-Envelope"), "true") {
		a.body = append(append([]byte(`{"success":true,"data":`), a.body...), `,"error":null}`...)
	}
	api.WriteJSON(x, a.status, a.body)
}

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	x.status = status
	x.ResponseWriter.WriteHeader(status)
}

// pathPrefix is /v1 when the client spoke to it, so that links stay in the version they came from.
func (x *exchange) pathPrefix() string {
	if strings.HasPrefix(x.r.URL.Path, api.VersionPrefix+"/") {
		return api.VersionPrefix
	}
	return ""
}

// recoverPanic answers 500 and logs the cause once, with the id the client gets.
func (h *handler) recoverPanic(x *exchange) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	h.Logger.Error("panic in a request", "panic", cause, "request_id", x.id, "route", x.r.Pattern,
		"stack", string(debug.Stack()))
	if x.status == 0 {
		x.writeError(api.ErrInternal)
	}
}

// logAccess tells which routes are used and how they fare. Paths and queries stay out: they hold ids.
func (h *handler) logAccess(x *exchange, start time.Time) {
	h.Logger.LogAttrs(x.r.Context(), slog.LevelDebug, "request",
		slog.String("method", x.r.Method), slog.String("route", x.r.Pattern), slog.Int("status", x.status),
		slog.Duration("duration", time.Since(start)), slog.String("request_id", x.id))
}
