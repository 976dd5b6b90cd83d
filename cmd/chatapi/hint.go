package main

import (
	"os"
	"strings"
)

// command is what to type into another terminal, which lacks this one's environment, to reach the same store.
func (cfg *Config) command(words string) string {
	command := ownName() + " " + words
	if cfg.DatabaseDSN == defaultDSN {
		return command
	}
	if cfg.onPostgres() {
		return "DATABASE_DSN=… " + command // with its password
	}
	return "DATABASE_DSN=" + shellQuote(dsnOf(cfg.DataPath)) + " " + command
}

// startCommand is how the server was started, as far as it matters for starting it again.
func (cfg *Config) startCommand() string {
	switch {
	case cfg.Dev && wasRun():
		return "make run"
	case cfg.Dev:
		return ownName() + " serve --dev"
	}
	return ownName()
}

// ownName is how this program was called, or how it would be called again when go run has hidden it in its cache.
func ownName() string {
	if wasRun() {
		return "go run ./cmd/chatapi"
	}
	return os.Args[0]
}

// wasRun reports whether this program is one that go run, and so make run, has built.
func wasRun() bool { return strings.Contains(os.Args[0], "go-build") }

// dsnOf spells a path so that nothing in it is taken for an escape or for parameters.
func dsnOf(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3F").Replace(path)
}

// shellQuote makes one word of a text in every POSIX shell.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
