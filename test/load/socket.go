package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// socket is a WebSocket client that does as little as it can: it masks with zeros, keeps no buffer while it waits, and
// hands each text frame to onFrame as bytes that are only valid during the call.
type socket struct {
	conn *net.TCPConn
	raw  syscall.RawConn
	rest []byte // the beginning of a frame that has not come whole
	bye  string // the server's close frame
	err  error
	done chan struct{}
}

var (
	isMessage      = []byte(`{"type":"message",`)
	isPresence     = []byte(`{"type":"presence.update",`)
	isReply        = []byte(`{"type":"reply",`)
	isError        = []byte(`{"type":"error",`)
	isSyncComplete = []byte(`{"type":"sync.complete",`)
)

const (
	readChunk   = 64 << 10
	dialTimeout = 30 * time.Second
	perSourceIP = 5_000 // sockets of one source address, which has some 28,000 ports that rest after use
)

var chunks = sync.Pool{New: func() any { b := make([]byte, readChunk); return &b }}

// dial opens the socket of a user. n picks the source address, and of several nodes the one: there is no balancer between.
func dial(tenant *harness.Tenant, user string, n int, query string) (*socket, error) {
	nodes := tenant.Server().Nodes
	address := strings.TrimPrefix(nodes[n%len(nodes)].Base, "http://")
	dialer := net.Dialer{
		Timeout: dialTimeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n/perSourceIP))}, KeepAlive: -1,
		Control: portAtConnect,
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn.(*net.TCPConn), done: make(chan struct{})}
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return nil, err
	}
	request := fmt.Sprintf("GET /ws?api_key=%s&user_id=%s%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n", tenant.Key, url.QueryEscape(user), query, address)
	if err := s.handshake(request); err != nil {
		return nil, fmt.Errorf("handshake: %w", errors.Join(err, conn.Close()))
	}
	return s, nil
}

// portAtConnect has the kernel choose the port when it connects, knowing the other end. Chosen at bind it must be free
// whatever the other end, and the search among thousands that linger from the workload before starves the generator.
func portAtConnect(_, _ string, raw syscall.RawConn) error {
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT of Linux, which package syscall does not name
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1)
	})
	return errors.Join(err, failed)
}

func (s *socket) handshake(request string) error {
	if err := s.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.conn, request); err != nil {
		return err
	}
	buf := make([]byte, 0, 2048)
	for len(buf) < cap(buf) {
		n, err := s.conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return err
		}
		buf = buf[:len(buf)+n]
		if end := bytes.Index(buf, []byte("\r\n\r\n")); end >= 0 {
			if !bytes.HasPrefix(buf, []byte("HTTP/1.1 101")) {
				return refusal(buf)
			}
			s.rest = append([]byte(nil), buf[end+4:]...)
			return s.conn.SetDeadline(time.Time{})
		}
	}
	return errors.New("the answer to the upgrade is too long")
}

// busy is a refused upgrade that asks to come again.
type busy struct{ retryAfter time.Duration }

func (e *busy) Error() string {
	return "upgrade refused with 503, come again in " + e.retryAfter.String()
}

func refusal(answer []byte) error {
	_, rest, found := bytes.Cut(answer, []byte("Retry-After: "))
	if !found || !bytes.HasPrefix(answer, []byte("HTTP/1.1 503")) {
		return fmt.Errorf("upgrade refused: %.100s", answer)
	}
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	seconds, err := strconv.Atoi(string(value))
	if err != nil {
		return fmt.Errorf("Retry-After of %q", value)
	}
	return &busy{time.Duration(seconds) * time.Second}
}

// read hands frames to onFrame until the connection ends or onFrame returns false.
func (s *socket) read(onFrame func([]byte) bool) error {
	for {
		more, err := s.readOnce(onFrame)
		if err != nil && s.bye != "" {
			return errors.New(s.bye)
		}
		if err != nil || !more {
			return err
		}
	}
}

// readOnce waits for bytes and hands on what is whole. The buffer comes from a pool once there is something to read.
func (s *socket) readOnce(onFrame func([]byte) bool) (more bool, err error) {
	if len(s.rest) > 0 {
		if more = s.frames(s.rest, onFrame); !more {
			return false, nil
		}
	}
	waitErr := s.raw.Read(func(fd uintptr) bool {
		p := chunks.Get().(*[]byte)
		defer chunks.Put(p)
		buf := *p
		kept := copy(buf, s.rest)
		n, readErr := syscall.Read(int(fd), buf[kept:])
		if readErr == syscall.EAGAIN {
			return false
		}
		switch {
		case readErr != nil:
			err = readErr
		case n == 0:
			err = io.EOF
		default:
			more = s.frames(buf[:kept+n], onFrame)
		}
		return true
	})
	return more, errors.Join(err, waitErr)
}

// frames splits buf into frames and keeps what is not whole in rest.
func (s *socket) frames(buf []byte, onFrame func([]byte) bool) bool {
	for {
		payload, first, size := frame(buf)
		if size == 0 {
			s.rest = append(s.rest[:0], buf...)
			return true
		}
		buf = buf[size:]
		switch first & 0x0f {
		case 0x9:
			_, _ = s.conn.Write(append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...))
		case 0x8:
			if len(payload) >= 2 {
				s.bye = fmt.Sprintf("closed with %d %s", binary.BigEndian.Uint16(payload), payload[2:])
			}
		case 0x1:
			if !onFrame(payload) {
				s.rest = append(s.rest[:0], buf...)
				return false
			}
		}
	}
}

// frame cuts the first frame off buf; size 0 means that it is not whole yet.
func frame(buf []byte) (payload []byte, first byte, size int) {
	if len(buf) < 2 {
		return nil, 0, 0
	}
	head, n := 2, int(buf[1]&0x7f)
	switch {
	case n == 126 && len(buf) >= 4:
		head, n = 4, int(binary.BigEndian.Uint16(buf[2:]))
	case n == 127 && len(buf) >= 10:
		head, n = 10, int(binary.BigEndian.Uint64(buf[2:]))
	case n >= 126:
		return nil, 0, 0
	}
	if len(buf) < head+n {
		return nil, 0, 0
	}
	return buf[head : head+n], buf[0], head + n
}

// clientFrame is a text frame masked with zeros: masking is the protocol's, not a secret.
func clientFrame(payload string) []byte {
	f := []byte{0x81, 0x80 | 126, byte(len(payload) >> 8), byte(len(payload)), 0, 0, 0, 0}
	if len(payload) <= 125 {
		f = []byte{0x81, 0x80 | byte(len(payload)), 0, 0, 0, 0}
	}
	return append(f, payload...)
}

// awaitSync reads until the replay on connect is done.
func (s *socket) awaitSync() error {
	if err := s.conn.SetReadDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if err := s.read(func(p []byte) bool { return !bytes.HasPrefix(p, isSyncComplete) }); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return s.conn.SetReadDeadline(time.Time{})
}

// follow reads in a goroutine of its own until the socket is closed.
func (s *socket) follow(onFrame func([]byte)) {
	go func() {
		defer close(s.done)
		s.err = s.read(func(p []byte) bool { onFrame(p); return true })
	}()
}

// dialAll opens n sockets, some at a time, each behind its replay.
func dialAll(tenant *harness.Tenant, n int, user func(int) string) ([]*socket, error) {
	return dialFrom(0, tenant, n, user)
}

// dialFrom is dialAll that begins at a later node.
func dialFrom(first int, tenant *harness.Tenant, n int, user func(int) string) ([]*socket, error) {
	const atOnce = 64
	all, errs := make([]*socket, n), make([]error, n)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if all[i], errs[i] = dial(tenant, user(i), first+i, ""); errs[i] == nil {
				errs[i] = all[i].awaitSync()
			}
		})
	}
	wg.Wait()
	return all, some(errs)
}

func closeAll(sockets []*socket) {
	for _, s := range sockets {
		if s != nil {
			_ = s.conn.Close()
		}
	}
}
