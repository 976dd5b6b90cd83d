package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// print writes an object: as it came with --json, else one line for each of the fields that it has.
func (p printing) print(c console, object json.RawMessage, fields ...string) error {
	if p.JSON {
		return writeJSON(c.out, object)
	}
	values, err := fieldsOf(object)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, name := range fields {
		value, ok := values[name]
		if !ok {
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			list = []json.RawMessage{value}
		}
		for _, entry := range list {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", name, plain(entry))
		}
	}
	return table.Flush()
}

// printTable writes a line for each object, under a line with the fields' names.
func printTable(w io.Writer, objects []json.RawMessage, fields ...string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, strings.ToUpper(strings.Join(fields, "\t")))
	for _, object := range objects {
		values, err := fieldsOf(object)
		if err != nil {
			return err
		}
		cells := make([]string, len(fields))
		for i, name := range fields {
			cells[i] = plain(values[name])
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

func fieldsOf(object json.RawMessage) (values map[string]json.RawMessage, err error) {
	if err = json.Unmarshal(object, &values); err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return values, nil
}

// plain is a value as people read it: strings without quotes, and nothing in them that moves a terminal's cursor.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f {
			return '\ufffd'
		}
		return r
	}, text)
}

// writeJSON writes a document on one line, without escaping <, > and &.
func writeJSON(w io.Writer, document any) error {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return err
	}
	_, err := w.Write(out.Bytes())
	return err
}
