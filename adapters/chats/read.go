package chats

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// read takes messages until the connection ends. It is the goroutine that the session lives on.
func (s *session) read() {
	defer s.stop()
	defer func() {
		if cause := recover(); cause != nil {
			s.h.Logger.Error("panic on a chat socket", "panic", cause, "stack", string(debug.Stack()))
			s.part(&failed, closeInternal)
			s.discard()
		}
	}()
	s.ws.SetPingHandler(func(payload string) error {
		s.listen()
		_ = s.ws.WriteControl(websocket.PongMessage, []byte(payload), time.Now().Add(time.Second)) // else the writer finds out
		return nil
	})
	s.ws.SetPongHandler(func(string) error { s.listen(); return nil })
	s.ws.SetCloseHandler(func(code int, _ string) error { s.goodbye = websocket.FormatCloseMessage(code, ""); return nil })
	for {
		s.listen()
		kind, data, err := s.nextMessage()
		if errors.Is(err, errTooBig) {
			s.part(&problem{code: codeInvalid, message: "A frame has at most 65536 bytes", fix: "Send shorter messages"}, closeTooBig)
			s.discard()
			return
		}
		if err != nil {
			return
		}
		s.h.stats.received.Add(1)
		s.receive(kind, data)
		s.makeRoom()
	}
}

// listen starts the client's silence anew; once the socket closes, the time for its goodbye.
func (s *session) listen() {
	if !s.isParting() {
		_ = s.ws.SetReadDeadline(time.Now().Add(maxSilence))
	}
}

var errTooBig = errors.New("message too big")

func (s *session) nextMessage() (kind int, data []byte, err error) {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return 0, nil, err
	}
	data, err = io.ReadAll(io.LimitReader(r, maxMessage+1))
	if err == nil && len(data) > maxMessage {
		err = errTooBig
	}
	return kind, data, err
}

// discard reads on without looking, until the peer ends the connection or its time is up: closing a connection with unread
// data would reset it, and what was said last could be lost on the way.
func (s *session) discard() {
	const most = 1 << 20
	_ = s.ws.SetReadDeadline(time.Now().Add(closeWait))
	_, _ = io.CopyN(io.Discard, s.ws.NetConn(), most)
}

// stop tells the writer that there is nobody to write to any more.
func (s *session) stop() {
	s.die()
	close(s.over)
}

// die ends what waits for the connection.
func (s *session) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.eased.Broadcast()
}

// makeRoom holds the reader back while the client does not take its errors, or they wait for messages that it does not take:
// a flood of frames grows no memory.
func (s *session) makeRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out)+len(s.held) >= pushFrames+reserveFrames && s.farewell == nil && !s.dead {
		s.eased.Wait()
	}
}

// said is what a client sends.
type said struct {
	Type     jsontext.Value `json:"type"`
	Content  string         `json:"content"`
	Metadata api.Object     `json:"metadata"`
}

// receive handles one frame, unless the socket is closing.
func (s *session) receive(kind int, data []byte) {
	if !s.begin() {
		return
	}
	defer s.done()
	var in said
	var err error
	if kind != websocket.TextMessage {
		err = domain.Invalid("", "frames are JSON text")
	} else {
		err = api.Decode(data, &in)
	}
	isPing := err == nil && bytes.Equal(in.Type, []byte(`"ping"`))
	budget := s.messages
	if isPing {
		budget = s.pings
	}
	if budget == nil || !budget.Allow() { // there is none before the socket stands
		s.say(0, s.errorEvent(s.tooFast()))
		<-time.After(refusalPause)
		return
	}
	switch {
	case err != nil:
		s.say(0, s.errorEvent(*s.h.whyNot(err)))
	case !isPing:
		s.send(in)
	}
}

func (s *session) tooFast() problem {
	n := s.caller.Tenant.Config.ChatMessages()
	return problem{code: codeLimited, message: "Too many messages", fix: "Send at most " + strconv.Itoa(n) + " messages a second, and this one again"}
}

// begin reports whether the session still takes messages.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handling = s.farewell == nil && !s.dead
	return s.handling
}

// done lets a session go that was asked to leave while it sent a message.
func (s *session) done() {
	s.mu.Lock()
	s.handling = false
	leaving := s.leaving
	s.mu.Unlock()
	if leaving {
		s.shut(closeGoingAway, "server is shutting down")
	}
}

var noBot = problem{
	code: codeAI, message: "No AI agent is there to answer; the message is kept",
	fix: "Make a bot with POST /bots, and name it in config.chat_bot_id when the tenant has several",
}

// send says something in the chat. It returns once that is durable, so that the messages of a socket keep their order; no
// context ends it, whether or not the client is still there to hear of it.
func (s *session) send(in said) {
	sent, err := s.socket.Send(context.Background(), in.Content, in.Metadata)
	switch {
	case domain.CodeOf(err) == domain.CodeAuthentication:
		s.cut(&ended) // its tenant is gone
	case errors.Is(err, domain.ErrChatNotFound):
		s.part(&unknown, closePolicy)
	case err != nil:
		s.say(0, s.errorEvent(*s.h.whyNot(err)))
	case sent.Unanswered:
		s.say(sent.Seq, s.errorEvent(noBot))
	}
}
