package llm

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// joiner makes clean UTF-8 of what a model says. Models write tokens, which cut through characters: a chunk may end with
// half of one, as bytes or as half of a pair of \u escapes, and the next begins with the rest. Such a beginning is held
// back until then. What is no character becomes U+FFFD.
type joiner struct{ held []byte }

// add returns what can be said with one more JSON string, as it stands in the chunk with its quotes.
func (j *joiner) add(quoted jsontext.Value) string {
	if len(quoted) < 2 {
		return ""
	}
	j.held = unquote(j.held, quoted)
	said, rest := clean(j.held)
	j.held = append(j.held[:0], rest...)
	return said
}

// rest returns what is held back when nothing more comes.
func (j *joiner) rest() string {
	if len(j.held) == 0 {
		return ""
	}
	return string(utf8.RuneError)
}

// clean turns bytes into text, up to a character that may go on.
func clean(b []byte) (said string, rest []byte) {
	if utf8.Valid(b) {
		return string(b), nil
	}
	text := make([]byte, 0, len(b)+utf8.UTFMax)
	for len(b) > 0 {
		r, n := next(b)
		if n == 0 {
			break
		}
		text = utf8.AppendRune(text, r)
		b = b[n:]
	}
	return string(text), b
}

// next is the first character of b and its length: 0 when the rest of it is still to come.
func next(b []byte) (rune, int) {
	if high, ok := surrogate(b); ok {
		low, paired := surrogate(b[3:])
		switch r := utf16.DecodeRune(high, low); {
		case paired && r != utf8.RuneError:
			return r, 6
		case high < lowest && len(b) == 3:
			return 0, 0
		}
		return utf8.RuneError, 3
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 && !utf8.FullRune(b) {
		return 0, 0
	}
	return r, n
}

const lowest = 0xDC00 // the first of the second halves of pairs

// surrogate is the half of a pair at the beginning of b, in the three bytes that UTF-8 would give it if it were a character.
func surrogate(b []byte) (rune, bool) {
	if len(b) < 3 || b[0] != 0xED || b[1]&0xE0 != 0xA0 || b[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | rune(b[1]&0x3F)<<6 | rune(b[2]&0x3F), true
}

// unquote appends what a JSON string says. The string is known to be well-formed but for its UTF-8, which is taken as it
// is; a \u escape of half a pair becomes what surrogate reads.
func unquote(dst []byte, quoted []byte) []byte {
	b := quoted[1 : len(quoted)-1]
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 >= len(b) {
			return append(dst, b...)
		}
		dst = append(dst, b[:i]...)
		if b = b[i+1:]; b[0] != 'u' {
			dst, b = append(dst, unescape(b[0])), b[1:]
			continue
		}
		dst, b = appendUnit(dst, hex(b[1:5])), b[5:]
	}
}

func unescape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // one of " \ /
}

func hex(digits []byte) rune {
	n, _ := strconv.ParseUint(string(digits), 16, 16)
	return rune(n)
}

// appendUnit appends a unit of UTF-16, half of a pair or not.
func appendUnit(dst []byte, u rune) []byte {
	if utf16.IsSurrogate(u) {
		return append(dst, 0xED, 0x80|byte(u>>6&0x3F), 0x80|byte(u&0x3F))
	}
	return utf8.AppendRune(dst, u)
}
