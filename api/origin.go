package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/chatapi/chatapi/domain"
)

// AnyOrigin in a list allows every origin. Configuration accepts it in development only; tenants never can.
const AnyOrigin = "*"

// Origins is the operator's list as it counts: AnyOrigin is left out unless dev. It is the wall behind the one of
// configuration, for whoever makes a handler without that.
func Origins(list []string, dev bool) []string {
	if dev {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(origin string) bool { return origin == AnyOrigin })
}

// OriginAllowed reports whether a socket may be opened from the page that asks for it: requests without Origin come
// from no page; otherwise the origin must be the host that was asked, or be in one of the lists. Two Origin headers
// and "null" are no origin anybody can list.
func OriginAllowed(r *http.Request, lists ...[]string) bool {
	origins := r.Header.Values("Origin")
	switch len(origins) {
	case 0:
		return true
	case 1:
		return sameHost(origins[0], r.Host) || OriginListed(origins[0], lists...)
	}
	return false
}

// exposedHeaders are those of an answer that pages of a listed origin may read.
const exposedHeaders = "Link, Location, X-Request-Id, Idempotency-Replayed, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"

// Origin is the request's only Origin header; two are none.
func Origin(r *http.Request) string {
	if values := r.Header.Values("Origin"); len(values) == 1 {
		return values[0]
	}
	return ""
}

// AllowOrigin lets the page of a request read the answer when the list has its origin. There is no credentials mode:
// nothing a browser would attach by itself counts here.
func AllowOrigin(header http.Header, r *http.Request, list []string) {
	if origin := Origin(r); OriginListed(origin, list) {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", exposedHeaders)
	}
}

// OriginListed reports whether an origin is in one of the lists, byte for byte: no suffixes, no other scheme or port.
func OriginListed(origin string, lists ...[]string) bool {
	if origin == "" {
		return false
	}
	for _, list := range lists {
		if slices.Contains(list, origin) || slices.Contains(list, AnyOrigin) {
			return true
		}
	}
	return false
}

// sameHost compares host and port, default ports spelled or not. The scheme is left out: behind a proxy that ends
// TLS the server does not know its own.
func sameHost(origin, host string) bool {
	if !domain.IsOrigin(origin) {
		return false
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return strings.TrimSuffix(u.Host, port) == strings.TrimSuffix(strings.ToLower(host), port)
}
