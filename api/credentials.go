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
	Bearer string // a JWT
	Ticket string // a socket ticket; only sockets take one
}

// The headers that carry credentials. X-Master-Key is the operator's and read by the admin routes alone.
const (
	HeaderAPIKey        = "X-Api-Key"
	HeaderUserID        = "X-User-Id"
	HeaderMasterKey     = "X-Master-Key"
	headerAuthorization = "Authorization"
)

// SocketProtocol is the WebSocket subprotocol of the native interface. A client that can set no header offers its token
// beside it, as bearer.<token>, which is never answered.
const (
	SocketProtocol  = "chatapi.v1"
	bearerProtocol  = "bearer."
	HeaderProtocols = "Sec-Websocket-Protocol"
)

// ticketPrefix tells a socket ticket from a JWT.
const ticketPrefix = "wst_"

// RequestCredentials takes the credentials of a REST call from its headers. Ambiguity is domain.ErrUnauthenticated:
// one header with two different values, an unknown Authorization scheme, a Bearer token together with an API key, the
// operator's X-Master-Key together with anything. Whether they are right is Identity's to say.
func RequestCredentials(r *http.Request) (Credentials, error) {
	return credentials(r, url.Values{}, nil)
}

// SocketCredentials takes the credentials of an upgrade from its headers, from ?api_key=, ?user_id= and ?token=, and from
// the subprotocol bearer.<token>, since browsers cannot set headers on a WebSocket. A token is a JWT or a ticket; the
// Authorization header takes a JWT alone. Two that differ are domain.ErrUnauthenticated, wherever they stand, and so are
// X-Master-Key and a query that cannot be parsed.
func SocketCredentials(r *http.Request) (Credentials, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Credentials{}, domain.ErrUnauthenticated
	}
	offered, err := offeredTokens(r)
	if err != nil {
		return Credentials{}, err
	}
	return credentials(r, query, slices.Concat(query["token"], offered))
}

// TokenCredentials are those of a token that may be a JWT or a ticket.
func TokenCredentials(token string) Credentials {
	if strings.HasPrefix(token, ticketPrefix) {
		return Credentials{Ticket: token}
	}
	return Credentials{Bearer: token}
}

// OffersProtocol reports whether the client offers SocketProtocol, which is then the answer.
func OffersProtocol(r *http.Request) bool { return slices.Contains(protocols(r), SocketProtocol) }

// protocols are the subprotocols a client offers, RFC 6455 §11.3.4: a list that may come in several headers.
func protocols(r *http.Request) []string {
	var offered []string
	for _, header := range r.Header.Values(HeaderProtocols) {
		for name := range strings.SplitSeq(header, ",") {
			offered = append(offered, strings.Trim(name, " \t"))
		}
	}
	return offered
}

// offeredTokens are those offered as subprotocols. Without SocketProtocol beside it a token is refused: browsers end a
// socket whose offers were not answered, and would not say why.
func offeredTokens(r *http.Request) (tokens []string, err error) {
	for _, name := range protocols(r) {
		token, ok := strings.CutPrefix(name, bearerProtocol)
		switch {
		case !ok:
		case token == "":
			return nil, domain.ErrUnauthenticated
		case !OffersProtocol(r):
			return nil, domain.Invalid("Sec-WebSocket-Protocol", "offer %s beside %s<token>", SocketProtocol, bearerProtocol)
		default:
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}

// MasterKey takes the operator's key from X-Master-Key, the only place it may be in; empty is absent. A call that
// carries a tenant's credential as well is domain.ErrUnauthenticated: nobody can say as whom it was meant.
func MasterKey(r *http.Request) (string, error) {
	if len(r.Header.Values(HeaderAPIKey))+len(r.Header.Values(headerAuthorization)) > 0 {
		return "", domain.ErrUnauthenticated
	}
	return oneValue(r.Header.Values(HeaderMasterKey))
}

// credentials puts together what the headers and the query say; tokens come from where a ticket may stand too.
func credentials(r *http.Request, query url.Values, tokens []string) (c Credentials, err error) {
	if len(r.Header.Values(HeaderMasterKey)) > 0 {
		return Credentials{}, domain.ErrUnauthenticated
	}
	bearers, err := bearerTokens(r.Header.Values(headerAuthorization))
	if err != nil {
		return Credentials{}, err
	}
	var tickets []string
	for _, token := range tokens {
		if given := TokenCredentials(token); given.Ticket != "" {
			tickets = append(tickets, token)
		} else {
			bearers = append(bearers, token)
		}
	}
	for _, from := range []struct {
		to     *string
		values []string
	}{
		{&c.APIKey, slices.Concat(r.Header.Values(HeaderAPIKey), query["api_key"])},
		{&c.UserID, slices.Concat(r.Header.Values(HeaderUserID), query["user_id"])},
		{&c.Bearer, bearers},
		{&c.Ticket, tickets},
	} {
		if *from.to, err = oneValue(from.values); err != nil {
			return Credentials{}, err
		}
	}
	if c.UserID == "" && len(r.Header.Values(HeaderUserID))+len(query["user_id"]) > 0 {
		// An empty user must not turn a user's call into the backend's.
		return Credentials{}, domain.Invalid(HeaderUserID, "a user id is required")
	}
	if c.isAmbiguous() {
		return Credentials{}, domain.ErrUnauthenticated
	}
	return c, nil
}

// isAmbiguous reports whether there is more than one answer to who is calling.
func (c Credentials) isAmbiguous() bool {
	return c.APIKey != "" && c.Bearer != "" || c.Ticket != "" && c.APIKey+c.Bearer != ""
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
