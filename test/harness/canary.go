package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// BodyMark is in every message text and notification payload that the tests send, so that one search finds a text where
// none may be.
const BodyMark = "body-mark-5d1c"

// Body is a message text that the canary search recognises.
func Body(format string, args ...any) string { return BodyMark + " " + fmt.Sprintf(format, args...) }

// Payload is a notification's payload that the canary search recognises.
func Payload(format string, args ...any) map[string]any {
	return map[string]any{"text": Body(format, args...)}
}

// Output is a place where no credential and no message text may be seen.
type Output string

// The outputs that are searched.
const (
	InLog         Output = "the log"
	InMetrics     Output = "the metrics"
	InErrors      Output = "an error"
	InDeadLetters Output = "a list of dead letters"
)

// Canary knows the credentials and texts that were used with a server, and searches for them what the server has let be
// seen. It learns them from the requests and answers themselves, so that no test has to tell. Texts are recognised by
// BodyMark; one that was accepted without it is learned whole, or complained of when it is too short for that. Beside what it knows it finds whatever has the shape of
// one of our credentials.
type Canary struct {
	mu       sync.Mutex
	secrets  map[string]struct{}
	unmarked map[string]struct{}      // declared
	kept     map[Output]*bytes.Buffer // not searched yet: what is learned later counts too
	hits     []string
}

const (
	keptAtMost  = 1 << 20 // bytes of an output; more is searched for what is known by then
	hitsAtMost  = 20
	secretBytes = 8 // what is shorter is found everywhere
)

// The shapes of credentials: API keys, tickets, tokens, and webhook secrets. Each begins literally, which keeps the search fast.
var shapes = []*regexp.Regexp{
	regexp.MustCompile(`sk_[A-Za-z0-9_-]{43}`),
	regexp.MustCompile(`wst_[A-Za-z0-9_-]{20,}`),
	regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`),
	regexp.MustCompile(`whsec_[A-Za-z0-9+/=]{16,}`),
}

// NewCanary is a canary that knows some secrets.
func NewCanary(secrets ...string) *Canary {
	c := &Canary{secrets: map[string]struct{}{}, unmarked: map[string]struct{}{}, kept: map[Output]*bytes.Buffer{}}
	c.Secret(secrets...)
	return c
}

// Secret adds strings that must not be seen. What has fewer than 8 bytes is left out.
func (c *Canary) Secret(secrets ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range secrets {
		if len(s) >= secretBytes {
			c.secrets[s] = struct{}{}
		}
	}
}

// Seen keeps something of an output, to be searched by Hits.
func (c *Canary) Seen(in Output, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.kept[in]
	if kept == nil {
		kept = &bytes.Buffer{}
		c.kept[in] = kept
	}
	kept.Write(text)
	kept.WriteByte('\n')
	if kept.Len() > keptAtMost {
		c.search(in, kept.Bytes())
		kept.Reset()
	}
}

// Exchange learns from a request and its answer, and keeps the answer when it is an error, the metrics or a list of dead
// letters.
func (c *Canary) Exchange(r *http.Request, sent []byte, status int, answer []byte) {
	c.credentials(r.Header)
	c.credentials(http.Header(r.URL.Query()))
	c.fields(sent)
	switch {
	case status >= http.StatusMultipleChoices:
		c.Seen(InErrors, answer)
		return
	case r.URL.Path == "/metrics":
		c.Seen(InMetrics, answer)
		return
	case strings.HasSuffix(r.URL.Path, "/dead-letters"):
		c.Seen(InDeadLetters, answer)
		return
	}
	c.fields(answer)
	if r.Method != http.MethodGet {
		c.texts(sent)
	}
}

// credentials learns what headers or a query carry.
func (c *Canary) credentials(from http.Header) {
	for name, values := range from {
		switch strings.ToLower(name) {
		case "x-api-key", "x-master-key", "api_key", "token":
			c.Secret(values...)
		case "authorization":
			for _, v := range values {
				_, token, _ := strings.Cut(v, " ")
				c.Secret(token)
			}
		case "sec-websocket-protocol":
			for _, v := range values {
				if _, token, ok := strings.Cut(v, "bearer."); ok {
					token, _, _ = strings.Cut(token, ",")
					c.Secret(strings.TrimSpace(token))
				}
			}
		}
	}
}

// dialed learns what a socket is opened with.
func (c *Canary) dialed(opts DialOptions) {
	c.credentials(opts.Header)
	c.credentials(http.Header(opts.Query))
	for _, protocol := range opts.Protocols {
		if token, ok := strings.CutPrefix(protocol, "bearer."); ok {
			c.Secret(token)
		}
	}
}

// frame keeps errors, and learns the texts of messages that were accepted.
func (c *Canary) frame(f Frame) {
	switch f.Type {
	case "error":
		c.Seen(InErrors, f.Raw)
	case "reply":
		c.texts(f.Data)
	}
}

// printed learns the credentials that a command has printed.
func (c *Canary) printed(out []byte) {
	c.fields(out)
	for _, shape := range shapes {
		for _, found := range shape.FindAll(out, -1) {
			c.Secret(string(found))
		}
	}
}

// secretFields are those of bodies and frames that hold a credential.
var secretFields = []string{"api_key", "secret", "token", "webhook_secret", "llm_api_key"}

// textFields are those that hold what a user or a backend says.
var textFields = []string{"content", "payload"}

// fields learns the credentials of a JSON body.
func (c *Canary) fields(body []byte) {
	if !mayHave(body, secretFields) {
		return
	}
	walk(body, func(name string, value any) {
		if s, ok := value.(string); ok && slices.Contains(secretFields, name) {
			c.Secret(s)
		}
	})
}

// texts learns the texts of a JSON body that was accepted and has no mark.
func (c *Canary) texts(body []byte) {
	if bytes.Contains(body, []byte(BodyMark)) || !mayHave(body, textFields) {
		return
	}
	walk(body, func(name string, value any) {
		switch text := value.(type) {
		case string:
			if name == "content" {
				c.text(text)
			}
		case map[string]any:
			if name == "payload" {
				whole, _ := json.Marshal(text)
				c.Secret(string(whole))
				each(text, func(s string) { c.Secret(s) })
			}
		}
	})
}

// text learns a text without a mark. One that is too short to be searched for, or nothing but one character over and over,
// is a fault of the test, unless it was declared to have no mark.
func (c *Canary) text(s string) {
	same := strings.Trim(s, s[:min(1, len(s))]) == ""
	if len(s) >= secretBytes && !same {
		c.Secret(s)
		return
	}
	const surelyMeant = 1000 // xxx… that tests a limit
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, declared := c.unmarked[s]; !declared && s != "" && len(s) < surelyMeant {
		c.add(fmt.Sprintf("the text %q was sent, and cannot be told from others: use harness.Body", s))
	}
}

// Unmarked declares texts that a test sends as they are, since their form is what it tests.
func (c *Canary) Unmarked(texts ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range texts {
		c.unmarked[s] = struct{}{}
	}
}

func mayHave(body []byte, fields []string) bool {
	return slices.ContainsFunc(fields, func(name string) bool { return bytes.Contains(body, []byte(`"`+name+`"`)) })
}

// walk calls f for every field of a JSON document; what is no JSON has none.
func walk(body []byte, f func(name string, value any)) {
	var doc any
	if json.Unmarshal(body, &doc) != nil {
		return
	}
	var visit func(any)
	visit = func(node any) {
		switch n := node.(type) {
		case map[string]any:
			for name, value := range n {
				f(name, value)
				visit(value)
			}
		case []any:
			for _, value := range n {
				visit(value)
			}
		}
	}
	visit(doc)
}

// each calls f for every string in a JSON value.
func each(value any, f func(string)) {
	switch v := value.(type) {
	case string:
		f(v)
	case map[string]any:
		for _, inner := range v {
			each(inner, f)
		}
	case []any:
		for _, inner := range v {
			each(inner, f)
		}
	}
}

// Hits searches what was kept and describes every find of this and earlier searches, without repeating the secret.
func (c *Canary) Hits() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for in, kept := range c.kept {
		c.search(in, kept.Bytes())
		kept.Reset()
	}
	return slices.Clone(c.hits)
}

// search looks for each secret, as it is and as JSON writes it, and for the shapes. The caller holds mu.
func (c *Canary) search(in Output, text []byte) {
	c.find(in, text, BodyMark)
	for secret := range c.secrets {
		c.find(in, text, secret)
		if escaped := escape(secret); escaped != secret {
			c.find(in, text, escaped)
		}
	}
	for _, shape := range shapes {
		if at := shape.FindIndex(text); at != nil {
			c.find(in, text, string(text[at[0]:at[1]]))
		}
	}
}

func (c *Canary) find(in Output, text []byte, secret string) {
	at := bytes.Index(text, []byte(secret))
	if at >= 0 {
		c.add(fmt.Sprintf("%s holds a secret (%.7s…) in: %.500s", in, secret, lineAt(text, at, secret)))
	}
}

// add notes a find, once. The caller holds mu.
func (c *Canary) add(hit string) {
	if len(c.hits) < hitsAtMost && !slices.Contains(c.hits, hit) {
		c.hits = append(c.hits, hit)
	}
}

func escape(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(quoted[1 : len(quoted)-1])
}

// lineAt is the line of a find with the secret taken out.
func lineAt(text []byte, at int, secret string) string {
	start := bytes.LastIndexByte(text[:at], '\n') + 1
	end := bytes.IndexByte(text[at:], '\n')
	if end < 0 {
		end = len(text) - at
	}
	return strings.ReplaceAll(string(text[start:at+end]), secret, "***")
}

// canaries are those of the running servers by base address: sockets know no more of their server.
var canaries sync.Map

// Watch has the canary see what sockets at a base address are told. Forget ends that.
func (c *Canary) Watch(base string) (forget func()) {
	canaries.Store(base, c)
	return func() { canaries.CompareAndDelete(base, c) }
}

// canaryAt is the one that watches a base address, else one that nobody asks.
func canaryAt(base string) *Canary {
	if c, ok := canaries.Load(base); ok {
		return c.(*Canary)
	}
	return NewCanary()
}
