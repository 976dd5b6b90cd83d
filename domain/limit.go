package domain

import "time"

// Rate is a token bucket: so many a second, or in the time that Per says, and as many at once. Zero is unlimited.
type Rate struct {
	PerSecond int
	Burst     int
	Per       time.Duration // 0 = a second
}

// Period is the time in which PerSecond calls come back.
func (r Rate) Period() time.Duration {
	if r.Per <= 0 {
		return time.Second
	}
	return r.Per
}

// IsUnlimited reports whether the rate limits nothing.
func (r Rate) IsUnlimited() bool { return r.PerSecond <= 0 }

// Allowance is what a bucket says to one call.
type Allowance struct {
	OK         bool
	Limit      int           // of the rate; 0 = unlimited
	Remaining  int           // calls that would be allowed right now
	Reset      time.Time     // when the bucket is full again
	RetryAfter time.Duration // after it the next call is allowed, unless others come first; 0 when OK
}

// RateOf is the tenant's rate; fallback is the operator's default.
func (c TenantConfig) RateOf(fallback int) Rate {
	n := fallback
	if c.RateLimit != nil {
		n = *c.RateLimit
	}
	return Rate{PerSecond: n, Burst: n}
}
