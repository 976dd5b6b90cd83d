package httpapi

import (
	"net/http"
	"time"
)

// ticketShape holds the only showing of a ticket.
type ticketShape struct {
	Token     string `json:"token"`
	ExpiresIn int64  `json:"expires_in"` // seconds
}

// socketToken makes a ticket that opens one socket as the caller.
func (h *handler) socketToken(x *exchange) (reply, error) {
	if err := x.refuseIdempotency(); err != nil {
		return reply{}, err
	}
	token, ttl, err := h.Identity.IssueTicket(x.r.Context(), x.caller)
	if err != nil {
		return reply{}, err
	}
	return encoded(http.StatusOK, ticketShape{token, int64(ttl / time.Second)})
}
