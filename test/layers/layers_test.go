// Package layers proves the import rules of the architecture over the whole module, tests included.
package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/chatapi/chatapi"

// rule says what a folder may import. A folder's rule is the longest that matches its path.
type rule struct {
	own      []string // packages of this module, each with what lies below it
	external []string // modules of others; everything of the standard library is allowed unless denied
	denied   []string // packages of the standard library
}

// worldly are the standard packages through which code talks to the world: the core has none of them. values below
// them only describe addresses.
var (
	worldly = []string{"net", "os", "database/sql", "io/ioutil", "plugin", "syscall", "embed"}
	values  = []string{"net/url", "net/netip"}
)

var rules = map[string]rule{
	// The domain neither waits nor draws lots nor tells.
	"domain": {denied: append([]string{"context", "sync", "crypto/rand", "math/rand", "log", "testing"}, worldly...)},
	"ports":  {own: []string{"domain"}, denied: worldly},
	// The suites look at failures of the machine too; they stay within the standard library.
	"ports/storetest":    {own: []string{"domain", "ports"}},
	"ports/bustest":      {own: []string{"domain", "ports"}},
	"ports/presencetest": {own: []string{"domain", "ports"}},
	"ports/limittest":    {own: []string{"domain", "ports"}},
	"ports/tickettest":   {own: []string{"domain", "ports"}},

	"application": {own: []string{"domain", "ports"}, denied: worldly},
	"migrations":  {},
	"api":         {own: []string{"domain"}, external: []string{"github.com/go-json-experiment/json", "github.com/oasdiff/yaml"}},
	// The pages for browsers, with the API's own error body.
	"web": {own: []string{"domain", "api"}},

	"adapters/sqlite": {own: []string{"domain", "ports", "migrations", "adapters/sqlrows"}, external: []string{"modernc.org/sqlite",
		"github.com/pressly/goose/v3", "github.com/hashicorp/golang-lru/v2"}},
	"adapters/postgres": {own: []string{"domain", "ports", "migrations", "adapters/sqlrows"}, external: []string{
		"github.com/jackc/pgx/v5", "github.com/pressly/goose/v3", "github.com/hashicorp/golang-lru/v2"}},
	// What both SQL stores make of rows, whatever the dialect. It is no adapter: it speaks to nobody.
	"adapters/sqlrows": {own: []string{"domain", "ports"}, external: []string{"github.com/hashicorp/golang-lru/v2"}, denied: worldly},
	"adapters/inproc":  {own: []string{"domain", "ports"}},
	"adapters/redis":   {own: []string{"domain", "ports"}, external: []string{"github.com/redis/go-redis/v9"}},
	"adapters/system":  {own: []string{"domain", "ports"}, external: []string{"github.com/google/uuid"}},
	"adapters/token": {own: []string{"domain", "ports"}, external: []string{"github.com/golang-jwt/jwt/v5",
		"github.com/go-json-experiment/json"}},
	"adapters/secrets": {own: []string{"domain", "ports"}},
	"adapters/observe": {own: []string{"domain", "ports"}, external: []string{"github.com/prometheus/client_golang"}},
	"examples":         {external: []string{"github.com/gorilla/websocket", "github.com/standard-webhooks/standard-webhooks"}},
	"adapters/llm":     {own: []string{"domain", "ports"}, external: []string{"github.com/tmaxmax/go-sse", "github.com/go-json-experiment/json"}},
	"adapters/outbound": {own: []string{"domain", "ports"}, external: []string{"github.com/sony/gobreaker/v2",
		"github.com/standard-webhooks/standard-webhooks"}},
	"adapters/httpapi": {own: []string{"domain", "ports", "application", "api"},
		external: []string{"github.com/go-json-experiment/json", "golang.org/x/time"}},
	"adapters/chats": {own: []string{"domain", "ports", "application", "api"},
		external: []string{"github.com/gorilla/websocket", "github.com/go-json-experiment/json", "golang.org/x/time"}},
	"adapters/ws": {own: []string{"domain", "ports", "application", "api"},
		external: []string{"github.com/gorilla/websocket", "github.com/go-json-experiment/json", "golang.org/x/time",
			"golang.org/x/sys"}},

	"cmd":  {own: []string{""}, external: []string{""}},
	"test": {own: []string{"api", "test"}, external: []string{""}},
}

// pkg is what is read of `go list -json`.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// packages lists the packages of the module with what they import.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaint.String())
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEveryImportGoesInwards(t *testing.T) {
	t.Parallel()
	all := packages(t)
	if len(all) < 10 {
		t.Fatalf("go list found %d packages", len(all))
	}
	for _, p := range all {
		folder, r, ok := ruleOf(p.ImportPath)
		if !ok {
			t.Errorf("%s has no rule: a new folder needs one in this test", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if !r.allows(folder, imported) {
				t.Errorf("%s must not import %s", p.ImportPath, imported)
			}
		}
	}
}

// TestTestsOfAnAdapterUseNoOther lets tests use suites and any library, but not the adapter next door.
func TestTestsOfAnAdapterUseNoOther(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		folder, r, _ := ruleOf(p.ImportPath)
		if !strings.HasPrefix(folder, "adapters/") {
			continue
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imported, module+"/adapters/") && !within(imported, module+"/"+folder) && !r.allows(folder, imported) {
				t.Errorf("the tests of %s import %s", p.ImportPath, imported)
			}
		}
	}
}

func TestTheRulesCanFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, imported string }{
		{"domain", "os"}, {"domain", "net/http"}, {"domain", module + "/ports"}, {"domain", "github.com/google/uuid"},
		{"ports", module + "/application"},
		{"application", "net/http"}, {"application", "database/sql"}, {"application", module + "/adapters/sqlite"},
		{"application", module + "/api"},
		{"adapters/sqlite", module + "/adapters/system"}, {"adapters/sqlite", module + "/application"},
		{"adapters/inproc", "github.com/google/uuid"},
		{"adapters/chats", module + "/adapters/httpapi"}, {"adapters/chats", module + "/adapters/ws"},
		{"adapters/ws", module + "/adapters/httpapi"}, {"adapters/ws", module + "/cmd/chatapi"},
		{"test/blackbox", module + "/adapters/sqlite"},
		{"adapters/token", "github.com/golang-jwt/jwt/v55"},
	} {
		folder, r, ok := ruleOf(module + "/" + c.from)
		if !ok || r.allows(folder, c.imported) {
			t.Errorf("%s may import %s", c.from, c.imported)
		}
	}
}

func ruleOf(importPath string) (folder string, r rule, ok bool) {
	if importPath == module {
		return "", rule{}, false
	}
	folder = strings.TrimPrefix(importPath, module+"/")
	for folder != "." {
		if r, ok = rules[folder]; ok {
			return folder, r, true
		}
		folder = filepath.ToSlash(filepath.Dir(folder))
	}
	return "", rule{}, false
}

func (r rule) allows(folder, imported string) bool {
	switch {
	case isStandard(imported):
		return contains(values, imported) || !contains(r.denied, imported)
	case isOwn(imported):
		own := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
		return within(own, folder) || contains(r.own, own)
	}
	return contains(r.external, imported)
}

func contains(list []string, path string) bool {
	return slices.ContainsFunc(list, func(root string) bool { return within(path, root) })
}

// within reports whether path is root or lies below it.
func within(path, root string) bool {
	return root == "" || path == root || strings.HasPrefix(path, root+"/")
}

func isOwn(path string) bool { return within(path, module) }

func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
