package httpapi

import (
	"net/url"
	"strconv"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// The bounds of lists.
const (
	defaultLimit = 50
	maxLimit     = 100
)

// query reads the parameters of a request. It keeps the first error, so that a handler checks once, and the
// parameters it has read, for the link to the next page.
type query struct {
	values url.Values
	link   url.Values
	err    error
}

func (x *exchange) query() *query {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	q := &query{values: values, link: url.Values{}}
	if err != nil {
		q.err = domain.Invalid("", "the query string is malformed")
	}
	return q
}

func (q *query) has(name string) bool { return len(q.values[name]) > 0 }

// text returns a parameter given at most once; "" when absent.
func (q *query) text(name string) string {
	values := q.values[name]
	if len(values) > 1 {
		q.fail(domain.Invalid(name, "%s is given more than once", name))
	}
	if len(values) == 0 {
		return ""
	}
	q.link.Set(name, values[0])
	return values[0]
}

// integer returns a plain decimal from low to high, or fallback when the parameter is absent.
func (q *query) integer(name string, low, high, fallback int64) int64 {
	text := q.text(name)
	if !q.has(name) {
		return fallback
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text || n < low || n > high {
		q.fail(domain.Invalid(name, "%s must be an integer from %d to %d", name, low, high))
		return fallback
	}
	return n
}

func (q *query) limit() int  { return int(q.integer("limit", 1, maxLimit, defaultLimit)) }
func (q *query) offset() int { return int(q.integer("offset", 0, api.MaxInt, 0)) }

func (q *query) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

// linkNext names the next page of a list: this request with one parameter changed. The link is relative, so that no
// Host header gets into it, and repeats only parameters that were read.
func (x *exchange) linkNext(q *query, name string, value int64) {
	q.link.Set(name, strconv.FormatInt(value, 10))
	x.Header().Set("Link", "<"+x.r.URL.EscapedPath()+"?"+q.link.Encode()+`>; rel="next"`)
}
