package harness

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// eachReply reads what a Redis server says, in version 2 or 3 of its protocol, and hands over each reply or push as it came.
// kind is the first element of an array or push whose first element is a string: of a subscriber's, what it is about.
func eachReply(from io.Reader, handle func(reply []byte, kind string) error) error {
	in := bufio.NewReader(from)
	for {
		var reply bytes.Buffer
		kind, err := readReply(in, &reply)
		if err != nil {
			return err
		}
		if err := handle(reply.Bytes(), kind); err != nil {
			return err
		}
	}
}

// readReply reads one value and everything in it.
func readReply(in *bufio.Reader, whole *bytes.Buffer) (kind string, err error) {
	line, err := in.ReadBytes('\n')
	whole.Write(line)
	if err != nil {
		return "", err
	}
	if len(line) < 3 {
		return "", fmt.Errorf("a line of %d bytes from Redis", len(line))
	}
	count := 0
	if bytes.IndexByte([]byte("$!=*>%~|"), line[0]) >= 0 {
		if count, err = strconv.Atoi(string(line[1 : len(line)-2])); err != nil {
			return "", fmt.Errorf("the length of a value from Redis: %w", err)
		}
	}
	switch line[0] {
	case '$', '!', '=':
		return readBulk(in, whole, count)
	case '%', '|':
		count *= 2
	}
	for i := range max(0, count) {
		first, err := readReply(in, whole)
		if err != nil {
			return "", err
		}
		if i == 0 && (line[0] == '*' || line[0] == '>') {
			kind = first
		}
	}
	return kind, nil
}

// readBulk reads a string of so many bytes, -1 for none.
func readBulk(in *bufio.Reader, whole *bytes.Buffer, length int) (string, error) {
	if length < 0 {
		return "", nil
	}
	text := make([]byte, length+len("\r\n"))
	_, err := io.ReadFull(in, text)
	whole.Write(text)
	return string(text[:length]), err
}
