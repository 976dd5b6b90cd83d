package ws

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// answer appends the data of a reply.
type answer func(dst []byte) []byte

// handle carries out one frame and answers it: with a reply if the client asked for one, with an error in any case.
func (s *Session) handle(data []byte) {
	c, err := decode(data)
	metered := err == nil && c.isMetered()
	if !metered && !s.spend() {
		return
	}
	if err == nil && s.waiting != (c.Type == "resume") {
		err = s.outOfTurn()
	}
	if err != nil {
		s.refuse(err, c.RequestID)
		return
	}
	// No context ends a command: once begun it is finished, whether or not the client is still there to hear of it.
	ctx := context.Background()
	if metered && !s.afford(ctx, c.RequestID) {
		return
	}
	s.carryOut(ctx, &c)
}

// afford takes a command from the tenant's rate. One that is refused counts against the socket: who goes on all the same
// is closed.
func (s *Session) afford(ctx context.Context, requestID string) bool {
	rate := s.h.limits.Frame(ctx, s.caller)
	if !rate.OK && s.spend() {
		s.control(errorFrameAfter(domain.ErrRateLimited, requestID, max(rate.RetryAfter, time.Millisecond)))
	}
	return rate.OK
}

func (s *Session) carryOut(ctx context.Context, c *command) {
	reply, err := s.do(ctx, c)
	switch {
	case err != nil:
		s.refuse(err, c.RequestID)
	case reply != nil && c.RequestID != "":
		s.control(replyFrame(c.RequestID, reply))
	}
}

// outOfTurn: resume is the first frame after ?resume=1, and no other is.
func (s *Session) outOfTurn() error {
	if s.waiting {
		s.Close(closePolicy, "with ?resume=1 the first frame is resume")
		return errClosed
	}
	return domain.Invalid("type", "resume is the first frame, after ?resume=1, and no other")
}

var errClosed = errors.New("socket closed")

// do carries out a command; the answer is nil when the frame is answered already.
func (s *Session) do(ctx context.Context, c *command) (answer, error) {
	switch c.Type {
	case "send_message":
		return s.handleSend(ctx, c)
	case "ack":
		return s.handleAck(ctx, c)
	case "read":
		return s.handleRead(ctx, c)
	case "notification.ack":
		return s.handleNotificationAck(ctx, c)
	case "typing.start":
		return s.handleTyping(ctx, c, domain.TypingStarted)
	case "typing.stop":
		return s.handleTyping(ctx, c, domain.TypingStopped)
	case "subscribe":
		return s.handleSubscribe(ctx, c)
	case "resume":
		return s.handleResume(ctx, c)
	case "auth":
		return s.handleAuth(ctx, c)
	case "ping":
		s.control(pongFrame(c.RequestID))
		return nil, nil
	case "":
		return nil, domain.Invalid("type", "type is required")
	}
	return nil, domain.Invalid("type", "unknown type; known are send_message, ack, read, notification.ack, typing.start, typing.stop, subscribe, resume, auth, ping")
}

// handleSend returns once the message is durable, so that the messages of one socket keep the order of its frames.
func (s *Session) handleSend(ctx context.Context, c *command) (answer, error) {
	room, err := c.room()
	if err != nil {
		return nil, err
	}
	s.expectEcho(room)
	sent, err := s.h.messaging.Send(ctx, s.caller, room, c.draft(), nil)
	if errors.Is(err, domain.ErrUnauthenticated) {
		s.Close(closeToken, "credential revoked") // with its tenant
		return nil, errClosed
	}
	if err != nil {
		return nil, err
	}
	return func(dst []byte) []byte { return appendSent(dst, &sent) }, nil
}

func appendSent(dst []byte, sent *ports.Appended) []byte {
	dst = api.AppendMessageFields(append(dst, '{'), &sent.Message, sent.Message.Rev)
	if sent.Duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	return append(dst, '}')
}

// handleAck raises the device's mark, durably within a second.
func (s *Session) handleAck(ctx context.Context, c *command) (answer, error) {
	room, seq, err := c.receipt()
	if err != nil {
		return nil, err
	}
	return succeeded, s.h.delivery.AckSoon(ctx, s.caller, room, s.device, seq, number(c.Rev))
}

// handleRead raises the user's read mark, and the device's mark with it, durably within a second.
func (s *Session) handleRead(ctx context.Context, c *command) (answer, error) {
	room, seq, err := c.receipt()
	if err != nil {
		return nil, err
	}
	return succeeded, s.h.delivery.ReadSoon(ctx, s.caller, room, s.device, seq)
}

// handleNotificationAck ends the wait for the user's acknowledgement, on all devices, durably within a second.
func (s *Session) handleNotificationAck(ctx context.Context, c *command) (answer, error) {
	ids, err := c.notifications()
	if err != nil {
		return nil, err
	}
	return succeeded, s.h.delivery.AckNotices(ctx, s.caller, s.device, ids)
}

func (s *Session) handleTyping(ctx context.Context, c *command, action string) (answer, error) {
	room, err := c.room()
	if err != nil {
		return nil, err
	}
	return succeeded, s.peer.Typing(ctx, room, action)
}

// succeeded is the data of replies that have nothing more to say.
func succeeded(dst []byte) []byte { return append(dst, `{"success":true}`...) }

func (s *Session) handleSubscribe(ctx context.Context, c *command) (answer, error) {
	room, err := c.room()
	if err != nil {
		return nil, err
	}
	var after *int64
	if c.AfterSeq != nil {
		n := number(c.AfterSeq)
		after = &n
	}
	at, err := s.peer.Subscribe(ctx, room, after)
	return func(dst []byte) []byte { return appendSubscribed(dst, room, at) }, err
}

func appendSubscribed(dst []byte, room domain.RoomID, at application.Subscribed) []byte {
	dst = api.AppendRoomID(append(dst, `{"room_id":`...), room)
	dst = strconv.AppendInt(append(dst, `,"last_seq":`...), at.LastSeq, 10)
	dst = strconv.AppendInt(append(dst, `,"last_rev":`...), at.LastRev, 10)
	var left []domain.Gap
	if at.Truncated != nil {
		left = []domain.Gap{*at.Truncated}
	}
	return append(appendGaps(append(dst, `,"truncated":`...), left), '}')
}

// handleResume starts the replay where the client says it stands. After an error of the client's it may try again
// until its time is up.
func (s *Session) handleResume(ctx context.Context, c *command) (answer, error) {
	resume, err := c.resume()
	if err != nil {
		return nil, err
	}
	if err := s.peer.Start(ctx, resume); err != nil {
		if domain.CodeOf(err) != domain.CodeValidation {
			return nil, s.startFailed(err)
		}
		return nil, err
	}
	s.waiting = false
	s.resumeBy.Store(0)
	return succeeded, nil
}

// startFailed closes a socket that could not be seated, whose replay could not begin, or of which nobody can say whether
// its credential is still good.
func (s *Session) startFailed(err error) error {
	e, _ := api.ClientError(err)
	switch {
	case errors.Is(err, domain.ErrClosing):
		s.Close(closeGoingAway, "server is shutting down")
	case e.Code == domain.CodeUnavailable:
		s.Close(closeTryLater, "the log cannot be read at the moment")
	case errors.Is(err, domain.ErrTooManySockets):
		s.Close(closePolicy, domain.ErrTooManySockets.Message)
	case errors.Is(err, domain.ErrTenantNotFound), e.Code == domain.CodeAuthentication:
		s.Close(closeToken, "credential revoked")
	default:
		s.h.log.Error("socket could not go on", "error", err)
		s.Close(closeInternal, "the log could not be read")
	}
	return errClosed
}

// refuse sends an error frame. What is not the core's own error is logged here, once, and not told.
func (s *Session) refuse(err error, requestID string) {
	if errors.Is(err, errClosed) {
		return
	}
	e, ours := api.ClientError(err)
	if ours {
		s.h.log.Error("frame failed", "error", err, "request_id", requestID)
	}
	s.control(errorFrame(e, requestID))
}
