package api

import (
	"bytes"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/chatapi/chatapi/domain"
)

// checkNames refuses names that equal a field of v only up to case: one reader would take such a name for the field
// and another would not. It is the slow way of Decode, for objects with names v does not know.
func checkNames(data []byte, v any) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	if err := checkValue(dec, reflect.TypeOf(v)); err != nil {
		return decodeError(err)
	}
	return nil
}

func checkValue(dec *jsontext.Decoder, t reflect.Type) error {
	t = structured(t)
	switch kind := dec.PeekKind(); {
	case t != nil && kind == '{' && t.Kind() == reflect.Struct:
		return checkObject(dec, t)
	case t != nil && kind == '[' && t.Kind() == reflect.Slice:
		return checkArray(dec, t.Elem())
	}
	return dec.SkipValue()
}

func checkArray(dec *jsontext.Decoder, elem reflect.Type) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := checkValue(dec, elem); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func checkObject(dec *jsontext.Decoder, t reflect.Type) error {
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() != '"' {
			return dec.SkipValue() // the end of broken input: the second pass says what is wrong
		}
		field, err := matchName(t, token.String())
		if err != nil {
			return &json.SemanticError{JSONPointer: dec.StackPointer(), Err: err}
		}
		if err := checkValue(dec, field); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// structured strips pointers; nil for types that read themselves.
func structured(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || reflect.PointerTo(t).Implements(reflect.TypeFor[json.UnmarshalerFrom]()) {
		return nil
	}
	return t
}

// matchName returns the type of the field with this name, nil for an unknown one.
func matchName(t reflect.Type, name string) (reflect.Type, error) {
	fields := fieldsOf(t)
	if field, ok := fields[name]; ok {
		return field, nil
	}
	for known := range fields {
		if strings.EqualFold(known, name) {
			return nil, domain.Invalid("", "is spelled %s", known)
		}
	}
	return nil, nil
}

var knownFields sync.Map // reflect.Type → map[string]reflect.Type

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := knownFields.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = f.Type
		}
	}
	knownFields.Store(t, fields)
	return fields
}
