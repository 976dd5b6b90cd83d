// Package scripted is a model that says what it is told to: a real HTTP server that speaks OpenAI's chat completions and
// Anthropic's messages, for tests, demos and machines with no network. The model's name in the request is its script
// ("answer?tokens=3", "cut", "429|answer"); see the README beside this package's command, and Scripts.
//
// It depends on nothing of the server that it is asked by.
package scripted
