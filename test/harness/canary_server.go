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
// without repeating the secret: the whole log of each node over all its starts, every error that a client was answered, and
// every list of dead letters and page of metrics that was read, by a test or at the end.
func (s *Server) CanaryHits() []string {
	var unread []string
	for _, n := range s.Nodes {
		n.given()
		log, err := os.ReadFile(n.logPath)
		if err != nil {
			unread = append(unread, fmt.Sprintf("the server's log cannot be read: %v", err))
		}
		if n.announces() {
			log = loggedOnly(log)
		}
		s.canary.Seen(InLog, log)
	}
	return append(s.canary.Hits(), unread...)
}

// announces: with --dev the server prints a key for a person to paste.
func (n *Node) announces() bool { return slices.Contains(n.opts.Args, "--dev") }

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

// exposeMetrics reads the metrics of a running node, so that they are searched whether the test has looked at them or not.
func (n *Node) exposeMetrics() error {
	if n.Admin == "" {
		return nil
	}
	ctx, cancel := WithTimeout()
	defer cancel()
	res, err := n.AdminClient().Do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil || res.Status != http.StatusOK {
		return errors.Join(err, fmt.Errorf("the metrics of %s cannot be read", n.Base))
	}
	return nil
}

// running reports whether any node is.
func (s *Server) running() bool { return slices.ContainsFunc(s.Nodes, (*Node).Running) }

// exposeDeadLetters reads the dead letters of each tenant of a running server, for the same reason.
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

// show reads something as the operator; the client keeps what is to be searched. A test that has guessed at credentials may have
// to be waited for.
func (s *Server) show(path string, out any) error {
	ctx, cancel := WithTimeout()
	defer cancel()
	var res *Response
	var err error
	limited := func() bool { return err == nil && res.Status == http.StatusTooManyRequests }
	late := Until(requestTimeout, "the operator is let in", func() bool {
		res, err = s.Operator().Do(ctx, http.MethodGet, path, nil)
		return !limited()
	})
	if err = errors.Join(err, late); err != nil {
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

// given learns the credentials of the node's environment, and the key that it makes for itself.
func (n *Node) given() {
	for _, line := range n.env {
		name, value, _ := strings.Cut(line, "=")
		if strings.HasSuffix(name, "_KEY") || strings.HasSuffix(name, "_SECRET") {
			n.canary.Secret(value)
		}
		if address, err := url.Parse(value); err == nil && address.User != nil {
			if password, has := address.User.Password(); has {
				n.canary.Secret(password, value)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(n.Dir, "*.key"))
	if err != nil {
		return // only of a malformed pattern
	}
	for _, path := range files {
		if key, err := os.ReadFile(path); err == nil {
			n.canary.Secret(strings.TrimSpace(string(key)))
		}
	}
}
