package chats

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// headerChatID names the chat of a socket, for clients that can set headers.
const headerChatID = "X-Chat-Id"

// admission is what an upgrade asked for and may have, or why it may not.
type admission struct {
	caller application.Caller
	room   domain.RoomID
	denied *problem
}

// The refusals of a socket. They are told as events: a page cannot read why an upgrade was refused.
var (
	noKey   = problem{code: codeAuth, message: "Missing api_key parameter", fix: "Provide api_key as a query parameter or send the X-API-Key header"}
	noUser  = problem{code: codeAuth, message: "Missing user_id parameter", fix: "Provide user_id as a query parameter or send the X-User-ID header"}
	noChat  = problem{code: codeAuth, message: "Missing chat_id parameter", fix: "Provide chat_id as a query parameter or send the X-Chat-ID header"}
	badKey  = problem{code: codeAuth, message: "Invalid API key", fix: "Check that the API key is your tenant's and was not revoked, and give each parameter one value"}
	badChat = problem{code: codeAuth, message: "Invalid chat_id parameter", fix: "Give one chat_id, in the query or in the X-Chat-ID header"}
	badSide = problem{code: codeAuth, message: "Pages of this origin may not open sockets", fix: "Add the page's origin to config.allowed_origins of the tenant, or to ALLOWED_ORIGINS"}
	unknown = problem{code: codeNotFound, message: "Chat not found", fix: "Create the chat first with POST /api/v1/chats/, and connect as its user"}
	full    = problem{code: codeLimited, message: "Too many connections", fix: "Close connections that are not used: a tenant has 50 at a time unless config.chat_limits says otherwise"}
	ended   = problem{code: codeAuth, message: "The credential has expired or was revoked", fix: "Connect again with a valid credential"}
	failed  = problem{code: codeInternal, message: "Something went wrong on the server", fix: "Try again shortly"}
	busy    = problem{code: codeInternal, message: "The server is busy", fix: "Try again shortly"}
)

// admit judges what an upgrade shows. Only its headers and its query are looked at.
func (h *Handler) admit(r *http.Request, address string) (a admission) {
	given, err := api.SocketCredentials(r)
	chat, err2 := chatOf(r)
	switch {
	case domain.CodeOf(err) == domain.CodeValidation:
		a.denied = &noUser
	case err != nil:
		a.denied = h.wrong(r.Context(), address)
	case given.APIKey+given.Bearer+given.Ticket == "":
		a.denied = &noKey
	case given.APIKey != "" && given.UserID == "":
		a.denied = &noUser
	case err2 != nil:
		a.denied = &badChat
	case chat == "":
		a.denied = &noChat
	}
	if a.denied != nil {
		return a
	}
	a.caller, err = h.Identity.Authenticate(r.Context(), application.Credentials(given))
	room, known := domain.ParseChatID(chat)
	switch {
	case domain.CodeOf(err) == domain.CodeAuthentication:
		a.denied = h.wrong(r.Context(), address)
	case domain.CodeOf(err) == domain.CodeValidation:
		a.denied = &problem{code: codeAuth, message: "Invalid user_id parameter", fix: "Send 1 to 128 printable characters that do not begin with bot_, the token's own user with a token"}
	case err != nil:
		a.denied = h.whyNot(err)
	case !api.OriginAllowed(r, h.Config.AllowedOrigins, a.caller.Tenant.Config.AllowedOrigins):
		a.denied = &badSide
	case !known:
		a.denied = &unknown
	default:
		a.room = room
	}
	return a
}

// wrong counts a wrong credential against the client's address.
func (h *Handler) wrong(ctx context.Context, address string) *problem {
	h.Limits.Failed(ctx, address)
	return &badKey
}

var errTwoChats = errors.New("two different chats")

// chatOf is the chat that an upgrade names, in its query or its headers.
func chatOf(r *http.Request) (string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	values := append(query["chat_id"], r.Header.Values(headerChatID)...)
	for _, v := range values {
		if v != values[0] {
			return "", errTwoChats
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

// whyNot tells an error of a socket or of one of its messages. What is not the client's business is logged here, once.
func (h *Handler) whyNot(err error) *problem {
	e, ours := api.ClientError(err)
	switch {
	case errors.Is(err, domain.ErrTooManyWatched):
		return &full
	case errors.Is(err, domain.ErrChatNotFound), errors.Is(err, domain.ErrNotMember):
		return &unknown
	case ours:
		h.Logger.Error("chat socket failed", "error", err)
		return &failed
	}
	switch e.Code {
	case domain.CodeAuthentication:
		return &ended
	case domain.CodeValidation:
		return &problem{code: codeInvalid, message: messageOf(e), fix: `Send {"content": "…", "metadata": {…}}: content is text, metadata an object and optional`}
	case domain.CodeRateLimited:
		return &problem{code: codeLimited, message: e.Message, fix: "Send less often"}
	case domain.CodeUnavailable:
		return &busy
	}
	return &problem{code: codeInternal, message: e.Message, fix: "Try again shortly"}
}
