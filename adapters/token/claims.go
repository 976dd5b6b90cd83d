package token

import (
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// claims are what is read of a token's body.
type claims struct {
	Subject   string      `json:"sub"`
	ExpiresAt numericDate `json:"exp"`
	NotBefore numericDate `json:"nbf"`
}

// UnmarshalJSON reads the body strictly: a duplicate name or invalid UTF-8 is an error, and names match exactly, where
// the standard library would take "SUB" for sub.
func (c *claims) UnmarshalJSON(raw []byte) error {
	type plain claims // without this method
	return json.Unmarshal(raw, (*plain)(c))
}

// numericDate is a time in seconds since 1970 (RFC 7519 §2). Fractions are allowed there and cut off here.
type numericDate struct{ time.Time }

// lastSecond is the end of the year 9999, after which RFC 3339 cannot write a time.
const lastSecond = 253402300799

var errNotADate = errors.New("not a time in seconds")

// UnmarshalJSONFrom implements json.UnmarshalerFrom: a number from 1 to lastSecond. Null is not an absent claim.
func (d *numericDate) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if raw.Kind() != '0' {
		return errNotADate
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds < 1 || seconds > lastSecond {
		return errNotADate
	}
	d.Time = time.Unix(int64(seconds), 0).UTC()
	return nil
}

// The methods of jwt.Claims are asked by the library's own validation alone, which is off.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.ExpiresAt), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.NotBefore), nil }
func (*claims) GetIssuedAt() (*jwt.NumericDate, error)         { return nil, nil }
func (*claims) GetIssuer() (string, error)                     { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (*claims) GetAudience() (jwt.ClaimStrings, error)         { return nil, nil }

func date(d numericDate) *jwt.NumericDate {
	if d.IsZero() {
		return nil
	}
	return jwt.NewNumericDate(d.Time)
}
