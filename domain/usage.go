package domain

import "time"

// Usage is what a tenant has used in one calendar month (UTC).
type Usage struct {
	Month       Month
	Messages    int64 // stored
	Requests    int64 // REST calls of the tenant's credentials, refused ones too
	RateLimited int64 // REST calls and frames that the rate limit has refused
	Sockets     int64 // opened
	Tokens      int64 // that models have read and written for its bots, as they count
}

// Add is the sum of both; the month is u's.
func (u Usage) Add(more Usage) Usage {
	u.Messages += more.Messages
	u.Requests += more.Requests
	u.RateLimited += more.RateLimited
	u.Sockets += more.Sockets
	u.Tokens += more.Tokens
	return u
}

// Month is a calendar month, as 2006-01.
type Month string

// MonthOf is the month of a time, in UTC.
func MonthOf(t time.Time) Month { return Month(t.UTC().Format("2006-01")) }
