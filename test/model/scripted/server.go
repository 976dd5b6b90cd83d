package scripted

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxBody is the most that is read of a question, in bytes.
const maxBody = 16 << 20

// Server is a scripted model. Make one with Start or Serve; Close it. Safe for concurrent use.
type Server struct {
	URL string // of the API, as a bot's llm_base_url: http://127.0.0.1:port/v1

	http    *http.Server
	serving sync.WaitGroup

	mu   sync.Mutex // guards what follows
	asks []Request
	step map[string]int // of scripts with several parts: how often each was played
	conn map[net.Conn]struct{}
	goOn map[string]chan struct{} // closed: answers by the script wait no more
	busy int                      // answers under way
	wake chan struct{}
}

// Request is what the model was asked.
type Request struct {
	Dialect     string // openai or anthropic
	Path        string
	Header      http.Header // all of it: tests look whether the key arrived
	Body        []byte      // as it came
	Model       string
	System      string
	Turns       []Turn // without the system prompt
	MaxTokens   int
	Temperature *float64
	At          time.Time
}

// Key is the credential of the request, without its scheme; empty when it has none.
func (r Request) Key() string {
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return key
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// Last is the text of the last turn of the user's.
func (r Request) Last() string {
	for _, t := range slices.Backward(r.Turns) {
		if t.Role == "user" {
			return t.Text
		}
	}
	return ""
}

// Turn is one message of a conversation.
type Turn struct {
	Role string `json:"role"`
	Text string `json:"content"`
}

// Start serves at an address such as 127.0.0.1:0.
func Start(addr string) (*Server, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return Serve(l), nil
}

// Serve serves a listener of any kind, and takes it over.
func Serve(l net.Listener) *Server {
	s := &Server{URL: "http://" + l.Addr().String() + "/v1", step: map[string]int{}, goOn: map[string]chan struct{}{}, conn: map[net.Conn]struct{}{}, wake: make(chan struct{})}
	s.http = &http.Server{Handler: s, ConnState: s.track, ReadHeaderTimeout: 10 * time.Second}
	s.serving.Go(func() { _ = s.http.Serve(l) })
	return s
}

// Close ends the server and everything that it still says, and waits for it.
func (s *Server) Close() {
	_ = s.http.Close()
	s.serving.Wait()
	_ = s.WaitIdle(context.Background())
}

// Asked returns what the model was asked so far, oldest first.
func (s *Server) Asked() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asks)
}

// Answering is the number of answers under way.
func (s *Server) Answering() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}

// Connections is the number of open connections. Clients keep some for their next call.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conn)
}

// GoOn has answers by a script wait no more, those to come included. It is called once for a script.
func (s *Server) GoOn(script string) { close(s.waiting(script)) }

// waiting is closed when answers by the script wait no more.
func (s *Server) waiting(script string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.goOn[script] == nil {
		s.goOn[script] = make(chan struct{})
	}
	return s.goOn[script]
}

// WaitIdle waits until no answer is under way: the last client has gone, or has what it wanted. It is an error when ctx
// ends before.
func (s *Server) WaitIdle(ctx context.Context) error {
	for {
		s.mu.Lock()
		busy, wake := s.busy, s.wake
		s.mu.Unlock()
		if busy == 0 {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return errors.New("answers of the scripted model are still under way: " + ctx.Err().Error())
		}
	}
}

func (s *Server) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.conn[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.conn, c)
	}
}

// begin notes a request, and returns the part of its script that is to be played.
func (s *Server) begin(r Request, script string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	s.asks = append(s.asks, r)
	parts := strings.Split(script, "|")
	n := s.step[script]
	s.step[script]++
	return parts[min(n, len(parts)-1)]
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	close(s.wake)
	s.wake = make(chan struct{})
}

// ServeHTTP answers POST …/chat/completions and …/messages by script, GET /asked with what the model was asked, and
// anything else with the list of scripts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/chat/completions"):
		s.answer(w, r, openAI{})
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/messages"):
		s.answer(w, r, anthropic{})
	case r.Method == http.MethodGet && r.URL.Path == "/asked":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Asked())
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "POST /v1/chat/completions or /v1/messages with one of these as the model, or GET /asked\n\n"+Help())
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, d dialect) {
	asked, err := read(r, d)
	if err != nil {
		http.Error(w, d.complaint(http.StatusBadRequest, "invalid_request_error", err.Error()), http.StatusBadRequest)
		return
	}
	script := asked.Model
	if other := r.Header.Get("X-Script"); other != "" {
		script = other
	}
	part := s.begin(asked, script)
	defer s.end()
	play(w, r, d, asked, part, s.waiting(script))
}

func read(r *http.Request, d dialect) (Request, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return Request{}, err
	}
	asked := Request{Dialect: d.name(), Path: r.URL.Path, Header: r.Header.Clone(), Body: body, At: time.Now()}
	return asked, d.read(body, &asked)
}
