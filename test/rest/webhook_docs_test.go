package rest_test

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chatapi/chatapi/test/harness"
)

// documented is a receiver of docs/webhooks.md, with its two ways to verify.
type documented struct {
	language, file, command string
	verify, verifyBody      string // the calls
}

var documentedReceivers = []documented{
	{"js", "receiver.mjs", "node", "verify(request.headers, body)", "verifyBody(request.headers, body)"},
	{"python", "receiver.py", "/usr/bin/python3", "verify(self.headers, body)", "verify_body(self.headers, body)"},
}

func TestTheDocumentedReceiversTellOursFromOthers(t *testing.T) {
	t.Parallel()
	for _, d := range documentedReceivers {
		t.Run(d.language, func(t *testing.T) {
			t.Parallel()
			program := codeOf(t, d.language)
			old := d.start(t, program, webhookSecret).hold(t, webhookSecret, true)
			if old != http.StatusUnauthorized {
				t.Errorf("a call of yesterday: %d, want 401", old)
			}
		})
		t.Run(d.language+", the body alone", func(t *testing.T) {
			t.Parallel()
			program := strings.Replace(codeOf(t, d.language), d.verify, d.verifyBody, 1)
			old := d.start(t, program, "a plain secret").hold(t, "a plain secret", false)
			if old != http.StatusUnauthorized { // it carries no X-ChatAPI-Signature at all
				t.Errorf("a call without the header: %d, want 401", old)
			}
		})
	}
}

// codeOf is the documented program of a language.
func codeOf(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(page), "```"+language+"\n")
	code, _, closed := strings.Cut(code, "```\n")
	if !found || !closed {
		t.Fatalf("docs/webhooks.md has no program in %s", language)
	}
	return code
}

// program is a receiver that runs.
type program struct {
	url string
	out *bufio.Scanner
}

func (d documented) start(t *testing.T, code, secret string) program {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, d.file), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), d.command, d.file) // the end of the test kills it
	var complaint bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), "PORT=0", "WEBHOOK_SECRET="+secret), &complaint
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // killed: its error says no more
	p := program{out: bufio.NewScanner(stdout)}
	if !p.out.Scan() {
		_ = cmd.Wait()
		t.Fatalf("%s did not start: %s", d.file, complaint.String())
	}
	p.url = p.out.Text()
	return p
}

// hold sends the program calls of the server's, one of a rotation, whose old secret it knows, one with another secret
// alone, and one of yesterday, whose status it returns.
func (p program) hold(t *testing.T, secret string, rotates bool) (yesterday int) {
	t.Helper()
	f := newFixture(t)
	f.configure(`{"webhook_secret":"` + secret + `","retry_limit":1}`)
	f.backend().subscribe(`{"topic":"orders","endpoint":"` + p.url + `"}`)
	f.backend().subscribe(`{"topic":"orders","user_id":"bob","endpoint":"` + p.url + `"}`)
	f.deliver()
	f.notify(`{"topic_subscribers":true}`)
	f.wantSettled()
	f.wantSettled()
	p.wantPrinted(t, "notification - orders", "notification bob orders")
	room := f.newRoom("alice", "bob", "carol")
	message := f.newMessage("alice", room, "Hello")
	replay := func(change string) (causes []any) {
		f.configure(change)
		f.replay(f.newLetter(f.tenant, room, message, ""))
		for _, letter := range f.backend().get("/admin/dead-letters").failedMessages() {
			causes = append(causes, letter["error"])
		}
		return causes
	}
	if causes := replay(`{"webhook_url":"` + p.url + `"}`); causes != nil {
		t.Fatalf("the program has refused what is ours: %v", causes)
	}
	p.wantPrinted(t, "message.offline bob,carol "+harness.Body("Hello"))
	if causes := replay(`{"webhook_secret":"the next secret"}`); rotates != (causes == nil) {
		t.Errorf("while the secret is rotated it has refused %v", causes)
	}
	f.configure(`{"webhook_secret":null}`)
	if causes := replay(`{"webhook_secret":"another secret"}`); len(causes) == 0 || causes[0] != "http 401" {
		t.Errorf("what another secret has signed is not refused: %v", causes)
	}
	return p.sendOld(t, secret)
}

// wantPrinted reads as many lines, in any order.
func (p program) wantPrinted(t *testing.T, lines ...string) {
	t.Helper()
	var printed []string
	for range lines {
		p.out.Scan()
		printed = append(printed, p.out.Text())
	}
	slices.Sort(printed)
	if diff := cmp.Diff(lines, printed); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
}

// sendOld sends a call that was signed a day ago, as Standard Webhooks says, and nothing else.
func (p program) sendOld(t *testing.T, secret string) int {
	t.Helper()
	signer, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if strings.HasPrefix(secret, "whsec_") {
		signer, err = standardwebhooks.NewWebhook(secret)
	}
	if err != nil {
		t.Fatal(err)
	}
	at, body := time.Now().Add(-24*time.Hour), []byte(`{}`)
	signature, err := signer.Sign("evt_1.0", at, body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"Webhook-Id": {"evt_1.0"}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signature},
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Body.Close(); err != nil {
		t.Error(err)
	}
	return got.StatusCode
}
