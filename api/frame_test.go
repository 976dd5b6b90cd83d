package api_test

import (
	"strings"
	"testing"

	"github.com/chatapi/chatapi/api"
)

func TestFramesOfTheNativeSocketCanBeRead(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"hi", strings.Repeat("é", 200), strings.Repeat("x", 70_000)} {
		payload := `{"type":"message","message_id":"msg_1","sender_id":"bob","sender_type":"user","seq":3,"content":"` + content + `","meta":{"k":1},"x":[]}`
		head := []byte{0x81, byte(len(payload))}
		switch {
		case len(payload) > 0xffff:
			head = []byte{0x81, 127, 0, 0, 0, 0, 0, byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}
		case len(payload) > 125:
			head = []byte{0x81, 126, byte(len(payload) >> 8), byte(len(payload))}
		}
		told, err := api.ReadFrame(append(head, payload...))
		if err != nil || told.Type != "message" || told.MessageID != "msg_1" || told.SenderID != "bob" || told.SenderType != "user" ||
			told.Seq != 3 || told.Content != content || string(told.Meta) != `{"k":1}` {
			t.Errorf("%d bytes: %+v, %v", len(payload), told, err)
		}
	}
	for _, broken := range [][]byte{nil, {0x81}, {0x81, 126, 0}, {0x81, 127, 0, 0}, {0x89, 0}, {0x01, 2, '{', '}'}, {0x81, 0x82, 1, 2, 3, 4}, {0x81, 1, '{'}} {
		if told, err := api.ReadFrame(broken); err == nil {
			t.Errorf("%v reads as %+v", broken, told)
		}
	}
}
