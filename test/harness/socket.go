package harness

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/test/frames"
)

// Frame is one frame from the server, with the moment it was read. Fields that a type does not have are zero.
type Frame struct {
	At  time.Time `json:"-"`
	Raw []byte    `json:"-"`

	Type      string          `json:"type"`
	RequestID string          `json:"request_id"`
	Data      json.RawMessage `json:"data"`
	Code      string          `json:"code"`
	Text      string          `json:"message"`
	Field     string          `json:"field"`

	Message            // the fields of a message; RoomID, Seq and Rev are set of other events too
	UserID      string `json:"user_id"`
	DeviceID    string `json:"device_id"`
	Connection  string `json:"connection_id"`
	Epoch       string `json:"epoch"`
	Protocol    int    `json:"protocol"`
	HeartbeatMS int64  `json:"heartbeat_ms"`
	ReconnectMS int64  `json:"reconnect_after_ms"`
	RetryMS     int64  `json:"retry_after_ms"` // of an error RATE_LIMIT_EXCEEDED
	Role        string `json:"role"`           // of member events
	State       Room   `json:"room"`           // of room.created and room.updated
	Action      string `json:"action"`         // of typing: start or stop
	Status      string `json:"status"`         // of presence.update: online or offline
	Timestamp   string `json:"timestamp"`      // of presence.update
	ExpiresAt   string `json:"expires_at"`     // of token.expiring
	Redelivered bool   `json:"redelivered"`    // of messages and notifications

	NotificationID string          `json:"notification_id"`
	Topic          string          `json:"topic"`
	Payload        json.RawMessage `json:"payload"`

	Rooms     json.RawMessage `json:"rooms"`    // a count in sync.complete, ids in resync_required
	Messages  int             `json:"messages"` // of sync.complete
	Cursor    string          `json:"cursor"`
	Truncated []Gap           `json:"truncated"`
}

// Gap is a run of messages that a replay left out.
type Gap struct {
	RoomID  string `json:"room_id"`
	FromSeq int64  `json:"from_seq"`
	ToSeq   int64  `json:"to_seq"`
}

// HandshakeError is a refused upgrade.
type HandshakeError struct{ *Response }

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("upgrade refused with status %d: %.200s", e.Status, e.Body)
}

// Conn is a socket that records every frame it receives. Its methods are safe for concurrent use.
type Conn struct {
	ws       *websocket.Conn
	base     string
	canary   *Canary
	keep     func(Frame) bool
	started  sync.Once
	finished chan struct{}

	writeMu sync.Mutex

	mu      sync.Mutex
	frames  []Frame
	changed chan struct{} // closed and replaced at every frame
	onFrame func(Frame)
	err     error
	nextReq int
}

// DialOptions shape one socket.
type DialOptions struct {
	Path       string // empty is /ws
	Query      url.Values
	Header     http.Header
	Protocols  []string         // the subprotocols offered
	OnFrame    func(Frame)      // called in order by the reading goroutine, before the frame is recorded
	Stalled    bool             // do not read until Conn.Read is called
	ReadBuffer int              // the kernel's receive buffer in bytes; 0 = its default
	Keep       func(Frame) bool // which frames to record; nil = all
	Silent     bool             // do not answer pings
}

// Answers keeps only what answers a request, for sockets that live long in busy rooms.
func Answers(f Frame) bool { return f.RequestID != "" }

// requestTimeout bounds one exchange on a socket.
const requestTimeout = 20 * time.Second

// Dial opens the user's socket with ?name=value pairs in the query.
func (u *User) Dial(query ...string) (*Conn, error) {
	return u.DialWith(DialOptions{Query: pairs(query)})
}

// DialWith opens the user's socket.
func (u *User) DialWith(opts DialOptions) (*Conn, error) {
	header := u.header.Clone()
	for name, values := range opts.Header {
		header[name] = values
	}
	opts.Header = header
	return Dial(u.Base, opts)
}

func pairs(query []string) url.Values {
	values := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		values.Add(query[i], query[i+1])
	}
	return values
}

// Dial opens a socket at base (http://…); the caller gives the credentials in header or query.
func Dial(base string, opts DialOptions) (*Conn, error) {
	dialer := websocket.Dialer{
		HandshakeTimeout: requestTimeout, NetDialContext: netDialer(opts.ReadBuffer).DialContext, Subprotocols: opts.Protocols,
	}
	target := "ws" + strings.TrimPrefix(base, "http") + cmp.Or(opts.Path, "/ws")
	if len(opts.Query) > 0 {
		target += "?" + opts.Query.Encode()
	}
	seen := canaryAt(base)
	seen.dialed(opts)
	ws, res, err := dialer.Dial(target, opts.Header)
	if errors.Is(err, websocket.ErrBadHandshake) {
		body, _ := io.ReadAll(res.Body)
		seen.Seen(InErrors, body)
		return nil, &HandshakeError{&Response{Status: res.StatusCode, Header: res.Header, Body: body}}
	}
	if err != nil {
		return nil, err
	}
	c := &Conn{
		ws: ws, base: base, canary: seen, finished: make(chan struct{}), changed: make(chan struct{}), onFrame: opts.OnFrame, keep: opts.Keep,
	}
	if opts.Silent {
		ws.SetPingHandler(func(string) error { return nil })
	}
	if !opts.Stalled {
		c.Read()
	}
	return c, nil
}

func netDialer(readBuffer int) *net.Dialer {
	d := &net.Dialer{Timeout: requestTimeout}
	if readBuffer > 0 {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			ctlErr := raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, readBuffer)
			})
			return errors.Join(ctlErr, err)
		}
	}
	return d
}

// Read starts to read a socket that was opened stalled.
func (c *Conn) Read() { c.started.Do(func() { go c.readLoop() }) }

func (c *Conn) readLoop() {
	defer close(c.finished)
	for {
		_, raw, err := c.ws.ReadMessage()
		if err != nil {
			c.canary.Seen(InErrors, []byte(err.Error())) // the reason of a close is the server's
			c.fail(err)
			return
		}
		f := Frame{At: time.Now(), Raw: raw}
		if err := errors.Join(json.Unmarshal(raw, &f), frames.Check(raw)); err != nil {
			undocumented.note(c.base, err)
			c.fail(err)
			return
		}
		c.canary.frame(f)
		if c.onFrame != nil {
			c.onFrame(f)
		}
		if c.keep == nil || c.keep(f) {
			c.record(f)
		}
	}
}

// undocumented are the faults found in frames, by the server's base address: the test that has started the server fails by
// them at its end, whoever received them.
var undocumented faults

type faults struct {
	mu    sync.Mutex
	found map[string][]string
}

func (f *faults) note(base string, err error) {
	const enough = 5
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.found == nil {
		f.found = map[string][]string{}
	}
	if len(f.found[base]) < enough {
		f.found[base] = append(f.found[base], err.Error())
	}
}

// take hands over what was found.
func (f *faults) take(base string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer delete(f.found, base)
	return f.found[base]
}

func (c *Conn) record(f Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = append(c.frames, f)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Conn) fail(err error) {
	_ = c.ws.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.changed)
	c.changed = make(chan struct{})
}

// Frames is everything received so far.
func (c *Conn) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}

// Messages is every message event received so far, of one room or with room empty of all.
func (c *Conn) Messages(room string) []Message {
	var out []Message
	for _, f := range c.Frames() {
		if f.Type == "message" && (room == "" || f.RoomID == room) {
			out = append(out, f.Message)
		}
	}
	return out
}

// Await returns the first frame, of those received so far or yet to come, that match accepts.
func (c *Conn) Await(what string, match func(Frame) bool) (Frame, error) {
	return c.AwaitFor(requestTimeout, what, match)
}

// AwaitFor is Await with a limit of its own.
func (c *Conn) AwaitFor(limit time.Duration, what string, match func(Frame) bool) (Frame, error) {
	return c.await(0, limit, what, match)
}

func (c *Conn) await(seen int, limit time.Duration, what string, match func(Frame) bool) (Frame, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		frames, changed, err := c.frames, c.changed, c.err
		c.mu.Unlock()
		for ; seen < len(frames); seen++ {
			if match(frames[seen]) {
				return frames[seen], nil
			}
		}
		if err != nil {
			return Frame{}, fmt.Errorf("the socket ended before %s: %w", what, err)
		}
		select {
		case <-changed:
		case <-deadline.C:
			return Frame{}, fmt.Errorf("not within %s: %s; %d frames came", limit, what, seen)
		}
	}
}

// AwaitType is Await for the first frame of a type.
func (c *Conn) AwaitType(kind string) (Frame, error) {
	return c.Await(kind, func(f Frame) bool { return f.Type == kind })
}

// AwaitMessage waits for the message of a room with a seq, or a later one.
func (c *Conn) AwaitMessage(room string, seq int64) (Frame, error) {
	return c.Await(fmt.Sprintf("message %d of %s", seq, room), func(f Frame) bool {
		return f.Type == "message" && f.RoomID == room && f.Seq >= seq
	})
}

// Write sends one frame as JSON.
func (c *Conn) Write(frame any) error {
	raw, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	return c.WriteRaw(websocket.TextMessage, raw)
}

// WriteRaw sends one frame of a WebSocket type as it is.
func (c *Conn) WriteRaw(kind int, raw []byte) error {
	c.canary.fields(raw)
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.ws.SetWriteDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	return c.ws.WriteMessage(kind, raw)
}

// WriteBytes writes below the WebSocket protocol, for bytes that no client library sends.
func (c *Conn) WriteBytes(raw []byte) error {
	conn := c.ws.NetConn()
	if err := conn.SetWriteDeadline(time.Now().Add(requestTimeout)); err != nil { // that of the last pong is left else
		return err
	}
	_, err := conn.Write(raw)
	return err
}

// Request sends a frame with a request id of its own and returns the reply or error that answers it.
func (c *Conn) Request(fields map[string]any) (Frame, error) {
	c.mu.Lock()
	c.nextReq++
	id, seen := fmt.Sprintf("req-%d", c.nextReq), len(c.frames)
	c.mu.Unlock()
	frame := map[string]any{"request_id": id}
	for name, value := range fields {
		frame[name] = value
	}
	if err := c.Write(frame); err != nil {
		return Frame{}, err
	}
	answers := func(f Frame) bool { return f.RequestID == id }
	return c.await(seen, requestTimeout, fmt.Sprintf("the answer to %v", fields["type"]), answers)
}

// Send sends a message over the socket and returns the stored one from the reply.
func (c *Conn) Send(room, content, clientID string) (Message, bool, error) {
	fields := map[string]any{"type": "send_message", "room_id": room, "content": content}
	if clientID != "" {
		fields["client_id"] = clientID
	}
	f, err := c.Request(fields)
	if err != nil {
		return Message{}, false, err
	}
	if f.Type != "reply" {
		return Message{}, false, &FrameError{f}
	}
	var sent struct {
		Message
		Duplicate bool `json:"duplicate"`
	}
	err = json.Unmarshal(f.Data, &sent)
	return sent.Message, sent.Duplicate, err
}

// Auth renews the socket with a JWT or a ticket and returns the answer, a reply or an error.
func (c *Conn) Auth(token string) (Frame, error) {
	return c.Request(map[string]any{"type": "auth", "token": token})
}

// Ask is Request for those who want a reply: an error frame is a *FrameError.
func (c *Conn) Ask(fields map[string]any) (Frame, error) {
	f, err := c.Request(fields)
	if err == nil && f.Type == "error" {
		err = &FrameError{f}
	}
	return f, err
}

// Subprotocol is the one the server has chosen; empty for none.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// Ticket gets a socket ticket as whom the client is. No log of the server may hold it.
func (s *Server) Ticket(c *Client) (string, error) {
	var made struct {
		Token string `json:"token"`
	}
	_, err := c.Call(http.MethodPost, "/ws/token", nil, http.StatusOK, &made)
	return made.Token, err
}

// FrameError is an error frame in answer to a request.
type FrameError struct{ Frame Frame }

func (e *FrameError) Error() string {
	return fmt.Sprintf("error frame %s (field %q): %s", e.Frame.Code, e.Frame.Field, e.Frame.Text)
}

// Finished is closed when the socket has ended.
func (c *Conn) Finished() <-chan struct{} { return c.finished }

// CloseCode waits for the server to end the socket and returns the close code it gave; 1006 for none.
func (c *Conn) CloseCode(limit time.Duration) (int, error) {
	select {
	case <-c.finished:
	case <-time.After(limit):
		return 0, fmt.Errorf("the server did not close the socket within %s", limit)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var closed *websocket.CloseError
	if errors.As(c.err, &closed) {
		return closed.Code, nil
	}
	return websocket.CloseAbnormalClosure, nil
}

// Close says goodbye with code 1000 and ends the socket.
func (c *Conn) Close() {
	deadline := time.Now().Add(time.Second)
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline)
	c.Drop()
}

// Drop ends the connection without a goodbye and waits for the reader to end.
func (c *Conn) Drop() {
	_ = c.ws.Close()
	c.started.Do(func() { close(c.finished) }) // never read: there is no reader to wait for
	<-c.finished
}

// WithTimeout is a context for one exchange.
func WithTimeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), requestTimeout)
}
