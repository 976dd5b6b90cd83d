package api

import (
	"bytes"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/chatapi/chatapi/domain"
)

// MaxInt is the largest integer every JSON reader keeps exactly, 2^53 − 1.
const MaxInt = 1<<53 - 1

// Int is a position or a count on the wire: a plain integer, 0 to MaxInt. 1e3, 1.5, -1, "5" and true are refused.
type Int int64

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (n *Int) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if raw.Kind() == 'n' {
		*n = 0
		return nil
	}
	value, ok := parseInt(raw)
	if !ok {
		return errNotInt
	}
	*n = Int(value)
	return nil
}

var errNotInt = domain.Invalid("", "must be an integer from 0 to %d", int64(MaxInt))

// parseInt reads a plain integer of at most 16 digits; JSON itself has refused leading zeros.
func parseInt(digits []byte) (int64, bool) {
	if len(digits) == 0 || len(digits) > 16 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= MaxInt
}

// Object is a JSON object that the server keeps and does not read: meta, metadata, payload, config. null and absent
// are nil. A string that itself holds a JSON object is accepted in its place. The bytes are compact and a copy; the
// limits of size and nesting are the domain's (CheckObject).
type Object []byte

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (o *Object) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	switch raw.Kind() {
	case 'n':
		*o = nil
		return nil
	case '{':
		*o = compact(raw)
		return nil
	case '"':
		return o.fromString(raw)
	}
	return errNotObject
}

var errNotObject = domain.Invalid("", "must be a JSON object")

func (o *Object) fromString(raw jsontext.Value) error {
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return errNotObject
	}
	inner := jsontext.Value(bytes.Trim(text, " \t\r\n"))
	if inner.Kind() != '{' || !inner.IsValid() || containsNUL(inner) {
		return errNotObject
	}
	*o = compact(inner)
	return nil
}

// Text is an optional string that has at least one character when it is there: an empty one is a client's mistake, and
// taking it for absent would hide it. null and absent are empty.
type Text string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *Text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case 'n':
		*t = ""
		return nil
	case '"':
		*t = Text(token.String())
	default:
		return errNotText
	}
	if *t == "" {
		return errEmptyText
	}
	return nil
}

// Field is a value of a change: Set says that the client named it, so that an absent one stays as it is. null is named,
// and the zero Value: it clears.
type Field[T any] struct {
	Value T
	Set   bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (f *Field[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	f.Set = true
	return json.UnmarshalDecode(dec, &f.Value)
}

var (
	errNotText   = domain.Invalid("", "must be a string")
	errEmptyText = domain.Invalid("", "must not be empty: leave it out instead")
)

// compact copies well-formed JSON without the white space between its tokens. The library's own Compact parses once
// more, which the decoder has just done.
func compact(valid []byte) []byte {
	out := make([]byte, 0, len(valid))
	inString := false
	for i := 0; i < len(valid); i++ {
		c := valid[i]
		switch {
		case inString && c == '\\':
			out = append(out, c)
			i++
			c = valid[i]
		case c == '"':
			inString = !inString
		case !inString && c <= ' ':
			continue
		}
		out = append(out, c)
	}
	return out
}

// jsonNoun names what a Go type wants to be sent.
func jsonNoun(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

var (
	_ json.UnmarshalerFrom = (*Int)(nil)
	_ json.UnmarshalerFrom = (*Object)(nil)
	_ json.UnmarshalerFrom = (*Text)(nil)
	_ json.UnmarshalerFrom = (*Field[Object])(nil)
)
