package domain

import "fmt"

// Code is the class of an error, the closed set every client sees in error.code.
type Code string

// The codes and the HTTP status each is answered with.
const (
	CodeValidation       Code = "VALIDATION_ERROR"       // 400
	CodeAuthentication   Code = "AUTHENTICATION_ERROR"   // 401
	CodeAuthorization    Code = "AUTHORIZATION_ERROR"    // 403
	CodeNotFound         Code = "NOT_FOUND"              // 404
	CodeMethodNotAllowed Code = "METHOD_NOT_ALLOWED"     // 405
	CodeConflict         Code = "CONFLICT"               // 409
	CodeTooLarge         Code = "PAYLOAD_TOO_LARGE"      // 413
	CodeUnsupportedMedia Code = "UNSUPPORTED_MEDIA_TYPE" // 415
	CodeRateLimited      Code = "RATE_LIMIT_EXCEEDED"    // 429
	CodeInternal         Code = "INTERNAL_ERROR"         // 500
	CodeUnavailable      Code = "SERVICE_UNAVAILABLE"    // 503
)

// Error is the only error type the core answers with. Message is meant for the client: it never carries SQL, a path,
// a stack or another tenant's data.
type Error struct {
	Code    Code
	Reason  string // stable slug, one per rule; what errors.Is compares
	Field   string // the request field at fault, when there is one
	Message string
	Room    *Room // the existing room of a CONFLICT on a direct message
}

func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("%s: %s (%s)", e.Code, e.Message, e.Field)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Is reports whether target is an *Error with the same reason, whatever its field or message.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// The errors of the core. Rules that need another field or message derive theirs with Invalid.
var (
	ErrUnauthenticated  = &Error{Code: CodeAuthentication, Reason: "unauthenticated", Message: "Invalid or missing credentials"}
	ErrUserRequired     = &Error{Code: CodeAuthentication, Reason: "user_required", Field: "X-User-Id", Message: "This call acts for a user: send the X-User-Id header with the API key"}
	ErrTokenExpired     = &Error{Code: CodeAuthentication, Reason: "token_expired", Message: "The token has expired"}
	ErrForbidden        = &Error{Code: CodeAuthorization, Reason: "forbidden", Message: "You may not do this"}
	ErrBackendOnly      = &Error{Code: CodeAuthorization, Reason: "backend_only", Message: "Only the tenant's backend may do this: send the API key alone, without X-User-Id"}
	ErrNotMember        = &Error{Code: CodeAuthorization, Reason: "not_member", Message: "You are not a member of this room"}
	ErrRoomNotFound     = &Error{Code: CodeNotFound, Reason: "not_found", Message: "Not found"}
	ErrMessageNotFound  = ErrRoomNotFound
	ErrMemberNotFound   = ErrRoomNotFound
	ErrTenantNotFound   = ErrRoomNotFound
	ErrKeyNotFound      = ErrRoomNotFound
	ErrDMExists         = &Error{Code: CodeConflict, Reason: "dm_exists", Message: "A direct message room between these two users exists already"}
	ErrDMFixed          = &Error{Code: CodeConflict, Reason: "dm_members_fixed", Message: "The members of a direct message room are fixed"}
	ErrLastAdmin        = &Error{Code: CodeConflict, Reason: "last_admin", Message: "A room keeps an admin: make somebody else one first"}
	ErrNotChannel       = &Error{Code: CodeConflict, Reason: "not_channel", Message: "Only channels can be joined"}
	ErrNoWebhook        = &Error{Code: CodeConflict, Reason: "no_webhook", Message: "The tenant has no webhook to call, or its receiver answered 410: set config.webhook_url"}
	ErrNoEndpoint       = &Error{Code: CodeConflict, Reason: "no_endpoint", Message: "The subscription that was to be called has been removed"}
	ErrMessageDeleted   = &Error{Code: CodeConflict, Reason: "message_deleted", Message: "The message has been deleted"}
	ErrRateLimited      = &Error{Code: CodeRateLimited, Reason: "rate_limited", Message: "Rate limit exceeded: try again shortly"}
	ErrOtherUser        = &Error{Code: CodeAuthentication, Reason: "other_user", Field: "token", Message: "The token is not this socket's user's"}
	ErrUserNotFound     = ErrRoomNotFound
	ErrLetterNotFound   = ErrRoomNotFound
	ErrNoNotification   = ErrRoomNotFound
	ErrNoSubscription   = ErrRoomNotFound
	ErrBotNotFound      = ErrRoomNotFound
	ErrTooManyBots      = &Error{Code: CodeConflict, Reason: "too_many_bots", Message: "A tenant has at most 50 bots, and a room 5: remove one first"}
	ErrHandedOff        = &Error{Code: CodeConflict, Reason: "handed_off", Message: "People answer in this room now"}
	ErrLeaseLost        = &Error{Code: CodeConflict, Reason: "lease_lost", Message: "The run is somebody else's now"}
	ErrClientIDReused   = &Error{Code: CodeConflict, Reason: "client_id_reused", Field: "client_id", Message: "This client_id was used for a different message in this room"}
	ErrIdempotency      = &Error{Code: CodeConflict, Reason: "idempotency_key_reused", Field: "Idempotency-Key", Message: "This Idempotency-Key was used for a different request"}
	ErrIdempotencyBusy  = &Error{Code: CodeConflict, Reason: "idempotency_key_busy", Field: "Idempotency-Key", Message: "A request with this Idempotency-Key is still under way"}
	ErrTooManyKeys      = &Error{Code: CodeConflict, Reason: "too_many_keys", Message: "A tenant has at most 5 live keys of a kind: revoke one first"}
	ErrTooManyTopics    = &Error{Code: CodeConflict, Reason: "too_many_subscriptions", Message: "A user has at most 1000 subscriptions: remove one first"}
	ErrTooManyEndpoints = &Error{Code: CodeConflict, Reason: "too_many_endpoints", Message: "A tenant has at most 1000 subscriptions with an endpoint: remove one first"}
	ErrTooManySockets   = &Error{Code: CodeRateLimited, Reason: "too_many_sockets", Message: "connection limit reached"}
	ErrBusy             = &Error{Code: CodeUnavailable, Reason: "busy", Message: "The server is busy: try again shortly"}
	ErrTooManyWaiting   = &Error{Code: CodeUnavailable, Reason: "too_many_waiting", Message: "Too many calls wait for this tenant's endpoints: try again later"}
	ErrUnavailable      = &Error{Code: CodeUnavailable, Reason: "unavailable", Message: "The store cannot be written at the moment: try again shortly"}
	ErrAlone            = &Error{Code: CodeUnavailable, Reason: "alone", Message: "What the other nodes know cannot be asked at the moment: try again shortly"}
	ErrClosing          = &Error{Code: CodeUnavailable, Reason: "closing", Message: "The server is shutting down: try again shortly"}
)

// Invalid is a VALIDATION_ERROR about one field; the message says what would be right.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeValidation, Reason: "invalid", Field: field, Message: fmt.Sprintf(format, args...)}
}
