package chats

import (
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// received tells of a message of the chat's owner.
func (s *session) received(told *api.Told) []byte {
	return s.event("message_received", func(dst []byte) []byte {
		dst = s.appendChatID(api.AppendString(append(dst, `,"message_id":`...), told.MessageID))
		dst = api.AppendString(append(dst, `,"user_id":`...), told.SenderID)
		return api.AppendString(append(dst, `,"content":`...), told.Content)
	})
}

// streamStarted tells that an answer begins, or begins anew.
func (s *session) streamStarted() []byte {
	return s.event("message_stream_started", func(dst []byte) []byte {
		return api.AppendString(append(s.appendChatID(dst), `,"user_id":`...), s.socket.Owner)
	})
}

// token tells more of an answer; of none it tells nothing.
func (s *session) token(text string) []byte {
	if text == "" {
		return nil
	}
	return s.event("message_stream_token", func(dst []byte) []byte {
		return api.AppendString(append(s.appendChatID(dst), `,"token":`...), text)
	})
}

// streamEnded tells an answer as a whole, and of a person's that it is one.
func (s *session) streamEnded(told *api.Told) []byte {
	return s.event("message_stream_ended", func(dst []byte) []byte {
		dst = s.appendChatID(api.AppendString(append(dst, `,"message_id":`...), told.MessageID))
		dst = api.AppendString(append(dst, `,"user_id":`...), s.socket.Owner)
		dst = api.AppendString(append(dst, `,"content":`...), told.Content)
		if _, human := domain.ChatRoleOf(s.socket.Owner, told.SenderID); human {
			dst = append(append(dst, `,"metadata":`...), metadataOf(s.socket.Owner, told.SenderID, told.Meta, told.DeletedAt != "")...)
		}
		return dst
	})
}

// problemOf says why an answer has failed. What had come of it is kept as a message, when anything had.
func problemOf(told *api.Told) problem {
	p := problem{code: codeAI, message: "The AI agent could not answer", fix: "Send the message again in a moment"}
	switch told.Code {
	case domain.StreamTimeout:
		p.code, p.message = codeTimeout, "The AI agent did not answer in time"
	case domain.StreamRateLimited, domain.StreamBudget:
		p.code, p.message, p.fix = codeLimited, "The AI agent has answered as much as it may for now", "Wait a minute, and send the message again"
	case domain.StreamEmpty:
		p.message = "The AI agent had nothing to say"
	case domain.StreamInterrupted:
		p.message = "The answer of the AI agent was cut off"
	case domain.StreamHandedOff:
		p.message, p.fix = "A person has taken over from the AI agent", "Wait for their answer"
	case domain.StreamRemoved:
		p.message, p.fix = "The AI agent or you have left the chat", "Ask the operator for another agent"
	}
	if told.Seq > 0 {
		p.messageID, p.content = told.MessageID, told.Content
	}
	return p
}
