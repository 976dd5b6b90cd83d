package llm

import (
	"cmp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tmaxmax/go-sse"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// anthropic is the dialect of Anthropic's messages.
var anthropic = dialect{
	path: "/messages",
	headers: func(key string) map[string]string {
		headers := map[string]string{"anthropic-version": "2023-06-01"}
		if key != "" {
			headers["x-api-key"] = key
		}
		return headers
	},
	body: anthropicBody,
	read: readAnthropic,
}

type anthropicRequest struct {
	Model       string   `json:"model"`
	MaxTokens   int      `json:"max_tokens"`
	System      string   `json:"system,omitzero"`
	Messages    []turn   `json:"messages"`
	Stream      bool     `json:"stream"`
	Temperature *float64 `json:"temperature,omitzero"`
}

func anthropicBody(q ports.Question) any {
	r := anthropicRequest{Model: q.Model, MaxTokens: cmp.Or(q.MaxOutputTokens, domain.DefaultMaxOutput), System: q.System,
		Messages: anthropicTurns(q.Turns), Stream: true}
	if q.Temperature != nil {
		t := min(*q.Temperature, maxAnthropicTemperature)
		r.Temperature = &t
	}
	return r
}

const maxAnthropicTemperature = 1.0 // above it the question is refused

// anthropicTurns leaves out what would have the whole question refused: blank messages, and answers before the first
// question, which stand there when a conversation is longer than what is shown of it.
func anthropicTurns(turns []ports.Turn) []turn {
	kept := []turn{}
	for _, t := range turns {
		if strings.TrimSpace(t.Text) == "" || len(kept) == 0 && t.Role != "user" {
			continue
		}
		kept = append(kept, turn{t.Role, t.Text})
	}
	return kept
}

type anthropicEvent struct {
	Type    string `json:"type"`
	Message struct {
		Usage *usage `json:"usage"`
	} `json:"message"`
	Block struct {
		Text jsontext.Value `json:"text"`
	} `json:"content_block"`
	Delta struct {
		Text       jsontext.Value `json:"text"`
		Thinking   jsontext.Value `json:"thinking"`
		StopReason string         `json:"stop_reason"`
	} `json:"delta"`
	Usage *usage         `json:"usage"`
	Error jsontext.Value `json:"error"`
}

// readAnthropic reads an event by its type in the data, which is that of the event's own field. Unknown ones are to be
// ignored.
func readAnthropic(event sse.Event) (chunk, error) {
	var said anthropicEvent
	if err := parse(event, &said); err != nil {
		return chunk{}, err
	}
	kind := cmp.Or(said.Type, event.Type)
	if kind == "error" || isSomething(said.Error) {
		return chunk{}, faultOf(said.Error)
	}
	switch kind {
	case "message_start":
		return chunk{usage: said.Message.Usage}, nil
	case "content_block_start":
		return chunk{text: textOf(said.Block.Text)}, nil
	case "content_block_delta":
		return chunk{text: textOf(said.Delta.Text), thought: isSomething(said.Delta.Thinking)}, nil
	case "message_delta":
		return chunk{usage: said.Usage, finish: anthropicFinish(said.Delta.StopReason)}, nil
	case "message_stop":
		return chunk{finish: domain.FinishStop, end: true}, nil
	}
	return chunk{}, nil
}

func anthropicFinish(reason string) domain.FinishReason {
	switch reason {
	case "":
		return ""
	case "max_tokens", "model_context_window_exceeded":
		return domain.FinishLength
	}
	return domain.FinishStop
}
