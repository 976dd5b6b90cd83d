package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
)

func TestFileIsOpenedOnceWhateverLinksLeadToIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	links := map[string]string{ // from, to
		filepath.Join(dir, "link.db"):         filepath.Join(dir, "data", "chat.db"),
		filepath.Join(dir, "link to link.db"): "link.db",
		filepath.Join(dir, "directory"):       "data",
		filepath.Join(dir, "data", "self.db"): "../directory/chat.db",
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range links {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"link.db", "link to link.db", "directory/chat.db", "directory/self.db", "data/chat.db"}
	for _, first := range names[:3] { // the first opening finds no file at the end of its links
		s, err := sqlite.Open(t.Context(), sqlite.Config{DSN: filepath.Join(dir, first)})
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		for _, second := range names {
			again, err := sqlite.Open(t.Context(), sqlite.Config{DSN: filepath.Join(dir, second)})
			if !errors.Is(err, sqlite.ErrInUse) {
				t.Errorf("%s beside %s: %v, %v, want ErrInUse", second, first, again, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(filepath.Join(dir, "data", "chat.db"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v, want mode 0600", info, err)
	}
}

func TestLinksThatGoInACircleAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for from, to := range map[string]string{"a.db": "b.db", "b.db": "a.db"} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := sqlite.Open(t.Context(), sqlite.Config{DSN: filepath.Join(dir, "a.db")}); !errors.Is(err, sqlite.ErrDSN) {
		t.Errorf("Open: %v, %v, want ErrDSN", s, err)
	}
}
