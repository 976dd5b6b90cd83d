package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/web"
)

// mounted is the handler as a server mounts it: bare, under the version, and behind a proxy's prefix.
func mounted(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	for _, prefix := range []string{"", "/v1", "/behind/a/proxy"} {
		mux.Handle("GET "+prefix+"/docs", web.Docs())
		mux.Handle("GET "+prefix+"/docs/{path...}", web.Docs())
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// get asks for exactly one answer: no redirect is followed, nothing is decompressed.
func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

var links = regexp.MustCompile(`(?:href|src)="([^"]+)"`)

// TestEveryLinkOfThePagesLeadsToAFile follows the links of each page as a browser does, under each prefix.
func TestEveryLinkOfThePagesLeadsToAFile(t *testing.T) {
	t.Parallel()
	base := mounted(t)
	beside := []string{"/openapi.json", "/asyncapi.json"} // other handlers'
	for _, prefix := range []string{"", "/v1", "/behind/a/proxy"} {
		for _, page := range []string{"/docs", "/docs/socket"} {
			res, body := get(t, base+prefix+page)
			if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Fatalf("%s%s: got %s, %s", prefix, page, res.Status, res.Header.Get("Content-Type"))
			}
			found := links.FindAllStringSubmatch(body, -1)
			if len(found) < 7 {
				t.Fatalf("%s has %d links", page, len(found))
			}
			for _, link := range found {
				target, err := res.Request.URL.Parse(link[1])
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(beside, strings.TrimPrefix(target.Path, prefix)) {
					continue
				}
				if answer, _ := get(t, target.String()); answer.StatusCode != http.StatusOK || target.Host != res.Request.URL.Host {
					t.Errorf("%s%s links to %s (%s): got %s", prefix, page, link[1], target, answer.Status)
				}
			}
		}
	}
}

// inline is what a page must leave to files.
var inline = regexp.MustCompile(`<style|<script>|<[a-z]+[^>]* (style|on[a-z]+)="`)

// TestEveryAnswerShutsThePageIn checks the policy: own scripts only, no frame, no other host.
func TestEveryAnswerShutsThePageIn(t *testing.T) {
	t.Parallel()
	base := mounted(t)
	for _, path := range []string{"/docs", "/docs/socket", "/docs/socket.js", "/docs/swagger-ui/swagger-ui.css", "/docs/icon.svg"} {
		res, body := get(t, base+path)
		policy := res.Header.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy+";", directive+";") {
				t.Errorf("%s: the policy %q lacks %s", path, policy, directive)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("%s: the policy %q is not strict", path, policy)
		}
		if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options is %q", path, got)
		}
		if found := inline.FindString(body); found != "" {
			t.Errorf("%s has %s, which its policy forbids", path, found)
		}
	}
}

func TestAFileIsSentOnceAndThenAskedAfter(t *testing.T) {
	t.Parallel()
	base := mounted(t)
	for _, path := range []string{"/docs", "/docs/rest.js", "/docs/swagger-ui/swagger-ui-bundle.js"} {
		first, _ := get(t, base+path)
		tag := first.Header.Get("ETag")
		if tag == "" || first.Header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("%s: ETag %q, Cache-Control %q", path, tag, first.Header.Get("Cache-Control"))
		}
		again, body := get(t, base+path, "If-None-Match", `"another", W/`+tag)
		if again.StatusCode != http.StatusNotModified || body != "" {
			t.Errorf("%s with its tag: got %s and %d bytes, want 304 and none", path, again.Status, len(body))
		}
		if other, _ := get(t, base+path, "If-None-Match", `"another"`); other.StatusCode != http.StatusOK {
			t.Errorf("%s with another tag: got %s, want 200", path, other.Status)
		}
	}
}

func TestTheBundleGoesCompressedToThoseWhoTakeIt(t *testing.T) {
	t.Parallel()
	url := mounted(t) + "/docs/swagger-ui/swagger-ui-bundle.js"
	plain, want := get(t, url)
	if plain.Header.Get("Content-Encoding") != "" || !strings.Contains(want, "SwaggerUIBundle") {
		t.Fatalf("without Accept-Encoding: Content-Encoding %q, %d bytes", plain.Header.Get("Content-Encoding"), len(want))
	}
	for accepted, zipped := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "deflate , gzip; q=1": true, "gzip;q=0": false, "gzip;q=0.000": false, "br": false, "x-gzipped": false,
	} {
		res, body := get(t, url, "Accept-Encoding", accepted)
		if got := res.Header.Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("Accept-Encoding %q: compressed is %v, want %v", accepted, got, zipped)
		}
		if zipped {
			body = unzip(t, body)
		}
		if body != want {
			t.Errorf("Accept-Encoding %q: %d bytes, want the file's %d", accepted, len(body), len(want))
		}
		if same := res.Header.Get("ETag") == plain.Header.Get("ETag"); same == zipped || res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: ETag %s, Vary %q", accepted, res.Header.Get("ETag"), res.Header.Get("Vary"))
		}
	}
}

func unzip(t *testing.T, body string) string {
	t.Helper()
	reader, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func TestWhatDoesNotExistHasTheNativeError(t *testing.T) {
	t.Parallel()
	base := mounted(t)
	for _, path := range []string{"/docs/nothing", "/docs/swagger-ui", "/docs/socket.html", "/docs/index.html", "/docs/socket/", "/docs/swagger-ui/swagger-ui.css.gz"} {
		res, body := get(t, base+path)
		if res.StatusCode != http.StatusNotFound || !strings.Contains(body, `"code":"NOT_FOUND"`) {
			t.Errorf("%s: got %s: %.100s", path, res.Status, body)
		}
	}
}

// TestTheFirstPageIsFoundWithASlash checks that the way back is relative: the server does not know a proxy's prefix.
func TestTheFirstPageIsFoundWithASlash(t *testing.T) {
	t.Parallel()
	res, _ := get(t, mounted(t)+"/v1/docs/")
	if got := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || got != "../docs" {
		t.Errorf("got %s to %q, want 308 to ../docs", res.Status, got)
	}
}
