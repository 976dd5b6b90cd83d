package redis

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// idSize is how many bytes name a node.
const idSize = 8

// frame is what one PUBLISH carries: payloads of one channel that a node published one after another. Frames of a node
// are numbered in each channel, so that a receiver sees when one is missing, or has come twice.
type frame struct {
	node     string // its idSize bytes
	number   uint64
	payloads [][]byte // none: something before it was lost
}

var errFrame = errors.New("malformed frame")

// appendFrame begins a frame behind dst; appendPayload goes on.
func appendFrame(dst []byte, node string, number uint64) []byte {
	return binary.AppendUvarint(append(dst, node...), number)
}

func appendPayload(dst, payload []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(payload))), payload...)
}

// readFrame reads a frame, which shares data's memory.
func readFrame(data []byte) (f frame, err error) {
	if len(data) < idSize {
		return f, errFrame
	}
	f.node, data = string(data[:idSize]), data[idSize:]
	var size int
	if f.number, size = binary.Uvarint(data); size <= 0 {
		return f, errFrame
	}
	for data = data[size:]; len(data) > 0; {
		n, size := binary.Uvarint(data)
		if size <= 0 || n > uint64(len(data)-size) {
			return f, errFrame
		}
		end := size + int(n)
		f.payloads = append(f.payloads, data[size:end:end])
		data = data[end:]
	}
	return f, nil
}

// rawID is the bytes of a node's id.
func rawID(id string) string {
	raw, _ := hex.DecodeString(id)
	return string(raw)
}
