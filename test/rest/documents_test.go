package rest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func TestTheSpecificationsAreServedInJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, version := range map[string]string{"/openapi.json": "openapi", "/v1/openapi.json": "openapi", "/asyncapi.json": "asyncapi"} {
		got := f.anonymous().get(path).want(http.StatusOK).object()
		if v, _ := got[version].(string); !strings.HasPrefix(v, "3.") {
			t.Errorf("%s: %s %v", path, version, got[version])
		}
	}
	// What is a number in the one is a number in the other, to the last digit.
	if got := string(f.anonymous().get("/openapi.json").body); !strings.Contains(got, "9007199254740991") {
		t.Error("the largest integer has lost digits")
	}
}

func TestPagesAreServedBelowDocsByTheirOwnPackage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/docs", "/docs/", "/docs/app.js", "/docs/a/b.css", "/v1/docs", "/v1/docs/app.js"} {
		got := f.anonymous().get(path).want(http.StatusOK)
		if string(got.body) != "page "+path || got.header.Get("Cache-Control") != "max-age=60" {
			t.Errorf("%s: %q %v", path, got.body, got.header)
		}
		if !strings.HasPrefix(got.header.Get("X-Request-Id"), "req_") || got.header.Get("Content-Security-Policy") != "" {
			t.Errorf("%s: headers %v", path, got.header)
		}
		if head := f.anonymous().send(http.MethodHead, path, ""); head.status != http.StatusOK || len(head.body) != 0 {
			t.Errorf("HEAD %s: %d %q", path, head.status, head.body)
		}
		got = f.anonymous().post(path, "{}").wantError(http.StatusMethodNotAllowed, domain.CodeMethodNotAllowed, "")
		if got.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: Allow %q", path, got.header.Get("Allow"))
		}
	}
	for _, path := range []string{"/docs/../rooms", "/docs//x", "/docs/x/", "/docsx"} {
		f.anonymous().get(path).wantError(http.StatusNotFound, domain.CodeNotFound, "")
	}
}

// TestEveryPathAnswersTheMethodsItHasNot: 405 with Allow, HEAD where there is GET, and preflights.
func TestEveryPathAnswersTheMethodsItHasNot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, methods := range specified(t) {
		allow := slices.Sorted(slices.Values(methods))
		if slices.Contains(allow, http.MethodGet) {
			allow = slices.Sorted(slices.Values(append(allow, http.MethodHead)))
		}
		url := "/v1" + strings.NewReplacer("{", "", "}", "").Replace(path)
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, "BREW",
		} {
			got := f.anonymous().send(method, url, "")
			if slices.Contains(allow, method) {
				if got.status == http.StatusMethodNotAllowed || got.status == http.StatusNotFound {
					t.Errorf("%s %s: %d", method, url, got.status)
				}
				continue
			}
			if got.want(http.StatusMethodNotAllowed).header.Get("Allow") != strings.Join(allow, ", ") {
				t.Errorf("%s %s: Allow %q, want %q", method, url, got.header.Get("Allow"), allow)
			}
		}
		preflight := f.anonymous().with("Origin", "https://operator.example", "Access-Control-Request-Method", "PUT")
		if got := preflight.send(http.MethodOptions, url, "").want(http.StatusNoContent); got.header.Get(allowOrigin) == "" {
			t.Errorf("preflight of %s: %v", url, got.header)
		}
	}
}

// specified are the paths of the specification with their methods; a test of httpapi says that they are the routes.
func specified(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for path, item := range document(t)["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				all[path] = append(all[path], strings.ToUpper(method))
			}
		}
	}
	return all
}

// document is the specification. It is not to be changed.
func document(t *testing.T) map[string]any {
	t.Helper()
	raw, err := api.OpenAPIJSON()
	if err != nil {
		t.Fatal(err)
	}
	a := answer{t: t, request: "the specification", body: raw}
	return a.object()
}
