package scripted

import (
	"encoding/json"
	"errors"
)

// dialect is how an answer is written. Every method returns whole events, or the data of one.
type dialect interface {
	name() string
	read(body []byte, into *Request) error
	begin() string              // what comes before the first token
	token(quoted string) string // a JSON string with its quotes, which may be broken
	thought(text string) string
	tool() string // a call of a tool
	finish(reason string, in, out int) string
	done() string
	fault(kind, message string) string // an error within the answer
	complaint(status int, kind, message string) string
}

func data(s string) string { return "data: " + s + "\n\n" }

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func number(n int) string { b, _ := json.Marshal(n); return string(b) }

type openAI struct{}

func (openAI) name() string { return "openai" }

func (openAI) read(body []byte, into *Request) error {
	var r struct {
		Model         string   `json:"model"`
		Messages      []Turn   `json:"messages"`
		Stream        bool     `json:"stream"`
		MaxTokens     int      `json:"max_tokens"`
		MaxCompletion int      `json:"max_completion_tokens"`
		Temperature   *float64 `json:"temperature"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	if !r.Stream || r.Model == "" || len(r.Messages) == 0 {
		return errors.New("stream:true, a model and messages are required")
	}
	into.Model, into.MaxTokens, into.Temperature = r.Model, max(r.MaxTokens, r.MaxCompletion), r.Temperature
	for _, m := range r.Messages {
		if m.Role == "system" {
			into.System = m.Text
			continue
		}
		into.Turns = append(into.Turns, m)
	}
	return nil
}

const openAIHead = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"scripted","choices":[`

func (openAI) begin() string {
	return data(openAIHead + `{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`)
}

func (openAI) token(quoted string) string {
	return data(openAIHead + `{"index":0,"delta":{"content":` + quoted + `},"finish_reason":null}]}`)
}

func (openAI) thought(text string) string {
	return data(openAIHead + `{"index":0,"delta":{"reasoning_content":` + quote(text) + `},"finish_reason":null}]}`)
}

func (openAI) tool() string {
	return data(openAIHead + `{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":null}]}`)
}

func (openAI) finish(reason string, in, out int) string {
	return data(openAIHead+`{"index":0,"delta":{},"finish_reason":`+quote(reason)+`}]}`) +
		data(openAIHead+`],"usage":{"prompt_tokens":`+number(in)+`,"completion_tokens":`+number(out)+`,"total_tokens":`+number(in+out)+`}}`)
}

func (openAI) done() string { return data("[DONE]") }

func (o openAI) fault(kind, message string) string { return data(o.complaint(0, kind, message)) }

func (openAI) complaint(_ int, kind, message string) string {
	return `{"error":{"message":` + quote(message) + `,"type":` + quote(kind) + `,"param":null,"code":null}}`
}

type anthropic struct{}

func (anthropic) name() string { return "anthropic" }

func (anthropic) read(body []byte, into *Request) error {
	var r struct {
		Model       string   `json:"model"`
		System      string   `json:"system"`
		Messages    []Turn   `json:"messages"`
		Stream      bool     `json:"stream"`
		MaxTokens   int      `json:"max_tokens"`
		Temperature *float64 `json:"temperature"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	if !r.Stream || r.Model == "" || len(r.Messages) == 0 || r.MaxTokens == 0 {
		return errors.New("stream:true, a model, max_tokens and messages are required")
	}
	into.Model, into.System, into.Turns, into.MaxTokens, into.Temperature = r.Model, r.System, r.Messages, r.MaxTokens, r.Temperature
	return nil
}

func event(name, rest string) string {
	return "event: " + name + "\n" + data(`{"type":`+quote(name)+rest+`}`)
}

func (anthropic) begin() string {
	return event("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"scripted","content":[],"stop_reason":null,"usage":{"input_tokens":7,"output_tokens":1}}`) +
		event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`) + event("ping", "")
}

func (anthropic) token(quoted string) string {
	return event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":`+quoted+`}`)
}

func (anthropic) thought(text string) string {
	return event("content_block_delta", `,"index":0,"delta":{"type":"thinking_delta","thinking":`+quote(text)+`}`)
}

func (anthropic) tool() string {
	return event("content_block_start", `,"index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}`) +
		event("content_block_delta", `,"index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}`)
}

// anthropicReasons are OpenAI's, in Anthropic's words.
var anthropicReasons = map[string]string{"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}

func (anthropic) finish(reason string, _, out int) string {
	return event("content_block_stop", `,"index":0`) +
		event("message_delta", `,"delta":{"stop_reason":`+quote(anthropicReasons[reason])+`,"stop_sequence":null},"usage":{"output_tokens":`+number(out)+`}`)
}

func (anthropic) done() string { return event("message_stop", "") }

func (a anthropic) fault(kind, message string) string {
	return "event: error\n" + data(a.complaint(0, kind, message))
}

func (anthropic) complaint(_ int, kind, message string) string {
	return `{"type":"error","error":{"type":` + quote(kind) + `,"message":` + quote(message) + `}}`
}
