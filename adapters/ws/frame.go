package ws

import (
	"encoding/binary"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// The first byte of frames, RFC 6455 §5.2: FIN and the opcode. Servers do not mask.
const (
	finText  = 0x81
	finClose = 0x88
	finPing  = 0x89
	finPong  = 0x8a
)

const (
	maxHeader  = 10  // bytes of a server's frame header
	maxControl = 125 // bytes of a control frame's payload
)

// appendHeader appends the header of an unmasked frame with a payload of n bytes.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n <= 125:
		return append(dst, first, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// scratch holds buffers for payloads while they are built: frames live long, so they get exactly their size.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

const maxScratch = 64 << 10

// textFrame builds a whole text frame of the payload that write appends.
func textFrame(write func(dst []byte) []byte) []byte {
	p := scratch.Get().(*[]byte)
	payload := write((*p)[:0])
	frame := appendHeader(make([]byte, 0, maxHeader+len(payload)), finText, len(payload))
	frame = append(frame, payload...)
	if cap(payload) <= maxScratch {
		*p = payload
		scratch.Put(p)
	}
	return frame
}

// closeFrame builds a close frame. Code 1005 stands for a close without a code.
func closeFrame(code int, reason string) []byte {
	if code == closeNoStatus {
		return []byte{finClose, 0}
	}
	reason = truncate(reason, maxControl-2)
	frame := appendHeader(nil, finClose, 2+len(reason))
	frame = binary.BigEndian.AppendUint16(frame, uint16(code))
	return append(frame, reason...)
}

// truncate cuts s to at most n bytes, between characters.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func pongControl(payload string) []byte {
	return append(appendHeader(nil, finPong, len(payload)), payload...)
}

var pingControl = []byte{finPing, 0}

// confirmSync is the payload of the ping behind sync.complete, and so of the pong that confirms it.
const confirmSync = "sync"

var pingAfterSync = append(appendHeader(nil, finPing, len(confirmSync)), confirmSync...)

// connectedFrame is the first frame of a socket.
func connectedFrame(id string, user domain.UserID, device domain.DeviceID, epoch domain.Epoch, now time.Time) []byte {
	return textFrame(func(dst []byte) []byte {
		dst = api.AppendString(append(dst, `{"type":"connected","connection_id":`...), id)
		dst = api.AppendString(append(dst, `,"user_id":`...), user)
		dst = api.AppendString(append(dst, `,"device_id":`...), device)
		dst = api.AppendString(append(dst, `,"epoch":`...), epoch)
		dst = api.AppendTime(append(dst, `,"protocol":1,"server_time":`...), now)
		dst = strconv.AppendInt(append(dst, `,"heartbeat_ms":`...), pingEvery.Milliseconds(), 10)
		return append(dst, '}')
	})
}

// replyFrame answers a request; data appends the value of "data".
func replyFrame(requestID string, data func(dst []byte) []byte) []byte {
	return textFrame(func(dst []byte) []byte {
		dst = api.AppendString(append(dst, `{"type":"reply","request_id":`...), requestID)
		return append(data(append(dst, `,"data":`...)), '}')
	})
}

func errorFrame(e *domain.Error, requestID string) []byte { return errorFrameAfter(e, requestID, 0) }

// errorFrameAfter is an error that passes: wait is the time after which a further try has a chance; 0 = not told.
func errorFrameAfter(e *domain.Error, requestID string, wait time.Duration) []byte {
	return textFrame(func(dst []byte) []byte {
		dst = api.AppendString(append(dst, `{"type":"error","code":`...), e.Code)
		dst = api.AppendString(append(dst, `,"message":`...), e.Message)
		if requestID != "" {
			dst = api.AppendString(append(dst, `,"request_id":`...), requestID)
		}
		if e.Field != "" {
			dst = api.AppendString(append(dst, `,"field":`...), e.Field)
		}
		if wait > 0 {
			dst = appendMillis(append(dst, `,"retry_after_ms":`...), wait)
		}
		return append(dst, '}')
	})
}

// appendMillis appends a time to wait in milliseconds that are long enough.
func appendMillis(dst []byte, wait time.Duration) []byte {
	return strconv.AppendInt(dst, (wait + time.Millisecond - 1).Milliseconds(), 10)
}

// expiringFrame tells that the socket's credential ends soon.
func expiringFrame(at time.Time) []byte {
	return textFrame(func(dst []byte) []byte {
		return append(api.AppendTime(append(dst, `{"type":"token.expiring","expires_at":`...), at), '}')
	})
}

func pongFrame(requestID string) []byte {
	return textFrame(func(dst []byte) []byte {
		dst = append(dst, `{"type":"pong"`...)
		if requestID != "" {
			dst = api.AppendString(append(dst, `,"request_id":`...), requestID)
		}
		return append(dst, '}')
	})
}

func shutdownFrame(reconnectAfter time.Duration) []byte {
	return textFrame(func(dst []byte) []byte {
		dst = append(dst, `{"type":"server.shutdown","reconnect_after_ms":`...)
		return append(strconv.AppendInt(dst, reconnectAfter.Milliseconds(), 10), '}')
	})
}
