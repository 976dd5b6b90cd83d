package llm

import (
	"context"
	"errors"
	"io"
	"iter"
	"mime"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

const (
	// maxStream is the most that is read of an answer, in bytes. An answer of domain.MaxAnswer in events of one character
	// each is about 20 MiB.
	maxStream = 64 << 20
	// afterFinish is how long a model that has finished may take to say what it cost and that this is all.
	afterFinish = 2 * time.Second
)

// Client asks models. It satisfies ports.LLM. Safe for concurrent use.
type Client struct{ opener ports.StreamOpener }

var _ ports.LLM = (*Client)(nil)

// New returns a client that calls models through opener.
func New(opener ports.StreamOpener) *Client { return &Client{opener} }

// Answer implements ports.LLM. From the call to the first token domain.FirstTokenTimeout may pass, between two tokens
// domain.TokenTimeout; the time that the caller's loop takes does not count. Thinking is not shown, and does count as
// tokens. Every loop over the answer asks anew.
func (c *Client) Answer(ctx context.Context, q ports.Question) iter.Seq2[ports.Piece, error] {
	return func(yield func(ports.Piece, error) bool) {
		ctx, wait := newPatience(ctx)
		defer wait.end()
		d := dialectOf(q.Provider)
		stream, err := c.open(ctx, d.call(q))
		if err == nil {
			defer stream.Body.Close()
			a := answer{dialect: d, patience: wait, yield: yield}
			err = a.read(stream)
		}
		if err != nil {
			yield(ports.Piece{}, broken(ctx, err))
		}
	}
}

// open calls the model. An answer other than 2xx is an error, and what it says is not read.
func (c *Client) open(ctx context.Context, call ports.StreamCall) (*ports.Stream, error) {
	// The limits on time are the patience's, which tells tokens from other bytes. Those of the call are out of its way.
	call.HeaderTimeout, call.IdleTimeout = 2*domain.FirstTokenTimeout, 2*domain.FirstTokenTimeout
	call.MaxBytes = maxStream
	stream, err := c.opener.Open(ctx, call)
	if err != nil {
		return nil, unopened(ctx, err)
	}
	if stream.Status < 200 || stream.Status > 299 {
		stream.Body.Close()
		return nil, refused(stream.Status, stream.Status, stream.RetryAfter)
	}
	return stream, nil
}

// answer is one on its way. It is used by the goroutine of its loop alone.
type answer struct {
	dialect  dialect
	patience *patience
	yield    func(ports.Piece, error) bool
	text     joiner
	usage    *ports.TokenUsage
	finish   domain.FinishReason // set: nothing more is said
	heard    bool                // an event of the model's
}

// read yields the pieces of an answer, the one with Finish included. It returns nil when that was the last, or when the
// loop has ended.
func (a *answer) read(s *ports.Stream) error {
	for event, err := range sse.Read(newEvents(s.Body), &sse.ReadConfig{MaxEventSize: 2 * maxEvent}) {
		if err != nil {
			return a.close(a.cut(err, s))
		}
		if event.Data == "" { // no event, as the standard has it; some keep the connection alive with it
			continue
		}
		a.heard = true
		c, err := a.dialect.read(event)
		if err != nil {
			return a.close(locate(err, s.Status))
		}
		if !a.take(c) {
			return nil
		}
		if c.end {
			break
		}
	}
	return a.close(a.cut(io.ErrUnexpectedEOF, s))
}

// cut is why a stream ended before its answer did. One that came whole, and in which there is no event, is a page or an
// error that was not meant for a reader of streams.
func (a *answer) cut(err error, s *ports.Stream) error {
	var call *ports.CallError
	if a.heard || errors.As(err, &call) || errors.Is(err, errTooLong) || isEventStream(s.ContentType) {
		return err
	}
	return errMalformed
}

// take yields what an event says. It reports whether the loop goes on.
func (a *answer) take(c chunk) bool {
	a.usage = c.usage.onto(a.usage)
	if a.finish != "" {
		return true
	}
	more := true
	if text := a.text.add(c.text); text != "" {
		a.patience.pause() // the caller's time is its own
		more = a.yield(ports.Piece{Text: text, Usage: a.usage}, nil)
	}
	if c.isToken() {
		a.patience.wait(domain.TokenTimeout)
	}
	if c.finish != "" {
		a.finish = c.finish
		a.patience.wait(afterFinish)
	}
	return more
}

// close ends an answer whose stream has ended: well, when the model had finished, however that came about.
func (a *answer) close(err error) error {
	if a.finish == "" {
		return err
	}
	a.patience.pause()
	a.yield(ports.Piece{Text: a.text.rest(), Usage: a.usage, Finish: a.finish}, nil)
	return nil
}

// locate gives an error that the model told of within its answer the answer's status.
func locate(err error, status int) error {
	var told *fault
	if errors.As(err, &told) {
		return refused(status, told.status, 0)
	}
	return err
}

func isEventStream(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return media == "text/event-stream"
}
