package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
)

// operatorClient calls the operator's routes: over the running server's socket, or, when none runs, in a server that
// is joined for this one command and never listens. Both answer the same bytes.
type operatorClient struct {
	http  http.Client
	close func()
}

// absence says what a command does where there is neither a server nor a store.
type absence func(c console, path string) error

// noStore is for commands about what is in a store: a new one has nothing, and would only hide that this is the wrong
// place.
func noStore(_ console, path string) error {
	return fmt.Errorf("no store at %s: set DATABASE_DSN as the server has it", path)
}

// newStore is for the command that may well be the first of all, but may as well look in the wrong place.
func newStore(c console, path string) error {
	_, err := fmt.Fprintf(c.err, "chatapi: no server runs there, and a new store is made: %s\n"+
		"chatapi: if your server has another one, set DATABASE_DSN as it has it\n", path)
	return err
}

// openOperator finds the running server or opens the store, and says on the console when it is the store.
func openOperator(ctx context.Context, c console, cfg *Config, absent absence) (*operatorClient, error) {
	if cfg.onPostgres() {
		return openBeside(ctx, cfg)
	}
	address, addressErr := socketAddress(cfg.socketPath())
	if op := dialOperator(ctx, address); op != nil {
		return op, nil
	}
	_, err := os.Stat(cfg.DataPath)
	isNew := errors.Is(err, fs.ErrNotExist)
	if isNew {
		if err := absent(c, cfg.DataPath); err != nil {
			return nil, err
		}
	}
	quiet := slog.New(slog.DiscardHandler) // what fails is this command's error
	a, cleanup, err := newApp(ctx, cfg, quiet)
	if errors.Is(err, sqlite.ErrInUse) {
		if op := dialOperator(ctx, address); op != nil { // it was starting
			return op, nil
		}
		return nil, errors.Join(err, addressErr)
	}
	if err != nil {
		return nil, err
	}
	if !isNew {
		_, _ = fmt.Fprintf(c.err, "chatapi: no server runs on %s: working on the file itself\n", cfg.DataPath)
	}
	return &operatorClient{http.Client{Transport: handlerTransport{a.operator}}, cleanup}, nil
}

// openBeside works on the database itself, beside whatever servers have it open. They hear of it over Redis, and without
// it within seconds.
func openBeside(ctx context.Context, cfg *Config) (*operatorClient, error) {
	a, cleanup, err := newApp(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &operatorClient{http.Client{Transport: handlerTransport{a.operator}}, cleanup}, nil
}

// dialOperator returns nil when nobody answers.
func dialOperator(ctx context.Context, address string) *operatorClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", address)
	}
	probe, err := dial(ctx, "", "")
	if err != nil {
		return nil
	}
	_ = probe.Close()
	transport := &http.Transport{DialContext: dial}
	return &operatorClient{http.Client{Transport: transport}, transport.CloseIdleConnections}
}

// failure is an error as the routes answer it.
type failure struct {
	Error failureDetail `json:"error"`
}

type failureDetail struct {
	Message string `json:"message"`
}

// commandTimeout bounds one call of a command.
const commandTimeout = 30 * time.Second

// call sends a request and returns the body of a successful answer, and the path of the next page of a list.
func (c *operatorClient) call(ctx context.Context, method, path string, body any) (answer json.RawMessage, next string,
	err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	payload, err := json.Marshal(body)
	if err != nil {
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://operator"+path, bytes.NewReader(payload))
	if err != nil {
		return nil, "", err
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err != nil {
		return nil, "", err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return nil, "", refusalOf(res.StatusCode, answer)
	}
	return answer, nextPage(res.Header.Get("Link")), nil
}

// refusal is an error that the server answered, in its words.
type refusal struct {
	status  int
	message string
}

func (r refusal) Error() string { return r.message }

func refusalOf(status int, body []byte) error {
	var f failure
	if err := json.Unmarshal(body, &f); err != nil || f.Error.Message == "" {
		return fmt.Errorf("the server answered %d", status)
	}
	return refusal{status, f.Error.Message}
}

// orMissing says what was not found, which the server leaves to whoever asked. Other errors stay.
func orMissing(err error, format string, args ...any) error {
	if r, ok := errors.AsType[refusal](err); ok && r.status == http.StatusNotFound {
		return fmt.Errorf(format, args...)
	}
	return err
}

// nextPage reads the server's own Link header: <path>; rel="next".
func nextPage(link string) string {
	const end = `>; rel="next"`
	if len(link) <= len(end) || link[0] != '<' || link[len(link)-len(end):] != end {
		return ""
	}
	return link[1 : len(link)-len(end)]
}

// handlerTransport calls a handler in place of a network.
type handlerTransport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	defer r.Body.Close()
	r = r.Clone(r.Context())
	r.RequestURI = r.URL.RequestURI()
	w := &memoryWriter{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

// memoryWriter keeps an answer.
type memoryWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *memoryWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *memoryWriter) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *memoryWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
