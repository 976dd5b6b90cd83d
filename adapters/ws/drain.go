package ws

import (
	"context"
	"math/rand/v2"
	"time"
)

// Drain ends all sockets in peace: new ones are refused with 503, each open one finishes the command it is at, gets
// server.shutdown, with a moment of its own to come back, behind what is queued for it, and close 1001. Drain returns
// when all are gone; after timeout, or when ctx ends, it cuts the rest. Run must still be running.
func (h *Handler) Drain(ctx context.Context, timeout time.Duration) {
	h.draining.Store(true)
	sessions, gone := h.registry.shut()
	for _, s := range sessions {
		s.leave(minReconnect + rand.N(maxReconnect-minReconnect+1))
	}
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	select {
	case <-gone:
		return
	case <-limit.C:
	case <-ctx.Done():
	}
	h.log.Info("sockets cut at the end of the drain", "sockets", h.registry.size())
	h.cut()
}

// cut ends all connections without ceremony and waits for their goroutines.
func (h *Handler) cut() {
	sessions, gone := h.registry.shut()
	for _, s := range sessions {
		s.hangUp()
	}
	<-gone
}
