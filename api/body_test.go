package api_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func TestBodiesAreJSONWithoutContentCoding(t *testing.T) {
	t.Parallel()
	const notJSON, encoded = "media_type", "encoding"
	for _, c := range []struct {
		headers http.Header
		reason  string
	}{
		{http.Header{}, ""},
		{http.Header{"Content-Type": {"application/json"}}, ""},
		{http.Header{"Content-Type": {"Application/JSON; charset=UTF-8"}}, ""},
		{http.Header{"Content-Type": {""}, "Content-Encoding": {"identity"}}, ""},
		{http.Header{"Content-Type": {"text/plain"}}, notJSON},
		{http.Header{"Content-Type": {"application/json; charset=utf-16"}}, notJSON},
		{http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, notJSON},
		{http.Header{"Content-Type": {"application/json", "text/plain"}}, notJSON},
		{http.Header{"Content-Type": {"application/json;;"}}, notJSON},
		{http.Header{"Content-Encoding": {"gzip"}}, encoded},
		{http.Header{"Content-Encoding": {"identity", "br"}}, encoded},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
		r.Header = c.headers
		body, err := api.ReadBody(httptest.NewRecorder(), r)
		var refused *domain.Error
		switch errors.As(err, &refused); {
		case c.reason == "" && (err != nil || string(body) != "{}"):
			t.Errorf("%v: %q, %v", c.headers, body, err)
		case c.reason != "" && (refused == nil || refused.Reason != c.reason):
			t.Errorf("%v: %v, want %s", c.headers, err, c.reason)
		}
	}
}

func TestABodyIsAtMost64KiB(t *testing.T) {
	t.Parallel()
	for _, n := range []int{api.MaxBody, api.MaxBody + 1} {
		for _, told := range []bool{true, false} {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", n)))
			if !told {
				r.ContentLength = -1
			}
			body, err := api.ReadBody(httptest.NewRecorder(), r)
			if fits := n <= api.MaxBody; fits != (err == nil) || fits && len(body) != n {
				t.Errorf("%d bytes, length told %v: %d read, %v", n, told, len(body), err)
			}
		}
	}
}
