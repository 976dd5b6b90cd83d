package ws

import (
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// refuse answers an upgrade with a native error.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	e, ours := api.ClientError(err)
	if ours {
		h.log.Error("upgrade failed", "error", err, "request_id", requestID(w))
	}
	h.answer(w, e, api.Statuses[e.Code])
}

// refuseHandshake answers a request that is no WebSocket handshake of ours, and says which is.
func (h *Handler) refuseHandshake(w http.ResponseWriter, r *http.Request, e *domain.Error) {
	status := http.StatusBadRequest
	w.Header().Set("Sec-WebSocket-Version", "13")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		status = http.StatusMethodNotAllowed
		e = &domain.Error{Code: domain.CodeMethodNotAllowed, Reason: api.ErrMethod.Reason, Message: e.Message}
	case e.Field == "Upgrade" || e.Field == "Sec-WebSocket-Version":
		w.Header().Set("Upgrade", "websocket")
		status = http.StatusUpgradeRequired
	}
	h.answer(w, e, status)
}

func (h *Handler) answer(w http.ResponseWriter, e *domain.Error, status int) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(1+rand.N(5)))
	}
	api.WriteError(w, status, e, requestID(w))
}

// requestID is the id of the request being answered.
func requestID(w http.ResponseWriter) string { return w.Header().Get(api.HeaderRequestID) }
