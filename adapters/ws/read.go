package ws

import (
	"errors"
	"io"
	"runtime/debug"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/chatapi/chatapi/domain"
)

// read reads and answers until the connection ends. It is the session's one goroutine.
func (s *Session) read() {
	defer s.end()
	defer s.survive()
	for {
		s.listen()
		kind, data, err := s.nextMessage()
		if err != nil {
			s.readFailed(err)
			return
		}
		s.receive(kind, data)
		inbound.Put(data)
		s.makeRoom()
	}
}

// survive keeps the process alive when handling a frame panics: one connection is lost.
func (s *Session) survive() {
	if cause := recover(); cause != nil {
		s.h.log.Error("panic on a socket", "panic", cause, "stack", string(debug.Stack()))
		s.Close(closeInternal, "internal error")
		s.flushed()
	}
}

// listen starts the client's silence, and the age of a message that has arrived in part.
func (s *Session) listen() {
	s.heard.Store(s.h.now())
	s.betweenMessages()
}

// betweenMessages notes whether a message has begun already in what was read along with the one before.
func (s *Session) betweenMessages() {
	if s.in.Buffered() == 0 {
		s.begun.Store(0)
		return
	}
	s.begun.Store(s.h.now())
}

// inbound holds buffers for messages while they are read: an idle socket has none.
var inbound = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// nextMessage reads a whole message; control frames are handled on the way. The buffer goes back to inbound.
func (s *Session) nextMessage() (kind int, data *[]byte, err error) {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return 0, nil, err
	}
	s.inMessage = true
	defer func() { s.inMessage = false }()
	data = inbound.Get().(*[]byte)
	*data, err = appendAll((*data)[:0], r)
	if err != nil {
		inbound.Put(data)
		return 0, nil, err
	}
	return kind, data, nil
}

// appendAll reads r to its end behind dst. The size is bounded by the connection's read limit.
func appendAll(dst []byte, r io.Reader) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

// receive handles one message. While it does, the client's silence is not its fault.
func (s *Session) receive(kind int, data *[]byte) {
	s.heard.Store(0)
	s.begun.Store(0)
	s.h.stats.received.Add(1)
	if !s.startHandling() {
		return
	}
	defer s.doneHandling()
	switch {
	case kind != websocket.TextMessage:
		s.Close(closeNotText, "frames are JSON text")
	case !utf8.Valid(*data):
		s.Close(closeNotUTF8, "a text frame is valid UTF-8")
	default:
		s.handle(*data)
	}
}

// startHandling reports whether the session still takes commands.
func (s *Session) startHandling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handling = !s.closing && !s.dead
	return s.handling
}

// doneHandling sends an echo on its way that no reply has taken along, and lets a session go that was asked to leave
// while it handled a command.
func (s *Session) doneHandling() {
	s.mu.Lock()
	s.handling, s.sendingTo = false, domain.RoomID{}
	leaving := s.leaving
	s.schedule()
	if leaving {
		s.Close(closeGoingAway, "server is shutting down")
	}
}

// spend takes one frame from the socket's budget, and closes it when there is none left.
func (s *Session) spend() bool {
	if s.budget == nil {
		s.budget = rate.NewLimiter(framesPerSecond, framesPerSecond)
	}
	if s.budget.AllowN(time.Now(), 1) {
		return true
	}
	s.Close(closeFlooding, "more than 50 frames a second")
	return false
}

// onPing answers a client's ping through the queue.
func (s *Session) onPing(payload string) error {
	if s.onControl() {
		s.control(pongControl(payload))
	}
	s.heard.Store(0)
	s.makeRoom()
	s.heard.Store(s.h.now())
	return nil
}

// onPong takes the answer to a ping, and those that nobody asked for.
func (s *Session) onPong(payload string) error {
	if s.onControl() && payload == confirmSync && s.peer != nil {
		s.peer.Confirmed()
	}
	return nil
}

func (s *Session) onControl() bool {
	if !s.inMessage {
		s.betweenMessages()
	}
	return s.spend()
}

// onClose answers the peer's close frame with its own code, unless it is the answer to ours.
func (s *Session) onClose(code int, _ string) error {
	s.mu.Lock()
	if !s.beginClose(code, closeWait) {
		s.mu.Unlock()
		return nil
	}
	s.enqueue(closeFrame(code, ""))
	s.h.watch(s)
	return nil
}

// readFailed ends the reading: after the close handshake, after a breach of protocol, or because the connection ended.
func (s *Session) readFailed(err error) {
	if errors.Is(err, websocket.ErrReadLimit) {
		// gorilla has closed with 1009 itself, but for lengths that no frame can have.
		s.Close(closeProtocol, "a frame length above 2^63-1")
	}
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != closeAbnormal:
		s.flushed()
	case s.isClosing():
		s.discard()
	}
}

func (s *Session) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing && !s.dead
}

// discard reads on without looking, until the peer ends the connection or its time is up: closing a connection with
// unread data would reset it, and our close frame could be lost on the way.
func (s *Session) discard() {
	_, _ = io.CopyN(io.Discard, s.conn, maxDiscard)
	s.flushed()
}
