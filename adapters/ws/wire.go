package ws

import (
	"encoding/binary"
	"net"
	"time"
)

// wire is the connection as gorilla has it. During the handshake it is the connection itself; from then on, what
// gorilla writes, a close frame for a breach of protocol, goes through the session's queue, so that frames never
// interleave, and what it reads is noticed.
type wire struct {
	net.Conn
	s *Session // nil during the handshake
}

// Read reads, and notes when the client was heard and when a message began. Whoever leaves a message unfinished is
// watched.
func (w *wire) Read(p []byte) (int, error) {
	s := w.s
	if s == nil {
		return w.Conn.Read(p)
	}
	if s.begun.Load() != 0 && !s.watched.Load() {
		s.h.watch(s)
	}
	n, err := w.Conn.Read(p)
	if n > 0 {
		now := s.h.now()
		s.heard.Store(now)
		if s.begun.Load() == 0 {
			s.begun.Store(now)
		}
	}
	return n, err
}

// Write takes gorilla's own frames. It only ever closes: pings and closes are answered by the session's handlers.
func (w *wire) Write(p []byte) (int, error) {
	if w.s == nil {
		return w.Conn.Write(p)
	}
	if len(p) >= 4 && p[0] == finClose {
		w.s.Close(int(binary.BigEndian.Uint16(p[2:])), string(p[4:]))
	}
	return len(p), nil
}

// SetWriteDeadline is the writer's business once there is a session.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.s != nil {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}
