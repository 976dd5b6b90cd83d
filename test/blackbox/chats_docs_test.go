package blackbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// chatDocs is the block of docs/chats.md in a language that has a word in it.
func chatDocs(t *testing.T, language, word string) string {
	t.Helper()
	page := string(harness.Must(os.ReadFile(filepath.Join("..", "..", "docs", "chats.md")))(t))
	for _, block := range strings.Split(page, "```"+language+"\n")[1:] {
		code, _, closed := strings.Cut(block, "```")
		if closed && strings.Contains(code, word) {
			return code
		}
	}
	t.Fatalf("docs/chats.md has no block in %s with %s", language, word)
	return ""
}

// TestTheQuickStartMakesAChat: the command as it is printed, but for the address and the key.
func TestTheQuickStartMakesAChat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	command := strings.NewReplacer("http://localhost:8000", h.Server().Base, "your-tenant-api-key", h.Key).Replace(chatDocs(t, "bash", "/api/v1/chats/"))
	cmd := exec.CommandContext(t.Context(), "sh", "-e")
	cmd.Stdin = strings.NewReader(command)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, command)
	}
	var made chat
	if err := json.Unmarshal(out, &made); err != nil || made.UserID != "user123" || made.Title != "New chat" {
		t.Errorf("%s: %v", out, err)
	}
	dialChat(t, h.Tenant, "user123", made.ID)
}

// TestAClientThatComesBackFetchesWhatItMissed, by the program of docs/chats.md.
func TestAClientThatComesBackFetchesWhatItMissed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.newBot(t, "echo", nil)
	made := newChat(t, h.Tenant, "alice")
	c := dialChat(t, h.Tenant, "alice", made.ID)
	c.say(harness.Body("first"))
	c.await("message_stream_ended")
	c.Drop()
	var have []string
	for _, m := range chatHistory(t, h.Tenant, made.ID) {
		have = append(have, m.ID)
	}
	alice, missed := h.User("alice"), []string{}
	for i := range 120 {
		missed = append(missed, harness.Must(alice.Send(made.room(), harness.Body("%d", i)))(t).MessageID)
	}
	live := missed[len(missed)-1] // has come over the new socket already
	missed = missed[:len(missed)-1]
	run := fmt.Sprintf(`
const have = new Map(JSON.parse(process.argv[2]).map((id) => [id, true]));
const had = have.size;
have.set(%q, true);
const fresh = await missed(%q, %q, %q, had, have);
console.log(JSON.stringify(fresh.map((m) => m.id)));
`, live, h.Server().Base, h.Key, made.ID)
	path := filepath.Join(t.TempDir(), "missed.mjs")
	harness.Check(t, os.WriteFile(path, []byte(chatDocs(t, "js", "missed(")+run), 0o600))
	known := harness.Must(json.Marshal(have))(t)
	cmd := exec.CommandContext(t.Context(), "node", path, string(known))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, complaint.String())
	}
	var got []string
	harness.Check(t, json.Unmarshal(out, &got))
	for _, id := range missed {
		if !slices.Contains(got, id) {
			t.Errorf("%s was missed, and is not fetched", id)
		}
	}
	if slices.ContainsFunc([]string{have[0], have[1], live}, func(id string) bool { return slices.Contains(got, id) }) {
		t.Error("what the client has is fetched again")
	}
}
