package main

import (
	"bytes"
	"fmt"
	"time"
)

// closedLoop sends on a socket that nobody else reads, one message after each reply, until the window stops. onMessage
// sees the messages that come meanwhile.
func closedLoop(s *socket, who int, room string, w *window, onMessage func([]byte)) error {
	frame, at := sendFrame(room)
	for !w.stopped.Load() {
		sent := time.Now()
		stamp(frame, at, sent)
		if _, err := s.conn.Write(frame); err != nil {
			return err
		}
		if err := s.awaitReply(onMessage); err != nil {
			return err
		}
		w.sent.add(who)
		w.record(who, time.Since(sent))
	}
	return nil
}

// awaitReply reads until the reply to the one request under way.
func (s *socket) awaitReply(onMessage func([]byte)) error {
	var failed error
	err := s.read(func(p []byte) bool {
		switch {
		case bytes.HasPrefix(p, isMessage):
			onMessage(p)
		case bytes.HasPrefix(p, isReply):
			return false
		case bytes.HasPrefix(p, isError):
			failed = fmt.Errorf("a send was answered %s", p)
			return false
		}
		return true
	})
	if failed != nil {
		return failed
	}
	return err
}

// paced calls send at a rate until the window stops, each time with the time it was due: a call that comes late is
// told so.
func paced(rate float64, w *window, send func(n int, due time.Time) error) error {
	start, every := time.Now(), time.Duration(float64(time.Second)/rate)
	for n := 0; !w.stopped.Load(); n++ {
		due := start.Add(time.Duration(n) * every)
		if wait := time.Until(due); wait > 0 {
			<-time.After(wait)
		}
		if err := send(n, due); err != nil {
			return err
		}
	}
	return nil
}
