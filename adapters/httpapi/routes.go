package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/chatapi/chatapi/api"
)

// route is one method of one path. Handlers are called with the caller proven as access demands.
type route struct {
	method string
	path   string
	access access
	handle func(*handler, *exchange) (reply, error)
}

// access is the credential a route asks for.
type access int

const (
	public   access = iota // none
	tenant                 // an API key, with or without a user, or a user's token
	operator               // the master key
	either                 // the master key, which stands for the tenant that the call names, or what tenant asks for
)

// routes is the whole REST interface; api/openapi.yaml has the same set. The pages below /docs are no part of it.
var routes = []route{
	{http.MethodGet, "/health", public, (*handler).health},
	{http.MethodGet, "/health/live", public, (*handler).live},
	{http.MethodGet, "/health/ready", public, (*handler).ready},
	{http.MethodGet, "/openapi.json", public, (*handler).openAPI},
	{http.MethodGet, "/asyncapi.json", public, (*handler).asyncAPI},

	{http.MethodPost, "/rooms", tenant, (*handler).createRoom},
	{http.MethodGet, "/rooms", tenant, (*handler).listRooms},
	{http.MethodGet, "/rooms/{room_id}", tenant, (*handler).getRoom},
	{http.MethodPatch, "/rooms/{room_id}", tenant, (*handler).updateRoom},
	{http.MethodDelete, "/rooms/{room_id}", tenant, (*handler).deleteRoom},
	{http.MethodPost, "/rooms/{room_id}/join", tenant, (*handler).joinRoom},
	{http.MethodGet, "/rooms/{room_id}/members", tenant, (*handler).listMembers},
	{http.MethodPost, "/rooms/{room_id}/members", tenant, (*handler).addMembers},
	{http.MethodPatch, "/rooms/{room_id}/members/{user_id}", tenant, (*handler).setRole},
	{http.MethodDelete, "/rooms/{room_id}/members/{user_id}", tenant, (*handler).removeMember},
	{http.MethodPost, "/rooms/{room_id}/messages", tenant, (*handler).sendMessage},
	{http.MethodGet, "/rooms/{room_id}/messages", tenant, (*handler).listMessages},
	{http.MethodGet, "/rooms/{room_id}/messages/{message_id}", tenant, (*handler).getMessage},
	{http.MethodPut, "/rooms/{room_id}/messages/{message_id}", tenant, (*handler).editMessage},
	{http.MethodDelete, "/rooms/{room_id}/messages/{message_id}", tenant, (*handler).deleteMessage},
	{http.MethodPost, "/rooms/{room_id}/messages/{message_id}/stop", tenant, (*handler).stopAnswer},
	{http.MethodPut, "/rooms/{room_id}/handoff", tenant, (*handler).handOff},
	{http.MethodGet, "/rooms/{room_id}/changes", tenant, (*handler).listChanges},
	{http.MethodPost, "/rooms/{room_id}/read", tenant, (*handler).readRoom},
	{http.MethodPost, "/acks", tenant, (*handler).ack},

	{http.MethodPut, "/users/{user_id}", tenant, (*handler).putUser},
	{http.MethodGet, "/users/{user_id}", tenant, (*handler).getUser},
	{http.MethodGet, "/presence", tenant, (*handler).presence},
	{http.MethodPost, "/ws/token", tenant, (*handler).socketToken},
	{http.MethodGet, "/webhook", tenant, (*handler).getWebhook},

	{http.MethodPost, "/bots", tenant, (*handler).createBot},
	{http.MethodGet, "/bots", tenant, (*handler).listBots},
	{http.MethodGet, "/bots/{bot_id}", tenant, (*handler).getBot},
	{http.MethodPatch, "/bots/{bot_id}", tenant, (*handler).updateBot},
	{http.MethodDelete, "/bots/{bot_id}", tenant, (*handler).deleteBot},

	{http.MethodPost, "/notify", tenant, (*handler).notify},
	{http.MethodPost, "/subscriptions", tenant, (*handler).subscribe},
	{http.MethodGet, "/subscriptions", tenant, (*handler).listSubscriptions},
	{http.MethodDelete, "/subscriptions/{subscription_id}", tenant, (*handler).unsubscribe},

	{http.MethodGet, "/admin/dead-letters", either, (*handler).listDeadLetters},
	{http.MethodPost, "/admin/dead-letters/{id}/replay", either, (*handler).replayDeadLetter},
	{http.MethodDelete, "/admin/dead-letters/{id}", either, (*handler).deleteDeadLetter},

	{http.MethodPost, "/admin/tenants", operator, (*handler).createTenant},
	{http.MethodGet, "/admin/tenants", operator, (*handler).listTenants},
	{http.MethodGet, "/admin/tenants/{tenant_id}", operator, (*handler).getTenant},
	{http.MethodPatch, "/admin/tenants/{tenant_id}", operator, (*handler).updateTenant},
	{http.MethodDelete, "/admin/tenants/{tenant_id}", operator, (*handler).deleteTenant},
	{http.MethodPost, "/admin/tenants/{tenant_id}/keys", operator, (*handler).createKey},
	{http.MethodDelete, "/admin/tenants/{tenant_id}/keys/{key_id}", operator, (*handler).revokeKey},
	{http.MethodPost, "/admin/tenants/{tenant_id}/signing-keys", operator, (*handler).createSigningKey},
	{http.MethodDelete, "/admin/tenants/{tenant_id}/signing-keys/{kid}", operator, (*handler).revokeSigningKey},
}

// mount puts every route under its bare path and under api.VersionPrefix, and beside each path an answer for the methods
// it does not have. Everything else is not found.
func (h *handler) mount() {
	allow := map[string][]string{}
	for _, rt := range routes {
		for _, prefix := range []string{"", api.VersionPrefix} {
			h.mux.HandleFunc(rt.method+" "+prefix+rt.path, h.serve(rt))
			allow[prefix+rt.path] = append(allow[prefix+rt.path], rt.method)
		}
	}
	for _, path := range []string{"/docs", "/docs/{path...}", api.VersionPrefix + "/docs", api.VersionPrefix + "/docs/{path...}"} {
		h.mux.HandleFunc(http.MethodGet+" "+path, h.serveDocs)
		allow[path] = []string{http.MethodGet}
	}
	for path, methods := range allow {
		h.mux.HandleFunc(path, h.methodNotAllowed(methods))
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { h.fail(w.(*exchange), api.ErrNoRoute) })
}

func (h *handler) methodNotAllowed(methods []string) http.HandlerFunc {
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	allow := strings.Join(methods, ", ")
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", allow)
		h.fail(w.(*exchange), api.ErrMethod)
	}
}

// isClean reports whether a path is one the mux answers without a redirect: it would send // . and .. elsewhere.
// Dots that are percent-encoded are part of an id and stay. Of a slash at the end only the pages know what to do.
func isClean(escaped string) bool {
	if !strings.HasPrefix(escaped, "/") {
		return false
	}
	if escaped == "/docs/" || escaped == api.VersionPrefix+"/docs/" {
		return true
	}
	for segment := range strings.SplitSeq(escaped[1:], "/") {
		if segment == "." || segment == ".." || segment == "" && escaped != "/" {
			return false
		}
	}
	return true
}
