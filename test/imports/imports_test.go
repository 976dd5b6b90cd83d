package imports

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// imported is what a program has made of the document.
type imported struct {
	Base     string    `json:"base"`
	Requests []request `json:"requests"`
}

// request is one request in the form that the scripts of testdata bring all programs to. The headers are all that would
// be sent, those of the authorization included.
type request struct {
	Method  string   `json:"method"`
	URL     string   `json:"url"`
	Query   []string `json:"query"`
	Headers []string `json:"headers"`
	Body    string   `json:"body"`
}

func TestEveryRouteIsARequestAfterAnImport(t *testing.T) {
	t.Parallel()
	served := serve(t, "/openapi.json")
	spec := harness.Must(openapi3.NewLoader().LoadFromData(served))(t)
	for program, script := range map[string][]string{
		"Postman":               {"postman.mjs", "Schema"},
		"Postman with examples": {"postman.mjs", "Example"},
		"Insomnia":              {"insomnia.mjs"},
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			var got imported
			node(t, script, served, &got)
			if want := spec.Servers[0].URL; got.Base != want {
				t.Errorf("the base URL is %q, want the first server's, %q", got.Base, want)
			}
			wantTheRoutes(t, spec, got.Requests)
			for _, r := range got.Requests {
				if item := spec.Paths.Value(r.URL); item != nil && item.GetOperation(r.Method) != nil {
					wantRequest(t, spec, item.GetOperation(r.Method), r)
					if slices.Contains(script, "Example") {
						wantExample(t, item.GetOperation(r.Method), r)
					}
				}
			}
		})
	}
}

func TestTheSocketsSpecificationIsWhatAsyncAPIsParserTakes(t *testing.T) {
	t.Parallel()
	served := serve(t, "/asyncapi.json")
	var spec struct {
		Components struct {
			Messages map[string]any `json:"messages"`
		} `json:"components"`
	}
	harness.Check(t, json.Unmarshal(served, &spec))
	var got struct {
		Complaints []string `json:"complaints"`
		Messages   []string `json:"messages"`
	}
	node(t, []string{"asyncapi.mjs"}, served, &got)
	for _, complaint := range got.Complaints {
		t.Error(complaint)
	}
	want := slices.Sorted(maps.Keys(spec.Components.Messages))
	if slices.Sort(got.Messages); len(want) < 20 || !slices.Equal(slices.Compact(got.Messages), want) {
		t.Errorf("got the messages %v, want %v", got.Messages, want)
	}
}

// TestAnUnsoundSpecificationIsComplainedOf proves that the parser can say no.
func TestAnUnsoundSpecificationIsComplainedOf(t *testing.T) {
	t.Parallel()
	var got struct {
		Complaints []string `json:"complaints"`
	}
	node(t, []string{"asyncapi.mjs"}, []byte(`{"asyncapi":"3.0.0","info":{"title":"x"},"channels":{"ws":{"address":1}}}`), &got)
	if len(got.Complaints) < 2 {
		t.Errorf("got %q, want complaints of info.version and channels.ws.address", got.Complaints)
	}
}

// wantTheRoutes fails unless each operation is one request and nothing else is.
func wantTheRoutes(t *testing.T, spec *openapi3.T, requests []request) {
	t.Helper()
	var want, got []string
	for path, item := range spec.Paths.Map() {
		for method := range item.Operations() {
			want = append(want, method+" "+path)
		}
	}
	for _, r := range requests {
		got = append(got, r.Method+" "+r.URL)
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("got the requests\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantRequest fails unless a request has the parameters, the credential and the body of its operation.
func wantRequest(t *testing.T, spec *openapi3.T, operation *openapi3.Operation, r request) {
	t.Helper()
	for _, p := range operation.Parameters {
		if given := map[string][]string{"query": r.Query, "header": r.Headers}[p.Value.In]; p.Value.In != "path" && !slices.Contains(given, p.Value.Name) {
			t.Errorf("%s %s: the %s parameter %s is missing", r.Method, r.URL, p.Value.In, p.Value.Name)
		}
	}
	security := spec.Security
	if operation.Security != nil {
		security = *operation.Security
	}
	complete := func(alternative openapi3.SecurityRequirement) bool { return carries(spec, r, alternative) }
	if len(security) > 0 && !slices.ContainsFunc(security, complete) {
		t.Errorf("%s %s: the headers %v complete none of the credentials %v", r.Method, r.URL, r.Headers, security)
	}
	wantBody(t, operation, r)
}

// carries reports whether the request sends everything that one alternative of a security list asks for.
func carries(spec *openapi3.T, r request, alternative openapi3.SecurityRequirement) bool {
	for name := range alternative {
		header := "Authorization"
		if scheme := spec.Components.SecuritySchemes[name].Value; scheme.Type == "apiKey" {
			header = scheme.Name
		}
		if !slices.Contains(r.Headers, header) {
			return false
		}
	}
	return true
}

// wantBody fails unless a body is there when the operation has one, as JSON with the fields of its schema.
func wantBody(t *testing.T, operation *openapi3.Operation, r request) {
	t.Helper()
	if operation.RequestBody == nil {
		if r.Body != "" {
			t.Errorf("%s %s has a body: %s", r.Method, r.URL, r.Body)
		}
		return
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil || !slices.Contains(r.Headers, "Content-Type") {
		t.Errorf("%s %s: headers %v, body %q: %v", r.Method, r.URL, r.Headers, r.Body, err)
	}
	schema := operation.RequestBody.Value.Content["application/json"].Schema.Value
	for name := range body {
		if schema.Properties[name] == nil {
			t.Errorf("%s %s: the body has %s, which its schema has not", r.Method, r.URL, name)
		}
	}
	for _, name := range schema.Required {
		if _, ok := body[name]; !ok {
			t.Errorf("%s %s: the body lacks %s", r.Method, r.URL, name)
		}
	}
}

// wantExample fails unless the body is the document's example.
func wantExample(t *testing.T, operation *openapi3.Operation, r request) {
	t.Helper()
	if operation.RequestBody == nil || operation.RequestBody.Value.Content["application/json"].Example == nil {
		return
	}
	var got any
	harness.Check(t, json.Unmarshal([]byte(r.Body), &got))
	if want := operation.RequestBody.Value.Content["application/json"].Example; !reflect.DeepEqual(got, want) {
		t.Errorf("%s %s: the body is %v, want the example %v", r.Method, r.URL, got, want)
	}
}

// serve starts a server and returns a document as it serves it.
func serve(t *testing.T, path string) []byte {
	t.Helper()
	s := harness.Start(t, harness.Options{})
	res := harness.Must(s.Anonymous().Do(t.Context(), http.MethodGet, path, nil))(t)
	if res.Status != http.StatusOK {
		t.Fatalf("GET %s: %d: %.300s", path, res.Status, res.Body)
	}
	return res.Body
}

// node runs a script of testdata with a document on its standard input and reads the JSON that it prints.
func node(t *testing.T, script []string, document []byte, out any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script...)
	cmd.Dir = "testdata"
	cmd.Stdin = bytes.NewReader(document)
	var diagnostics strings.Builder
	cmd.Stderr = &diagnostics
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("node testdata/%s: %v (the packages come with `make tools`)\n%s", script[0], err, diagnostics.String())
	}
	if err := json.Unmarshal(printed, out); err != nil {
		t.Fatalf("node testdata/%s printed %.300s: %v", script[0], printed, err)
	}
}
