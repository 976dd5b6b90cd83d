package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"regexp"
)

// newLogger writes to w in the configured format: text on a terminal, else JSON. What looks like a credential, or is
// one of the operator's secrets, leaves as [redacted].
func newLogger(cfg *Config, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.LogLevel}
	safe := &redactor{to: w, secrets: cfg.secrets()}
	if cfg.LogFormat == "text" || cfg.LogFormat == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(safe, opts))
	}
	return slog.New(slog.NewJSONHandler(safe, opts))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// redactor is the last line of defence: no code here logs credentials, and if some does, the line is cleaned on its
// way out. slog's handlers write one whole line at a time.
type redactor struct {
	to      io.Writer
	secrets [][]byte
}

// credentialPattern matches API keys, socket tickets, webhook secrets and JWTs. The numbers keep ordinary words out.
var credentialPattern = regexp.MustCompile(`(sk_|wst_|whsec_)[A-Za-z0-9+/=_-]{20,}|eyJ[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]*){0,2}`)

// Write implements io.Writer.
func (r *redactor) Write(line []byte) (int, error) {
	clean := line
	for _, secret := range r.secrets {
		if bytes.Contains(clean, secret) {
			clean = bytes.ReplaceAll(clean, secret, []byte(redacted))
		}
	}
	if mayHoldCredential(clean) {
		clean = credentialPattern.ReplaceAll(clean, []byte(redacted))
	}
	if _, err := r.to.Write(clean); err != nil {
		return 0, err
	}
	return len(line), nil
}

// mayHoldCredential is the cheap question asked of every line.
func mayHoldCredential(line []byte) bool {
	for _, mark := range []string{"sk_", "wst_", "whsec_", "eyJ"} {
		if bytes.Contains(line, []byte(mark)) {
			return true
		}
	}
	return false
}
