package ws

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/websocket"
)

// websocketReader makes a gorilla client of a connection whose handshake was done by another.
func websocketReader(conn net.Conn) *websocket.Conn {
	ws, _, err := dialerOver(&shaken{Conn: conn}).Dial("ws://chat.example/ws", nil)
	if err != nil {
		panic(err)
	}
	return ws
}

// shaken answers a handshake by itself; then it is the connection.
type shaken struct {
	net.Conn
	asked  bytes.Buffer
	answer *bytes.Reader
}

func (s *shaken) Write(p []byte) (int, error) {
	if s.answer != nil {
		return s.Conn.Write(p)
	}
	s.asked.Write(p)
	if !bytes.HasSuffix(s.asked.Bytes(), []byte("\r\n\r\n")) {
		return len(p), nil
	}
	r, err := http.ReadRequest(bufio.NewReader(&s.asked))
	if err != nil {
		return 0, err
	}
	ours, theirs := net.Pipe()
	go func() {
		_, _ = (&websocket.Upgrader{}).Upgrade(&pipeWriter{httptest.NewRecorder(), theirs, bufio.NewReader(theirs)}, r, nil)
		_ = theirs.Close()
	}()
	head, err := io.ReadAll(ours)
	s.answer = bytes.NewReader(head)
	return len(p), err
}

func (s *shaken) Read(p []byte) (int, error) {
	if s.answer != nil && s.answer.Len() > 0 {
		return s.answer.Read(p)
	}
	return s.Conn.Read(p)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTextFramesOfAllLengthsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 124, 125, 126, 127, 128, 255, 256, 65534, 65535, 65536, 65537, 200_000} {
		payload := bytes.Repeat([]byte{'x'}, n)
		frame := textFrame(func(dst []byte) []byte { return append(dst, payload...) })
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(frame)
			_ = theirs.Close()
		}()
		ws := websocketReader(ours)
		kind, got, err := ws.ReadMessage()
		if err != nil || kind != websocket.TextMessage || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes: got kind %d, %d bytes, %v", n, kind, len(got), err)
		}
		if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseAbnormalClosure) {
			t.Fatalf("%d bytes: something follows the frame: %v", n, err)
		}
	}
}

func TestHeadersAreMinimal(t *testing.T) {
	t.Parallel()
	for n, want := range map[int][]byte{
		0:     {0x81, 0},
		125:   {0x81, 125},
		126:   {0x81, 126, 0, 126},
		65535: {0x81, 126, 0xff, 0xff},
		65536: {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0},
	} {
		if got := appendHeader(nil, finText, n); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got % x, want % x", n, got, want)
		}
	}
}

func TestCloseFramesAreValidControlFrames(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("é"), 100)
	for _, c := range []struct {
		code   int
		reason string
		want   string
	}{
		{1001, "bye", "bye"},
		{4408, string(long), string(long[:122])},
		{1008, "x" + string(long), "x" + string(long[:122])},
	} {
		ours, theirs := net.Pipe()
		go func() { _, _ = theirs.Write(closeFrame(c.code, c.reason)) }()
		ws := websocketReader(&quiet{ours})
		_, _, err := ws.ReadMessage()
		var closed *websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != c.code || closed.Text != c.want {
			t.Errorf("%d: got %v, want %q", c.code, err, c.want)
		}
	}
	if got := fmt.Sprintf("% x", closeFrame(closeNoStatus, "ignored")); got != "88 00" {
		t.Errorf("without a status: got %s, want 88 00", got)
	}
}

// quiet swallows what the client writes.
type quiet struct{ net.Conn }

func (quiet) Write(p []byte) (int, error) { return len(p), nil }
