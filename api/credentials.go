package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/chatapi/chatapi/domain"
)

// Credentials are what a request carried, unverified; empty is absent. The fields are those of
// application.Credentials, so that one converts into the other.
type Credentials struct {
	APIKey string
	UserID string
	Bearer string
}

// The headers that carry credentials. X-Master-Key is the operator's and read by the admin routes alone.
const (
	HeaderAPIKey        = "X-Api-Key"
	HeaderUserID        = "X-User-Id"
	HeaderMasterKey     = "X-Master-Key"
	headerAuthorization = "Authorization"
)

// RequestCredentials takes the credentials of a REST call from its headers. Ambiguity is domain.ErrUnauthenticated:
// one header with two different values, an unknown Authorization scheme, a Bearer token together with an API key, the
// operator's X-Master-Key together with anything. Whether they are right is Identity's to say.
func RequestCredentials(r *http.Request) (Credentials, error) {
	return credentials(r, url.Values{})
}

// SocketCredentials takes the credentials of an upgrade from its headers and from ?api_key=, ?user_id= and ?token=,
// since browsers cannot set headers on a WebSocket. A header and a parameter, or two parameters, that differ are
// domain.ErrUnauthenticated, and so are X-Master-Key and a query that cannot be parsed.
func SocketCredentials(r *http.Request) (Credentials, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Credentials{}, domain.ErrUnauthenticated
	}
	return credentials(r, query)
}

// MasterKey takes the operator's key from X-Master-Key, the only place it may be in; empty is absent. A call that
// carries a tenant's credential as well is domain.ErrUnauthenticated: nobody can say as whom it was meant.
func MasterKey(r *http.Request) (string, error) {
	if len(r.Header.Values(HeaderAPIKey))+len(r.Header.Values(headerAuthorization)) > 0 {
		return "", domain.ErrUnauthenticated
	}
	return oneValue(r.Header.Values(HeaderMasterKey))
}

func credentials(r *http.Request, query url.Values) (c Credentials, err error) {
	if len(r.Header.Values(HeaderMasterKey)) > 0 {
		return Credentials{}, domain.ErrUnauthenticated
	}
	bearers, err := bearerTokens(r.Header.Values(headerAuthorization))
	if err != nil {
		return Credentials{}, err
	}
	for _, from := range []struct {
		to     *string
		values []string
	}{
		{&c.APIKey, slices.Concat(r.Header.Values(HeaderAPIKey), query["api_key"])},
		{&c.UserID, slices.Concat(r.Header.Values(HeaderUserID), query["user_id"])},
		{&c.Bearer, slices.Concat(bearers, query["token"])},
	} {
		if *from.to, err = oneValue(from.values); err != nil {
			return Credentials{}, err
		}
	}
	if c.UserID == "" && len(r.Header.Values(HeaderUserID))+len(query["user_id"]) > 0 {
		// An empty user must not turn a user's call into the backend's.
		return Credentials{}, domain.Invalid(HeaderUserID, "a user id is required")
	}
	if c.APIKey != "" && c.Bearer != "" {
		return Credentials{}, domain.ErrUnauthenticated
	}
	return c, nil
}

// oneValue accepts a value given once, or several times alike.
func oneValue(values []string) (string, error) {
	for _, v := range values {
		if v != values[0] {
			return "", domain.ErrUnauthenticated
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

// bearerTokens strips the scheme, which is compared without case (RFC 9110 §11.1). A scheme that is not Bearer is not
// ours to ignore: the client believes it has authenticated.
func bearerTokens(headers []string) ([]string, error) {
	tokens := make([]string, 0, len(headers))
	for _, h := range headers {
		scheme, token, _ := strings.Cut(h, " ")
		if token = strings.TrimLeft(token, " "); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return nil, domain.ErrUnauthenticated
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}
