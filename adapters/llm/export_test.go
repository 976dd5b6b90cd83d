package llm

import (
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// The limits, for tests that reach them.
const (
	MaxEvent    = maxEvent
	ReadSize    = readSize
	AfterFinish = afterFinish
)

// NewEvents reads a body in whole events.
func NewEvents(body io.Reader) io.Reader { return newEvents(body) }

// Join is what JSON strings say together.
func Join(quoted ...string) string {
	var j joiner
	var text string
	for _, q := range quoted {
		text += j.add(jsontext.Value(q))
	}
	return text + j.rest()
}
