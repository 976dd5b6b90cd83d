package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
)

func TestAHintsDSNSurvivesTheShellAndNamesTheSameFile(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/srv/chat.db", "/it's/a b/$HOME/`x`", "/100%25/why?/#1", `/back\slash/"quoted"`} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+shellQuote(dsnOf(path))).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sqlite.PathOf(string(out)); err != nil || got != filepath.Clean(path) {
			t.Errorf("%s became %s, %v", path, got, err)
		}
	}
}

func TestHintsNameTheStoreOnlyWhereItIsNotTheDefault(t *testing.T) {
	t.Parallel()
	usual := &Config{DatabaseDSN: defaultDSN, DataPath: "/home/chat/data/chatapi.db"}
	if got, want := usual.command("tenant list"), ownName()+" tenant list"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	other := &Config{DatabaseDSN: "file:x.db", DataPath: "/srv/x.db"}
	if got, want := other.command("tenant list"), "DATABASE_DSN='file:/srv/x.db' "+ownName()+" tenant list"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := other.startCommand(); strings.Contains(got, "--dev") || strings.Contains(got, "make") {
		t.Errorf("without --dev: %s", got)
	}
}
