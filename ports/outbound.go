package ports

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"
)

// OutboundKind is what a call to the outside is for. Each kind has its own list of what the operator opened, its own
// places, and its own connections.
type OutboundKind string

// The kinds of outbound calls.
const (
	OutboundWebhook OutboundKind = "webhook" // events and questions to a tenant's backend
	OutboundLLM     OutboundKind = "llm"     // models
)

// Endpoints answers for the places that tenants have calls sent to. An endpoint is named by its owner and a name of its
// own ("tenant_…/webhook"): no secret, since it is logged, and never shared by two tenants, since connections, circuit
// and places belong to the name. Health is this process's own and gone with it.
type Endpoints interface {
	// CheckURL says what is wrong with a URL as an endpoint, as a domain.Invalid of field. It reads the text alone: where
	// a host name leads is judged again with every connection, so that a URL that passes may still be out of reach.
	CheckURL(kind OutboundKind, field, url string) error
	// CheckSecret says what is wrong with a webhook secret, as a domain.Invalid of field.
	CheckSecret(field, secret string) error
	// Health tells how calls to an endpoint went. One that was never called is closed, with no times.
	Health(kind OutboundKind, endpoint string) Health
	// Forget drops circuit, rest and idle connections of an endpoint: after its URL has changed, or it is gone.
	Forget(kind OutboundKind, endpoint string)
}

// WebhookSender makes one attempt to deliver to a tenant's backend: checked, signed, bounded in time and size. It keeps
// no schedule: when to come back, and whether, is the caller's. Safe for concurrent use.
type WebhookSender interface {
	Send(ctx context.Context, a Attempt) Outcome
}

// StreamOpener calls a model and hands over the answer as it comes. Safe for concurrent use.
type StreamOpener interface {
	// Open returns as soon as the status is known, whatever it is; a redirect is a status like any other. Its error is
	// always a *CallError. The caller must Close the body, and has a place at the endpoint until then. The end of ctx ends
	// the body too.
	Open(ctx context.Context, c StreamCall) (*Stream, error)
}

// Attempt is one POST of a JSON body, signed as Standard Webhooks 1.0 says.
type Attempt struct {
	Endpoint   string        // see Endpoints
	URL        string        // checked anew with every attempt
	ID         string        // webhook-id: the same for every attempt of one event, 1 to 256 visible ASCII characters
	Timestamp  time.Time     // webhook-timestamp: of this attempt, not of the event
	Body       []byte        // not changed, by either side and for good
	Secrets    []Secret      // newest first, one more while a rotation lasts; none sends the body unsigned
	Timeout    time.Duration // for everything from the name's lookup to the answer's last byte; 0 = 15 s, at most 60 s
	Patience   time.Duration // how long to wait for a place at a busy endpoint, before Timeout begins; 0 = not at all
	KeepAnswer bool          // the answer's body is wanted in Outcome.Answer; else it is read and dropped
}

// Result is how a call ended, as far as its caller's next step goes.
type Result int

// The results. No status but 410 is final: receivers answer 404 while they are deployed and 401 while a secret changes.
const (
	Delivered   Result = iota + 1 // a 2xx, read to its end
	Retryable                     // failed, and may work another time
	Gone                          // 410: the receiver wants no more of this; disable the endpoint
	Refused                       // the URL itself is not allowed, and nothing was sent; it will be so until something is changed
	Permanent                     // the attempt cannot be made into a request (its secret, its id); nothing was sent
	Deferred                      // nothing was sent: circuit open, or no place, or the endpoint asked for rest; see RetryAfter
	Interrupted                   // the caller's ctx was cancelled or the server stops; it may have arrived
)

// Outcome is what came of a call.
type Outcome struct {
	Result     Result
	Cause      Cause         // "" when Delivered
	Status     int           // of the answer; 0 when there was none
	RetryAfter time.Duration // not before; of the answer's Retry-After (at most 24 h), or of Deferred (at least 1 s)
	Answer     []byte        // with KeepAnswer, of a 2xx that was not content-encoded; at most 256 KiB
	Took       time.Duration
}

// Spent reports whether this was one of an event's attempts: not while the endpoint could not be called, and not when the
// caller broke off.
func (o Outcome) Spent() bool { return o.Result != Deferred && o.Result != Interrupted }

// Cause says in a few words why a call failed. The words are a closed set and meant for the tenant: none of them tells
// a name that leads into the operator's network from one that leads nowhere.
type Cause string

// The causes, besides "http 500" and its like (StatusCause).
const (
	CauseTimeout     Cause = "connection timeout"           // at any stage: name, connection, TLS, headers, body
	CauseUnreachable Cause = "connection failed"            // no such name, no connection, cut, or an address that is not allowed
	CausePolicy      Cause = "connection refused by policy" // scheme, host or port of the URL
	CauseTLS         Cause = "tls error"
	CauseResponse    Cause = "invalid response" // not HTTP, or more than 32 KiB of headers
	CauseTooLarge    Cause = "response too large"
	CauseSecret      Cause = "invalid webhook secret"
	CauseRequest     Cause = "invalid request"
	CauseCircuit     Cause = "circuit open"
	CauseRest        Cause = "endpoint asked to wait"
	CauseBusy        Cause = "too many calls at once"
	CauseInterrupted Cause = "interrupted"
)

// StatusCause is the cause of an answer with this status.
func StatusCause(status int) Cause { return Cause("http " + strconv.Itoa(status)) }

// StreamCall is one POST of a JSON body to a model.
type StreamCall struct {
	Endpoint      string // see Endpoints
	URL           string
	Header        map[string]string // besides Content-Type, which is application/json; may carry credentials
	Body          []byte            // not changed, by either side and for good
	HeaderTimeout time.Duration     // until the status is known; 0 = 60 s
	IdleTimeout   time.Duration     // longest wait of one Read; 0 = 30 s
	MaxBytes      int64             // of the answer's body; 0 = 16 MiB. Of an answer other than 2xx, at most 64 KiB
}

// Stream is a model's answer.
type Stream struct {
	Status      int
	ContentType string
	RetryAfter  time.Duration // of the answer's header, at most 24 h
	Body        io.ReadCloser // a Read fails with io.EOF or a *CallError. One reader at a time; Close may come from anywhere
}

// CallError is why there is no stream, or no more of it. Its text is the cause alone.
type CallError struct{ Outcome Outcome }

func (e *CallError) Error() string { return string(e.Outcome.Cause) }

// Health is how calls to an endpoint have gone lately.
type Health struct {
	Circuit     string    // "closed", "open", or "half-open" while one call finds out
	Failures    int       // since the last success
	LastSuccess time.Time // zero = none seen
	LastFailure time.Time
	LastCause   Cause
	RetryAt     time.Time // no call is made before; zero = now
}

// Secret is a value that prints as [redacted], whatever prints it.
type Secret struct{ value string }

// NewSecret wraps a secret.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return s.value }

const redacted = "[redacted]"

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter: no verb and no flag gets behind it.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, for JSON and others.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
