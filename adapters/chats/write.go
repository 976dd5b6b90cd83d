package chats

import (
	"runtime/debug"
	"time"

	"github.com/gorilla/websocket"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// write writes what waits until the socket has ended, and pings the client. Whoever does not take it for 10 s is gone.
func (s *session) write() {
	defer s.giveUp()
	defer func() {
		if cause := recover(); cause != nil {
			s.h.Logger.Error("panic on a chat socket", "panic", cause, "stack", string(debug.Stack()))
		}
	}()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		batch, bye := s.take()
		for _, i := range batch {
			if !s.writeItem(i) {
				return
			}
		}
		switch {
		case len(batch) > 0:
			s.drained()
			continue
		case bye != nil:
			s.sayGoodbye(bye)
			return
		}
		select {
		case <-s.wake:
		case <-ping.C:
			if s.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(writeStall)) != nil {
				return
			}
		case <-s.over:
			return
		}
	}
}

// giveUp ends the connection and the reader, wherever that waits; a reader that has ended by itself answers its client's
// goodbye yet.
func (s *session) giveUp() {
	select {
	case <-s.over:
	default:
		s.die()
		s.hangUp()
	}
}

// take takes all that waits; when that is nothing, what there is to say in the end.
func (s *session) take() (batch []item, bye *farewell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, nil
	}
	batch, s.out, s.bytes = s.out, nil, 0
	s.eased.Broadcast()
	return batch, s.farewell
}

// drained tells, when nothing waits any more, a fan-out that was refused a frame.
func (s *session) drained() {
	s.mu.Lock()
	tell := s.overflowed && len(s.out) == 0 && s.farewell == nil && !s.dead
	s.overflowed = s.overflowed && !tell
	s.mu.Unlock()
	if tell {
		s.socket.Drained()
	}
}

func (s *session) writeItem(i item) bool {
	if i.event != nil {
		return s.writeEvent(i.event)
	}
	for _, event := range s.translate(i.frame) {
		if !s.writeEvent(event) {
			return false
		}
	}
	return true
}

func (s *session) writeEvent(event []byte) bool {
	if event == nil {
		return true
	}
	_ = s.ws.SetWriteDeadline(time.Now().Add(writeStall))
	s.h.stats.events.Add(1)
	return s.ws.WriteMessage(websocket.TextMessage, event) == nil
}

// sayGoodbye closes, and waits for the peer to answer.
func (s *session) sayGoodbye(bye *farewell) {
	_ = s.ws.WriteControl(websocket.CloseMessage, closeReason(bye), time.Now().Add(writeStall))
	if s.hasty {
		return
	}
	_ = s.ws.SetReadDeadline(time.Now().Add(closeWait))
	limit := time.NewTimer(closeWait)
	defer limit.Stop()
	select {
	case <-s.over:
	case <-limit.C:
	}
}

// translate says in the events of this API what a frame says natively.
func (s *session) translate(f ports.Frame) [][]byte {
	told, err := api.ReadFrame(f.Bytes)
	if err != nil {
		s.h.Logger.Error("frame not understood", "error", err)
		return nil
	}
	switch told.Type {
	case "message":
		role, _ := domain.ChatRoleOf(s.socket.Owner, told.SenderID)
		if role == domain.ChatUser {
			return [][]byte{s.received(&told)}
		}
		return s.whole(&told)
	case "message.stream.start":
		return s.begins(&told)
	case "message.stream.delta":
		return s.goesOn(&told)
	case "message.stream.end":
		return s.ends(&told)
	case "message.stream.error":
		return append([][]byte{s.errorEvent(problemOf(&told))}, s.resume(&told)...)
	}
	return nil
}
