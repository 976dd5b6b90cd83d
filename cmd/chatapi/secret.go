package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands for every secret wherever it would be printed.
const redacted = "[redacted]"

// Secret is a value that prints as [redacted], whatever prints it.
type Secret struct{ value string }

// Reveal returns the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether there is a secret.
func (s Secret) IsSet() bool { return s.value != "" }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter: no verb and no flag gets behind it.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText implements encoding.TextMarshaler, for keys of maps and other encodings.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil } //nolint:unparam // the interface has an error

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
