package llm

import (
	"io"
	"slices"
)

const (
	maxEvent = 1 << 20  // bytes of an event, and so of a line
	readSize = 32 << 10 // the most that is taken at once
	minRead  = 4 << 10
)

// events hands on what a model sends in whole events. The parser behind it looks at the event it waits for from its
// beginning with every read, so that one of a megabyte in pieces of a few bytes would cost hours; here every byte is looked
// at once. An event that is longer than maxEvent fails with errTooLong, and no more than that is kept.
type events struct {
	body  io.Reader
	err   error  // of the body, told once all before it is handed on
	buf   []byte // what was read
	given int    // of it, handed on
	whole int    // of it, up to the end of the last whole event

	blank   bool // the line that is being read has nothing in it so far
	content bool // the event has
	last    byte
}

func newEvents(body io.Reader) *events { return &events{body: body, blank: true} }

// Read implements io.Reader.
func (e *events) Read(p []byte) (int, error) {
	for e.given == e.whole {
		if e.err != nil {
			return 0, e.err
		}
		e.fill()
	}
	n := copy(p, e.buf[e.given:e.whole])
	e.given += n
	return n, nil
}

// fill reads once more, behind the beginning of an event that is there. What is there when the body ends well is the last
// event; after any other end it is nothing.
func (e *events) fill() {
	if e.whole > 0 {
		e.buf = e.buf[:copy(e.buf, e.buf[e.whole:])]
		e.given, e.whole = 0, 0
	}
	begun := len(e.buf)
	e.buf = slices.Grow(e.buf, minRead)
	n, err := e.body.Read(e.buf[begun:min(cap(e.buf), begun+readSize)])
	e.buf = e.buf[:begun+n]
	e.scan(begun)
	switch {
	case err == io.EOF: //nolint:errorlint // a reader returns it as it is
		e.whole, e.err = len(e.buf), err
	case err != nil:
		e.err = err
	case len(e.buf)-e.whole > maxEvent:
		e.err = errTooLong
	}
}

// scan looks for the ends of events, which are empty lines. A line ends with \n, \r or \r\n. Empty lines before an event
// are part of it, so that a stream of nothing else is bounded as an event is.
func (e *events) scan(from int) {
	for i, b := range e.buf[from:] {
		switch {
		case b == '\n' && e.last == '\r':
		case b != '\n' && b != '\r':
			e.blank, e.content = false, true
		case e.blank && e.content:
			e.whole, e.content = from+i+1, false
		default:
			e.blank = true
		}
		e.last = b
	}
}
