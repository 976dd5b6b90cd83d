package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrKey is a sealing key that is malformed, or a key file that is not safe to use.
var ErrKey = errors.New("secrets: bad key")

// ParseKey reads a key written as 64 hexadecimal digits or as base64, standard or URL-safe, of 32 bytes. White space
// around it is ignored. Its error never quotes the key.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if key, err := hex.DecodeString(text); err == nil && len(key) == KeySize {
		return key, nil
	}
	unpadded := strings.TrimRight(text, "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if key, err := encoding.Strict().DecodeString(unpadded); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: it must be 64 hexadecimal digits, or base64 of 32 bytes", ErrKey)
}

// KeyFile reads the key in a file that only its owner may read (mode 0600), and makes one at the first call. Processes
// that start at once agree on one key; one that is killed in the middle leaves none or a whole one, on disk.
func KeyFile(path string) ([]byte, error) {
	key, err := readKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := createKeyFile(path); err != nil {
		return nil, fmt.Errorf("make the key file: %w", err)
	}
	return readKeyFile(path)
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", ErrKey, path)
	}
	if mode := info.Mode().Perm(); isReadableToOthers(mode) {
		return nil, fmt.Errorf("%w: %s can be read by others (mode %04o); run: chmod 600 %s", ErrKey, path, mode, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKeyFile writes a new key beside path, makes it durable and links it into place. The link fails when another
// process was first: then that one's key is the key.
func createKeyFile(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	if err := writeKey(draft); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func writeKey(f *os.File) error {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails: the runtime ends the process instead
	_, err := f.WriteString(hex.EncodeToString(key) + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}
