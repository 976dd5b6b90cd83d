package outbound

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Send implements ports.WebhookSender.
func (c *Client) Send(ctx context.Context, a ports.Attempt) ports.Outcome {
	k, begun := key{ports.OutboundWebhook, a.Endpoint}, time.Now()
	v := c.send(ctx, k, a)
	v.Took = time.Since(begun)
	return c.settle(ctx, k, v)
}

func (c *Client) send(ctx context.Context, k key, a ports.Attempt) verdict {
	req, cause, err := c.webhook(a)
	if err != nil {
		v := unsendable(cause, err)
		c.endpoints.remember(k, v.Outcome) // nobody was called: that is how the endpoint is doing
		return v
	}
	at, v := c.enter(ctx, k, a.Patience)
	if at.endpoint == nil {
		return v
	}
	defer at.leave()
	return at.attempt(func() verdict {
		call, cancel := context.WithTimeout(ctx, min(cmp.Or(a.Timeout, defaultTimeout), maxTimeout))
		defer cancel()
		defer context.AfterFunc(c.closing, cancel)()
		return c.post(ctx, at.endpoint, req.WithContext(withCall(call)), a.KeepAnswer)
	})
}

// unsendable is the verdict on what cannot be a request. A URL that is refused may be allowed after a change of
// configuration; the rest is wrong in itself.
func unsendable(cause ports.Cause, err error) verdict {
	result := ports.Permanent
	if cause == ports.CausePolicy {
		result = ports.Refused
	}
	return verdict{ports.Outcome{Result: result, Cause: cause}, err.Error()}
}

// webhook makes the request of an attempt, or says whose fault it is that there is none.
func (c *Client) webhook(a ports.Attempt) (*http.Request, ports.Cause, error) {
	t, err := c.target(ports.OutboundWebhook, a.URL)
	if err != nil {
		return nil, ports.CausePolicy, err
	}
	if !isToken(a.ID) {
		return nil, ports.CauseRequest, errors.New("a webhook-id has 1 to 256 visible ASCII characters")
	}
	req, err := c.request(t, a.Body)
	if err != nil {
		return nil, ports.CauseRequest, err
	}
	if err := sign(req.Header, a.ID, a.Timestamp, a.Body, a.Secrets); err != nil {
		return nil, ports.CauseSecret, err
	}
	return req, "", nil
}

func isToken(s string) bool {
	invisible := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	return s != "" && len(s) <= maxIDBytes && !strings.ContainsFunc(s, invisible)
}

// request is a POST of JSON. The empty Idempotency-Key is never sent: it tells http.Transport that a call may go out once
// more, on a new connection, when a kept one turns out to be dead before any answer. Webhooks carry their own id, and a
// model's answer that nobody got is asked for again.
func (c *Client) request(t target, body []byte) (*http.Request, error) {
	req, err := http.NewRequest(http.MethodPost, t.url.String(), bytes.NewReader(body)) //nolint:noctx // the caller adds the attempt's
	if err != nil {
		return nil, errors.New("this is no URL") // the library's error repeats it
	}
	req.Header = http.Header{
		"Content-Type":    {"application/json"},
		"Accept-Encoding": {"identity"},
		"User-Agent":      {c.userAgent},
		"Idempotency-Key": nil,
	}
	return req, nil
}

// post makes the call and judges the answer. Of an answer that is not 2xx only the status is read.
func (c *Client) post(ctx context.Context, e *endpoint, req *http.Request, keep bool) verdict {
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return c.failed(ctx, err)
	}
	defer resp.Body.Close()
	v := verdict{Outcome: ports.Outcome{Result: ports.Delivered, Status: resp.StatusCode}}
	switch {
	case resp.StatusCode == http.StatusGone:
		v.Result, v.Cause = ports.Gone, ports.StatusCause(resp.StatusCode)
		return v
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		v.Result, v.Cause = ports.Retryable, ports.StatusCause(resp.StatusCode)
		v.RetryAfter = retryAfter(resp.Header, time.Now())
		return v
	}
	answer, err := readAnswer(resp, keep)
	if err != nil {
		v = c.failed(ctx, err)
		v.Status = resp.StatusCode
		return v
	}
	v.Answer = answer
	return v
}

var errTooLarge = errors.New("the answer is larger than is read")

// readAnswer reads a body to its end, so that its connection can carry the next call. One in an encoding that was not
// asked for is not decoded: 256 KiB of gzip may be a gigabyte.
func readAnswer(resp *http.Response, keep bool) ([]byte, error) {
	var kept bytes.Buffer
	to := io.Discard
	if keep && isPlain(resp.Header) {
		to = &kept
	}
	n, err := io.Copy(to, io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err == nil && n > maxAnswerBytes {
		err = errTooLarge
	}
	return kept.Bytes(), err
}

func isPlain(h http.Header) bool {
	encoding := h.Get("Content-Encoding")
	return encoding == "" || strings.EqualFold(encoding, "identity")
}
