package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// equal fails the case unless got is want, as whole values.
func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, show(got), show(want))
	}
}

// equalList is equal for lists, and names the first element that differs. A nil list is an empty one.
func equalList[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%s, element %d:\n got %s\nwant %s", what, i, show(got[i]), show(want[i]))
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d elements, want %d\n got %s\nwant %s", what, len(got), len(want), show(got), show(want))
	}
}

// wantError fails the case unless err is target.
func wantError(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: error %v, want %v", what, err, target)
	}
}

// show prints a value with what its pointers point to; long texts are cut.
func show(v any) string {
	var b strings.Builder
	write(&b, reflect.ValueOf(v))
	return b.String()
}

func write(b *strings.Builder, v reflect.Value) {
	if !v.IsValid() {
		b.WriteString("nil")
		return
	}
	switch x := v.Interface().(type) {
	case time.Time:
		b.WriteString(x.Format(time.RFC3339Nano))
	case fmt.Stringer:
		b.WriteString(x.String())
	case []byte:
		writeText(b, x == nil, string(x))
	default:
		writeKind(b, v)
	}
}

func writeKind(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		write(b, v.Elem())
	case reflect.Struct:
		writeStruct(b, v)
	case reflect.Slice, reflect.Array:
		b.WriteByte('[')
		for i := range v.Len() {
			b.WriteString(" ")
			write(b, v.Index(i))
		}
		b.WriteString(" ]")
	case reflect.String:
		writeText(b, false, v.String())
	default:
		fmt.Fprint(b, v.Interface())
	}
}

func writeStruct(b *strings.Builder, v reflect.Value) {
	b.WriteByte('{')
	for i := range v.NumField() {
		if v.Field(i).IsZero() || !v.Type().Field(i).IsExported() {
			continue
		}
		b.WriteString(" " + v.Type().Field(i).Name + ":")
		write(b, v.Field(i))
	}
	b.WriteString(" }")
}

func writeText(b *strings.Builder, isNil bool, s string) {
	const most = 100
	switch {
	case isNil:
		b.WriteString("nil")
	case len(s) > most:
		fmt.Fprintf(b, "%q… (%d bytes)", s[:most], len(s))
	default:
		fmt.Fprintf(b, "%q", s)
	}
}
