package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Secret adds strings that must not appear in anything that the server lets be seen. What goes through a Client or a Conn
// is known already.
func (s *Server) Secret(secrets ...string) { s.canary.Secret(secrets...) }

// Unmarked declares texts that a test sends as they are, since their form is what it tests.
func (s *Server) Unmarked(texts ...string) { s.canary.Unmarked(texts...) }

// CanaryHits searches what the server has let be seen for the credentials and texts used with it, and describes each find
// without repeating the secret: the whole log over all its starts, every error that a client was answered, and every list
// of dead letters and page of metrics that was read, by a test or at the end.
func (s *Server) CanaryHits() []string {
	s.given()
	if log, err := os.ReadFile(s.logPath); err != nil {
		return append(s.canary.Hits(), fmt.Sprintf("the server's log cannot be read: %v", err))
	} else if s.announces() {
		s.canary.Seen(InLog, loggedOnly(log))
	} else {
		s.canary.Seen(InLog, log)
	}
	return s.canary.Hits()
}

// announces: with --dev the server prints a key for a person to paste.
func (s *Server) announces() bool { return slices.Contains(s.opts.Args, "--dev") }

// loggedOnly leaves out what is no entry of the JSON log.
func loggedOnly(log []byte) []byte {
	var entries []byte
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "{") {
			entries = append(entries, line...)
		}
	}
	return entries
}

// expose reads what a running server shows beside its answers, its metrics and the dead letters of each of its tenants,
// so that it is searched whether the test has looked at it or not.
func (s *Server) expose() error {
	if err := errors.Join(s.exposeMetrics(), s.exposeDeadLetters()); err != nil {
		return fmt.Errorf("what the server shows at its end: %w", err)
	}
	return nil
}

func (s *Server) exposeMetrics() error {
	if s.Admin == "" {
		return nil
	}
	ctx, cancel := WithTimeout()
	defer cancel()
	res, err := s.AdminClient().Do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil || res.Status != http.StatusOK {
		return errors.Join(err, errors.New("the metrics cannot be read"))
	}
	return nil
}

func (s *Server) exposeDeadLetters() error {
	if s.opts.Bare {
		return nil // nobody is the operator
	}
	const page, pages = 100, 100
	for n := range pages {
		var tenants []struct {
			ID string `json:"tenant_id"`
		}
		path := fmt.Sprintf("/admin/tenants?limit=%d&offset=%d", page, n*page)
		if err := s.show(path, &tenants); err != nil {
			return err
		}
		for _, tenant := range tenants {
			path := "/admin/dead-letters?limit=1000&tenant_id=" + url.QueryEscape(tenant.ID)
			if err := s.show(path, nil); err != nil {
				return err
			}
		}
		if len(tenants) < page {
			return nil
		}
	}
	return nil
}

// show reads something as the operator; the client keeps what is to be searched.
func (s *Server) show(path string, out any) error {
	ctx, cancel := WithTimeout()
	defer cancel()
	res, err := s.Operator().Do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if res.Status != http.StatusOK {
		return &StatusError{Method: http.MethodGet, Path: path, Response: res}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(res.Body, out)
}

// given learns the credentials of the server's environment, and the key that it makes for itself.
func (s *Server) given() {
	for _, line := range s.env {
		name, value, _ := strings.Cut(line, "=")
		if strings.HasSuffix(name, "_KEY") || strings.HasSuffix(name, "_SECRET") {
			s.canary.Secret(value)
		}
	}
	files, err := filepath.Glob(filepath.Join(s.Dir, "*.key"))
	if err != nil {
		return // only of a malformed pattern
	}
	for _, path := range files {
		if key, err := os.ReadFile(path); err == nil {
			s.canary.Secret(strings.TrimSpace(string(key)))
		}
	}
}
