// Package frames holds what sockets say against api/asyncapi.yaml, so that the document cannot drift from the server. It is
// stricter than a client must be: a field that the document does not name is a fault, too.
package frames

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/chatapi/chatapi/api"
)

// Spec is the document, ready to check with.
type Spec struct {
	FromServer map[string]*jsonschema.Schema // by type
	FromClient map[string]*jsonschema.Schema
	ChatEvents map[string]*jsonschema.Schema // of /ws/chat, by event_type
	ToChat     map[string]*jsonschema.Schema // what its clients send, by the message's name
	Examples   map[string][]any              // of every message
}

// Load reads the document at the first call. What is wrong with the document itself is the error.
var Load = sync.OnceValues(func() (*Spec, error) {
	raw, err := api.AsyncAPIJSON()
	if err != nil {
		return nil, fmt.Errorf("read asyncapi.yaml: %w", err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	if err := closeSchemas(tree); err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", tree); err != nil {
		return nil, err
	}
	return doc.compile(compiler)
})

// CheckChat is Check for a frame of a client of /ws/chat, which is a message unless it is a ping.
func CheckChat(raw []byte) error {
	spec, err := Load()
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	name := "message"
	if frame, _ := value.(map[string]any); frame["type"] == "ping" {
		name = "ping"
	}
	return spec.ToChat[name].Validate(value)
}

// Check says what is wrong with a frame of the server's: a type or a field that is not documented, or a value that the
// document does not allow.
func Check(raw []byte) error {
	spec, err := Load()
	if err != nil {
		return err
	}
	hash := maphash.Bytes(seed, raw)
	slot := &right[hash%uint64(len(right))]
	if slot.Load() == hash {
		return nil
	}
	schemas, name := spec.FromServer, "type"
	if bytes.HasPrefix(raw, []byte(`{"event_type":`)) {
		schemas, name = spec.ChatEvents, "event_type"
	}
	if err := check(schemas, name, raw); err != nil {
		return err
	}
	slot.Store(hash)
	return nil
}

// right holds the hashes of frames found right not long ago: an event reaches all sockets in the same bytes, and looking at
// one of them is enough.
var (
	right [8192]atomic.Uint64
	seed  = maphash.MakeSeed()
)

// CheckCommand is Check for a client's frame whose fields stand beside type.
func CheckCommand(raw []byte) error {
	spec, err := Load()
	if err != nil {
		return err
	}
	return check(spec.FromClient, "type", raw)
}

func check(schemas map[string]*jsonschema.Schema, name string, raw []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("a frame that is no JSON: %w: %.300s", err, raw)
	}
	frame, _ := value.(map[string]any)
	kind, _ := frame[name].(string)
	schema := schemas[kind]
	if schema == nil {
		return fmt.Errorf("frames of type %q are not documented: %.300s", kind, raw)
	}
	if err := schema.Validate(frame); err != nil {
		return fmt.Errorf("not as documented: %w\n%.600s", err, raw)
	}
	return nil
}

// document is what is looked at besides the schemas.
type document struct {
	Operations map[string]struct {
		Action   string `json:"action"`
		Messages []ref  `json:"messages"`
	} `json:"operations"`
	Channels map[string]struct {
		Messages map[string]ref `json:"messages"`
	} `json:"channels"`
	Components struct {
		Messages map[string]message `json:"messages"`
	} `json:"components"`
}

type ref struct {
	Ref string `json:"$ref"`
}

type message struct {
	Name     string `json:"name"`
	Payload  ref    `json:"payload"`
	Examples []struct {
		Payload any `json:"payload"`
	} `json:"examples"`
}

// compile follows the operations to their messages and compiles the schemas of those.
func (d *document) compile(compiler *jsonschema.Compiler) (*Spec, error) {
	spec := &Spec{
		FromServer: map[string]*jsonschema.Schema{}, FromClient: map[string]*jsonschema.Schema{}, Examples: map[string][]any{},
		ChatEvents: map[string]*jsonschema.Schema{}, ToChat: map[string]*jsonschema.Schema{},
	}
	for name, operation := range d.Operations {
		schemas := spec.FromServer
		switch receives := operation.Action == "receive"; {
		case strings.Contains(name, "Chat") && receives:
			schemas = spec.ToChat
		case strings.Contains(name, "Chat"):
			schemas = spec.ChatEvents
		case receives:
			schemas = spec.FromClient
		}
		for _, r := range operation.Messages {
			name, m, err := d.message(r)
			if err != nil {
				return nil, err
			}
			if schemas[strings.TrimPrefix(name, "chat.")], err = compiler.Compile("asyncapi.json" + m.Payload.Ref); err != nil {
				return nil, err
			}
			for _, example := range m.Examples {
				spec.Examples[name] = append(spec.Examples[name], example.Payload)
			}
		}
	}
	if got, want := len(spec.FromServer)+len(spec.FromClient)+len(spec.ChatEvents)+len(spec.ToChat), len(d.Components.Messages); got != want {
		return nil, fmt.Errorf("the operations have %d messages, the components %d", got, want)
	}
	return spec, nil
}

// message follows an operation's reference through the channel to the message itself.
func (d *document) message(r ref) (string, message, error) {
	path, ok := strings.CutPrefix(r.Ref, "#/channels/")
	channel, name, found := strings.Cut(path, "/messages/")
	target := d.Channels[channel].Messages[name].Ref
	m, known := d.Components.Messages[strings.TrimPrefix(target, "#/components/messages/")]
	if !ok || !found || !known || m.Name != name {
		return "", m, fmt.Errorf("%s leads to no message of that name", r.Ref)
	}
	return name, m, nil
}

// closeSchemas makes every object that names its properties refuse others. Objects that are parts of others, by allOf,
// stay open: the whole is closed around them.
func closeSchemas(tree any) error {
	components, _ := tree.(map[string]any)["components"].(map[string]any)
	schemas, _ := components["schemas"].(map[string]any)
	if len(schemas) == 0 {
		return fmt.Errorf("the document has no schemas")
	}
	var parts []string
	walk(schemas, func(schema map[string]any) {
		all, _ := schema["allOf"].([]any)
		for _, part := range all {
			if target, _ := part.(map[string]any)["$ref"].(string); target != "" {
				parts = append(parts, strings.TrimPrefix(target, "#/components/schemas/"))
			}
		}
	})
	for name, schema := range schemas {
		if slices.Contains(parts, name) {
			continue
		}
		walk(schema, func(schema map[string]any) {
			if properties, _ := schema["properties"].(map[string]any); properties != nil && schema["type"] == "object" {
				schema["unevaluatedProperties"] = false
			}
		})
	}
	return nil
}

// walk visits every object of a tree.
func walk(node any, visit func(map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		visit(node)
		for _, child := range node {
			walk(child, visit)
		}
	case []any:
		for _, child := range node {
			walk(child, visit)
		}
	}
}
