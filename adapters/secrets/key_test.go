package secrets_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/adapters/secrets"
)

func TestKeysAreReadAsHexAndBase64(t *testing.T) {
	t.Parallel()
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i*8 + 3)
	}
	for _, text := range []string{
		hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), base64.StdEncoding.EncodeToString(key),
		base64.RawStdEncoding.EncodeToString(key),
		base64.URLEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key), " " + hex.EncodeToString(key) + "\n",
	} {
		if got, err := secrets.ParseKey(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%q: got %x, %v", text, got, err)
		}
	}
}

func TestMalformedKeysAreRefusedAndNotQuoted(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", strings.Repeat("a", 63), strings.Repeat("a", 65), strings.Repeat("g", 64),
		"hunter2hunter2hunter2hunter2hunt"} {
		_, err := secrets.ParseKey(text)
		if !errors.Is(err, secrets.ErrKey) || text != "" && len(text) > 2 && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAKeyFileIsMadeOnceAndPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data", "chatapi.db.key")
	first, err := secrets.KeyFile(path)
	if err != nil || len(first) != secrets.KeySize {
		t.Fatalf("got %d bytes, %v", len(first), err)
	}
	again, err := secrets.KeyFile(path)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second call: another key, or %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	wantAlone(t, path)
}

// wantAlone fails when something other than the key file was left behind.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v, want the key file alone", entries, err)
	}
}

func TestProcessesThatStartAtOnceAgreeOnOneKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	keys := make([][]byte, 16)
	var running sync.WaitGroup
	for i := range keys {
		running.Go(func() {
			key, err := secrets.KeyFile(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	running.Wait()
	for i, key := range keys {
		if !bytes.Equal(key, keys[0]) || len(key) != secrets.KeySize {
			t.Errorf("process %d has another key than process 0", i)
		}
	}
	wantAlone(t, path)
}

func TestAKeyFileThatOthersCanReadIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("ab", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.KeyFile(path); !errors.Is(err, secrets.ErrKey) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

func TestADamagedKeyFileIsAnErrorAndNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.KeyFile(path); !errors.Is(err, secrets.ErrKey) {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "half a k" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}
