package llm_test

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// hear hears a canned answer.
func hear(t testing.TB, p domain.Provider, body io.Reader) heard {
	t.Helper()
	return listen(t, t.Context(), llm.New(canned{body, "text/event-stream; charset=utf-8"}), ports.Question{Provider: p, Model: "canned"})
}

func TestWhatServersSayIsUnderstood(t *testing.T) {
	t.Parallel()
	done := heard{Text: "one", Finish: "stop"}
	cost := func(h heard, in, out int64) heard { h.Usage = ports.TokenUsage{Input: in, Output: out}; return h }
	const one = `data: {"choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}],"usage":null,"error":null}` + "\n\n"
	const stop = `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	for text, want := range map[string]heard{
		one + stop:                        done,
		"\uFEFF" + one + stop:             done,
		": hi\n\n\n\n" + one + stop:       done,
		one + "data: [DONE]\n\n":          done,
		one + stop + "data: [DONE]":       done, // cut after its finish
		one + stop + "data: {\"cho":       done,
		one + stop + "data: nonsense\n\n": done,
		one + stop + one:                  done,
		one + "event: x\n\n" + "id: 7\n\n" + "data:\n\n" + stop:                      done,
		strings.ReplaceAll(one+stop, "\n", "\r\n"):                                   done,
		strings.ReplaceAll(one+stop, "\n", "\r"):                                     done,
		strings.TrimSpace(one+stop) + "\n":                                           done,
		"data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"one\"}}]}\n\n" + stop: done,

		one + `data: {"choices":[{"delta":{},"finish_reason":"content_filter"}]}` + "\n\n":                                         done,
		one + `data: {"choices":[{"delta":{},"finish_reason":"model_length"}]}` + "\n\n":                                           {Text: "one", Finish: "length"},
		one + `data: {"choices":[{"index":1,"delta":{"content":"other"},"finish_reason":"stop"}]}` + "\n\n" + stop:                 done,
		one + `data: {"choices":[]}` + "\n\n" + `data: {}` + "\n\n" + stop:                                                         done,
		one + `data: {"choices":[{"delta":{"content":null,"tool_calls":[{}]}}],"x":1,"x":2}` + "\n\n" + stop:                       done,
		`data: {"choices":[{"delta":{"content":[{"type":"thinking"}]}}]}` + "\n\n" + one + stop:                                    done,
		one + `data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}` + "\n\n": cost(done, 3, 5),
		one + stop + `data: {"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}` + "\n\n":                         cost(done, 3, 5),
		one + stop + `data: {"usage":{"input_tokens":3,"output_tokens":-5}}` + "\n\n":                                              cost(done, 3, 0),

		"":                                   {Err: cutOff},
		one:                                  {Text: "one", Err: cutOff},
		"data: {\"cho":                       {Err: cutOff},
		one + "data: {\"cho\n\n":             {Text: "one", Err: malformed},
		one + "data: 7\n\n":                  {Text: "one", Err: malformed},
		one + "data: {}{}\n\n":               {Text: "one", Err: malformed},
		one + `data: {"choices":7}` + "\n\n": {Text: "one", Err: malformed},
		one + `data: {"choices":[{"delta":{"content":"\x"}}]}` + "\n\n":            {Text: "one", Err: malformed},
		one + `data: {"choices":[{"delta":{},"finish_reason":"error"}]}` + "\n\n":  {Text: "one", Err: malformed},
		one + `data: {"error":"sk-canary"}` + "\n\n":                               {Text: "one", Err: malformed},
		one + `data: {"error":{"code":502,"message":"sk-canary"}}` + "\n\n":        {Text: "one", Err: told(domain.StreamRefused, 200, 502, true)},
		one + `data: {"error":{"code":"rate_limit_exceeded"}}` + "\n\n":            {Text: "one", Err: told(domain.StreamRateLimited, 200, 429, true)},
		one + `data: {"error":{"code":null,"type":"server_error"}}` + "\n\n":       {Text: "one", Err: told(domain.StreamRefused, 200, 500, true)},
		one + `data: {"error":{"code":401}}` + "\n\n":                              {Text: "one", Err: told(domain.StreamRefused, 200, 401, false)},
		one + `data: {"error":{"code":7}}` + "\n\n":                                {Text: "one", Err: malformed},
		one + `data: {"object":"error","code":400,"message":"sk-canary"}` + "\n\n": {Text: "one", Err: told(domain.StreamRefused, 200, 400, false)},
		one + "event: error\n" + `data: {"type":"overloaded_error"}` + "\n\n":      {Text: "one", Err: told(domain.StreamRefused, 200, 529, true)},
	} {
		wantHeard(t, text, hear(t, domain.ProviderOpenAI, strings.NewReader(text)), want)
		wantHeard(t, "byte by byte: "+text, hear(t, domain.ProviderOpenAI, iotest.OneByteReader(strings.NewReader(text))), want)
	}
	const start = `data: {"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}` + "\n\n"
	const delta = `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"one"}}` + "\n\n"
	const end = `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}` + "\n\n"
	for text, want := range map[string]heard{
		start + delta + end: cost(done, 3, 5),
		start + delta + end + `data: {"type":"message_stop"}` + "\n\n": cost(done, 3, 5),
		delta + "event: message_stop\ndata: {}\n\n":                    done,
		delta + `data: {"type":"later_idea","delta":7}` + "\n\n":       {Text: "one", Err: malformed},
		delta + `data: {"type":"later_idea","x":[7]}` + "\n\n" + end:   cost(done, 0, 5),
		`data: {"type":"content_block_start","content_block":{"text":"o"}}` + "\n\n" + `data: {"type":"content_block_delta","delta":{"text":"ne"}}` + "\n\n" + end: cost(done, 0, 5),
		delta + `data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"}}` + "\n\n":                                                                     {Text: "one", Finish: "length"},
		delta + `data: {"type":"message_delta","delta":{"stop_reason":"refusal"}}` + "\n\n":                                                                        done,
		start + delta: {Text: "one", Usage: ports.TokenUsage{Input: 3, Output: 1}, Err: cutOff},
		delta + `data: {"type":"error","error":{"type":"overloaded_error","message":"sk-canary"}}` + "\n\n": {Text: "one", Err: told(domain.StreamRefused, 200, 529, true)},
		delta + `data: {"error":{"type":"api_error"}}` + "\n\n":                                             {Text: "one", Err: told(domain.StreamRefused, 200, 500, true)},
		delta + "event: error\ndata: {}\n\n":                                                                {Text: "one", Err: malformed},
		delta + "data: nonsense\n\n":                                                                        {Text: "one", Err: malformed},
	} {
		wantHeard(t, text, hear(t, domain.ProviderAnthropic, strings.NewReader(text)), want)
	}
}

func TestCharactersThatWereCutComeOutWhole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		quoted []string
		want   string
	}{
		{[]string{`"plain"`, `""`, `" text"`}, "plain text"},
		{[]string{`"\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude42\u0000"`}, "\"\\/\b\f\n\r\tAé€🙂\x00"},
		{[]string{"\"\xf0\"", "\"\x9f\"", "\"\x99\"", "\"\x82\""}, "🙂"},
		{[]string{"\"a\xe2\x82\"", `""`, "\"\xacb\""}, "a€b"},
		{[]string{`"a\uD83D"`, `""`, `"\uDE42b"`}, "a🙂b"},
		{[]string{`"\ud83d"`, `"x"`}, "\uFFFDx"},
		{[]string{`"\ude42"`, `"\ud83d"`}, "\uFFFD\uFFFD"},
		{[]string{`"\ud83d\ud83d"`, `"\ude42"`}, "\uFFFD🙂"},
		{[]string{"\"\xf0\x9f\"", `"x"`}, "\uFFFD\uFFFDx"},
		{[]string{"\"\xf0\x9f\x99\""}, "\uFFFD"},
		{[]string{"\"\xff\xfe\xc0\x80\""}, "\uFFFD\uFFFD\uFFFD\uFFFD"},
		{[]string{"\"\xf0\x9f\"", `"\ud83d"`, `"\ude42"`}, "\uFFFD\uFFFD🙂"},
	} {
		if got := llm.Join(c.quoted...); got != c.want {
			t.Errorf("%q: got %q, want %q", c.quoted, got, c.want)
		}
	}
}

// counting counts what is read of an endless body.
type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

type repeat string

func (r repeat) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], r)
	}
	return n, nil
}

func TestAnEventThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, endless := range map[string]string{
		"line": "x", "lines": "data: x\n", "comments": ": x\r\n", "empty lines": "\n", "empty lines of two": "\r\n", "zeros": "\x00",
	} {
		body := &counting{Reader: io.MultiReader(strings.NewReader("data: {}\n\ndata: "), repeat(endless))}
		got := hear(t, domain.ProviderOpenAI, body)
		want := ports.ModelError{Code: domain.StreamRefused, Status: 200, Cause: ports.CauseTooLarge}
		if got.Err != want || body.n > llm.MaxEvent+2*llm.ReadSize {
			t.Errorf("%s: got %+v after %d bytes", name, got.Err, body.n)
		}
	}
}

func TestALongEventIsRead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", llm.MaxEvent-200)
	text := `data: {"choices":[{"delta":{"content":"` + long + `"},"finish_reason":"stop"}]}` + "\n\n"
	if got := hear(t, domain.ProviderOpenAI, strings.NewReader(text)); got.Text != long || got.Finish != "stop" {
		t.Errorf("got %d bytes, %+v", len(got.Text), got.Err)
	}
}

func TestEventsAreHandedOnWhole(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"a\n\nb\n\nc":             {"a\n\n", "b\n\n", "c"},
		"a\r\n\r\nb\r\n\r\n":      {"a\r\n\r", "\nb\r\n\r", "\n"},
		"a\r\rb\r\r":              {"a\r\r", "b\r\r"},
		"\n\n\na\nb\n\n\n\nc\n\n": {"\n\n\na\nb\n\n", "\n\nc\n\n"},
		"a\n\r\nb":                {"a\n\r", "\nb"},
		"":                        nil,
	} {
		r := llm.NewEvents(iotest.OneByteReader(strings.NewReader(text)))
		var got []string
		for buf := make([]byte, 64); ; {
			n, err := r.Read(buf)
			if n > 0 {
				got = append(got, string(buf[:n]))
			}
			if errors.Is(err, io.EOF) {
				break
			}
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// FuzzAnAnswerIsCleanAndHasOneEnd feeds a client anything at all: in both dialects, what comes out is UTF-8 with one end,
// however the bytes were cut on their way.
func FuzzAnAnswerIsCleanAndHasOneEnd(f *testing.F) {
	for _, seed := range []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"one\\ud83d\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n",
		"event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"\xf0\x9f\"}}\r\n\r\n: ping\r\n\r\n",
		"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n",
		"data: {\"error\":{\"code\":429}}\n\n", "event: error\ndata: {\"error\":\ndata: {}}\n\n", "\uFEFFdata: 1\r\r", "<html>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range providers {
			whole := hear(t, p, bytes.NewReader(text))
			if !utf8.ValidString(whole.Text) {
				t.Errorf("%s: %q is no UTF-8", p, whole.Text)
			}
			cut := hear(t, p, iotest.OneByteReader(bytes.NewReader(text)))
			if cut != whole {
				t.Errorf("%s: byte by byte:\n got %+v\nwant %+v", p, cut, whole)
			}
		}
	})
}

// FuzzTextSurvivesAnyCut says a text in two JSON strings, cut anywhere between its bytes.
func FuzzTextSurvivesAnyCut(f *testing.F) {
	f.Add("é€🙂 \"quoted\" \\ and\n", uint8(4))
	f.Fuzz(func(t *testing.T, text string, at uint8) {
		cut := min(int(at), len(text))
		escape := strings.NewReplacer(`"`, `\"`, `\`, `\\`)
		got := llm.Join(`"`+escape.Replace(text[:cut])+`"`, `"`+escape.Replace(text[cut:])+`"`)
		if utf8.ValidString(text) && got != text || !utf8.ValidString(got) {
			t.Errorf("cut at %s: got %q, want %q", strconv.Itoa(cut), got, text)
		}
	})
}
