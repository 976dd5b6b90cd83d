package ws

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// ServeHTTP upgrades a request. It answers with a native error instead when the credentials, the origin, a parameter
// or the handshake are wrong, or when the client's address has shown too many wrong credentials. It returns as soon as the
// socket stands: what goes on keeps nothing of the request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	api.SetFixedHeaders(w.Header(), "req_"+h.ids.NewUUID().String())
	address := api.ClientAddress(r, h.cfg.TrustedProxies)
	if err := api.Obey(w.Header(), h.limits.Address(r.Context(), address)); err != nil {
		h.refuse(w, err)
		return
	}
	if !h.enter(r.Context()) {
		h.stats.refused.Add(1)
		h.refuse(w, errTooManyHandshakes)
		return
	}
	defer h.leave()
	if h.draining.Load() {
		h.refuse(w, domain.ErrClosing)
		return
	}
	asked, err := h.admit(r)
	asked.address = address
	if domain.CodeOf(err) == domain.CodeAuthentication {
		h.limits.Failed(r.Context(), address)
		api.SetRateLimit(w.Header(), h.limits.Address(r.Context(), address), h.clock.Now())
	}
	if err != nil {
		h.refuse(w, err)
		return
	}
	if s := h.upgrade(w, r, asked); s != nil {
		s.open(r.Context(), asked)
	}
}

var errTooManyHandshakes = &domain.Error{
	Code: domain.CodeUnavailable, Reason: "handshakes", Message: "Too many sockets are being opened: try again shortly",
}

// enter waits a short while for one of the handshakes under way to end.
func (h *Handler) enter(ctx context.Context) bool {
	select {
	case h.slots <- struct{}{}:
		return true
	default:
	}
	limit := time.NewTimer(handshakeWait)
	defer limit.Stop()
	select {
	case h.slots <- struct{}{}:
		return true
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}

func (h *Handler) leave() { <-h.slots }

// admission is what an upgrade asked for and may have.
type admission struct {
	caller  application.Caller
	device  domain.DeviceID
	autoAck bool
	resume  bool

	address string // of the client, as the limits know it
}

// admit checks everything that is answered before the upgrade: 401, then 403, then 400.
func (h *Handler) admit(r *http.Request) (a admission, err error) {
	given, err := api.SocketCredentials(r)
	if err != nil {
		return a, err
	}
	a.caller, err = h.identity.Authenticate(r.Context(), application.Credentials(given))
	switch {
	case err != nil:
		return a, err
	case a.caller.User == "":
		return a, domain.ErrUserRequired
	case !api.OriginAllowed(r, h.cfg.AllowedOrigins, a.caller.Tenant.Config.AllowedOrigins):
		return a, errOrigin
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return a, domain.Invalid("", "the query cannot be parsed")
	}
	device, err := one(query, "device_id")
	if err != nil {
		return a, err
	}
	if a.device, err = domain.CheckDeviceID(device); err != nil {
		return a, err
	}
	if a.autoAck, err = autoAcks(query); err != nil {
		return a, err
	}
	a.resume, err = flag(query, "resume")
	return a, err
}

var errOrigin = &domain.Error{
	Code: domain.CodeAuthorization, Reason: "origin", Field: "Origin", Message: "Pages of this origin may not open sockets",
}

// one is a parameter that is given at most once.
func one(query url.Values, name string) (string, error) {
	if len(query[name]) > 1 {
		return "", domain.Invalid(name, "%s is given more than once", name)
	}
	return query.Get(name), nil
}

func flag(query url.Values, name string) (bool, error) {
	value, err := one(query, name)
	switch value {
	case "1", "true":
		return true, err
	case "", "0", "false":
		return false, err
	}
	return false, domain.Invalid(name, "%s is 1 or left out", name)
}

// autoAcks reports whether the server is to acknowledge what it writes.
func autoAcks(query url.Values) (bool, error) {
	value, err := one(query, "ack")
	if err == nil && query.Has("ack") && value != "auto" {
		err = domain.Invalid("ack", "ack is auto or left out")
	}
	return value == "auto", err
}

// upgrade does the handshake, and answers itself when that fails.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, a admission) *Session {
	if wrong := checkHandshake(r); wrong != nil {
		h.refuseHandshake(w, r, wrong)
		return nil
	}
	hijack := &hijacker{ResponseWriter: w}
	upgrader := websocket.Upgrader{
		HandshakeTimeout: handshakeTimeout,
		WriteBufferPool:  noWriteBuffers,
		CheckOrigin:      func(*http.Request) bool { return true }, // admit has checked it
		Error: func(w http.ResponseWriter, r *http.Request, _ int, reason error) {
			h.refuseHandshake(w, r, domain.Invalid("", "%s", reason.Error()))
		},
	}
	header := http.Header{api.HeaderRequestID: {requestID(w)}}
	if api.OffersProtocol(r) {
		header.Set(api.HeaderProtocols, api.SocketProtocol)
	}
	ws, err := upgrader.Upgrade(hijack, r, header)
	if err != nil {
		return nil
	}
	return h.newSession(ws, hijack, a)
}

// noWriteBuffers keeps gorilla from making write buffers: it writes no messages.
var noWriteBuffers = &sync.Pool{}

// checkHandshake is what gorilla does not see to.
func checkHandshake(r *http.Request) *domain.Error {
	switch {
	case r.Method != http.MethodGet:
		return domain.Invalid("", "a WebSocket handshake is a GET")
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor > 1:
		return domain.Invalid("", "a WebSocket handshake is HTTP/1.1")
	case !websocket.IsWebSocketUpgrade(r):
		return domain.Invalid("Upgrade", "this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket")
	case len(r.Header.Values("Sec-WebSocket-Version")) != 1 || r.Header.Get("Sec-WebSocket-Version") != "13":
		return domain.Invalid("Sec-WebSocket-Version", "the WebSocket version is 13")
	case len(r.Header.Values("Sec-WebSocket-Key")) != 1:
		return domain.Invalid("Sec-WebSocket-Key", "one Sec-WebSocket-Key is required")
	}
	return nil
}

// hijacker gives gorilla the connection behind a wire, and a small reader of ours: reading through net/http's own would
// keep its 4 KiB buffers for as long as the socket lives.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
	wire *wire
	in   *bufio.Reader
}

// Hijack implements http.Hijacker.
func (k *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(k.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if buffered.Reader.Buffered() > 0 {
		return conn, buffered, nil // sent before the handshake was complete: gorilla ends it
	}
	k.conn, k.wire = conn, &wire{Conn: conn}
	k.in = bufio.NewReaderSize(k.wire, readBuffer)
	return k.wire, bufio.NewReadWriter(k.in, bufio.NewWriterSize(k.wire, 256)), nil
}

// newSession makes the session of a connection; nil when the server has begun to drain meanwhile.
func (h *Handler) newSession(ws *websocket.Conn, k *hijacker, a admission) *Session {
	s := &Session{h: h, conn: k.conn, ws: ws, in: k.in, caller: a.caller, device: a.device, address: a.address}
	s.heard.Store(h.now())
	s.raw = rawConn(k.conn)
	if a.autoAck {
		s.auto = &autoAck{}
	}
	k.wire.s = s
	ws.SetReadLimit(maxMessage)
	ws.SetPingHandler(s.onPing)
	ws.SetPongHandler(s.onPong)
	ws.SetCloseHandler(s.onClose)
	if !h.registry.add(s) {
		s.hangUp()
		return nil
	}
	h.stats.accepted.Add(1)
	return s
}

// rawConn is the way to write without waiting, for connections that are sockets of the kernel. Their send buffer is
// bounded: left alone it grows to megabytes for a reader that is slow.
func rawConn(conn net.Conn) syscall.RawConn {
	if _, isTLS := conn.(*tls.Conn); isTLS {
		return nil
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
		_ = tcp.SetWriteBuffer(kernelBuffer)
	}
	socket, ok := conn.(syscall.Conn)
	if !ok || !canWriteFD {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// open seats the session, greets the client, begins the replay and starts the reader. It runs on the goroutine of the
// request, which has grown its stack already and gives it back.
func (s *Session) open(ctx context.Context, a admission) {
	defer func() { go s.read() }()
	defer s.survive()
	if err := s.connect(ctx); err != nil {
		_ = s.startFailed(err)
		return
	}
	id := "conn_" + s.h.ids.NewUUID().String()
	s.control(connectedFrame(id, s.caller.User, s.device, s.h.fanout.Epoch(), s.h.clock.Now()))
	s.standOn(s.caller.Expires)
	s.remind(s.h.clock.Now())
	if a.resume {
		s.waiting = true
		s.resumeBy.Store(s.h.now() + int64(resumeWait))
		s.h.watch(s)
		return
	}
	if err := s.peer.Start(ctx, nil); err != nil {
		_ = s.startFailed(err)
	}
}

// connect registers the session with the fan-out, and asks once more whether its credential is good: one that was revoked
// after it was accepted, and before the session could be found and closed, ends here.
func (s *Session) connect(ctx context.Context) error {
	connected, err := s.h.fanout.Connect(ctx, s.caller, application.Client{Device: s.device, AutoAck: s.auto != nil}, s)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.peer = connected
	s.mu.Unlock()
	return s.h.identity.Confirm(ctx, s.caller)
}
