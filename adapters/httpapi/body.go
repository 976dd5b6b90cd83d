package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 64 << 10

// decode reads the body, one JSON object, into v and returns its bytes.
func (x *exchange) decode(v any) ([]byte, error) {
	body, err := x.body()
	if err != nil {
		return nil, err
	}
	return body, api.Decode(body, v)
}

// decodeOptional is decode for calls that need no body.
func (x *exchange) decodeOptional(v any) error {
	body, err := x.body()
	if err != nil || len(body) == 0 {
		return err
	}
	return api.Decode(body, v)
}

func (x *exchange) body() ([]byte, error) {
	if err := checkMedia(x.r.Header); err != nil {
		return nil, err
	}
	if x.r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.ResponseWriter, x.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil: // too slow, or cut off
		x.Header().Set("Connection", "close")
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
