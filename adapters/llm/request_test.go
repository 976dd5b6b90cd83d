package llm_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func full() ports.Question {
	warm := 1.5
	return ports.Question{Model: "answer", System: "Be <brief> & kind.", Key: ports.NewSecret(key), MaxOutputTokens: 300, Temperature: &warm,
		Turns: []ports.Turn{{Role: "assistant", Text: "before"}, {Role: "user", Text: " \n"}, {Role: "user", Text: "one \"1\" 🙂"},
			{Role: "assistant", Text: "two"}, {Role: "user", Text: "three"}}}
}

func TestAQuestionIsAskedInItsProvidersDialect(t *testing.T) {
	t.Parallel()
	f := onTCP(t)
	for _, c := range []struct {
		provider domain.Provider
		bare     bool
		path     string
		header   map[string]string
		body     string
	}{
		{domain.ProviderOpenAI, false, "/v1/chat/completions", map[string]string{"Authorization": "Bearer " + key},
			`{"model":"answer","stream":true,"stream_options":{"include_usage":true},"max_tokens":300,"temperature":1.5,"messages":[
			{"role":"system","content":"Be <brief> & kind."},{"role":"assistant","content":"before"},{"role":"user","content":" \n"},
			{"role":"user","content":"one \"1\" 🙂"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`},
		{domain.ProviderOpenAI, true, "/v1/chat/completions", map[string]string{"Authorization": ""},
			`{"model":"answer","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`},
		{domain.ProviderAnthropic, false, "/v1/messages", map[string]string{"X-Api-Key": key, "Anthropic-Version": "2023-06-01", "Authorization": ""},
			`{"model":"answer","stream":true,"max_tokens":300,"temperature":1,"system":"Be <brief> & kind.","messages":[
			{"role":"user","content":"one \"1\" 🙂"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`},
		{domain.ProviderAnthropic, true, "/v1/messages", map[string]string{"X-Api-Key": "", "Anthropic-Version": "2023-06-01", "Authorization": ""},
			`{"model":"answer","stream":true,"max_tokens":4096,"messages":[{"role":"user","content":"hi"}]}`},
	} {
		q := full()
		if c.bare {
			q = ports.Question{Model: "answer", Turns: []ports.Turn{{Role: "user", Text: "hi"}}}
		}
		q.Provider, q.BaseURL = c.provider, f.model.URL+"/"
		listen(t, t.Context(), f, q)
		asked := f.model.Asked()
		got := asked[len(asked)-1]
		if got.Path != c.path || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("%s: got %s, %v", c.provider, got.Path, got.Header)
		}
		for name, want := range c.header {
			if got.Header.Get(name) != want {
				t.Errorf("%s: got %s %q, want %q", c.provider, name, got.Header.Get(name), want)
			}
		}
		if diff := cmp.Diff(decoded(t, c.body), decoded(t, string(got.Body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.provider, diff)
		}
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// noted is an opener that notes the call.
type noted struct{ call *ports.StreamCall }

func (n noted) Open(_ context.Context, c ports.StreamCall) (*ports.Stream, error) {
	*n.call = c
	return nil, failed(ports.Refused, ports.CausePolicy)
}

func TestTheOriginalIsToldItsOwnLimit(t *testing.T) {
	t.Parallel()
	for base, field := range map[string]string{
		"https://api.openai.com/v1": `"max_completion_tokens":300`, "https://API.openai.com:443/v1/": `"max_completion_tokens":300`,
		"https://api.openai.com.example/v1": `"max_tokens":300`, "http://ollama:11434/v1": `"max_tokens":300`, "https://api.mistral.ai/v1": `"max_tokens":300`,
	} {
		var call ports.StreamCall
		q := full()
		q.Provider, q.BaseURL, q.Endpoint = domain.ProviderOpenAI, base, "tenant_a/bot_1"
		listen(t, t.Context(), llm.New(noted{&call}), q)
		if n := strings.Count(string(call.Body), "max_"); n != 1 || !strings.Contains(string(call.Body), field) {
			t.Errorf("%s: got %s, want %s alone", base, call.Body, field)
		}
		if call.URL != strings.TrimRight(base, "/")+"/chat/completions" || call.Endpoint != q.Endpoint || call.MaxBytes <= domain.MaxAnswer {
			t.Errorf("%s: got %s at %s, %d bytes", base, call.URL, call.Endpoint, call.MaxBytes)
		}
		if call.HeaderTimeout <= domain.FirstTokenTimeout || call.IdleTimeout <= domain.FirstTokenTimeout {
			t.Errorf("the call's own timeouts are in the way: %s, %s", call.HeaderTimeout, call.IdleTimeout)
		}
	}
}

func TestTextThatIsNotUTF8IsAskedAllTheSame(t *testing.T) {
	t.Parallel()
	f := onTCP(t)
	for _, p := range providers {
		q := f.question(p, "echo")
		q.Turns = []ports.Turn{{Role: "user", Text: "a\xffb"}}
		if got := listen(t, t.Context(), f, q); got.Text != "a\uFFFDb" {
			t.Errorf("%s: got %q, %+v", p, got.Text, got.Err)
		}
	}
	if n := len(f.model.Asked()); n != 2 {
		t.Errorf("asked %d times", n)
	}
}
