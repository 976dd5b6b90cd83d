package deployments

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oasdiff/yaml"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// place is the path of a file in deployments/.
func place(t testing.TB, parts ...string) string {
	t.Helper()
	root := harness.Must(harness.ModuleRoot())(t)
	return filepath.Join(append([]string{root, "deployments"}, parts...)...)
}

func text(t testing.TB, parts ...string) string {
	t.Helper()
	return string(harness.Must(os.ReadFile(place(t, parts...)))(t))
}

// parse reads YAML, of which JSON is a part, into a value of the test's. A key that stands twice is an error.
func parse[T any](t testing.TB, document string) T {
	t.Helper()
	var v T
	if _, err := yaml.Unmarshal([]byte(document), &v, yaml.DecodeOpts{DisableTimestamps: true}); err != nil {
		t.Fatal(err)
	}
	return v
}

// filesOf lists the files of deployments/ that match a pattern at any depth of one folder.
func filesOf(t testing.TB, patterns ...string) []string {
	t.Helper()
	var found []string
	for _, pattern := range patterns {
		for _, depth := range []string{"", "*"} {
			found = append(found, harness.Must(filepath.Glob(place(t, depth, pattern)))(t)...)
		}
	}
	if len(found) == 0 {
		t.Fatalf("deployments/ has no %v", patterns)
	}
	return found
}

func read(t testing.TB, path string) string {
	t.Helper()
	return string(harness.Must(os.ReadFile(path))(t))
}
