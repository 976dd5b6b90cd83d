package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Client makes requests with one set of credentials. It is safe for concurrent use.
type Client struct {
	Base   string
	header http.Header
	http   *http.Client
	drift  *drift // nil: answers are not held against the specification
	canary *Canary
}

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// ErrorBody is the shape of every error answer.
type ErrorBody struct {
	Success *bool           `json:"success"`
	Data    json.RawMessage `json:"data"`
	Error   struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Field     string `json:"field"`
		RequestID string `json:"request_id"`
		Details   struct {
			Room Room `json:"room"`
		} `json:"details"`
	} `json:"error"`
}

// StatusError is an answer of another status than the helper method expects.
type StatusError struct {
	Method, Path string
	*Response
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: status %d: %.300s", e.Method, e.Path, e.Status, e.Body)
}

// Anonymous is a client without credentials.
func (s *Server) Anonymous() *Client {
	return &Client{Base: s.Base, header: http.Header{}, http: s.http, drift: &s.drift, canary: s.canary}
}

// Operator is a client with the master key.
func (s *Server) Operator() *Client { return s.Anonymous().With("X-Master-Key", s.MasterKey) }

// With is the same client with one more header; an empty value removes it.
func (c *Client) With(name, value string) *Client {
	header := c.header.Clone()
	header.Set(name, value)
	if value == "" {
		header.Del(name)
	}
	return &Client{Base: c.Base, header: header, http: c.http, drift: c.drift, canary: c.canary}
}

// Do sends one request. A string or []byte body goes as it is, anything else as JSON; nil is no body. An answer that is
// not as specified fails the server's test at its end, whatever the caller makes of it.
func (c *Client) Do(ctx context.Context, method, path string, body any) (*Response, error) {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	c.canary.Exchange(req, sentBody(req), res.StatusCode, read)
	if c.drift != nil {
		c.drift.note(CheckAnswer(req, res.StatusCode, res.Header, read))
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: read}, nil
}

// sentBody is a request's body once more.
func sentBody(r *http.Request) []byte {
	if r.GetBody == nil {
		return nil
	}
	again, err := r.GetBody()
	if err != nil {
		return nil
	}
	body, _ := io.ReadAll(again) // from memory
	return body
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	return req, nil
}

// Call sends a request, wants a status and decodes the answer into out unless that is nil.
func (c *Client) Call(method, path string, body any, want int, out any) (*Response, error) {
	res, err := c.Do(context.Background(), method, path, body)
	if err != nil {
		return nil, err
	}
	if res.Status != want {
		return res, &StatusError{Method: method, Path: path, Response: res}
	}
	if out == nil {
		return res, nil
	}
	return res, res.Decode(out)
}

// Decode reads the answer's JSON.
func (r *Response) Decode(out any) error { return json.Unmarshal(r.Body, out) }

// Problem decodes an error answer.
func (r *Response) Problem() (ErrorBody, error) {
	var e ErrorBody
	if err := json.Unmarshal(r.Body, &e); err != nil {
		return e, fmt.Errorf("status %d with a body that is no JSON error: %.200s", r.Status, r.Body)
	}
	return e, nil
}

// WithValues is the same client with a header sent more than once.
func (c *Client) WithValues(name string, values ...string) *Client {
	header := c.header.Clone()
	header[http.CanonicalHeaderKey(name)] = values
	return &Client{Base: c.Base, header: header, http: c.http, drift: c.drift, canary: c.canary}
}

// Unfinished is a connection with a POST under way, of whose body the server has the beginning and waits for the rest.
func (c *Client) Unfinished(path string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(c.Base, "http://"), requestTimeout)
	if err != nil {
		return nil, err
	}
	line, err := c.beginPost(conn, path)
	if err == nil && !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		err = fmt.Errorf("a server that waits for the body says %q", line)
	}
	if err == nil {
		_, err = io.WriteString(conn, "{")
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// beginPost sends a request without its body, and returns what is answered first.
func (c *Client) beginPost(conn net.Conn, path string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return "", err
	}
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n", path)
	if err := c.header.Write(&head); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, head.String()+"\r\n"); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}
