package ws

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Session is one socket. Its reader goroutine reads, answers and ends it; what it is sent waits in a bounded queue that
// a flusher, or a goroutine of its own while it is slow, writes. It is a ports.Sink.
type Session struct {
	// Set once, before the reader and the fan-out know the session.
	h       *Handler
	conn    net.Conn
	raw     syscall.RawConn    // nil when conn cannot be written without waiting
	ws      *websocket.Conn    // reads from a wire around conn
	in      *bufio.Reader      // what ws reads through
	caller  application.Caller // who opened it; auth changes the credential and its end, never the user
	device  domain.DeviceID
	address string // of the client
	peer    peer   // nil when the fan-out refused the socket

	// The reader's.
	budget    *rate.Limiter // nil until the first frame that counts
	inMessage bool          // between the first frame of a message and its end
	waiting   bool          // for the resume frame

	// Moments on the handler's clock that the sweeper looks at; 0 = not running.
	heard    atomic.Int64 // when the client was last heard; 0 while the reader is busy and does not listen
	begun    atomic.Int64 // when a message, not complete yet, began
	resumeBy atomic.Int64
	closeBy  atomic.Int64 // when the connection ends, whatever the peer does
	watched  atomic.Bool  // the sweeper looks every second

	// When the credential ends, in Unix milliseconds; 0 = never. It changes under mu, by auth.
	expires atomic.Int64

	place place    // the registry's
	next  *Session // the ready list's

	mu         sync.Mutex
	out        queue
	auto       *autoAck      // nil: the client acknowledges itself
	writing    bool          // on the ready list, or being written: never by two at once
	overflowed bool          // a Push was refused, and the queue has not emptied since
	warned     bool          // the client was told that the credential ends soon
	handling   bool          // a command is under way
	sendingTo  domain.RoomID // the room of a send under way; zero = none
	leaving    bool          // close when it is done
	closing    bool          // a close frame is queued: nothing follows it
	revoked    bool          // nothing goes before it either, but the rest of a frame begun
	dead       bool          // the connection has ended
	wake       chan struct{} // closed when something was written; nil unless the reader waits for that
}

var _ ports.Sink = (*Session)(nil)

// Push queues an event. It returns false when the queue is full, and from then on until the queue has emptied, which
// the peer is told; so a busy room cannot keep a slow socket from being caught up.
func (s *Session) Push(f ports.Frame) bool {
	s.mu.Lock()
	if s.closing || s.dead {
		s.mu.Unlock()
		return false
	}
	if s.overflowed || !s.out.fits(f.Bytes) {
		s.overflowed = true
		s.mu.Unlock()
		return false
	}
	if s.auto != nil {
		s.auto.add(s.out.len(), &f)
	}
	if s.echoes(f) {
		s.out.add(f.Bytes)
		s.mu.Unlock()
		return true
	}
	s.enqueue(f.Bytes)
	return true
}

// Hint queues a frame that may be lost: a socket that is behind, or is being caught up, goes without it, and it returns
// false.
func (s *Session) Hint(f ports.Frame) bool {
	s.mu.Lock()
	if s.closing || s.dead {
		s.mu.Unlock()
		return false
	}
	if s.overflowed || !s.out.fitsHint(f.Bytes) {
		s.mu.Unlock()
		s.h.stats.dropped.Add(1)
		return false
	}
	s.enqueue(f.Bytes)
	return true
}

// Close ends the socket with a close frame behind what is queued; the peer has 5 s to answer it. Whose credential has
// ended gets nothing more but that frame, and is gone within 3 s.
func (s *Session) Close(code int, reason string) {
	s.mu.Lock()
	s.shut(code, reason)
}

// shut is Close for who holds mu, and unlocks it.
func (s *Session) shut(code int, reason string) {
	wait := closeWait
	if code == closeToken {
		wait = revokedWait
	}
	if !s.beginClose(code, wait) {
		s.mu.Unlock()
		return
	}
	s.revoked = code == closeToken
	s.enqueue(closeFrame(code, reason))
	s.h.watch(s)
}

// control queues a frame that does not come from the fan-out. The reader makes room for these before it reads on.
func (s *Session) control(frame []byte) {
	s.mu.Lock()
	if s.closing || s.dead {
		s.mu.Unlock()
		return
	}
	s.enqueue(frame)
}

// enqueue adds a frame, unlocks mu, and sees to it that somebody writes. The caller holds mu.
func (s *Session) enqueue(frame []byte) {
	s.out.add(frame)
	s.schedule()
}

// schedule unlocks mu and sees to it that what waits is written. The caller holds mu.
func (s *Session) schedule() {
	idle := !s.writing && s.out.len() > 0
	s.writing = s.writing || idle
	s.mu.Unlock()
	if idle {
		s.h.ready.add(s)
	}
}

// beginClose turns the session towards its end; false when it is there already. The caller holds mu.
func (s *Session) beginClose(code int, wait time.Duration) bool {
	if s.closing || s.dead {
		return false
	}
	s.closing = true
	s.closeBy.Store(s.h.now() + int64(wait))
	s.h.stats.closed(code)
	s.wakeReader()
	return true
}

// stalled ends a session whose writes made no progress: the queue is dropped but for a frame begun, and a client that
// wakes up in the next moment still sees why.
func (s *Session) stalled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beginClose(closeNoProgress, stallGrace) {
		s.out.add(closeFrame(closeNoProgress, "no progress on a write for 10 s"))
		s.keepLast()
		s.h.watch(s)
	}
}

// joinNext appends what is to be written next to dst, up to limit bytes. Its caller is the one who writes, and has
// settled its write before: only here may the queue be cut.
func (s *Session) joinNext(dst []byte, limit int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revoked {
		s.keepLast()
	}
	return s.out.join(dst, limit)
}

// keepLast cuts the queue to its last frame and one that is begun. The caller holds mu.
func (s *Session) keepLast() {
	if s.auto != nil {
		s.auto.keepBegun(s.out.offset > 0)
	}
	s.out.keepLast()
}

// drop gives the queue up. The caller holds mu.
func (s *Session) drop() {
	if s.auto != nil {
		s.auto.drop()
	}
	s.out.drop()
}

// leave ends the session once the command under way is answered: server.shutdown, close 1001.
func (s *Session) leave(reconnectAfter time.Duration) {
	s.control(shutdownFrame(reconnectAfter))
	s.mu.Lock()
	s.leaving = true
	handling := s.handling
	s.mu.Unlock()
	if !handling {
		s.Close(closeGoingAway, "server is shutting down")
	}
}

// wrote takes what a write has brought away off the queue. It reports whether there is more to write; if not, nobody
// writes any more, and a peer that was refused is told. Its caller was the one who wrote.
func (s *Session) wrote(n int) (more bool) {
	s.mu.Lock()
	frames := s.out.written(n)
	if s.auto != nil && !s.dead {
		s.acknowledge(frames)
	}
	if s.dead {
		s.drop()
	}
	more = s.out.len() > 0
	drained := false
	if !more {
		s.writing = false
		drained = s.overflowed && !s.closing && !s.dead
		s.overflowed = s.overflowed && !drained
	}
	s.wakeReader()
	s.mu.Unlock()
	s.h.stats.wrote(frames, n)
	if drained {
		s.peer.Drained()
	}
	return more
}

// fail ends the connection after an error. Who writes calls it, and does not write again.
func (s *Session) fail() {
	s.hangUp()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead, s.writing = true, false
	s.drop()
	s.wakeReader()
}

// hangUp ends the connection at once. Saying goodbye is not TLS's to do: its Close may wait for a peer that is gone.
func (s *Session) hangUp() {
	conn := s.conn
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	_ = conn.Close()
}

// wakeReader lets the reader look again whether it can go on. The caller holds mu.
func (s *Session) wakeReader() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// waitWhile makes the reader wait until blocked, asked under mu after each write, is false.
func (s *Session) waitWhile(blocked func() bool) {
	for {
		s.mu.Lock()
		if !blocked() {
			s.mu.Unlock()
			return
		}
		if s.wake == nil {
			s.wake = make(chan struct{})
		}
		wake := s.wake
		s.mu.Unlock()
		<-wake
	}
}

// makeRoom holds the reader back while the client does not take its answers: a flood of requests grows no memory.
func (s *Session) makeRoom() {
	s.waitWhile(func() bool { return s.out.overReserve() && !s.closing && !s.dead })
}

// flushed waits until what is queued is written or lost.
func (s *Session) flushed() {
	s.waitWhile(func() bool { return s.writing && !s.dead })
}

// end gives everything back. The reader calls it last.
func (s *Session) end() {
	s.hangUp()
	s.mu.Lock()
	if !s.closing && !s.dead {
		s.h.stats.closed(closeAbnormal)
	}
	s.dead = true
	if !s.writing {
		s.drop()
	}
	s.mu.Unlock()
	if s.peer != nil {
		s.peer.Close()
	}
	s.waitWhile(func() bool { return s.writing })
	s.h.registry.remove(s)
	s.h.sessions.Done()
}
