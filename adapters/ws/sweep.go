package ws

import (
	"context"
	"time"
)

// sweep is the one timer of all sockets. Each second it pings a thirtieth of them, and looks at those for which
// something may soon be over: their silence, a message begun, their token, the wait for a resume or a close frame.
func (h *Handler) sweep(ctx context.Context) {
	tick := time.NewTicker(pingEvery / buckets)
	defer tick.Stop()
	var scratch []*Session
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due, watched := h.registry.bucket(turn%buckets, scratch)
		scratch = due
		now, today := h.now(), h.clock.Now()
		for _, s := range due {
			s.ping()
			if s.soonOver(now, today) {
				h.watch(s)
			}
		}
		for _, s := range watched {
			s.check(now, today)
			if !s.soonOver(now, today) {
				h.registry.unwatch(s)
				s.rewatch()
			}
		}
		clear(scratch)
	}
}

func (h *Handler) watch(s *Session) { h.registry.watch(s) }

// ping asks for a sign of life. A socket that is being written shows one by taking its frames.
func (s *Session) ping() {
	s.mu.Lock()
	if s.writing || s.closing || s.dead {
		s.mu.Unlock()
		return
	}
	s.enqueue(pingControl)
}

// soonOver reports whether one of the session's terms may end before the sweeper comes round again.
func (s *Session) soonOver(now int64, today time.Time) bool {
	if s.closeBy.Load() != 0 || s.resumeBy.Load() != 0 || s.begun.Load() != 0 {
		return true
	}
	if heard := s.heard.Load(); heard != 0 && now+int64(pingEvery) > heard+int64(maxSilence) {
		return true
	}
	return s.left(today) <= expiryNotice+pingEvery
}

// rewatch closes the gap between reading begun and taking the session off the list.
func (s *Session) rewatch() {
	if s.begun.Load() != 0 || s.closeBy.Load() != 0 {
		s.h.watch(s)
	}
}

// check tells of what ends soon, and ends what is over.
func (s *Session) check(now int64, today time.Time) {
	s.remind(today)
	closeBy, resumeBy, begun, heard := s.closeBy.Load(), s.resumeBy.Load(), s.begun.Load(), s.heard.Load()
	switch {
	case closeBy != 0:
		if now >= closeBy {
			s.hangUp()
		}
	case s.left(today) <= 0:
		s.expire(today)
	case resumeBy != 0 && now >= resumeBy:
		s.Close(closePolicy, "no resume frame within 5 s")
	case begun != 0 && now-begun >= int64(maxMessageGap):
		s.Close(closePolicy, "a message was not complete within 10 s")
	case heard != 0 && now-heard >= int64(maxSilence):
		s.Close(closePolicy, "silent for 60 s")
	}
}
