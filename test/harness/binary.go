package harness

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// BinaryEnv names a variable with the path of a server binary to test instead of building one.
const BinaryEnv = "CHATAPI_TEST_BINARY"

// RaceEnv names a variable that, set to 1, has the server built with the race detector.
const RaceEnv = "CHATAPI_TEST_RACE"

var build struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// Binary returns the path of the server's binary, built at the first call of the process.
func Binary() (string, error) {
	build.once.Do(func() { build.path, build.err = compile() })
	return build.path, build.err
}

func compile() (string, error) {
	if path := os.Getenv(BinaryEnv); path != "" {
		return filepath.Abs(path)
	}
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	if build.dir, err = os.MkdirTemp("", "chatapi-bin-"); err != nil {
		return "", err
	}
	path := filepath.Join(build.dir, "chatapi")
	args := []string{"build", "-o", path}
	if os.Getenv(RaceEnv) == "1" {
		args = append(args, "-race", "-gcflags=modernc.org/sqlite/lib=-race=false", "-gcflags=modernc.org/libc/...=-race=false") // as the Makefile says
	}
	cmd := exec.Command("go", append(args, "./cmd/chatapi")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/chatapi: %w\n%s", err, out)
	}
	return path, nil
}

// ModuleRoot is the folder of go.mod above this package's source.
func ModuleRoot() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("the harness cannot find its own source")
	}
	for dir := filepath.Dir(file); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no go.mod above %s", file)
}

// RemoveBinary deletes what Binary built.
func RemoveBinary() {
	if build.dir != "" {
		_ = os.RemoveAll(build.dir)
	}
}

// Main is the TestMain of packages that use the harness: it runs the tests and removes the binary. Most of these tests
// wait rather than work, so more of them run side by side than there are cores.
func Main(m *testing.M) {
	sideBySide := "8"
	if DefaultTopology() == Clustered {
		sideBySide = "6" // each is three nodes
	}
	flag.Parse()
	if err := flag.Set("test.parallel", sideBySide); err != nil {
		panic(err) // only in a binary that is no test
	}
	code := m.Run()
	RemoveBinary()
	if err := CloseBackends(); err != nil {
		fmt.Fprintln(os.Stderr, "the backends of the tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
