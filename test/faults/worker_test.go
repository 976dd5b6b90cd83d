package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/httpapi"
	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/adapters/token"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// workerEnv names a variable that makes the test binary a worker on the store at its value.
const workerEnv = "CHATAPI_TEST_WORKER"

// workerLease is short, so that a test can outlast it.
const workerLease = 2 * time.Second

// workerReport is what a worker says when it has ended.
type workerReport struct {
	Stats   application.CourierStats
	Waiting int64 // jobs that are left
}

// workerMain runs the courier, and nothing else of the server, until the standard input has ended and its work is done.
func workerMain() int {
	if err := work(os.Getenv(workerEnv)); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

func work(path string) (err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	store, err := sqlite.Open(ctx, sqlite.Config{DSN: path, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	courier, end, err := newWorker(store, path, log)
	if err != nil {
		return err
	}
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- courier.Run(ctx) }()
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	report := workerReport{}
	idle := harness.Until(30*time.Second, "the calls have ended and nothing is left", func() bool {
		left, err := store.OutboxStats(ctx)
		report = workerReport{Stats: courier.Stats()[domain.LaneWebhook], Waiting: left[domain.LaneWebhook].Waiting}
		return err == nil && report.Waiting == 0 && report.Stats.Attempts >= 2 && report.Stats.Lost > 0
	})
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if idle != nil {
		fmt.Fprintln(os.Stderr, idle) // the test judges the report
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// noSockets is a node that nobody is connected to.
type noSockets struct{}

func (noSockets) CloseCredential(domain.TenantID, string) {}
func (noSockets) OpenSockets(domain.TenantID) int         { return 0 }
func (noSockets) Credentials() []application.Caller       { return nil }

// newWorker wires a courier as the server does, but for its lease.
func newWorker(store *sqlite.Store, path string, log *slog.Logger) (*application.Courier, func(), error) {
	key, err := secrets.KeyFile(path + ".key")
	if err != nil {
		return nil, nil, err
	}
	sealer, err := secrets.New(key)
	if err != nil {
		return nil, nil, err
	}
	allow, err := outbound.ParseAllow([]string{"webhook=127.0.0.1"})
	if err != nil {
		return nil, nil, err
	}
	clock, ids, places := system.Clock{}, system.IDs{}, outbound.New(outbound.Config{Allow: allow, Log: log})
	identity := application.NewIdentity(store, store, token.New(), inproc.NewTickets(), sealer, ids, clock, application.IdentityConfig{})
	usage, upkeep := application.NewUsage(store, clock, log), application.NewUpkeep(store, store, identity, log)
	tenancy := application.NewTenancy(store, store, store, sealer, ids, clock,
		application.NewRevocations(inproc.NewBus(), identity, noSockets{}, places, log), usage, upkeep, noSockets{}, places)
	var sender ports.WebhookSender = places
	return application.NewCourier(store, store, identity, inproc.NewPresence(), sender, sealer, ids, httpapi.WebhookEncoder{}, tenancy, clock, log,
		application.CourierConfig{
			Retry: domain.Retry{Max: domain.DefaultRetryMax, Interval: domain.DefaultRetryInterval}, Idle: 30 * time.Second, Lease: workerLease,
		}), places.Close, nil
}

// worker is such a process, seen from the test.
type worker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors strings.Builder
}

// startWorker starts a worker on the store of a server that has ended.
func startWorker(t *testing.T, path string) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command(os.Args[0])}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+path)
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.cmd.Stderr = &w.errors
	w.in = harness.Must(w.cmd.StdinPipe())(t)
	w.out = bufio.NewReader(harness.Must(w.cmd.StdoutPipe())(t))
	harness.Check(t, w.cmd.Start())
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill() // it has ended, unless the test has failed before
		_ = w.cmd.Wait()
		if t.Failed() {
			t.Logf("the worker said:\n%s", w.errors.String())
		}
	})
	return w
}

// pause stops the process as a machine does that is suspended; resume lets it go on.
func (w *worker) pause(t *testing.T) {
	t.Helper()
	harness.Check(t, w.cmd.Process.Signal(syscall.SIGSTOP))
	harness.Eventually(t, 30*time.Second, "the worker is stopped", func() bool {
		stat := string(harness.Must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid)))(t))
		return strings.HasPrefix(stat[strings.LastIndexByte(stat, ')')+1:], " T")
	})
}

func (w *worker) resume(t *testing.T) {
	t.Helper()
	harness.Check(t, w.cmd.Process.Signal(syscall.SIGCONT))
}

// end has the worker finish and returns what it says.
func (w *worker) end(t *testing.T) (report workerReport) {
	t.Helper()
	harness.Check(t, w.in.Close())
	line := harness.Must(w.out.ReadBytes('\n'))(t)
	harness.Check(t, json.Unmarshal(line, &report))
	harness.Check(t, w.cmd.Wait())
	return report
}
