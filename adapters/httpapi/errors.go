package httpapi

import (
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// fail answers an error. What is not the client's business is logged here, once, and answered as internal.
func (h *handler) fail(x *exchange, err error) {
	e, ours := api.ClientError(err)
	if ours {
		h.Logger.Error("request failed", "error", err, "request_id", x.id, "route", x.r.Pattern)
	}
	x.writeError(e)
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
