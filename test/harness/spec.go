package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/chatapi/chatapi/api"
)

// CheckAnswer holds an answer against api/openapi.yaml: its status must be documented for the operation, its headers and
// its body must be what is said there, and nothing more: a field that the document does not have is an error too. A body
// that was accepted must itself be what the document asks for. r must be a request made by http.NewRequest.
//
// Answers that are no REST are not checked: those of /ws and of the pages below /docs.
func CheckAnswer(r *http.Request, status int, header http.Header, body []byte) error {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/v1")
	if isChats(path) {
		path = strings.TrimSuffix(path, "/")
	}
	if path == "/ws" || path == "/ws/chat" || path == "/docs" || strings.HasPrefix(path, "/docs/") {
		return nil
	}
	s, err := loadSpec()
	if err != nil {
		return err
	}
	answer, err := s.find(r, path, status)
	if err == nil {
		bare := body
		if status < http.StatusMultipleChoices {
			bare, err = unwrap(r, body)
		}
		err = errors.Join(err, checkFixedHeaders(header), answer.check(r, header, bare))
	}
	if err == nil && status < http.StatusMultipleChoices && answer.request != nil {
		err = checkRequest(r, answer.request)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %d %.400s is not as specified: %w", r.Method, r.URL, status, body, err)
	}
	return nil
}

// spec is the document with all its schemas compiled.
type spec struct {
	operations []operation
	noRoute    map[int]answer // of paths and methods that do not exist, and of preflights
	noChat     map[int]answer // the same of the chats API
}

type operation struct {
	method  string
	path    []string // segments; {…} stands for any
	answers map[int]answer
}

// answer is what an operation answers under one status. request is the schema of the operation's body.
type answer struct {
	headers map[string]headerRule
	body    *jsonschema.Schema // nil: no body
	request *jsonschema.Schema
}

type headerRule struct {
	schema   *jsonschema.Schema
	required bool
	integer  bool
}

// telling are the headers that mean something to a client of the API: where they are, the document must say so.
var telling = []string{
	"Allow", "Idempotency-Replayed", "Link", "Location", "Retry-After", "Www-Authenticate", "X-Ratelimit-Limit",
	"X-Ratelimit-Remaining", "X-Ratelimit-Reset", "X-Request-Id",
}

func checkFixedHeaders(header http.Header) error {
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
	} {
		if got := header.Get(name); got != want {
			return fmt.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if !slices.Contains(header.Values("Vary"), "Origin") {
		return fmt.Errorf("header Vary is %q, want Origin in it", header.Values("Vary"))
	}
	return nil
}

// find matches on the escaped path, as the server does: a %2F is part of a segment.
func (s *spec) find(r *http.Request, path string, status int) (answer, error) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, o := range s.operations {
		if o.method != method || !o.matches(strings.Split(path, "/")) {
			continue
		}
		if a, ok := o.answers[status]; ok {
			return a, nil
		}
		return answer{}, errors.New("the status is not documented")
	}
	missing := s.noRoute
	if isChats(path) {
		missing = s.noChat
	}
	if a, ok := missing[status]; ok {
		return a, nil
	}
	return answer{}, errors.New("there is no such operation")
}

func isChats(path string) bool {
	rest, ok := strings.CutPrefix(path, "/api/v1/chats")
	return ok && (rest == "" || rest[0] == '/')
}

func (o operation) matches(path []string) bool {
	if len(o.path) != len(path) {
		return false
	}
	for i, want := range o.path {
		if !strings.HasPrefix(want, "{") && want != path[i] || path[i] == "" && want != "" {
			return false
		}
	}
	return true
}

func (a answer) check(r *http.Request, header http.Header, body []byte) error {
	for name, rule := range a.headers {
		if err := rule.check(header.Values(name)); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	for _, name := range telling {
		if _, documented := a.headers[name]; !documented && header.Get(name) != "" {
			return fmt.Errorf("header %s is not documented", name)
		}
	}
	switch {
	case r.Method == http.MethodHead:
		return nil
	case a.body == nil && len(body) > 0:
		return errors.New("there is a body, and none is documented")
	case a.body == nil:
		return nil
	case header.Get("Content-Type") != "application/json":
		return fmt.Errorf("content type %q", header.Get("Content-Type"))
	}
	return checkJSON(a.body, body)
}

func (h headerRule) check(values []string) error {
	switch {
	case len(values) == 0 && h.required:
		return errors.New("is missing")
	case len(values) == 0:
		return nil
	case len(values) > 1:
		return fmt.Errorf("%d of them", len(values))
	case !h.integer:
		return h.schema.Validate(values[0])
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return err
	}
	return h.schema.Validate(n)
}

// unwrap takes a body out of the envelope that the request asked for.
func unwrap(r *http.Request, body []byte) ([]byte, error) {
	if r.Header.Get("X-Response-Envelope") == "" || len(body) == 0 {
		return body, nil
	}
	inner, begins := bytes.CutPrefix(body, []byte(`{"success":true,"data":`))
	inner, ends := bytes.CutSuffix(inner, []byte(`,"error":null}`))
	if !begins || !ends {
		return body, errors.New("it is in no envelope")
	}
	return inner, nil
}

// checkRequest: what the server has accepted is what the document asks for.
func checkRequest(r *http.Request, schema *jsonschema.Schema) error {
	if r.GetBody == nil {
		return nil
	}
	reader, err := r.GetBody()
	if err != nil {
		return err
	}
	body, err := io.ReadAll(reader)
	if err != nil || len(body) == 0 {
		return err
	}
	if err := checkJSON(schema, body); err != nil {
		return fmt.Errorf("the request was accepted: %w", err)
	}
	return nil
}

func checkJSON(schema *jsonschema.Schema, body []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// loadSpec reads and compiles the document once.
var loadSpec = sync.OnceValues(func() (*spec, error) {
	raw, err := api.OpenAPIJSON()
	if err != nil {
		return nil, err
	}
	var open, closed map[string]any
	if err := errors.Join(json.Unmarshal(raw, &open), json.Unmarshal(raw, &closed)); err != nil {
		return nil, err
	}
	closeObjects(closed["components"].(map[string]any)["schemas"])
	l := loader{doc: open, requests: newCompiler(), answers: newCompiler()}
	if err := errors.Join(l.requests.AddResource(specURL, open), l.answers.AddResource(specURL, closed)); err != nil {
		return nil, err
	}
	return l.load()
})

const specURL = "https://chatapi.test/openapi.json"

func newCompiler() *jsonschema.Compiler {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	return c
}

// closeObjects lets objects with named fields have no others.
func closeObjects(node any) {
	switch n := node.(type) {
	case map[string]any:
		if _, named := n["properties"].(map[string]any); named && n["additionalProperties"] == nil {
			n["additionalProperties"] = false
		}
		for _, child := range n {
			closeObjects(child)
		}
	case []any:
		for _, child := range n {
			closeObjects(child)
		}
	}
}

// loader compiles the document. Places in it are JSON pointers.
type loader struct {
	doc               map[string]any
	requests, answers *jsonschema.Compiler
}

func (l loader) load() (*spec, error) {
	s := &spec{noRoute: map[int]answer{}, noChat: map[int]answer{}}
	for path, item := range l.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			answers, err := l.operation("/paths/" + escapePointer(path) + "/" + method)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			s.operations = append(s.operations, operation{strings.ToUpper(method), strings.Split(path, "/"), answers})
		}
	}
	for status, name := range map[int]string{
		http.StatusNotFound: "NotFound", http.StatusMethodNotAllowed: "MethodNotAllowed", http.StatusNoContent: "NoContent",
	} {
		a, err := l.answer("/components/responses/" + name)
		if err != nil {
			return nil, err
		}
		s.noRoute[status], s.noChat[status] = a, a
		if status == http.StatusNoContent {
			continue
		}
		if s.noChat[status], err = l.answer("/components/responses/Chat" + name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (l loader) operation(at string) (map[int]answer, error) {
	var request *jsonschema.Schema
	var err error
	if l.at(at+"/requestBody") != nil {
		if request, err = l.requests.Compile(specURL + "#" + at + "/requestBody/content/application~1json/schema"); err != nil {
			return nil, err
		}
	}
	answers := map[int]answer{}
	for code := range l.at(at + "/responses") {
		status, err := strconv.Atoi(code)
		if err != nil {
			return nil, err
		}
		a, err := l.answer(at + "/responses/" + code)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", code, err)
		}
		a.request = request
		answers[status] = a
	}
	return answers, nil
}

func (l loader) answer(at string) (answer, error) {
	at = l.resolve(at)
	a := answer{headers: map[string]headerRule{}}
	for name := range l.at(at + "/headers") {
		place := l.resolve(at + "/headers/" + name)
		schema, err := l.answers.Compile(specURL + "#" + place + "/schema")
		if err != nil {
			return a, err
		}
		a.headers[http.CanonicalHeaderKey(name)] = headerRule{
			schema, l.at(place)["required"] == true, l.at(place + "/schema")["type"] == "integer",
		}
	}
	if l.at(at+"/content") == nil {
		return a, nil
	}
	var err error
	a.body, err = l.answers.Compile(specURL + "#" + at + "/content/application~1json/schema")
	return a, err
}

// resolve follows a reference to where it leads.
func (l loader) resolve(at string) string {
	if ref, ok := l.at(at)["$ref"].(string); ok {
		return strings.TrimPrefix(ref, "#")
	}
	return at
}

// at is the object at a place, nil when there is none.
func (l loader) at(pointer string) map[string]any {
	node := l.doc
	for token := range strings.SplitSeq(pointer[1:], "/") {
		node, _ = node[unescapePointer(token)].(map[string]any)
	}
	return node
}

func escapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"), "{", "%7B")
}

func unescapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(s, "%7B", "{"), "~1", "/"), "~0", "~")
}

// drift collects answers that are not as specified, of all clients of a server.
type drift struct {
	mu    sync.Mutex
	found []string
}

const maxDrift = 20

func (d *drift) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && len(d.found) < maxDrift {
		d.found = append(d.found, err.Error())
	}
}

func (d *drift) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.found)
}
