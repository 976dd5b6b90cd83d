package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options say how a server is started; the zero value is a fresh server with random secrets.
type Options struct {
	Dir     string            // the data directory and working directory; empty makes a new one
	Env     map[string]string // beside, or instead of, what the harness sets
	Wrapper []string          // a command to run the binary under, such as strace and its flags
	Admin   bool              // listen on ADMIN_ADDR too, see Server.Metric
	Bare    bool              // set no secret and no format: the environment of somebody's very first start
	Args    []string          // the arguments; nil is "serve"
}

// Server is one running, or stopped, chatapi process and the place of its data.
type Server struct {
	Base      string // http://127.0.0.1:port
	Admin     string // the same of ADMIN_ADDR; empty when off
	Dir       string
	MasterKey string
	JWTSecret string

	binary  string
	opts    Options
	env     []string
	http    *http.Client
	logPath string
	canary  *Canary
	forget  func() // ends the canary's watch over sockets
	drift   drift

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// startTimeout is how long a server may take to answer /health; a good one takes a few hundredths of a second.
const startTimeout = 30 * time.Second

// Launch starts a server and waits until it is healthy. The caller ends it with Terminate or Kill.
func Launch(opts Options) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	s := &Server{
		binary: binary, opts: opts, Dir: opts.Dir,
		MasterKey: "master-" + randomHex(24), JWTSecret: "jwt-" + randomHex(24),
		http: &http.Client{Timeout: 30 * time.Second, Transport: transport()}, canary: NewCanary(),
	}
	s.canary.Secret(s.MasterKey, s.JWTSecret)
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "chatapi-data-"); err != nil {
			return nil, err
		}
	}
	s.logPath = filepath.Join(s.Dir, "server.log")
	if err := s.firstStart(); err != nil {
		return s, err
	}
	s.forget = s.canary.Watch(s.Base)
	return s, nil
}

// firstStart tries a few ports: between finding one free and listening on it, another process may take it.
func (s *Server) firstStart() error {
	const tries = 3
	var err error
	for range tries {
		if err = s.choosePorts(); err != nil {
			return err
		}
		if err = s.Start(); err == nil || !strings.Contains(s.Log(), "address already in use") {
			return err
		}
	}
	return err
}

func (s *Server) choosePorts() error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	s.Base = fmt.Sprintf("http://127.0.0.1:%d", port)
	vars := map[string]string{
		"LISTEN_ADDR": fmt.Sprintf("127.0.0.1:%d", port), "ADMIN_ADDR": "off", "LOG_FORMAT": "json",
		"DATABASE_DSN": "file:" + filepath.Join(s.Dir, "chatapi.db"), "MASTER_API_KEY": s.MasterKey, "JWT_SECRET": s.JWTSecret,
	}
	if s.opts.Bare {
		vars = map[string]string{"LISTEN_ADDR": fmt.Sprintf(":%d", port), "ADMIN_ADDR": "off"}
	}
	if _, chosen := s.opts.Env["ADMIN_ADDR"]; s.opts.Admin && !chosen {
		if port, err = FreePort(); err != nil {
			return err
		}
		vars["ADMIN_ADDR"] = fmt.Sprintf("127.0.0.1:%d", port)
		s.Admin = fmt.Sprintf("http://127.0.0.1:%d", port)
	}
	maps.Copy(vars, s.opts.Env)
	s.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		s.env = append(s.env, name+"="+vars[name])
	}
	return nil
}

// Start starts the process on its port and data, and waits until it is healthy.
func (s *Server) Start() error {
	if err := s.Exec(); err != nil {
		return err
	}
	healthy := func() bool { return s.ended() || s.Healthy() }
	if err := Until(startTimeout, "the server answers /health", healthy); err != nil {
		_ = s.Kill()
		return fmt.Errorf("%w\n%s", err, s.LogTail(20))
	}
	if s.ended() {
		return fmt.Errorf("the server ended at its start with code %d\n%s", s.cmd.ProcessState.ExitCode(), s.LogTail(20))
	}
	return nil
}

// Exec starts the process and does not wait for it to be healthy.
func (s *Server) Exec() error {
	log, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	args := s.opts.Args
	if args == nil {
		args = []string{"serve"}
	}
	line := append(append(slices.Clone(s.opts.Wrapper), s.binary), args...)
	s.cmd = exec.Command(line[0], line[1:]...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.Dir, s.env, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", line[0], err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
		close(exited)
	}(s.cmd, s.exited)
	return nil
}

// Healthy reports whether /health answers 200 now.
func (s *Server) Healthy() bool {
	res, err := s.Anonymous().Do(context.Background(), http.MethodGet, "/health", nil)
	return err == nil && res.Status == http.StatusOK
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

func (s *Server) ended() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// PID is the process id of the server itself, also when it runs under a wrapper.
func (s *Server) PID() int {
	pid := s.cmd.Process.Pid
	if len(s.opts.Wrapper) == 0 {
		return pid
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return pid
	}
	if fields := strings.Fields(string(children)); len(fields) > 0 {
		if child, err := strconv.Atoi(fields[0]); err == nil {
			return child
		}
	}
	return pid
}

// Terminate reads what the canary is to search, sends SIGTERM and returns the exit code; a process still there after limit
// is killed and an error.
func (s *Server) Terminate(limit time.Duration) (int, error) {
	if s.ended() {
		return s.cmd.ProcessState.ExitCode(), nil
	}
	shown := s.expose()
	if err := syscall.Kill(s.PID(), syscall.SIGTERM); err != nil {
		return -1, err
	}
	code, err := s.WaitExit(limit)
	return code, errors.Join(err, shown)
}

// WaitExit waits for the process to end and returns its exit code; one still there after limit is killed and an error.
func (s *Server) WaitExit(limit time.Duration) (int, error) {
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		_ = s.Kill()
		return -1, fmt.Errorf("the server did not end within %s", limit)
	}
}

// Kill is kill -9: it returns when the process is gone.
func (s *Server) Kill() error {
	if s.ended() {
		return nil
	}
	err := syscall.Kill(s.PID(), syscall.SIGKILL)
	select {
	case <-s.exited:
		return nil
	case <-time.After(10 * time.Second):
		return errors.Join(err, errors.New("the server outlived SIGKILL"))
	}
}

// Command runs the binary with other arguments in the server's environment and directory, as an operator would beside
// the running server. The credentials that it prints become secrets; its diagnostics are errors, in which there may be none.
func (s *Server) Command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Dir, cmd.Env = s.Dir, s.env
	var diagnostics strings.Builder
	cmd.Stderr = &diagnostics
	out, err := cmd.Output()
	s.canary.printed(out)
	s.canary.Seen(InErrors, []byte(diagnostics.String()))
	if err != nil {
		return string(out), fmt.Errorf("chatapi %s: %w: %s", strings.Join(args, " "), err, diagnostics.String())
	}
	return string(out), nil
}

// Start launches a server for a test. At the end of the test it must still run, end with code 0 on SIGTERM and have let no
// secret and no message be seen, in its log, metrics, errors or lists of dead letters; else the test fails. A test that
// ends the server itself has its code checked there.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	ownDir := opts.Dir == ""
	opts.Admin = opts.Admin || !opts.Bare // for the metrics
	s, err := Launch(opts)
	if s != nil {
		t.Cleanup(func() {
			s.finish(t)
			if ownDir { // short, and not t.TempDir(): the path of a unix socket has at most 108 bytes
				_ = os.RemoveAll(s.Dir)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Server) finish(t testing.TB) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	running := !s.ended()
	code, err := s.Terminate(20 * time.Second)
	if err != nil {
		t.Error(err)
	} else if running && code != 0 {
		t.Errorf("exit code after SIGTERM: got %d, want 0", code)
	}
	s.http.CloseIdleConnections()
	s.forget()
	for _, found := range append(s.CanaryHits(), undocumented.take(s.Base)...) {
		t.Error(found)
	}
	for _, found := range s.drift.all() {
		t.Error(found)
	}
	if t.Failed() {
		t.Logf("the end of the server's log:\n%s", s.LogTail(30))
	}
}

func transport() *http.Transport {
	return &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
}

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand.Reader, b); err != nil {
		panic(err) // the system has no randomness: nothing here can go on
	}
	return hex.EncodeToString(b)
}

// CloseIdleConnections closes the client's kept-alive connections, so that the server holds none of them.
func (s *Server) CloseIdleConnections() { s.http.CloseIdleConnections() }

// RemoveData deletes everything in the data directory but the log; the process must have ended.
func (s *Server) RemoveData() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if path := filepath.Join(s.Dir, e.Name()); path != s.logPath {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}
