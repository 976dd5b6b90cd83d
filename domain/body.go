package domain

import (
	"encoding/binary"
	"errors"
)

// A body is how stores keep content and meta: one opaque value, so that encryption, erasure and search can come
// without a rewrite, and so that no SQL looks inside. It is a format byte, the id of the key that encrypted the rest
// (uvarint, 0 = none), then the payload: the length of content (uvarint), content, and meta up to the end.
const bodyFormat = 1

// ErrBody is a stored body that this binary cannot read: damaged, written by a newer format, or encrypted.
var ErrBody = errors.New("stored body cannot be read")

// EncodeBody appends the body of content and meta to dst. An empty meta is none.
func EncodeBody(dst []byte, content string, meta []byte) []byte {
	dst = append(dst, bodyFormat, 0)
	dst = binary.AppendUvarint(dst, uint64(len(content)))
	dst = append(dst, content...)
	return append(dst, meta...)
}

// DecodeBody reads a body. Of bytes, meta shares them; of a string, content is a part of it and not copied. meta is nil
// when there is none. Anything but a whole body of a known format is ErrBody.
func DecodeBody[T string | []byte](raw T) (content string, meta []byte, err error) {
	if len(raw) == 0 || raw[0] != bodyFormat {
		return "", nil, ErrBody
	}
	key, n := uvarint(raw[1:])
	if n <= 0 || key != 0 {
		return "", nil, ErrBody
	}
	payload := raw[1+n:]
	size, n := uvarint(payload)
	if n <= 0 || size > uint64(len(payload)-n) {
		return "", nil, ErrBody
	}
	content, rest := string(payload[n:n+int(size)]), []byte(payload[n+int(size):])
	if len(rest) == 0 {
		return content, nil, nil
	}
	return content, rest[:len(rest):len(rest)], nil
}

// uvarint is binary.Uvarint, also of a string.
func uvarint[T string | []byte](raw T) (uint64, int) {
	return binary.Uvarint([]byte(raw[:min(len(raw), binary.MaxVarintLen64)]))
}
