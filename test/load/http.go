package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// httpConn is one kept-alive HTTP connection that sends requests as bytes and reads no more of an answer than its
// status and length.
type httpConn struct {
	conn net.Conn
	in   *bufio.Reader
}

// connected counts connections, so that each goes to the next node.
var connected atomic.Uint64

func dialHTTP(s *harness.Server) (*httpConn, error) {
	n := s.Nodes[connected.Add(1)%uint64(len(s.Nodes))]
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(n.Base, "http://"), dialTimeout)
	if err != nil {
		return nil, err
	}
	return &httpConn{conn: conn, in: bufio.NewReaderSize(conn, 32<<10)}, nil
}

// request is the bytes of a request of a user.
func request(tenant *harness.Tenant, user, method, path, body string) []byte {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: load\r\nX-API-Key: %s\r\nX-User-Id: %s\r\n", method, path, tenant.Key, user)
	if body != "" {
		head += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(head + "\r\n" + body)
}

// do sends a request and returns the status and how many bytes the body had.
func (c *httpConn) do(request []byte) (status, size int, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return 0, 0, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, 0, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil || len(line) < 12 {
		return 0, 0, errors.Join(err, fmt.Errorf("no status line: %q", line))
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	length, chunked, err := c.header()
	switch {
	case err != nil:
		return 0, 0, err
	case chunked:
		size, err = c.discardChunks()
	default:
		size, err = c.in.Discard(length)
	}
	return status, size, err
}

func (c *httpConn) header() (length int, chunked bool, err error) {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		switch {
		case len(name) == 0:
			return length, chunked, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, false, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
}

func (c *httpConn) discardChunks() (total int, err error) {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return total, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return total, err
		}
		if _, err := c.in.Discard(int(n) + 2); err != nil {
			return total, err
		}
		if n == 0 {
			return total, nil
		}
		total += int(n)
	}
}

// post sends messages in a closed loop until stop reports true; done is told of each.
func (c *httpConn) post(request []byte, stop func() bool, done func(took time.Duration)) error {
	for !stop() {
		at := time.Now()
		status, _, err := c.do(request)
		if err != nil || status != 201 {
			return errors.Join(err, fmt.Errorf("a send was answered %d", status))
		}
		done(time.Since(at))
	}
	return nil
}

var _ io.Closer = (*httpConn)(nil)

// Close ends the connection.
func (c *httpConn) Close() error { return c.conn.Close() }
