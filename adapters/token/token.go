// Package token reads and makes JSON Web Tokens (RFC 7519), HS256 only. It proves a signature and reads the claims;
// whether they are acceptable is the domain's rule. What is not exactly right is domain.ErrUnauthenticated, without a
// word about why: an attacker learns nothing from it.
package token

import (
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/chatapi/chatapi/domain"
)

// maxLength is the longest token that is looked at, in bytes.
const maxLength = 4096

var kidPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Tokens satisfies ports.Tokens. It is safe for concurrent use.
type Tokens struct{ parser *jwt.Parser }

// New returns the adapter.
func New() *Tokens {
	return &Tokens{jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // domain.CheckClaims is the one rule of time
	)}
}

// header is what is read of the JOSE header (RFC 7515 §4).
type header struct {
	Algorithm string         `json:"alg"`
	KeyID     *string        `json:"kid"`
	Critical  jsontext.Value `json:"crit"`
}

// KeyID returns the kid of the header, unverified, or "" when there is none. A kid is 1–64 characters of base64url.
func (*Tokens) KeyID(token string) (string, error) {
	if len(token) > maxLength || strings.Count(token, ".") != 2 || !isBase64URL(token) {
		return "", domain.ErrUnauthenticated
	}
	encoded, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", domain.ErrUnauthenticated
	}
	var h header
	// Duplicate names are refused here, so that the parser below cannot read another alg or kid than this does.
	if err := json.Unmarshal(raw, &h); err != nil {
		return "", domain.ErrUnauthenticated
	}
	switch {
	case h.Algorithm != jwt.SigningMethodHS256.Alg(),
		h.Critical != nil, // an extension that must be understood, and none is (RFC 7515 §4.1.11)
		h.KeyID != nil && !kidPattern.MatchString(*h.KeyID):
		return "", domain.ErrUnauthenticated
	case h.KeyID == nil:
		return "", nil
	}
	return *h.KeyID, nil
}

// isBase64URL is stricter than the decoder, which skips line ends.
func isBase64URL(token string) bool {
	for i := range len(token) {
		c := token[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// Verify returns the claims of a token whose signature is right. An empty secret verifies nothing.
func (t *Tokens) Verify(token string, secret []byte) (domain.Claims, error) {
	if _, err := t.KeyID(token); err != nil || len(secret) == 0 {
		return domain.Claims{}, domain.ErrUnauthenticated
	}
	var c claims
	if _, err := t.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return secret, nil }); err != nil {
		return domain.Claims{}, domain.ErrUnauthenticated
	}
	return domain.Claims{Subject: c.Subject, ExpiresAt: c.ExpiresAt.Time, NotBefore: c.NotBefore.Time}, nil
}

// Sign makes a token; kid is left out when empty. Times are cut to whole seconds.
func (*Tokens) Sign(c domain.Claims, kid string, secret []byte) (string, error) {
	if len(secret) == 0 || kid != "" && !kidPattern.MatchString(kid) {
		return "", domain.ErrUnauthenticated
	}
	body := jwt.MapClaims{"sub": c.Subject}
	if !c.ExpiresAt.IsZero() {
		body["exp"] = c.ExpiresAt.Unix()
	}
	if !c.NotBefore.IsZero() {
		body["nbf"] = c.NotBefore.Unix()
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, body)
	if kid != "" {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(secret)
	if err != nil {
		return "", domain.ErrUnauthenticated
	}
	return signed, nil
}
