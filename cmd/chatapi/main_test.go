package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asServer makes the test binary behave as chatapi itself, so that commands are tested as processes.
const asServer = "CHATAPI_TEST_AS_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// machine is a working directory in which commands run.
type machine struct {
	t   *testing.T
	dir string
	env []string
}

func newMachine(t *testing.T, env ...string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "chatapi-cmd-") //nolint:usetesting // short, since the path of a unix socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &machine{t, dir, append([]string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=off", "LOG_FORMAT=json"}, env...)}
}

func (m *machine) command(args ...string) *exec.Cmd {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.CommandContext(m.t.Context(), self, args...)
	cmd.Dir, cmd.Env = m.dir, append(m.env, asServer+"=1", "HOME="+m.dir)
	return cmd
}

// run runs a command to its end.
func (m *machine) run(args ...string) (out, complaint string, code int) {
	m.t.Helper()
	cmd := m.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// must runs a command that has to succeed and returns what it printed.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, complaint, code := m.run(args...)
	if code != 0 {
		m.t.Fatalf("chatapi %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, complaint)
	}
	return out
}

// decoded runs a command with --json and reads what it printed.
func decoded[T any](m *machine, args ...string) (v T) {
	m.t.Helper()
	out := m.must(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		m.t.Fatalf("chatapi %s: %v in %s", strings.Join(args, " "), err, out)
	}
	return v
}

// process is a running server.
type process struct {
	m    *machine
	cmd  *exec.Cmd
	out  lockedBuffer
	log  lockedBuffer
	base string
}

// serve starts a server and waits until it listens.
func (m *machine) serve(args ...string) *process {
	m.t.Helper()
	p := &process{m: m, cmd: m.command(append([]string{"serve"}, args...)...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	until(m.t, "the server listens", func() bool { return p.address() != "" })
	p.base = "http://" + p.address()
	return p
}

// address is what the server's log says it listens on.
func (p *process) address() string { return p.logged().Address }

// listening is the line that a server logs when it is up.
type listening struct{ Msg, Address, Admin string }

func (p *process) logged() listening {
	for line := range strings.Lines(p.log.String()) {
		var entry listening
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
			return entry
		}
	}
	return listening{}
}

// stop sends a signal and returns the exit code.
func (p *process) stop(sig os.Signal) int {
	p.m.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.m.t.Fatal(err)
	}
	if err := p.cmd.Wait(); p.cmd.ProcessState == nil {
		p.m.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// status is the status of a GET with headers, given as pairs.
func (p *process) status(path string, headers ...string) int {
	p.m.t.Helper()
	req, err := http.NewRequestWithContext(p.m.t.Context(), http.MethodGet, p.base+path, nil)
	if err != nil {
		p.m.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.m.t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}

// lockedBuffer is written by a process and read by its test.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for _, words := range []string{
		"", "serve", "tenant", "tenant create", "tenant list", "tenant show", "tenant delete", "key", "key create",
		"key revoke", "token", "migrate", "migrate up", "migrate status", "store", "store backup", "store restore", "store new-epoch", "config",
		"health", "version",
	} {
		out := m.must(append(strings.Fields(words), "--help")...)
		if !strings.Contains(out, "Usage: chatapi") {
			t.Errorf("%s --help printed %s", words, out)
		}
	}
	_, complaint, code := m.run("dance")
	for _, part := range []string{`"dance"`, "serve", "tenant", "key", "token", "config", "health", "version", "--help"} {
		if code != usageError || !strings.Contains(complaint, part) {
			t.Errorf("an unknown command: exit code %d, %s lacks %s", code, complaint, part)
		}
	}
	if entries, err := os.ReadDir(m.dir); err != nil || len(entries) != 0 {
		t.Errorf("help left files: %v, %v", entries, err)
	}
}

func TestABadSettingStopsTheStartWithItsName(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "JWT_SECRET=hunter2hunter2")
	_, complaint, code := m.run("serve")
	if code != 1 || !strings.Contains(complaint, "JWT_SECRET") || strings.Contains(complaint, "hunter2") {
		t.Errorf("exit code %d: %s", code, complaint)
	}
	if entries, err := os.ReadDir(m.dir); err != nil || len(entries) != 0 {
		t.Errorf("a refused start left files: %v, %v", entries, err)
	}
}

func TestASecondServerOnTheSameStoreIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first := m.serve()
	_, complaint, code := m.run("serve")
	if code != 1 || !strings.Contains(complaint, "DATABASE_DSN: ") || !strings.Contains(complaint, "in use") {
		t.Errorf("exit code %d: %s", code, complaint)
	}
	if got := first.status("/health"); got != http.StatusOK {
		t.Errorf("the first server answers /health with %d", got)
	}
}

func TestABusyAddressIsToldWithAnother(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	_, complaint, code := newMachine(t, "LISTEN_ADDR="+busy.Addr().String()).run("serve", "--dev")
	if code != 1 || !strings.Contains(complaint, "LISTEN_ADDR=127.0.0.1:8081 ") || strings.Contains(complaint, "stopped") {
		t.Errorf("exit code %d: %s", code, complaint)
	}
}

func TestAStoreThatCannotBeOpenedIsToldByItsSetting(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "DATABASE_DSN=file:notes.txt")
	if err := os.WriteFile(filepath.Join(m.dir, "notes.txt"), []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve"}, {"tenant", "list"}} {
		if _, complaint, code := m.run(args...); code != 1 || !strings.Contains(complaint, "DATABASE_DSN: ") {
			t.Errorf("%v: exit code %d: %s", args, code, complaint)
		}
	}
}

func TestABareStartSaysHowToMakeATenantUntilThereIsOne(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve()
	until(t, "the log says how to make a tenant", func() bool { return strings.Contains(p.log.String(), "tenant create my-app") })
	if got := p.status("/health"); got != http.StatusOK {
		t.Errorf("/health: %d", got)
	}
	m.must("tenant", "create", "acme")
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.log.String())
	}
	again := m.serve()
	if code := again.stop(os.Interrupt); code != 0 || strings.Contains(again.log.String(), "tenant create") {
		t.Errorf("exit code %d\n%s", code, again.log.String())
	}
}

func TestPrivateFilesArePrivate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := m.serve("--dev")
	until(t, "the operator's socket answers", func() bool { _, _, code := m.run("tenant", "list"); return code == 0 })
	for _, name := range []string{"", ".key", ".sock", ".demo-key", ".lock", "-wal"} {
		info, err := os.Stat(filepath.Join(m.dir, "data", "chatapi.db"+name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("chatapi.db%s: %v, %v, want mode 0600", name, info, err)
		}
	}
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "data", "chatapi.db.sock")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "SHUTDOWN_DRAIN_TIMEOUT=1m")
	p := m.serve()
	stuck, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.base+"/rooms", neverEnding{t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if res, err := http.DefaultClient.Do(stuck); err == nil {
			_ = res.Body.Close()
		}
	}()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "the server is stopping", func() bool { return strings.Contains(p.log.String(), "stopping") })
	began := time.Now()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	_ = p.cmd.Wait()
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
}

// neverEnding is a request's body that does not come.
type neverEnding struct{ ctx context.Context }

func (n neverEnding) Read([]byte) (int, error) {
	<-n.ctx.Done()
	return 0, n.ctx.Err()
}

func TestAnotherSealingKeyStopsTheStart(t *testing.T) {
	t.Parallel()
	first, other := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	m := newMachine(t, "SECRETS_KEY="+first)
	m.must("tenant", "create", "one")
	m.must("tenant", "list")
	m.env = append(m.env, "SECRETS_KEY="+other)
	for _, args := range [][]string{{"serve"}, {"tenant", "list"}} {
		_, complaint, code := m.run(args...)
		if code == 0 || !strings.Contains(complaint, "SECRETS_KEY: it is not the key this store was made with") {
			t.Errorf("chatapi %s: exit code %d, %s", args[0], code, complaint)
		}
	}
}
