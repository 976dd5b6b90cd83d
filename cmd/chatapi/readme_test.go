package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// document reads a page of the repository.
func document(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheREADMEListsTheSettingsThereAre(t *testing.T) {
	t.Parallel()
	var want strings.Builder
	want.WriteString("| Variable | Default | |\n|---|---|---|\n")
	for _, s := range settings {
		name, value := "`"+s.name+"`", "–"
		if s.value != "" {
			value = "`" + s.value + "`"
		}
		if s.dev != "" {
			value += fmt.Sprintf("; `%s` with `--dev`", s.dev)
		}
		if s.secret || s.file {
			name += " ᶠ"
		}
		fmt.Fprintf(&want, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(s.help, "|", `\|`))
	}
	_, after, _ := strings.Cut(document(t, "README.md"), "kept equal to the program's table by a test -->\n")
	got, _, _ := strings.Cut(after, "<!-- end of settings -->")
	if got != want.String() {
		t.Errorf("the README has\n%s\nand the program\n%s", got, want.String())
	}
}

// TestWhatIsToBePastedWorks runs the README's first commands, and those that --dev prints, in a shell.
func TestWhatIsToBePastedWorks(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve("--dev")
	until(t, "the demo is printed", func() bool { return strings.Contains(p.out.String(), "Ctrl-C") })
	_, printed, _ := strings.Cut(p.out.String(), "another terminal:\n")
	printed, _, _ = strings.Cut(printed, "Try the whole API")
	_, block, _ := strings.Cut(document(t, "README.md"), "They look like this:\n\n```sh\n")
	block, _, _ = strings.Cut(block, "```")
	block = strings.ReplaceAll(block, "http://127.0.0.1:8080", p.base)
	for name, script := range map[string]string{"--dev": printed, "README": block} {
		cmd := exec.CommandContext(t.Context(), "sh", "-e")
		cmd.Dir, cmd.Stdin = m.dir, strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), `"content":"Hello, Bob!"`) < 2 || !strings.Contains(string(out), `"seq":1`) {
			t.Errorf("%s: %v\n%s\nprinted\n%s", name, err, script, out)
		}
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTheOperationsPageListsTheMetricsThereAre(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "ADMIN_ADDR=127.0.0.1:0")
	p := m.serve()
	p.status("/health")
	res, err := http.Get("http://" + p.logged().Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := "| Metric | |\n|---|---|\n"
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, "# HELP chatapi_"); ok {
			name, help, _ := strings.Cut(strings.TrimSpace(rest), " ")
			want += fmt.Sprintf("| `chatapi_%s` | %s |\n", name, help)
		}
	}
	_, after, _ := strings.Cut(document(t, "docs", "operations.md"), "a tenant, room or user as a label.\n\n")
	if got, _, _ := strings.Cut(after, "\nWorth an alert"); got != want {
		t.Errorf("docs/operations.md has\n%s\nand the server\n%s", got, want)
	}
}
