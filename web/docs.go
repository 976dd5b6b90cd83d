package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// The pages, and Swagger UI as it was published: its two large files are kept compressed.
//
//go:embed docs
var embedded embed.FS

// policy lets the pages run their own scripts and speak to their own server, and nothing else. 'self' of connect-src
// covers the WebSocket of the same host (CSP3 §6.7.2.8); the data: images are the icons in Swagger UI's style sheet.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Docs serves the pages at a path that ends in /docs, and their files below it: mount it at GET /docs and
// GET /docs/{path...}, under any prefix. It links to openapi.json, asyncapi.json and ws beside docs. What does not exist
// is answered with the native 404.
func Docs() http.Handler {
	files, err := load(embedded)
	if err != nil {
		panic(err) // the files are part of the binary
	}
	return files
}

// docs are the files by what follows /docs in their path: nothing for the first page.
type docs map[string]*file

// ServeHTTP implements http.Handler.
func (d docs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, name, _ := strings.Cut(r.URL.Path, "/docs")
	if name == "/" {
		w.Header().Set("Location", "../docs") // relative: a proxy's prefix is unknown here
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	f := d[name]
	if f == nil {
		api.WriteError(w, http.StatusNotFound, domain.ErrRoomNotFound, w.Header().Get(api.HeaderRequestID))
		return
	}
	f.ServeHTTP(w, r)
}

// file is one file as it is served. Browsers keep it and ask each time whether it is still the same.
type file struct {
	media  string
	tag    string
	body   []byte
	zipped bool          // body is gzip
	plain  func() []byte // what it unzips to, kept from the first client on that takes no gzip
}

// load reads docs/: a page goes by its name without .html, a .gz file by its name without that.
func load(from fs.FS) (docs, error) {
	all := docs{}
	return all, fs.WalkDir(from, "docs", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		f := &file{body: body, zipped: strings.HasSuffix(name, ".gz")}
		f.plain = sync.OnceValue(f.unzip)
		name = strings.TrimSuffix(strings.TrimPrefix(name, "docs"), ".gz")
		if f.media = mediaTypes[path.Ext(name)]; f.media == "" {
			return fmt.Errorf("%s has no media type", name)
		}
		digest := sha256.Sum256(body)
		f.tag = base64.RawURLEncoding.EncodeToString(digest[:12])
		all[strings.TrimSuffix(strings.TrimSuffix(name, ".html"), "/index")] = f
		return nil
	})
}

// mediaTypes are named here since those of package mime depend on the machine.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// ServeHTTP implements http.Handler.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.media)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	body, tag := f.body, f.tag
	if f.zipped {
		h.Add("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Values("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			tag += "-gzip"
		} else {
			body = f.plain()
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func (f *file) unzip() []byte {
	reader, err := gzip.NewReader(bytes.NewReader(f.body))
	if err != nil {
		panic(err) // part of the binary
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		panic(err)
	}
	return plain
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3). A coding of weight 0 is refused.
func acceptsGzip(headers []string) bool {
	for coding := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		_, q, weighted := strings.Cut(weight, "=")
		value, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return !weighted || err == nil && value > 0
	}
	return false
}
