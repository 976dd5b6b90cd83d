package api

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/chatapi/chatapi/domain"
)

// Decode reads one JSON object into v, a pointer to a struct with json tags. It is strict where leniency would let two
// readers of the same bytes disagree: duplicate names, names that differ from a known one only in case, data after the
// object, a byte order mark, invalid UTF-8, lone surrogates and NUL are refused. Unknown names are ignored; null means
// absent. Every failure is a VALIDATION_ERROR, with Field set when it is about a known field; v is then undefined.
//
// data is not kept: strings and Objects are copies.
func Decode(data []byte, v any) error {
	if err := checkFrame(data); err != nil {
		return err
	}
	// The first pass is the only one for clients that send what the struct knows. An unknown name takes the slower way,
	// which looks for case variants and then ignores it.
	err := json.Unmarshal(data, v, strictNames)
	if err != nil && errors.Is(err, json.ErrUnknownName) {
		if err := checkNames(data, v); err != nil {
			return err
		}
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return decodeError(err)
	}
	return nil
}

var strictNames = json.RejectUnknownMembers(true)

// checkFrame refuses what is no object at all, in words that help more than those of a parser.
func checkFrame(data []byte) error {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return domain.Invalid("", "the body is empty: send one JSON object")
	case bytes.HasPrefix(trimmed, []byte("\xef\xbb\xbf")):
		return domain.Invalid("", "invalid JSON: it begins with a byte order mark; send UTF-8 without one")
	case trimmed[0] != '{':
		return domain.Invalid("", "send one JSON object, {…}")
	case containsNUL(data):
		return domain.Invalid("", `invalid JSON: NUL characters (\u0000) are not accepted`)
	}
	return nil
}

// containsNUL reports whether text of JSON holds an escaped NUL. A raw one is invalid JSON anyway; \\u0000 is an
// escaped backslash and harmless.
func containsNUL(data []byte) bool {
	const escape = `\u0000`
	for from := 0; ; {
		at := bytes.Index(data[from:], []byte(escape))
		if at < 0 {
			return false
		}
		at += from
		slashes := 1
		for at-slashes >= 0 && data[at-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 1 {
			return true
		}
		from = at + len(escape)
	}
}

// decodeError says what is wrong with a body in the client's terms: never a Go type, never the data itself.
func decodeError(err error) error {
	var refused *domain.Error
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic) && errors.As(semantic.Err, &refused):
		field := fieldName(semantic.JSONPointer)
		return domain.Invalid(field, "%s %s", leaf(semantic.JSONPointer), refused.Message)
	case errors.As(err, &semantic) && semantic.GoType != nil:
		field := fieldName(semantic.JSONPointer)
		return domain.Invalid(field, "%s must be %s", leaf(semantic.JSONPointer), jsonNoun(semantic.GoType))
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		field := fieldName(syntactic.JSONPointer)
		return domain.Invalid(field, "the name %s appears twice", leaf(syntactic.JSONPointer))
	case errors.As(err, &syntactic):
		return domain.Invalid("", "invalid JSON at byte %d: %s", syntactic.ByteOffset, syntaxReason(syntactic.Err))
	}
	return domain.Invalid("", "invalid JSON")
}

// syntaxReason keeps the parser's own words: they name a rule and at most one character of the input.
func syntaxReason(err error) string {
	if err == nil {
		return "syntax error"
	}
	return strings.TrimPrefix(err.Error(), "jsontext: ")
}

// maxFieldName bounds how much of a client's own name comes back in an error.
const maxFieldName = 64

// fieldName turns a JSON pointer into the dotted form of error.field: /rooms/0/rev is rooms.0.rev. A value of a list is
// named by its list, as the rules that look at the values name it: /members/0 is members.
func fieldName(p jsontext.Pointer) string {
	names := tokens(p)
	if last := len(names) - 1; last > 0 && isIndex(names[last]) {
		names = names[:last]
	}
	return shorten(strings.Join(names, "."))
}

// leaf is what a message calls the value: its own name, or its place in a list.
func leaf(p jsontext.Pointer) string {
	if last := p.LastToken(); last != "" && !isIndex(last) {
		return shorten(last)
	}
	return shorten(strings.Join(tokens(p), "."))
}

func tokens(p jsontext.Pointer) (names []string) {
	for token := range p.Tokens() {
		names = append(names, token)
	}
	return names
}

func isIndex(name string) bool {
	_, err := strconv.Atoi(name)
	return err == nil
}

func shorten(name string) string {
	if len(name) <= maxFieldName {
		return name
	}
	return strings.ToValidUTF8(name[:maxFieldName], "") + "…"
}
