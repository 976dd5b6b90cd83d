// Package llm asks language models. It speaks two dialects over the guarded client: OpenAI's chat completions, with all
// who speak like it, and Anthropic's messages. Both answer with server-sent events, which are read one whole event at a
// time (events.go), understood by the dialect (openai.go, anthropic.go) and turned into pieces of clean UTF-8 (text.go).
//
// Nothing that a model's server sends is trusted or repeated: what it says of an error may contain the key it was called
// with, so an error tells a code, a status and a cause of our own, and this package logs nothing.
package llm
