package ws

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// refuse answers an upgrade with a native error.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	var known *domain.Error
	if !errors.As(err, &known) {
		h.log.Error("upgrade failed", "error", err, "request_id", requestID(w))
		known = errInternal
	}
	h.answer(w, known, api.Statuses[known.Code])
}

// refuseHandshake answers a request that is no WebSocket handshake of ours, and says which is.
func (h *Handler) refuseHandshake(w http.ResponseWriter, r *http.Request, err error) {
	var known *domain.Error
	if !errors.As(err, &known) {
		known = errInternal
	}
	status := http.StatusBadRequest
	w.Header().Set("Sec-WebSocket-Version", "13")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		status = http.StatusMethodNotAllowed
		known = &domain.Error{Code: domain.CodeMethodNotAllowed, Reason: "method", Message: known.Message}
	case known.Field == "Upgrade" || known.Field == "Sec-WebSocket-Version":
		w.Header().Set("Upgrade", "websocket")
		status = http.StatusUpgradeRequired
	}
	h.answer(w, known, status)
}

func (h *Handler) answer(w http.ResponseWriter, e *domain.Error, status int) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(1+rand.N(5)))
	}
	api.WriteError(w, status, e, requestID(w))
}

// guesses says how many wrong credentials the client's address may still show, and tells so in the headers of a refusal.
func (h *Handler) guesses(w http.ResponseWriter, r *http.Request, address string) domain.Allowance {
	a := h.limits.Address(r.Context(), address)
	api.SetRateLimit(w.Header(), a, h.clock.Now())
	return a
}

// requestID is the id of the request being answered.
func requestID(w http.ResponseWriter) string { return w.Header().Get(api.HeaderRequestID) }
