package browser

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// quickStart is what quickstart.mjs gets on its standard input.
type quickStart struct {
	Base     string   `json:"base"`
	Site     string   `json:"site"`  // where the page is
	Steps    []string `json:"steps"` // programs for the page, in order
	Text     string   `json:"text"`  // what the agent answers
	Chromium string   `json:"chromium"`
}

// TestTheQuickStartOfChatsRunsInABrowser: the programs of docs/chats.md as they are printed, but for address, key and chat, on
// a page of a site that the operator has listed.
func TestTheQuickStartOfChatsRunsInABrowser(t *testing.T) {
	t.Parallel()
	chromium, _ := equipment(t)
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>A site</title>`)
	}))
	t.Cleanup(site.Close)
	s := harness.Start(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "llm=127.0.0.1", "ALLOWED_ORIGINS": site.URL}})
	tenant := harness.Must(s.NewTenant(t.Name()))(t)
	const text = "Of course, what is it about?"
	s.Secret(text, "Hello, I need help with my account") // they have no mark
	settings := map[string]any{"name": "Support", "llm_base_url": model.URL, "model": "answer?text=" + strings.ReplaceAll(text, " ", "+")}
	harness.Must(tenant.Backend().Call(http.MethodPost, "/bots", settings, http.StatusCreated, nil))(t)
	var made struct {
		ID string `json:"id"`
	}
	harness.Must(tenant.Backend().Call(http.MethodPost, "/api/v1/chats/", map[string]any{"user_id": "user123"}, http.StatusCreated, &made))(t)
	page := string(harness.Must(os.ReadFile(filepath.Join("..", "..", "docs", "chats.md")))(t))
	fill := strings.NewReplacer("localhost:8000", strings.TrimPrefix(s.Base, "http://"), "your-tenant-api-key", tenant.Key, "your-chat-id", made.ID)
	var steps []string
	for _, block := range strings.Split(page, "```javascript\n")[1:] {
		code, _, _ := strings.Cut(block, "```")
		steps = append(steps, fill.Replace(code))
	}
	if len(steps) != 2 {
		t.Fatalf("docs/chats.md has %d programs for a browser, want 2", len(steps))
	}
	node(t, "quickstart.mjs", quickStart{Base: s.Base, Site: site.URL, Steps: steps, Text: text, Chromium: chromium})
}
