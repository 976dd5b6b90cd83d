package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// given is what a scenario of testdata gets on its standard input.
type given struct {
	Base     string `json:"base"`
	Key      string `json:"key"`
	User     string `json:"user"`
	Peer     string `json:"peer"`
	Room     string `json:"room"`
	Content  string `json:"content"`
	Token    string `json:"token"` // of the default tenant
	Chromium string `json:"chromium"`
	Shots    string `json:"shots"`
}

func TestThePageOfTheRESTInterfaceCallsTheAPI(t *testing.T) {
	t.Parallel()
	play(t, "rest.mjs")
}

func TestThePageOfTheSocketsConnectsTwoUsers(t *testing.T) {
	t.Parallel()
	play(t, "socket.mjs")
}

// play runs a scenario in Chromium against a server of its own. The pictures it takes stay for a look at them.
func play(t *testing.T, scenario string) {
	t.Helper()
	chromium, shots := equipment(t)
	s := harness.Start(t, harness.Options{})
	tenant := harness.Must(s.NewTenant(t.Name()))(t)
	with := given{
		Base: s.Base, Key: tenant.Key, User: "alice", Peer: "bob", Content: harness.Body("Hello, Bob"),
		Room:     harness.Must(tenant.User("alice").CreateRoom("group", "bob"))(t).RoomID,
		Token:    harness.Must(s.Token("carol"))(t),
		Chromium: chromium, Shots: shots,
	}
	node(t, scenario, with)
}

// equipment is the browser and a folder for the pictures it takes.
func equipment(t *testing.T) (chromium, shots string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: `make tools` installs it", err)
	}
	shots = harness.Must(os.MkdirTemp("", "chatapi-shots-"))(t) //nolint:usetesting // to be looked at after the test
	t.Logf("pictures of the pages: %s", shots)
	return chromium, shots
}

// node runs a script of testdata with a value as JSON on its standard input.
func node(t *testing.T, script string, with any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir = "testdata"
	cmd.Stdin = bytes.NewReader(harness.Must(json.Marshal(with))(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node %s: %v (the packages come with `make tools`)\n%s", filepath.Join("testdata", script), err, out)
	}
}

// TestSwaggerUIIsTheOnePublished compares what the server serves with the package that package-lock.json pins.
func TestSwaggerUIIsTheOnePublished(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for served, published := range map[string]string{
		"swagger-ui-bundle.js":             "swagger-ui-bundle.js",
		"swagger-ui.css":                   "swagger-ui.css",
		"swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
		"LICENSE.txt":                      "LICENSE",
		"NOTICE.txt":                       "NOTICE",
	} {
		want := harness.Must(os.ReadFile(filepath.Join("testdata", "node_modules", "swagger-ui-dist", published)))(t)
		got := harness.Must(s.Anonymous().Do(t.Context(), http.MethodGet, "/docs/swagger-ui/"+served, nil))(t)
		if got.Status != http.StatusOK || !bytes.Equal(got.Body, want) {
			t.Errorf("%s: %d and %d bytes, published are %d: run `make swagger-ui`", served, got.Status, len(got.Body), len(want))
		}
	}
}
