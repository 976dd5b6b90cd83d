// Package samples runs the documented code samples, in their own languages, against the server.
package samples

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// sample is a documented program: files of testdata with the names they get, some joined into one, and its command.
type sample struct {
	language string
	files    map[string][]string
	command  []string
	answers  bool // it prints the server's answer
}

var samples = []sample{
	{"JavaScript", map[string][]string{"send.mjs": {"send.js", "call.js"}}, []string{"node", "send.mjs"}, true},
	{"Python", map[string][]string{"send.py": {"send.py", "call.py"}}, []string{"/usr/bin/python3", "send.py"}, true},
	{"Go", map[string][]string{"send.go": {"send.go.txt"}, "call.go": {"call.go.txt"}}, []string{"go", "run", "send.go", "call.go"}, false},
}

func TestTheDocumentedSamplesSendAMessage(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	tenant := harness.Must(s.NewTenant("samples"))(t)
	user := tenant.User("user123")
	for _, sample := range samples {
		t.Run(sample.language, func(t *testing.T) {
			t.Parallel()
			room := harness.Must(user.CreateRoom("group", "reader"))(t).RoomID
			content := harness.Body("hello from %s", sample.language)
			out := sample.run(t, s.Base, tenant.Key, room, content)
			got := harness.Must(tenant.User("reader").History(room, 0, 100))(t)
			if len(got) != 1 || got[0].Content != content || got[0].SenderID != "user123" {
				t.Fatalf("the room has %+v, want %q of user123; the sample printed %s", got, content, out)
			}
			if sample.answers {
				wantAnswer(t, out, got[0])
			}
		})
	}
}

// run writes the sample with the server's address and key in place of the documented ones, and executes it.
func (s sample) run(t *testing.T, base, key, room, content string) []byte {
	t.Helper()
	dir := t.TempDir()
	fill := strings.NewReplacer("https://your-chatapi.com", base, "your-api-key", key)
	for name, parts := range s.files {
		var program strings.Builder
		for _, part := range parts {
			text := harness.Must(os.ReadFile(filepath.Join("testdata", part)))(t)
			program.WriteString(fill.Replace(string(text)))
		}
		harness.Check(t, os.WriteFile(filepath.Join(dir, name), []byte(program.String()), 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.command[0], append(s.command[1:], room, content)...)
	cmd.Dir = dir
	var diagnostics strings.Builder
	cmd.Stderr = &diagnostics
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(s.command, " "), err, diagnostics.String())
	}
	return out
}

// wantAnswer fails unless the sample printed the stored message.
func wantAnswer(t *testing.T, out []byte, stored harness.Message) {
	t.Helper()
	var answer harness.Message
	harness.Check(t, json.Unmarshal(out, &answer))
	if answer.MessageID != stored.MessageID || answer.Seq != stored.Seq || answer.CreatedAt != stored.CreatedAt {
		t.Errorf("the sample was answered %s, stored is %+v", out, stored)
	}
}
