package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/chatapi/chatapi/api"
)

// strictSpec is the specification with every object closed, so that a field it does not have is a failure.
var strictSpec = sync.OnceValues(func() (*openapi3.T, error) {
	spec, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	for _, schema := range spec.Components.Schemas {
		closeObjects(schema)
	}
	return spec, nil
})

func closeObjects(ref *openapi3.SchemaRef) {
	schema := ref.Value
	if len(schema.Properties) > 0 {
		closed := false
		schema.AdditionalProperties = openapi3.AdditionalProperties{Has: &closed}
	}
	for _, property := range schema.Properties {
		if property.Ref == "" {
			closeObjects(property)
		}
	}
	if schema.Items != nil && schema.Items.Ref == "" {
		closeObjects(schema.Items)
	}
}

// validate fails the test unless the specification has this answer to this request.
func validate(t *testing.T, r *http.Request, answer *http.Response, body []byte) {
	t.Helper()
	spec, err := strictSpec()
	if err != nil {
		t.Fatal(err)
	}
	checkFixedHeaders(t, answer)
	if r.Method == http.MethodHead {
		return
	}
	route := findRoute(spec, r)
	if route == nil {
		validateNoRoute(t, spec, answer, body)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 answer.StatusCode,
		Header:                 answer.Header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(unwrap(t, r, answer, body))
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		t.Errorf("%s %s answered %d %s, which the specification does not have: %v", r.Method, r.URL, answer.StatusCode, body, err)
	}
}

func checkFixedHeaders(t *testing.T, answer *http.Response) {
	t.Helper()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(strings.Join(answer.Header.Values("Vary"), ","), "Origin") {
		t.Errorf("Vary: %q, want Origin in it", answer.Header.Values("Vary"))
	}
}

// findRoute matches on the escaped path, as the server does: a %2F is part of a segment.
func findRoute(spec *openapi3.T, r *http.Request) *routers.Route {
	have := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/v1"), "/")
	for template, item := range spec.Paths.Map() {
		operation := item.GetOperation(r.Method)
		if operation != nil && matches(strings.Split(template, "/"), have) {
			return &routers.Route{Spec: spec, Path: template, PathItem: item, Method: r.Method, Operation: operation}
		}
	}
	return nil
}

func matches(template, path []string) bool {
	if len(template) != len(path) {
		return false
	}
	for i, want := range template {
		if !strings.HasPrefix(want, "{") && want != path[i] || path[i] == "" && want != "" {
			return false
		}
	}
	return true
}

// validateNoRoute: what has no route is answered 404 or 405, with the native error body, or is a preflight.
func validateNoRoute(t *testing.T, spec *openapi3.T, answer *http.Response, body []byte) {
	t.Helper()
	switch answer.StatusCode {
	case http.StatusNoContent:
		return
	case http.StatusNotFound, http.StatusMethodNotAllowed:
	default:
		t.Errorf("no route, but status %d: %s", answer.StatusCode, body)
		return
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Errorf("%q is not JSON: %v", body, err)
		return
	}
	if err := spec.Components.Schemas["Error"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s: %v", body, err)
	}
}

// unwrap takes a body out of the envelope that the request asked for.
func unwrap(t *testing.T, r *http.Request, answer *http.Response, body []byte) []byte {
	t.Helper()
	if r.Header.Get("X-Response-Envelope") == "" || answer.StatusCode >= 300 || len(body) == 0 {
		return body
	}
	const head, tail = `{"success":true,"data":`, `,"error":null}`
	if !bytes.HasPrefix(body, []byte(head)) || !bytes.HasSuffix(body, []byte(tail)) {
		t.Errorf("%s is in no envelope", body)
		return body
	}
	return body[len(head) : len(body)-len(tail)]
}
