package application

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/chatapi/chatapi/domain"
)

// A cursor is where a client stood when its replay ended, as one opaque text: the epoch, and the rooms that its
// device's marks do not cover yet, at most 500. It is base64url of a version byte, the epoch and pairs of room and rev.
const cursorVersion = 1

func writeCursor(epoch domain.Epoch, positions []domain.Position) string {
	data := appendBytes([]byte{cursorVersion}, string(epoch))
	for _, at := range positions[:min(len(positions), domain.MaxResumeRooms)] {
		data = append(data, at.Room[:]...)
		data = binary.AppendUvarint(data, uint64(at.Rev))
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func readCursor(text string) (domain.Epoch, []domain.Position, error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) == 0 || data[0] != cursorVersion {
		return "", nil, errCursor
	}
	r := signalReader{data: data[1:]}
	epoch := domain.Epoch(r.bytes())
	var positions []domain.Position
	for len(r.data) > 0 && !r.failed && len(positions) < domain.MaxResumeRooms {
		var at domain.Position
		copy(at.Room[:], r.next(len(at.Room)))
		at.Rev = int64(r.number() & (1<<62 - 1))
		positions = append(positions, at)
	}
	if r.failed {
		return "", nil, errCursor
	}
	return epoch, positions, nil
}

var errCursor = domain.Invalid("cursor", "cursor is not one of this server's")
