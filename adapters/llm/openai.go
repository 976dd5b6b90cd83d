package llm

import (
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tmaxmax/go-sse"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// openAI is the dialect of OpenAI's chat completions.
var openAI = dialect{
	path: "/chat/completions",
	headers: func(key string) map[string]string {
		headers := map[string]string{}
		if key != "" {
			headers["Authorization"] = "Bearer " + key
		}
		return headers
	},
	body: openAIBody,
	read: readOpenAI,
}

type openAIRequest struct {
	Model               string        `json:"model"`
	Messages            []turn        `json:"messages"`
	Stream              bool          `json:"stream"`
	StreamOptions       streamOptions `json:"stream_options"`
	MaxTokens           int           `json:"max_tokens,omitzero"`
	MaxCompletionTokens int           `json:"max_completion_tokens,omitzero"`
	Temperature         *float64      `json:"temperature,omitzero"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

func openAIBody(q ports.Question) any {
	r := openAIRequest{Model: q.Model, Stream: true, StreamOptions: streamOptions{IncludeUsage: true}, Temperature: q.Temperature}
	if q.System != "" {
		r.Messages = append(r.Messages, turn{"system", q.System})
	}
	for _, t := range q.Turns {
		r.Messages = append(r.Messages, turn{t.Role, t.Text})
	}
	if isOpenAI(q.BaseURL) {
		r.MaxCompletionTokens = q.MaxOutputTokens
	} else {
		r.MaxTokens = q.MaxOutputTokens
	}
	return r
}

// isOpenAI tells the original, whose later models refuse max_tokens, from those that speak like it and may know no other.
func isOpenAI(base string) bool {
	u, err := url.Parse(base)
	return err == nil && strings.EqualFold(u.Hostname(), "api.openai.com")
}

type openAIChunk struct {
	Object  string `json:"object"`
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content   jsontext.Value `json:"content"`
			Thinking  jsontext.Value `json:"reasoning_content"`
			Reasoning jsontext.Value `json:"reasoning"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage         `json:"usage"`
	Error jsontext.Value `json:"error"`
}

func readOpenAI(event sse.Event) (chunk, error) {
	if strings.TrimSpace(event.Data) == "[DONE]" {
		return chunk{finish: domain.FinishStop, end: true}, nil
	}
	var said openAIChunk
	if err := parse(event, &said); err != nil {
		return chunk{}, err
	}
	switch {
	case isSomething(said.Error):
		return chunk{}, faultOf(said.Error)
	case said.Object == "error", event.Type == "error":
		return chunk{}, faultOf(jsontext.Value(event.Data))
	}
	return said.chunk()
}

// chunk reads the first choice: no other was asked for.
func (o openAIChunk) chunk() (chunk, error) {
	c := chunk{usage: o.Usage}
	for _, choice := range o.Choices {
		if choice.Index != 0 {
			continue
		}
		d := choice.Delta
		c.text = textOf(d.Content)
		c.thought = isSomething(d.Thinking) || isSomething(d.Reasoning) || isSomething(d.Content)
		switch choice.FinishReason {
		case "":
		case "error":
			return chunk{}, &fault{}
		case "length", "model_length":
			c.finish = domain.FinishLength
		default: // stop, and what else ends an answer: a filter, a call of a tool that nobody offered
			c.finish = domain.FinishStop
		}
		break
	}
	return c, nil
}
