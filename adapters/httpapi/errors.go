package httpapi

import (
	"context"
	"errors"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// The errors of HTTP itself. A path without a route is answered as an id that does not exist.
var (
	errNoRoute = domain.ErrRoomNotFound
	errMethod  = &domain.Error{
		Code: domain.CodeMethodNotAllowed, Reason: "method",
		Message: "This path does not have this method: see the Allow header",
	}
	errInternal = &domain.Error{
		Code: domain.CodeInternal, Reason: "internal",
		Message: "Something went wrong on the server",
	}
	errTimeout = &domain.Error{
		Code: domain.CodeUnavailable, Reason: "timeout",
		Message: "The server did not get to this request in time: try again shortly",
	}
)

// fail answers an error. What is not the client's business is logged here, once, and answered as internal.
func (h *handler) fail(x *exchange, err error) {
	e := clientError(err)
	if e.Code == domain.CodeInternal {
		h.Logger.Error("request failed", "error", err, "request_id", x.id, "route", x.r.Pattern)
	}
	x.writeError(e)
}

func clientError(err error) *domain.Error {
	var e *domain.Error
	switch {
	case errors.As(err, &e) && api.Statuses[e.Code] != 0:
		return e
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// The work was taken back before it started (ports.Store). When the client has gone this is written to nobody.
		return errTimeout
	}
	return errInternal
}

func (x *exchange) writeError(e *domain.Error) {
	if e.Room != nil {
		x.Header().Set("Location", x.roomPath(e.Room.ID))
	}
	api.WriteError(x, api.Statuses[e.Code], e, x.id)
}

func (x *exchange) roomPath(id domain.RoomID) string {
	return x.pathPrefix() + "/rooms/" + id.String()
}
