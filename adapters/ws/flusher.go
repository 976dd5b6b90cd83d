package ws

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// readyList holds the sessions that have something to write, each at most once, first come first served.
type readyList struct {
	mu         sync.Mutex
	change     *sync.Cond
	head, tail *Session
	closed     bool
}

func newReadyList() *readyList {
	l := &readyList{}
	l.change = sync.NewCond(&l.mu)
	return l
}

func (l *readyList) add(s *Session) {
	l.mu.Lock()
	if l.tail == nil {
		l.head = s
	} else {
		l.tail.next = s
	}
	l.tail = s
	l.mu.Unlock()
	l.change.Signal()
}

// take waits for a session; nil when the list is closed.
func (l *readyList) take() *Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head == nil && !l.closed {
		l.change.Wait()
	}
	s := l.head
	if s == nil {
		return nil
	}
	l.head, s.next = s.next, nil
	if l.head == nil {
		l.tail = nil
	}
	return s
}

func (l *readyList) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.change.Broadcast()
}

// flusher writes what waits, one session after the other, and never waits for any of them.
type flusher struct {
	h   *Handler
	buf []byte
	n   int
	err error
	try func(fd uintptr) bool // made once: a closure for each write would be garbage
}

func newFlusher(h *Handler) *flusher {
	f := &flusher{h: h, buf: make([]byte, 0, writeChunk)}
	f.try = func(fd uintptr) bool {
		f.n, f.err = writeFD(fd, f.buf)
		return true
	}
	return f
}

func (f *flusher) run() {
	for s := f.h.ready.take(); s != nil; s = f.h.ready.take() {
		f.flush(s)
	}
}

// flush makes one attempt for a session. What the kernel does not take at once is left to a goroutine that waits.
func (f *flusher) flush(s *Session) {
	if s.raw == nil {
		f.h.sessions.Go(s.writeBlocking)
		return
	}
	f.buf = s.joinNext(f.buf[:0], writeChunk)
	f.n, f.err = 0, nil
	if len(f.buf) > 0 {
		if err := s.raw.Write(f.try); err != nil {
			f.err = err
		}
	}
	switch {
	case f.err != nil && !errors.Is(f.err, syscall.EAGAIN):
		s.fail()
	case !s.wrote(f.n):
	case f.n < len(f.buf):
		f.h.stats.slow.Add(1)
		f.h.sessions.Go(s.writeSlowly)
	default:
		f.h.ready.add(s)
	}
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, writeChunk); return &b }}

// writeSlowly writes until the queue is empty, waiting for the kernel in between. It holds no buffer while it waits.
func (s *Session) writeSlowly() {
	for {
		begun := time.Now()
		_ = s.conn.SetWriteDeadline(begun.Add(writeStall))
		var n int
		var failed error
		err := s.raw.Write(func(fd uintptr) bool {
			n, failed = s.attempt(fd)
			return !errors.Is(failed, syscall.EAGAIN)
		})
		if err == nil {
			err = failed
		}
		if s.goOn(n, err, time.Since(begun)) {
			return
		}
	}
}

// attempt joins and writes once.
func (s *Session) attempt(fd uintptr) (int, error) {
	chunk := chunks.Get().(*[]byte)
	defer chunks.Put(chunk)
	*chunk = s.joinNext((*chunk)[:0], writeChunk)
	if len(*chunk) == 0 {
		return 0, nil
	}
	return writeFD(fd, *chunk)
}

// writeBlocking is writeSlowly for connections that are no sockets of the kernel: TLS, pipes.
func (s *Session) writeBlocking() {
	for {
		begun := time.Now()
		_ = s.conn.SetWriteDeadline(begun.Add(writeStall))
		chunk := chunks.Get().(*[]byte)
		*chunk = s.joinNext((*chunk)[:0], blockingChunk)
		n, err := s.conn.Write(*chunk)
		chunks.Put(chunk)
		if s.goOn(n, err, time.Since(begun)) {
			return
		}
	}
}

// goOn settles a write that could wait, and reports whether this was the last one.
func (s *Session) goOn(n int, err error, waited time.Duration) (last bool) {
	timedOut := errors.Is(err, os.ErrDeadlineExceeded)
	if err != nil && !timedOut {
		s.fail()
		return true
	}
	if timedOut && n == 0 {
		s.stalled()
		return false
	}
	if waited >= time.Second {
		s.sawLife()
	}
	// Without a deadline again before anybody else may write: an expired one fails every later write.
	_ = s.conn.SetWriteDeadline(time.Time{})
	return !s.wrote(n)
}

// sawLife notes that the client took something a write had to wait for: it is slow, not gone, and may not have come to
// our ping yet. What a buffer takes at once proves nothing.
func (s *Session) sawLife() {
	if heard := s.heard.Load(); heard != 0 {
		s.heard.CompareAndSwap(heard, s.h.now())
	}
}
