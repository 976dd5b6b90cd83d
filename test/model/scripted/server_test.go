package scripted_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chatapi/chatapi/test/model/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *scripted.Server {
	t.Helper()
	s, err := scripted.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ask asks a model at a path, and returns status and body.
func ask(t *testing.T, ctx context.Context, s *scripted.Server, path, model string) (*http.Response, string) { //nolint:revive // t comes first in helpers
	t.Helper()
	body := `{"model":"` + model + `","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hello there"}]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk-1")
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp, string(text)
}

func TestAModelSpeaksBothDialects(t *testing.T) {
	t.Parallel()
	s := start(t)
	for path, want := range map[string][]string{
		"/chat/completions": {`"delta":{"content":"Hello "}`, `"delta":{"content":"there"}`, `"finish_reason":"stop"`, `"prompt_tokens":7,"completion_tokens":2`, "data: [DONE]\n\n"},
		"/messages":         {"event: message_start\n", `"text":"Hello "`, `"text":"there"`, `"stop_reason":"end_turn"`, `"output_tokens":2`, "event: message_stop\n"},
	} {
		resp, text := ask(t, t.Context(), s, path, "echo")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: got %d, %v", path, resp.StatusCode, resp.Header)
		}
		for rest := text; len(want) > 0; want = want[1:] {
			_, after, ok := strings.Cut(rest, want[0])
			if !ok {
				t.Fatalf("%s: %s is not, or not in its place, in\n%s", path, want[0], text)
			}
			rest = after
		}
	}
}

func TestWhatWasAskedIsKept(t *testing.T) {
	t.Parallel()
	s := start(t)
	ask(t, t.Context(), s, "/chat/completions", "empty")
	asked := s.Asked()
	if len(asked) != 1 || asked[0].Key() != "sk-1" || asked[0].Last() != "Hello there" || asked[0].Model != "empty" || asked[0].MaxTokens != 9 || asked[0].Dialect != "openai" {
		t.Errorf("got %+v", asked)
	}
	resp, err := http.Get(strings.TrimSuffix(s.URL, "/v1") + "/asked")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), `"Bearer sk-1"`) {
		t.Errorf("got %s", text)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPartsOfAScriptArePlayedInTurn(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i, want := range []int{429, 500, 200, 200} {
		resp, text := ask(t, t.Context(), s, "/messages", "429?retry_after=3|500|answer?tokens=1")
		if resp.StatusCode != want || want == 429 && (resp.Header.Get("Retry-After") != "3" || !strings.Contains(text, "sk-1")) {
			t.Errorf("%d: got %d, %v, %s", i, resp.StatusCode, resp.Header, text)
		}
	}
}

func TestAnswersUnderWayAreCounted(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ask(t, ctx, s, "/messages", "stall")
	}()
	for s.Answering() == 0 {
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		<-short.Done()
		cancel()
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.WaitIdle(short); err == nil || s.Connections() != 1 {
		t.Errorf("got %v, %d connections while an answer is under way", err, s.Connections())
	}
	leave()
	<-done
	if err := s.WaitIdle(t.Context()); err != nil || s.Answering() != 0 {
		t.Errorf("got %v, %d answers", err, s.Answering())
	}
}

func TestAMistakeInAScriptIsTold(t *testing.T) {
	t.Parallel()
	s := start(t)
	for model, want := range map[string]int{
		"gpt-4": 404, "answer?token=3": 400, "answer?tokens=many": 400, "answer?interval=3": 400, "slow?delay=-1s": 400, "answer?%zz": 400, "200": 404, "600": 404,
	} {
		if resp, text := ask(t, t.Context(), s, "/chat/completions", model); resp.StatusCode != want || !strings.Contains(text, `"error"`) {
			t.Errorf("%s: got %d, %s, want %d", model, resp.StatusCode, text, want)
		}
	}
	if resp, _ := ask(t, t.Context(), s, "/embeddings", "answer"); resp.StatusCode != 404 {
		t.Errorf("got %d for another path", resp.StatusCode)
	}
}

func TestTheReadmeTellsOfEveryScript(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripted.Scripts {
		row := "| `" + s.Name + "` | "
		for arg := range strings.FieldsSeq(s.Args) {
			row += "`" + arg + "` "
		}
		if row = strings.TrimRight(row, " ") + " | " + s.Help + " |"; !strings.Contains(string(page), strings.ReplaceAll(row, "|  |", "| |")) {
			t.Errorf("the page lacks\n%s", row)
		}
	}
}

func TestAHeldAnswerWaitsUntilItIsToldToGoOn(t *testing.T) {
	t.Parallel()
	s := start(t)
	const script = "held?tokens=5&after=2"
	answer := make(chan string, 1)
	go func() {
		_, text := ask(t, t.Context(), s, "/chat/completions", script)
		answer <- text
	}()
	select {
	case text := <-answer:
		t.Fatalf("it did not wait: %s", text)
	case <-time.After(100 * time.Millisecond):
	}
	s.GoOn(script)
	for range 2 { // the second does not wait
		if text := <-answer; strings.Count(text, `"content":"w`) != 5 || !strings.Contains(text, `"content":"w5 "`) {
			t.Errorf("said %s", text)
		}
		_, text := ask(t, t.Context(), s, "/chat/completions", script)
		answer <- text
	}
}
