package llm

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tmaxmax/go-sse"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// dialect is how a provider is asked and how it answers.
type dialect struct {
	path    string
	headers func(key string) map[string]string
	body    func(ports.Question) any
	read    func(sse.Event) (chunk, error) // its error is errMalformed or a *fault
}

func dialectOf(p domain.Provider) dialect {
	if p == domain.ProviderAnthropic {
		return anthropic
	}
	return openAI
}

// chunk is what one event says, in any dialect.
type chunk struct {
	text    jsontext.Value // a JSON string, of the answer
	thought bool           // some of what is not shown
	usage   *usage
	finish  domain.FinishReason
	end     bool // nothing comes after it
}

// isToken reports whether the model has come further. Empty text is none: some send it to keep the connection alive.
func (c chunk) isToken() bool { return len(c.text) > len(`""`) || c.thought }

// textOf is a delta that is text: others are no part of an answer, and null is none.
func textOf(v jsontext.Value) jsontext.Value {
	if v.Kind() != '"' {
		return nil
	}
	return v
}

// isSomething reports whether a delta has anything in it.
func isSomething(v jsontext.Value) bool { return len(v) > len(`""`) && v.Kind() != 'n' }

// usage is what an answer has cost so far, in the words of both dialects. Each may come alone, and again.
type usage struct {
	Input      *int64 `json:"input_tokens"`
	Output     *int64 `json:"output_tokens"`
	Prompt     *int64 `json:"prompt_tokens"`
	Completion *int64 `json:"completion_tokens"`
}

// onto returns what was told before with what is told now.
func (u *usage) onto(before *ports.TokenUsage) *ports.TokenUsage {
	if u == nil {
		return before
	}
	var now ports.TokenUsage
	if before != nil {
		now = *before
	}
	for _, told := range []struct {
		to *int64
		n  *int64
	}{{&now.Input, u.Input}, {&now.Input, u.Prompt}, {&now.Output, u.Output}, {&now.Output, u.Completion}} {
		if told.n != nil {
			*told.to = min(max(*told.n, 0), maxTokens)
		}
	}
	return &now
}

const maxTokens = 1 << 40 // of one answer; sums of such numbers stay numbers

// call is the request of a question.
func (d dialect) call(q ports.Question) ports.StreamCall {
	// Marshal cannot fail: the bodies are numbers and strings.
	body, _ := json.Marshal(d.body(q), jsontext.AllowInvalidUTF8(true))
	headers := d.headers(q.Key.Reveal())
	headers["Accept"] = "text/event-stream"
	return ports.StreamCall{
		Endpoint: q.Endpoint,
		URL:      strings.TrimRight(q.BaseURL, "/") + d.path,
		Header:   headers,
		Body:     body,
	}
}

// turn is a message of a conversation, in both dialects.
type turn struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// parse reads an event. Servers differ, and unknown, double or ill-encoded parts harm nobody.
func parse(event sse.Event, into any) error {
	if json.Unmarshal([]byte(event.Data), into, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)) != nil {
		return errMalformed
	}
	return nil
}

// complaint is an error object as servers send it within an answer. Its message is not read.
type complaint struct {
	Type string         `json:"type"`
	Code jsontext.Value `json:"code"` // a number or a name
}

// faultOf is the error that an event tells of.
func faultOf(v jsontext.Value) error {
	var c complaint
	if parse(sse.Event{Data: string(v)}, &c) != nil {
		return &fault{}
	}
	var code any
	_ = json.Unmarshal(c.Code, &code)
	switch code := code.(type) {
	case float64:
		if code >= 400 && code <= 599 {
			return &fault{int(code)}
		}
	case string:
		if status, ok := faults[code]; ok {
			return &fault{status}
		}
	}
	return &fault{faults[c.Type]}
}

// faults are the statuses that go with names of errors which may pass.
var faults = map[string]int{
	"rate_limit_error": 429, "rate_limit_exceeded": 429, "429": 429,
	"overloaded_error": 529, "api_error": 500, "server_error": 500, "internal_server_error": 500, "timeout_error": 504,
	"500": 500, "502": 502, "503": 503, "504": 504, "529": 529,
}
