package examples

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

func TestMain(m *testing.M) { harness.Main(m) }

// webhooks are the languages that the bot's webhook is written in.
var webhooks = []string{"go", "js"}

func TestTheSupportBotAnswersAndCallsAPerson(t *testing.T) {
	t.Parallel()
	const want = `alice: Where is my order?
Support: Your order 4711 was shipped on Monday, and should be with you by Friday.
alice: I would like to talk to a human.
(carol answers from here on)
`
	for _, webhook := range webhooks {
		t.Run(webhook, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(want, run(t, nil, "", "WEBHOOK="+webhook)); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTheSupportBotAsksTheModelThatIsNamed is the way to Ollama and to hosted models: the server asks the model, with the key,
// what the webhook has told it.
func TestTheSupportBotAsksTheModelThatIsNamed(t *testing.T) {
	t.Parallel()
	const prompt = "You answer customers of Acme, in two sentences at most. " +
		"You talk to Alice, whose order 4711 was shipped on Monday. What you do not know you do not make up."
	for i, webhook := range webhooks {
		t.Run(webhook, func(t *testing.T) {
			t.Parallel()
			model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
			t.Cleanup(model.Close)
			provider := []string{"openai", "anthropic"}[i]
			out := run(t, []string{"Is it late?"}, "And where is it?\nMay I speak to somebody?\nThank you.\n", "WEBHOOK="+webhook,
				"LLM_BASE_URL="+model.URL, "LLM_MODEL=echo", "LLM_API_KEY=key-of-the-model", "LLM_PROVIDER="+provider)
			want := `alice: Is it late?
Support: Is it late?
alice: And where is it?
Support: And where is it?
alice: May I speak to somebody?
(carol answers from here on)
alice: Thank you.
`
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
			asked := model.Asked()
			if len(asked) != 2 {
				t.Fatalf("the model was asked %d times, want 2", len(asked))
			}
			for _, q := range asked {
				if q.Dialect != provider || q.Key() != "key-of-the-model" || q.System != prompt {
					t.Errorf("the model was asked by %s with the key %q and told %q", q.Dialect, q.Key(), q.System)
				}
			}
		})
	}
}

// run runs the example's script with questions, and lines that are typed, and returns what it prints.
func run(t *testing.T, questions []string, typed string, env ...string) string {
	t.Helper()
	root := harness.Must(harness.ModuleRoot())(t)
	server := harness.Must(harness.Binary())(t)
	port := harness.Must(harness.FreePort())(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "examples", "support-bot", "run.sh"), questions...)
	cmd.Dir = t.TempDir() // it may be started from anywhere
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_ADDR=127.0.0.1:%d", port), "CHATAPI="+server)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(typed)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run.sh: %v\n%s%s", err, out, complaint.String())
	}
	return string(out)
}
