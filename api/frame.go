package api

import (
	"errors"

	"github.com/go-json-experiment/json"

	"github.com/chatapi/chatapi/domain"
)

// Told is what a socket of the native interface is told by a frame, as far as another interface repeats it.
type Told struct {
	Type       string            `json:"type"`
	MessageID  string            `json:"message_id"`
	SenderID   domain.UserID     `json:"sender_id"`
	SenderType domain.SenderType `json:"sender_type"`
	Seq        int64             `json:"seq"`
	Content    string            `json:"content"`
	Delta      string            `json:"delta"`
	Code       domain.StreamCode `json:"code"`
	Meta       Object            `json:"meta"`
	DeletedAt  string            `json:"deleted_at"`
}

var errFrame = errors.New("api: no whole text frame of a server")

// ReadFrame reads a frame of the native socket as it goes over the wire: one unmasked text frame, RFC 6455 §5.2. So an
// interface that repeats in its own words what natively is said needs no second encoding of every event.
func ReadFrame(frame []byte) (told Told, err error) {
	const finText = 0x81
	if len(frame) < 2 || frame[0] != finText || frame[1]&0x80 != 0 {
		return told, errFrame
	}
	skip := 2
	switch frame[1] {
	case 126:
		skip += 2
	case 127:
		skip += 8
	}
	if len(frame) < skip {
		return told, errFrame
	}
	return told, json.Unmarshal(frame[skip:], &told)
}
