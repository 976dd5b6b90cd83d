package chats

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// session is one socket. Its reader takes messages and ends it; its writer translates and writes what waits in a bounded
// queue. It is a ports.Sink.
type session struct {
	// Set once, before the reader and the writer start.
	h      *Handler
	ws     *websocket.Conn
	caller application.Caller
	room   domain.RoomID
	socket *application.ChatSocket // nil when the socket was refused
	expiry *time.Timer             // of the credential; nil when it has no end
	hasty  bool                    // closes without waiting for the client's goodbye

	// The reader's.
	messages *rate.Limiter
	pings    *rate.Limiter
	goodbye  []byte // the answer to the client's close frame; nil when there was none

	answer answer // the writer's

	wake chan struct{} // the writer has something to look at
	over chan struct{} // closed when the reader has ended

	mu         sync.Mutex
	eased      *sync.Cond // something was taken off the queue, or the socket ends
	out        []item
	bytes      int
	overflowed bool   // a Push was refused, and the queue has not emptied since
	pushed     int64  // the latest message that was queued
	held       []held // events that follow a message which has not come yet
	handling   bool   // a message is being sent
	leaving    bool   // close when that is done
	farewell   *farewell
	dead       bool // the connection has ended
}

var _ ports.Sink = (*session)(nil)

// item is what waits to be written: a frame of the native socket, to be translated, or an event as it is.
type item struct {
	frame ports.Frame
	event []byte
}

func (i item) size() int { return len(i.frame.Bytes) + len(i.event) }

type held struct {
	seq   int64
	event []byte
}

// farewell is the close frame that ends a socket, behind what is queued.
type farewell struct {
	code   int
	reason string
}

// serveSocket upgrades a request, and tells what is wrong with it as an event: only what is no WebSocket handshake, and what
// comes too often or too late, is answered over HTTP. It returns as soon as the socket stands.
func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request) {
	api.SetFixedHeaders(w.Header(), "req_"+h.IDs.NewUUID().String())
	address := api.ClientAddress(r, h.Config.TrustedProxies)
	if api.Obey(w.Header(), h.Limits.Address(r.Context(), address)) != nil {
		writeError(w, http.StatusTooManyRequests, domain.ErrRateLimited)
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		writeError(w, http.StatusUpgradeRequired, errNoHandshake)
		return
	}
	if h.draining.Load() {
		writeError(w, http.StatusServiceUnavailable, domain.ErrClosing)
		return
	}
	select {
	case h.slots <- struct{}{}:
	default:
		writeError(w, http.StatusServiceUnavailable, domain.ErrBusy)
		return
	}
	if s := h.upgrade(w, r, address); s != nil {
		go s.run(func() { <-h.slots })
		return
	}
	<-h.slots
}

var errNoHandshake = &domain.Error{
	Code: domain.CodeValidation, Reason: "handshake", Message: "This is a WebSocket endpoint: connect with ws:// or wss://",
}

// upgrade does the handshake, and answers itself when that fails.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, address string) *session {
	a := h.admit(r, address)
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout, ReadBufferSize: 1024, WriteBufferSize: 1024, WriteBufferPool: writeBuffers,
		CheckOrigin: func(*http.Request) bool { return true }, // admit has looked
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			writeError(w, status, domain.Invalid("", "%s", reason.Error()))
		},
	}
	header := http.Header{api.HeaderRequestID: {w.Header().Get(api.HeaderRequestID)}}
	if api.OffersProtocol(r) {
		header.Set(api.HeaderProtocols, api.SocketProtocol)
	}
	ws, err := upgrader.Upgrade(w, r, header)
	if err != nil {
		return nil
	}
	if tcp, ok := ws.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(kernelBuffer)
	}
	s := &session{h: h, ws: ws, caller: a.caller, room: a.room, wake: make(chan struct{}, 1), over: make(chan struct{})}
	s.eased = sync.NewCond(&s.mu)
	if !h.add(s) {
		s.hangUp()
		return nil
	}
	h.stats.accepted.Add(1)
	if a.denied != nil {
		s.refuse(a.denied)
	}
	return s
}

var writeBuffers = &sync.Pool{}

// run opens the socket on its chat, and lives until the connection ends; opened is called once it is known whether the socket
// stands. The client's goodbye is answered after its place is given back: who deletes the chat next finds it closed.
func (s *session) run(opened func()) {
	if !s.isParting() {
		s.connect()
	}
	opened()
	if s.socket == nil {
		defer s.waitToPart()()
	}
	s.converse()
	s.end()
	s.reply()
	s.h.remove(s)
}

// waitToPart has the refused socket wait for its client's goodbye where there is room for that: who opens sockets only to be
// refused must keep nobody else from opening one.
func (s *session) waitToPart() (done func()) {
	select {
	case s.h.partings <- struct{}{}:
		return func() { <-s.h.partings }
	default:
		s.hasty = true
		return func() {}
	}
}

// converse reads and writes until neither goes on.
func (s *session) converse() {
	var writing sync.WaitGroup
	writing.Go(s.write)
	s.read()
	writing.Wait()
}

// connect takes the socket's seat and greets the client. What has come before the greeting waits behind it. The credential
// is asked for once more: one that was revoked before the socket could be found by it ends here.
func (s *session) connect() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	s.messages = rate.NewLimiter(rate.Limit(s.caller.Tenant.Config.ChatMessages()), s.caller.Tenant.Config.ChatMessages())
	s.pings = rate.NewLimiter(s.messages.Limit(), s.messages.Burst())
	socket, err := s.h.Chats.Connect(ctx, s.caller, s.room, s)
	if err != nil {
		s.refuse(s.h.whyNot(err))
		return
	}
	s.socket = socket
	greeting := []item{{event: s.established()}}
	if socket.Fresh {
		greeting = append(greeting, item{event: s.userCreated()})
	}
	s.mu.Lock()
	s.out = append(greeting, s.out...)
	s.mu.Unlock()
	if err := s.h.Identity.Confirm(ctx, s.caller); err != nil {
		s.cut(s.h.whyNot(err))
		return
	}
	s.expireAt(s.caller.Expires)
}

// expireAt ends the socket with its credential; one that was accepted within the leeway, with that.
func (s *session) expireAt(end time.Time) {
	if end.IsZero() {
		return
	}
	now := s.h.Clock.Now()
	if !now.Before(end) {
		end = end.Add(domain.TokenLeeway)
	}
	s.expiry = time.AfterFunc(end.Sub(now), func() { s.cut(&ended) })
}

// refuse tells why there is no socket and closes it.
func (s *session) refuse(why *problem) {
	s.h.stats.refused.Add(1)
	s.part(why, why.closes())
}

// Push queues an event. It returns false when the queue is full, and from then on until the queue has emptied, which the
// chat's socket is told.
func (s *session) Push(f ports.Frame) bool {
	if f.Kind == domain.EventRoomRemoved {
		s.part(&unknown, closePolicy)
		return true
	}
	if !concerns(f) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.farewell != nil || s.dead:
		return false
	case s.overflowed || !s.fits(f, pushFrames, pushBytes):
		s.overflowed = true
		return false
	}
	s.add(item{frame: f})
	if f.Seq > s.pushed {
		s.pushed = f.Seq
		s.release()
	}
	return true
}

// concerns reports whether a frame is about what is said in the chat: a message as a step of its log, or an answer on its
// way. Of edits, members, receipts and the like this API does not tell.
func concerns(f ports.Frame) bool {
	return f.Kind == domain.EventMessage && f.Rev > 0 || f.Kind == ""
}

// Hint queues a part of an answer; one that finds no place comes with the next.
func (s *session) Hint(f ports.Frame) bool {
	if !concerns(f) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell != nil || s.dead || s.overflowed || !s.fits(f, hintFrames, hintBytes) {
		return false
	}
	s.add(item{frame: f})
	return true
}

// Close ends the socket for the fan-out.
func (s *session) Close(code int, reason string) {
	switch code {
	case closeToken:
		s.cut(&ended)
	case closeGoingAway:
		s.shut(code, reason)
	default:
		s.part(&failed, closeInternal)
	}
}

// fits reports whether a frame still has its place. One larger than all the room there is goes alone. The caller holds mu.
func (s *session) fits(f ports.Frame, frames, bytes int) bool {
	return len(s.out) == 0 || len(s.out) < frames && s.bytes+len(f.Bytes) <= bytes
}

// add queues and wakes the writer. The caller holds mu.
func (s *session) add(i item) {
	s.out = append(s.out, i)
	s.bytes += i.size()
	s.nudge()
}

func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// say queues an event of the session's own, behind the message seq; 0 = at once.
func (s *session) say(seq int64, event []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell != nil || s.dead {
		return
	}
	s.held = append(s.held, held{seq, event})
	s.release()
}

// release queues the events whose message has come. The caller holds mu.
func (s *session) release() {
	rest := s.held[:0]
	for _, h := range s.held {
		if h.seq > s.pushed {
			rest = append(rest, h)
			continue
		}
		s.add(item{event: h.event})
	}
	s.held = rest
}

// part tells why the socket ends, behind what is queued, and closes it.
func (s *session) part(why *problem, code int) {
	event := s.errorEvent(*why)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell == nil && !s.dead {
		s.add(item{event: event})
		s.bid(code, why.message)
	}
}

// cut is part for who has no right to what is queued, as that of a credential that has ended: nothing goes before.
func (s *session) cut(why *problem) {
	event := s.errorEvent(*why)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell == nil && !s.dead {
		s.out, s.bytes = nil, 0
		s.add(item{event: event})
		s.bid(why.closes(), why.message)
	}
}

// shut closes the socket behind what is queued.
func (s *session) shut(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.farewell == nil && !s.dead {
		s.bid(code, reason)
	}
}

// bid has the writer say goodbye. The caller holds mu.
func (s *session) bid(code int, reason string) {
	s.farewell = &farewell{code, reason}
	s.eased.Broadcast()
	s.nudge()
}

func (s *session) isParting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.farewell != nil
}

// leave ends the session once the message at hand is answered.
func (s *session) leave() {
	s.mu.Lock()
	s.leaving = true
	handling := s.handling
	s.mu.Unlock()
	if !handling {
		s.shut(closeGoingAway, "server is shutting down")
	}
}

// reply returns the client's goodbye, if it has said one, and ends the connection.
func (s *session) reply() {
	if s.goodbye != nil {
		_ = s.ws.WriteControl(websocket.CloseMessage, s.goodbye, time.Now().Add(time.Second)) // it leaves either way
	}
	s.hangUp()
}

// hangUp ends the connection at once.
func (s *session) hangUp() { _ = s.ws.NetConn().Close() }

// end gives everything back, once the reader and the writer have ended.
func (s *session) end() {
	if s.expiry != nil {
		s.expiry.Stop()
	}
	if s.socket != nil {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		s.socket.Close(ctx)
	}
}

// closeReason bounds what a close frame says: 123 bytes, RFC 6455 §5.5.
func closeReason(f *farewell) []byte {
	const most = 123
	return websocket.FormatCloseMessage(f.code, f.reason[:min(len(f.reason), most)])
}
