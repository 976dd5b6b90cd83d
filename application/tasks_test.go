package application

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// closedSink remembers what it was closed with.
type closedSink struct {
	ports.Sink
	code int
}

func (s *closedSink) Close(code int, _ string) { s.code = code }

func TestASocketThatCannotBeCaughtUpIsToldWhy(t *testing.T) {
	t.Parallel()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	f := &Fanout{log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{t.Context(), fmt.Errorf("read the log: %w", domain.ErrBusy), 1013},
		{t.Context(), fmt.Errorf("read the log: %w", domain.ErrUnavailable), 1013},
		{t.Context(), domain.ErrClosing, 1001},
		{stopped, domain.ErrBusy, 1001},
		{t.Context(), domain.ErrTenantNotFound, 4401},
		{t.Context(), errors.New("a row that cannot be read"), 1011},
	} {
		sink := &closedSink{}
		p := &Peer{f: f, sink: sink}
		p.abandon(c.ctx, c.err)
		if sink.code != c.want {
			t.Errorf("after %q it is closed with %d, want %d", c.err, sink.code, c.want)
		}
	}
}
