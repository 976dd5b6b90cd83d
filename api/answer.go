package api

import (
	"net/http"
	"strconv"

	"github.com/chatapi/chatapi/domain"
)

// HeaderRequestID names a request in answers and logs.
const HeaderRequestID = "X-Request-Id"

// mediaJSON is the media type of every body. JSON is UTF-8 by definition and has no charset parameter (RFC 8259 §11).
const mediaJSON = "application/json"

// Statuses maps the codes of the domain to HTTP, for REST answers and refused upgrades alike. It is not to be changed.
var Statuses = map[domain.Code]int{
	domain.CodeValidation:       http.StatusBadRequest,
	domain.CodeAuthentication:   http.StatusUnauthorized,
	domain.CodeAuthorization:    http.StatusForbidden,
	domain.CodeNotFound:         http.StatusNotFound,
	domain.CodeMethodNotAllowed: http.StatusMethodNotAllowed,
	domain.CodeConflict:         http.StatusConflict,
	domain.CodeTooLarge:         http.StatusRequestEntityTooLarge,
	domain.CodeUnsupportedMedia: http.StatusUnsupportedMediaType,
	domain.CodeRateLimited:      http.StatusTooManyRequests,
	domain.CodeInternal:         http.StatusInternalServerError,
	domain.CodeUnavailable:      http.StatusServiceUnavailable,
}

// SetFixedHeaders sets what every answer carries, errors and refused upgrades included: its request id, and that
// nobody keeps it, guesses its type, passes on its address or takes it for the answer to another origin.
func SetFixedHeaders(header http.Header, requestID string) {
	header.Set(HeaderRequestID, requestID)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Add("Vary", "Origin")
}

// WriteJSON writes an answer with a body. An error of writing is a client that has gone; there is nobody to tell.
func WriteJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// WriteError writes the error body under a status, with what the status asks for.
func WriteError(w http.ResponseWriter, status int, e *domain.Error, requestID string) {
	Challenge(w.Header(), status)
	WriteJSON(w, status, AppendError(nil, e, requestID))
}
