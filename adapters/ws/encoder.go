package ws

import (
	"strconv"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Encoder makes the frames of events: complete WebSocket text frames, header included, so that an event is encoded
// once for all sockets of all nodes. It is a ports.Encoder.
type Encoder struct{}

var _ ports.Encoder = Encoder{}

// Event encodes one step of a room's log.
func (Encoder) Event(e domain.Event) ports.Frame {
	f := ports.Frame{Room: e.Room, Rev: e.Rev, Kind: e.Kind}
	switch {
	case e.Message != nil:
		f.User = e.Message.Sender
		if e.Kind == domain.EventMessage {
			f.Seq = e.Message.Seq
		}
	case e.Member != nil:
		f.User = e.Member.User
	}
	f.Bytes = textFrame(func(dst []byte) []byte { return api.AppendEvent(dst, &e) })
	return f
}

// Again encodes a message that was sent before on the same socket: with the numbers it had then, as it reads now.
func (Encoder) Again(m domain.Message) ports.Frame {
	return ports.Frame{Room: m.Room, Seq: m.Seq, Kind: domain.EventMessage, User: m.Sender, Bytes: textFrame(func(dst []byte) []byte {
		dst = api.AppendMessageFields(append(dst, `{"type":"message",`...), &m, m.FirstRev)
		return append(dst, `,"redelivered":true}`...)
	})}
}

// Notice encodes a notification.
func (Encoder) Notice(n domain.Notification, again bool) ports.Frame {
	return ports.Frame{Kind: domain.EventNotification, Notice: n.ID, Bytes: textFrame(func(dst []byte) []byte {
		dst = api.AppendNotificationFields(append(dst, `{"type":"notification",`...), &n)
		if again {
			dst = append(dst, `,"redelivered":true`...)
		}
		return append(dst, '}')
	})}
}

// Hint encodes something that is told and not kept.
func (Encoder) Hint(h domain.Hint) ports.Frame {
	return ports.Frame{Room: h.Room, Kind: h.Kind, User: h.User, Bytes: textFrame(func(dst []byte) []byte {
		dst = append(append(append(dst, `{"type":"`...), h.Kind...), `",`...)
		if !h.Room.IsZero() {
			dst = append(api.AppendRoomID(append(dst, `"room_id":`...), h.Room), ',')
		}
		return append(appendHint(dst, &h), '}')
	})}
}

// appendHint appends whom a hint is about, and what it says of them.
func appendHint(dst []byte, h *domain.Hint) []byte {
	dst = api.AppendString(append(dst, `"user_id":`...), h.User)
	switch h.Kind {
	case domain.HintTyping:
		return api.AppendString(append(dst, `,"action":`...), h.State)
	case domain.HintPresence:
		dst = api.AppendString(append(dst, `,"status":`...), h.State)
		return api.AppendTime(append(dst, `,"timestamp":`...), h.At)
	}
	return strconv.AppendInt(append(dst, `,"seq":`...), h.Seq, 10)
}

// SyncComplete encodes the end of the replay after a connect. A ping of its own behind it asks for confirmation: every
// WebSocket client answers it, and only after what came before.
func (Encoder) SyncComplete(r ports.SyncReport) ports.Frame {
	frame := textFrame(func(dst []byte) []byte {
		dst = strconv.AppendInt(append(dst, `{"type":"sync.complete","rooms":`...), int64(r.Rooms), 10)
		dst = strconv.AppendInt(append(dst, `,"messages":`...), int64(r.Messages), 10)
		dst = api.AppendString(append(dst, `,"cursor":`...), r.Cursor)
		return append(appendGaps(append(dst, `,"truncated":`...), r.Truncated), '}')
	})
	if r.Confirm {
		frame = append(frame, pingAfterSync...)
	}
	return ports.Frame{Bytes: frame}
}

// ResyncRequired encodes that a client's place in these rooms is not in this log.
func (Encoder) ResyncRequired(epoch domain.Epoch, rooms []domain.RoomID) ports.Frame {
	return ports.Frame{Bytes: textFrame(func(dst []byte) []byte {
		dst = api.AppendString(append(dst, `{"type":"resync_required","epoch":`...), epoch)
		dst = append(dst, `,"rooms":[`...)
		for i, room := range rooms {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = api.AppendRoomID(dst, room)
		}
		return append(dst, `]}`...)
	})}
}

func appendGaps(dst []byte, gaps []domain.Gap) []byte {
	dst = append(dst, '[')
	for i, g := range gaps {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = api.AppendRoomID(append(dst, `{"room_id":`...), g.Room)
		dst = strconv.AppendInt(append(dst, `,"from_seq":`...), g.FromSeq, 10)
		dst = strconv.AppendInt(append(dst, `,"to_seq":`...), g.ToSeq, 10)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}
