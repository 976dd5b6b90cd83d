package llm

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// patience ends a call whose model takes too long for its next token.
type patience struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// newPatience returns the context of a call, which ends when the first token is late, and what counts its time. That end
// looks like any deadline's: its cause is context.DeadlineExceeded.
func newPatience(ctx context.Context) (context.Context, *patience) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := func() { cancel(context.DeadlineExceeded) }
	return ctx, &patience{cancel: cancel, timer: time.AfterFunc(domain.FirstTokenTimeout, late)}
}

// wait gives the model so much time from now.
func (p *patience) wait(d time.Duration) { p.timer.Reset(d) }

// pause gives it any time, until the next wait.
func (p *patience) pause() { p.timer.Stop() }

// end gives the call up.
func (p *patience) end() {
	p.timer.Stop()
	p.cancel(context.Canceled)
}
