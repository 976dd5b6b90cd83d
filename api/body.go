package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/chatapi/chatapi/domain"
)

// MaxBody is the largest body of a request, in bytes.
const MaxBody = 64 << 10

// The refusals of a body.
var (
	errTooLarge = &domain.Error{
		Code: domain.CodeTooLarge, Reason: "too_large",
		Message: "A body has at most 65536 bytes",
	}
	errNotJSON = &domain.Error{
		Code: domain.CodeUnsupportedMedia, Reason: "media_type", Field: "Content-Type",
		Message: "Send JSON: Content-Type: application/json",
	}
	errEncoded = &domain.Error{
		Code: domain.CodeUnsupportedMedia, Reason: "encoding", Field: "Content-Encoding",
		Message: "Send the body without Content-Encoding",
	}
)

// ReadBody reads a request's body of JSON to its end. What is too large, not JSON by its headers, or cut off is a
// domain.Error.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkMedia(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > MaxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil: // too slow, or cut off
		w.Header().Set("Connection", "close")
		return nil, domain.Invalid("", "the body could not be read to its end")
	}
	return body, nil
}

// checkMedia accepts JSON in UTF-8, named or not, and no content coding: a compressed body can grow past any limit.
func checkMedia(header http.Header) error {
	for _, coding := range header.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return errEncoded
		}
	}
	types := header.Values("Content-Type")
	if len(types) == 0 || len(types) == 1 && types[0] == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(types[0])
	charset, named := params["charset"]
	if err != nil || len(types) > 1 || media != "application/json" || named && !strings.EqualFold(charset, "utf-8") {
		return errNotJSON
	}
	return nil
}
