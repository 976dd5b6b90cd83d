package chats

import (
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// exchange is one call and its answer.
type exchange struct {
	http.ResponseWriter
	h      *Handler
	r      *http.Request
	params map[string]string // of the path
	caller application.Caller
}

// reply is a successful answer.
type reply struct {
	status int
	body   []byte
}

// route is one method of one path; {…} stands for any segment.
type route struct {
	method string
	path   string
	handle func(*exchange) (reply, error)
}

// routes is the whole REST interface; api/openapi.yaml has the same set. A slash at the end of a path changes nothing. The
// first that matches counts.
var routes = []route{
	{http.MethodPost, api.ChatsPath, (*exchange).createChat},
	{http.MethodGet, api.ChatsPath + "/user/{user_id}", (*exchange).listChats},
	{http.MethodGet, api.ChatsPath + "/{chat_id}", (*exchange).getChat},
	{http.MethodDelete, api.ChatsPath + "/{chat_id}", (*exchange).deleteChat},
	{http.MethodGet, api.ChatsPath + "/{chat_id}/messages", (*exchange).listMessages},
}

// serveREST answers a call. Whatever goes wrong has one shape here, paths and methods that do not exist too.
func (h *Handler) serveREST(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, h: h, r: r}
	defer x.recoverPanic()
	rt, allowed := x.find()
	switch {
	case rt == nil && allowed == nil:
		x.fail(api.ErrNoRoute)
		return
	case rt == nil:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		x.fail(api.ErrMethod)
		return
	}
	if err := x.authenticate(); err != nil {
		x.fail(err)
		return
	}
	answer, err := rt.handle(x)
	if err != nil {
		x.fail(err)
		return
	}
	api.WriteJSON(x, answer.status, answer.body)
}

// find matches on the escaped path: a %2F is part of a segment. Without a route it tells the methods that the path has.
func (x *exchange) find() (rt *route, allowed []string) {
	path := strings.Split(api.Bare(x.r.URL.EscapedPath()), "/")
	for i := range routes {
		params, ok := match(strings.Split(routes[i].path, "/"), path)
		if !ok {
			continue
		}
		method := x.r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if routes[i].method == method {
			x.params, x.r.Pattern = params, routes[i].method+" "+routes[i].path // as logs have the native ones
			return &routes[i], nil
		}
		if allowed = append(allowed, routes[i].method); routes[i].method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return nil, allowed
}

func match(pattern, path []string) (params map[string]string, ok bool) {
	if len(pattern) != len(path) {
		return nil, false
	}
	params = map[string]string{}
	for i, want := range pattern {
		name, isParam := strings.CutPrefix(want, "{")
		if !isParam {
			if want != path[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(path[i])
		if err != nil || value == "" {
			return nil, false
		}
		params[strings.TrimSuffix(name, "}")] = value
	}
	return params, true
}

// authenticate proves the caller, within the limits of the client's address before, and of the tenant's chats after.
func (x *exchange) authenticate() error {
	ctx := x.r.Context()
	address := api.ClientAddress(x.r, x.h.Config.TrustedProxies)
	if err := api.Obey(x.Header(), x.h.Limits.Address(ctx, address)); err != nil {
		return err
	}
	given, err := api.RequestCredentials(x.r)
	if err == nil {
		x.caller, err = x.h.Identity.Authenticate(ctx, application.Credentials(given))
	}
	if domain.CodeOf(err) == domain.CodeAuthentication {
		x.h.Limits.Failed(ctx, address)
		api.SetRateLimit(x.Header(), x.h.Limits.Address(ctx, address), time.Now())
	}
	if err != nil {
		return err
	}
	api.AllowOrigin(x.Header(), x.r, x.caller.Tenant.Config.AllowedOrigins)
	return api.Obey(x.Header(), x.h.Limits.Chat(ctx, x.caller))
}

// fail answers an error. What is not the client's business is logged here, once, and answered as internal.
func (x *exchange) fail(err error) {
	e, ours := api.ClientError(err)
	if ours {
		x.h.Logger.Error("request failed", "error", err, "request_id", x.id(), "route", x.r.Pattern)
	}
	writeError(x, api.Statuses[e.Code], e)
}

func (x *exchange) id() string { return x.Header().Get(api.HeaderRequestID) }

// recoverPanic answers 500 and logs the cause once, with the id the client gets.
func (x *exchange) recoverPanic() {
	if cause := recover(); cause != nil {
		x.h.Logger.Error("panic in a request", "panic", cause, "request_id", x.id(), "route", x.r.Pattern, "stack", string(debug.Stack()))
		writeError(x, http.StatusInternalServerError, api.ErrInternal)
	}
}
