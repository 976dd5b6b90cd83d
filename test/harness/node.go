package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Node is one chatapi process, running or stopped, of a server that may have several.
type Node struct {
	Base  string // http://127.0.0.1:port
	Admin string // the same of ADMIN_ADDR; empty when off
	Dir   string // its working directory

	ToRedis    *Proxy // what lies between it and Redis; nil: nothing
	ToPostgres *Proxy // the same of Postgres

	binary  string
	args    []string // unless the test says; nil is "serve"
	opts    Options
	vars    map[string]string // what the harness sets for it, but for its ports
	env     []string
	http    *http.Client
	logPath string
	canary  *Canary
	proc    *process // nil before the first start
}

// startTimeout is how long a node may take to answer /health; a good one takes a few hundredths of a second.
const startTimeout = 30 * time.Second

// firstStart tries a few ports: between finding one free and listening on it, another process may take it.
func (n *Node) firstStart() error {
	const tries = 3
	var err error
	for range tries {
		if err = n.choosePorts(); err != nil {
			return err
		}
		if err = n.Start(); err == nil || !strings.Contains(n.Log(), "address already in use") {
			return err
		}
	}
	return err
}

// choosePorts makes the node's environment: what every node of the server has, ports of its own, and what the test wants.
func (n *Node) choosePorts() error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	n.Base = fmt.Sprintf("http://127.0.0.1:%d", port)
	vars := maps.Clone(n.vars)
	vars["LISTEN_ADDR"], vars["ADMIN_ADDR"] = fmt.Sprintf("127.0.0.1:%d", port), "off"
	if n.opts.Bare {
		vars["LISTEN_ADDR"] = fmt.Sprintf(":%d", port)
	}
	if _, chosen := n.opts.Env["ADMIN_ADDR"]; n.opts.Admin && !chosen {
		if port, err = FreePort(); err != nil {
			return err
		}
		vars["ADMIN_ADDR"] = fmt.Sprintf("127.0.0.1:%d", port)
		n.Admin = fmt.Sprintf("http://127.0.0.1:%d", port)
	}
	maps.Copy(vars, n.opts.Env)
	n.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + n.Dir}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		n.env = append(n.env, name+"="+vars[name])
	}
	return nil
}

// Start starts the process on its port, and waits until it is healthy.
func (n *Node) Start() error {
	if err := n.Exec(); err != nil {
		return err
	}
	healthy := func() bool { return n.proc.ended() || n.Healthy() }
	if err := Until(startTimeout, "the server answers /health", healthy); err != nil {
		_ = n.Kill()
		return fmt.Errorf("%w\n%s", err, n.LogTail(20))
	}
	if n.proc.ended() {
		return fmt.Errorf("the server ended at its start with code %d\n%s", n.proc.code(), n.LogTail(20))
	}
	return nil
}

// Exec starts the process and does not wait for it to be healthy.
func (n *Node) Exec() error {
	log, err := os.OpenFile(n.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	args := []string{"serve"}
	switch {
	case n.opts.Args != nil:
		args = n.opts.Args
	case n.args != nil:
		args = n.args
	}
	line := append(append(slices.Clone(n.opts.Wrapper), n.binary), args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = n.Dir, n.env, log, log
	n.proc, err = run(cmd)
	return err
}

// Healthy reports whether /health answers 200 now.
func (n *Node) Healthy() bool { return n.answers("/health") }

// Ready reports whether /health/ready answers 200 now.
func (n *Node) Ready() bool { return n.answers("/health/ready") }

func (n *Node) answers(path string) bool {
	res, err := n.Anonymous().Do(context.Background(), http.MethodGet, path, nil)
	return err == nil && res.Status == http.StatusOK
}

// Anonymous is a client of this node without credentials.
func (n *Node) Anonymous() *Client {
	return &Client{Base: n.Base, header: http.Header{}, http: n.http, canary: n.canary}
}

// At is the same client at one node of the server.
func (c *Client) At(n *Node) *Client {
	at := *c
	at.Base = n.Base
	return &at
}

// At is the same user at one node of the server.
func (u *User) At(n *Node) *User {
	return &User{Client: u.Client.At(n), ID: u.ID, tenant: u.tenant}
}

// Exited is closed when the process has ended.
func (n *Node) Exited() <-chan struct{} { return n.proc.exited }

// Running reports whether the process is there, be it paused.
func (n *Node) Running() bool { return !n.proc.ended() }

// PID is the process id of the server itself, also when it runs under a wrapper.
func (n *Node) PID() int {
	pid := n.proc.cmd.Process.Pid
	if len(n.opts.Wrapper) == 0 {
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

// Terminate reads the metrics, for the canary to search, sends SIGTERM and returns the exit code; a process still there
// after limit is killed and an error.
func (n *Node) Terminate(limit time.Duration) (int, error) {
	if n.proc.ended() {
		return n.proc.code(), nil
	}
	shown := n.exposeMetrics()
	if err := n.Signal(syscall.SIGTERM); err != nil {
		return -1, err
	}
	code, err := n.WaitExit(limit)
	return code, errors.Join(err, shown)
}

// Signal sends the process a signal.
func (n *Node) Signal(sig syscall.Signal) error { return syscall.Kill(n.PID(), sig) }

// WaitExit waits for the process to end and returns its exit code; one still there after limit is killed and an error.
func (n *Node) WaitExit(limit time.Duration) (int, error) {
	if err := n.proc.await(limit); err != nil {
		return -1, errors.Join(fmt.Errorf("the server did not end within %s", limit), n.Kill())
	}
	return n.proc.code(), nil
}

// Kill is kill -9: it returns when the process is gone.
func (n *Node) Kill() error {
	if n.proc.ended() {
		return nil
	}
	return n.proc.kill(n.PID())
}

// Pause stops the process as a machine does that is suspended; Resume lets it go on.
func (n *Node) Pause() error { return stopped(n.PID()) }

// Resume lets a paused process go on.
func (n *Node) Resume() error { return goesOn(n.PID()) }

// Log is everything the node has written to stdout and stderr, over all its starts.
func (n *Node) Log() string {
	log, err := os.ReadFile(n.logPath)
	if err != nil {
		return ""
	}
	return string(log)
}

// LogTail is the last lines of Log.
func (n *Node) LogTail(lines int) string { return tail(n.Log(), lines) }

func tail(log string, lines int) string {
	all := strings.Split(strings.TrimRight(log, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// removeData deletes everything in the working directory but the log; the process must have ended.
func (n *Node) removeData() error {
	entries, err := os.ReadDir(n.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if path := filepath.Join(n.Dir, e.Name()); path != n.logPath {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}
