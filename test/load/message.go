package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// began is the zero of the times that travel in messages.
var began = time.Now()

const (
	contentSize = 200 // bytes, as in every figure of performance.md
	stampSize   = 16  // hexadecimal digits of nanoseconds since began, at the start of the content
)

var contentKey = []byte(`"content":"`)

// content is a message of 200 bytes that begins with room for a stamp.
func content() string {
	s := strings.Repeat("0", stampSize) + " " + harness.BodyMark + " "
	return s + strings.Repeat("x", contentSize-len(s))
}

// sendFrame is a send_message of a room, with the offset of its stamp. The reply has request_id 1.
func sendFrame(room string) (frame []byte, stampAt int) {
	frame = clientFrame(fmt.Sprintf(`{"type":"send_message","request_id":"1","room_id":%q,"content":%q}`, room, content()))
	return frame, bytes.Index(frame, contentKey) + len(contentKey)
}

// stamp writes a time into a frame.
func stamp(frame []byte, at int, t time.Time) {
	text := strconv.AppendInt(make([]byte, 0, stampSize), int64(t.Sub(began)), 16)
	field := frame[at : at+stampSize]
	for i := range field {
		field[i] = '0'
	}
	copy(field[stampSize-len(text):], text)
}

// age is how long ago the stamp of a received message was.
func age(payload []byte, now time.Time) (time.Duration, bool) {
	at := bytes.Index(payload, contentKey)
	if at < 0 || len(payload) < at+len(contentKey)+stampSize {
		return 0, false
	}
	at += len(contentKey)
	var ns int64
	for _, c := range payload[at : at+stampSize] {
		switch {
		case '0' <= c && c <= '9':
			ns = ns<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			ns = ns<<4 | int64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return now.Sub(began) - time.Duration(ns), true
}
