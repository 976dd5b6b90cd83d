package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

// demoTenant is the name of the tenant that --dev makes.
const demoTenant = "demo"

// demoKey returns the API key of the demo tenant. It is kept beside the store, so that what was pasted yesterday works
// today; one that does not work any more is made anew, with a tenant of its own.
func (a *app) demoKey(ctx context.Context) (string, error) {
	kept, err := os.ReadFile(a.cfg.demoPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	key := strings.TrimSpace(string(kept))
	_, err = a.identity.Authenticate(ctx, application.Credentials{APIKey: key})
	if !errors.Is(err, domain.ErrUnauthenticated) {
		return key, err
	}
	made, err := a.tenancy.Create(ctx, demoTenant, nil)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(a.cfg.demoPath()), 0o700); err != nil {
		return "", err
	}
	return made.APIKey, writePrivate(a.cfg.demoPath(), made.APIKey+"\n")
}

// writePrivate replaces a file with one that only its owner may read.
func writePrivate(path, text string) error {
	draft := path + ".new"
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	const ownerOnly = 0o600
	if err := os.WriteFile(draft, []byte(text), ownerOnly); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

// printDemo prints what to paste next.
func printDemo(out io.Writer, address, key string) {
	_, _ = fmt.Fprintf(out, demoText, "http://"+address, key)
}

const demoText = `
ChatAPI runs at %[1]s with a demo tenant. Paste this into another terminal:

  URL=%[1]s
  KEY=%[2]s

  # a room of alice and bob
  ROOM=$(curl -s "$URL/rooms?if_exists=return" -H "X-API-Key: $KEY" -H "X-User-Id: alice" \
    -H "Content-Type: application/json" -d '{"type":"dm","members":["alice","bob"]}' \
    | sed 's/.*"room_id":"\([^"]*\)".*/\1/')

  # a message, and the history
  curl -s $URL/rooms/$ROOM/messages -H "X-API-Key: $KEY" -H "X-User-Id: alice" \
    -H "Content-Type: application/json" -d '{"content":"Hello, Bob!"}'; echo
  curl -s $URL/rooms/$ROOM/messages -H "X-API-Key: $KEY" -H "X-User-Id: bob"; echo

Try the whole API at %[1]s/docs. Be bob and watch what alice sends: open %[1]s/docs/socket
in a browser, with the key above and the user bob.

The API key is kept, and the data too, until you delete the data directory. Stop with Ctrl-C.

`
