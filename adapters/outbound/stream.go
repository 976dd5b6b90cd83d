package outbound

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// stalled ends a call whose other side has been silent for too long.
type stalled struct{}

func (stalled) Error() string { return "no answer in time" }
func (stalled) Timeout() bool { return true }

// Open implements ports.StreamOpener. Statuses of 500 and above and 429 count against the endpoint's circuit; what goes
// wrong in the body counts for nothing more.
func (c *Client) Open(ctx context.Context, s ports.StreamCall) (*ports.Stream, error) {
	k, begun := key{ports.OutboundLLM, s.Endpoint}, time.Now()
	stream, v := c.openStream(ctx, k, s)
	v.Took = time.Since(begun)
	out := c.settle(ctx, k, v)
	if stream == nil {
		return nil, &ports.CallError{Outcome: out}
	}
	return stream, nil
}

func (c *Client) openStream(ctx context.Context, k key, s ports.StreamCall) (*ports.Stream, verdict) {
	req, cause, err := c.streamRequest(s)
	if err != nil {
		return nil, unsendable(cause, err)
	}
	at, v := c.enter(ctx, k, 0)
	if at.endpoint == nil {
		return nil, v
	}
	call, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.closing, func() { cancel(context.Canceled) })
	end := sync.OnceFunc(func() { cancel(context.Canceled); stop(); at.leave() })
	var resp *http.Response
	v = at.attempt(func() verdict {
		late := time.AfterFunc(cmp.Or(s.HeaderTimeout, defaultHeaderTimeout), func() { cancel(stalled{}) })
		defer late.Stop()
		resp, err = at.transport.RoundTrip(req.WithContext(withCall(call))) //nolint:bodyclose // the stream's reader closes it
		if err != nil {
			return c.failed(ctx, err)
		}
		return answered(resp)
	})
	if resp == nil {
		end()
		return nil, v
	}
	return &ports.Stream{
		Status:      resp.StatusCode,
		ContentType: resp.Header.Get("Content-Type"),
		RetryAfter:  retryAfter(resp.Header, time.Now()),
		Body:        newStreamBody(ctx, c, resp, s, cancel, end),
	}, v
}

// answered is the verdict on a model that has a status. Its caller decides what to make of it.
func answered(resp *http.Response) verdict {
	v := verdict{Outcome: ports.Outcome{Result: ports.Delivered, Status: resp.StatusCode}}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		v.Result, v.Cause = ports.Retryable, ports.StatusCause(resp.StatusCode)
		v.RetryAfter = retryAfter(resp.Header, time.Now())
	}
	return v
}

func (c *Client) streamRequest(s ports.StreamCall) (*http.Request, ports.Cause, error) {
	t, err := c.target(ports.OutboundLLM, s.URL)
	if err != nil {
		return nil, ports.CausePolicy, err
	}
	req, err := c.request(t, s.Body)
	if err != nil {
		return nil, ports.CauseRequest, err
	}
	for name, value := range s.Header {
		if !isHeader(name, value) {
			return nil, ports.CauseRequest, errors.New("a header is not sendable")
		}
		req.Header.Set(name, value)
	}
	return req, "", nil
}

// isHeader reports whether the transport would send a header: its own error would repeat the value, which may be a key.
func isHeader(name, value string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	for i := range len(value) {
		if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
			return false
		}
	}
	return name != ""
}

// streamBody reads a model's answer within its limits, and holds the call's place until it is closed.
type streamBody struct {
	client *Client
	ctx    context.Context // the caller's, to tell its end from a failure
	body   io.ReadCloser
	idle   time.Duration
	late   *time.Timer // runs while a Read waits
	left   int64       // bytes
	err    error       // of the Read that ended it
	closed atomic.Bool
	end    func()
}

func newStreamBody(ctx context.Context, c *Client, resp *http.Response, s ports.StreamCall, cancel context.CancelCauseFunc, end func()) *streamBody {
	b := &streamBody{client: c, ctx: ctx, body: resp.Body, end: end, idle: cmp.Or(s.IdleTimeout, defaultReadTimeout), left: cmp.Or(s.MaxBytes, defaultStreamBytes)}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		b.left = min(b.left, maxErrorBytes)
	}
	b.late = time.AfterFunc(b.idle, func() { cancel(stalled{}) })
	b.late.Stop()
	return b
}

// Read reads what has come. The time until the reader comes back is its own and does not count.
func (b *streamBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 { // one more than allowed, to see that there is more
		p = p[:b.left+1]
	}
	b.late.Reset(b.idle)
	n, err := b.body.Read(p)
	b.late.Stop()
	b.left -= int64(n)
	if b.left < 0 {
		n, err = n-1, errTooLarge
	}
	if err != nil {
		b.err = b.verdict(err)
	}
	return n, b.err
}

func (b *streamBody) verdict(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case b.closed.Load():
		return &ports.CallError{Outcome: interrupted().Outcome}
	}
	return &ports.CallError{Outcome: b.client.failed(b.ctx, err).Outcome}
}

// Close ends the call and gives its place back.
func (b *streamBody) Close() error {
	b.closed.Store(true)
	b.late.Stop()
	err := b.body.Close()
	b.end()
	return err
}
