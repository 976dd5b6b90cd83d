package harness

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
)

// BodyMark is in every message body the tests send, so that one search finds a body where none may be.
const BodyMark = "body-mark-5d1c"

// Body is a message body that the canary search recognises.
func Body(format string, args ...any) string { return BodyMark + " " + fmt.Sprintf(format, args...) }

// canary holds the secrets that no log may contain.
type canary struct {
	mu      sync.Mutex
	secrets []string
}

func (c *canary) add(secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range secrets {
		if s != "" {
			c.secrets = append(c.secrets, s)
		}
	}
}

// Secret adds strings that must not appear in what the server logs.
func (s *Server) Secret(secrets ...string) { s.canary.add(secrets...) }

// CanaryHits searches everything the server has logged for the credentials and message bodies used with it, and
// describes each find without repeating the secret.
func (s *Server) CanaryHits() []string {
	log, err := os.ReadFile(s.logPath)
	if err != nil {
		return []string{fmt.Sprintf("the server's log cannot be read: %v", err)}
	}
	var hits []string
	s.canary.mu.Lock()
	defer s.canary.mu.Unlock()
	for _, secret := range append([]string{BodyMark}, s.canary.secrets...) {
		if at := bytes.Index(log, []byte(secret)); at >= 0 {
			hits = append(hits, fmt.Sprintf("the log holds a secret (%.7s…) in: %s", secret, lineAt(log, at, secret)))
		}
	}
	return hits
}

func lineAt(log []byte, at int, secret string) string {
	start := bytes.LastIndexByte(log[:at], '\n') + 1
	end := bytes.IndexByte(log[at:], '\n')
	if end < 0 {
		end = len(log) - at
	}
	return strings.ReplaceAll(string(log[start:at+end]), secret, "***")
}

// Log is everything the server has written to stdout and stderr, over all its starts.
func (s *Server) Log() string {
	log, err := os.ReadFile(s.logPath)
	if err != nil {
		return ""
	}
	return string(log)
}

// LogTail is the last lines of Log.
func (s *Server) LogTail(lines int) string {
	all := strings.Split(strings.TrimRight(s.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
