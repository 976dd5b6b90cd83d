package ws

import (
	"encoding/json"
	"strconv"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// StreamStart encodes the beginning of an answer, or of its next attempt, with what has come of it.
func (Encoder) StreamStart(p domain.StreamPart) ports.Frame {
	return streamFrame(p, "start", func(dst []byte) []byte {
		dst = api.AppendString(append(dst, `,"sender_id":`...), p.Bot)
		dst = api.AppendMessageID(append(dst, `,"reply_to":`...), p.ReplyTo)
		dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(p.Attempt), 10)
		if p.Text != "" {
			dst = api.AppendString(append(dst, `,"content":`...), p.Text)
		}
		return dst
	})
}

// StreamDelta encodes more of an answer, which had so many code points before.
func (Encoder) StreamDelta(p domain.StreamPart, points int, delta string) ports.Frame {
	return streamFrame(p, "delta", func(dst []byte) []byte {
		dst = strconv.AppendInt(append(dst, `,"offset":`...), int64(points), 10)
		return api.AppendString(append(dst, `,"delta":`...), delta)
	})
}

// StreamError encodes the end of an answer of which there is no message.
func (Encoder) StreamError(p domain.StreamPart) ports.Frame {
	return streamFrame(p, "error", func(dst []byte) []byte { return appendFailure(dst, p.Failed, p.Text) })
}

// StreamEnd encodes the end of an answer that has become a message: the message, or that it ended with an error, with what
// is kept of it.
func (Encoder) StreamEnd(m domain.Message) ports.Frame {
	f := ports.Frame{Room: m.Room, Rev: m.FirstRev, Seq: m.Seq, Kind: domain.EventMessage, User: m.Sender, Stream: m.ID}
	code, failed := failureOf(m)
	f.Bytes = textFrame(func(dst []byte) []byte {
		if !failed {
			dst = append(dst, `{"type":"message.stream.end",`...)
			return append(api.AppendMessageFields(dst, &m, m.FirstRev), '}')
		}
		dst = appendStream(dst, "error", m.Room, m.ID)
		dst = appendFailure(dst, code, m.Content)
		dst = strconv.AppendInt(append(dst, `,"seq":`...), m.Seq, 10)
		return append(strconv.AppendInt(append(dst, `,"rev":`...), m.FirstRev, 10), '}')
	})
	return f
}

// failureOf reads from a message's meta whether the answer ended with an error, and with which.
func failureOf(m domain.Message) (code domain.StreamCode, failed bool) {
	var meta struct {
		Finish domain.FinishReason `json:"finish_reason"`
		Error  domain.StreamCode   `json:"error"`
	}
	if err := json.Unmarshal(m.Meta, &meta); err != nil || meta.Finish != domain.FinishError {
		return "", false // a message without meta did not fail
	}
	if meta.Error == "" {
		meta.Error = domain.StreamInterrupted
	}
	return meta.Error, true
}

// streamFrame makes the frame of a part that is no step of the log.
func streamFrame(p domain.StreamPart, kind string, fields func(dst []byte) []byte) ports.Frame {
	return ports.Frame{Room: p.Room, User: p.Bot, Bytes: textFrame(func(dst []byte) []byte {
		return append(fields(appendStream(dst, kind, p.Room, p.Message)), '}')
	})}
}

// appendStream begins a frame of a stream.
func appendStream(dst []byte, kind string, room domain.RoomID, message domain.MessageID) []byte {
	dst = append(append(append(dst, `{"type":"message.stream.`...), kind...), `","room_id":`...)
	return api.AppendMessageID(append(api.AppendRoomID(dst, room), `,"message_id":`...), message)
}

// appendFailure appends why an answer has ended, and what had come of it.
func appendFailure(dst []byte, code domain.StreamCode, content string) []byte {
	dst = api.AppendString(append(dst, `,"code":`...), code)
	return api.AppendString(append(dst, `,"content":`...), content)
}
