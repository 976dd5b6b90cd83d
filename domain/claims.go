package domain

import "time"

// Claims are what a JWT says once its signature is verified. A zero time is an absent claim.
type Claims struct {
	Subject   string
	ExpiresAt time.Time
	NotBefore time.Time
}

// The limits of tokens.
const (
	TokenLeeway  = 30 * time.Second
	TokenMaxLife = 30 * 24 * time.Hour
)

// CheckClaims is the rule of tokens: sub is a user id, exp is required and at most 30 days ahead, nbf is honoured,
// with 30 s of leeway. Every failure is the same error but an expiry, which a socket tells apart.
func CheckClaims(c Claims, now time.Time) (UserID, error) {
	user, err := CheckUserID("sub", c.Subject)
	switch {
	case err != nil, c.ExpiresAt.IsZero(), c.ExpiresAt.After(now.Add(TokenMaxLife + TokenLeeway)):
		return "", ErrUnauthenticated
	case !now.Before(c.ExpiresAt.Add(TokenLeeway)):
		return "", ErrTokenExpired
	case !c.NotBefore.IsZero() && now.Add(TokenLeeway).Before(c.NotBefore):
		return "", ErrUnauthenticated
	}
	return user, nil
}
