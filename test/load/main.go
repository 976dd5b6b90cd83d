// Command load measures the whole path against the real server, which it builds and starts itself: durable ingest,
// one room that everybody writes into, fan-out, many rooms, idle memory, history pages, a reconnect storm and start-up; what one must not notice of another: a
// flood of a tenant far over its rate, the removal of a large room, rate limits as such, presence; delivery:
// notifications, redelivery, members who are away; and the answers of bots. The servers run on SQLite, on Postgres, or as
// several nodes on Postgres and Redis; then sockets and calls go to the nodes in turn, and the workload "nodes" measures what
// more nodes cost and bring. Beside each figure stand its target and, from the same run, the floors of the machine: a bare
// write(2) to a thousand sockets, a bare fdatasync. Ratios compare two measurements of one run.
//
// The generator shares the machine with the server. It therefore sends frames that were encoded beforehand, looks for
// a few bytes in what it receives instead of decoding it, and blocks one goroutine a connection. Latencies of paced
// workloads count from the intended time of sending, so that a stall of the server is not hidden by the pause it causes.
//
//	go run ./test/load [-topology cluster] [-only W1,W4] [-seconds 5] [-json FILE] [-dir FOLDER] [-profile FOLDER]
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// bench is what every workload gets.
type bench struct {
	dir     string // where data directories are made: the disk that is measured
	window  time.Duration
	report  *report
	maxConn int // how many sockets the process may open

	topology harness.Topology
	backends *harness.Backends // nil on SQLite

	writeFloor float64 // µs of CPU of a bare write(2) to a socket
	syncFloor  float64 // bare write + fdatasync a second

	profile  string // the folder of profiles; empty = none
	profiles int
	running  string // the workload under way
}

// workloads in the order they run.
var workloads = []struct {
	name string
	run  func(*bench) error
}{
	{"startup", (*bench).startup},
	{"W1", (*bench).ingest},
	{"hot", (*bench).hotRoom},
	{"W2", (*bench).fanOut},
	{"W3", (*bench).manyRooms},
	{"memory", (*bench).memory},
	{"W4", (*bench).history},
	{"W5", (*bench).storm},
	{"fair", (*bench).fair},
	{"purge", (*bench).purge},
	{"rooms", (*bench).roomLists},
	{"limits", (*bench).limits},
	{"presence", (*bench).presence},
	{"notify", (*bench).notify},
	{"redelivery", (*bench).redelivery},
	{"offline", (*bench).offline},
	{"bots", (*bench).bots},
	{"nodes", (*bench).nodes},
}

func main() {
	only := flag.String("only", "", "the workloads to run, separated by commas: "+names()+"; empty = all")
	seconds := flag.Float64("seconds", 5, "how long each figure is measured")
	jsonFile := flag.String("json", "", "also write the figures to this file")
	dir := flag.String("dir", "", "the folder for the servers' data; empty = the system's temporary folder")
	profile := flag.String("profile", "", "also write a CPU profile of the server in each window to this folder")
	topology := flag.String("topology", string(harness.OnSQLite), "what servers run on: sqlite, postgres or cluster")
	flag.Parse()
	b := &bench{
		topology: harness.Topology(*topology),
		dir:      cmp.Or(*dir, os.TempDir()), window: time.Duration(*seconds * float64(time.Second)), report: newReport(), profile: *profile,
	}
	if err := b.run(*only, *jsonFile); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// names are those of the workloads, separated by commas.
func names() string {
	var all []string
	for _, w := range workloads {
		all = append(all, w.name)
	}
	return strings.Join(all, ",")
}

func (b *bench) run(only, jsonFile string) (err error) {
	const calm = 400 // the generator's garbage collector should not compete with the server
	debug.SetGCPercent(calm)
	defer harness.RemoveBinary()
	limit, err := raiseDescriptors()
	if err != nil {
		return err
	}
	b.maxConn = limit - 500 // the process needs some for itself
	if b.topology != harness.OnSQLite {
		if b.backends, err = harness.LaunchBackends(true); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.backends.Close()) }()
	}
	fmt.Fprintln(os.Stderr, "floors …")
	if err := b.floors(); err != nil {
		return err
	}
	selected := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, w := range workloads {
		if len(selected) > 0 && !slices.Contains(selected, w.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", w.name)
		b.running = w.name
		if err := w.run(b); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", w.name, err), b.report.print(os.Stdout))
		}
	}
	if err := b.report.print(os.Stdout); err != nil {
		return err
	}
	if jsonFile == "" {
		return nil
	}
	return b.report.save(jsonFile)
}

// raiseDescriptors lifts the limit of open files to the hard limit, for this process and the servers it starts.
func raiseDescriptors() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	return int(limit.Cur), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// server starts a fresh server with its data below the bench's folder; end stops it and removes the data.
func (b *bench) server(opts harness.Options) (s *harness.Server, end func() error, err error) {
	data, err := os.MkdirTemp(b.dir, "chatapi-load-")
	if err != nil {
		return nil, nil, err
	}
	opts.Dir, opts.Admin = data, opts.Admin || b.profile != ""
	opts.Topology, opts.Backends = b.topology, b.backends
	s, err = harness.Launch(opts)
	if err != nil {
		if s != nil {
			err = errors.Join(err, s.Kill(), s.Release())
		}
		return nil, nil, errors.Join(err, os.RemoveAll(data))
	}
	return s, func() error {
		code, err := s.Terminate(30 * time.Second)
		if err == nil && code != 0 {
			err = fmt.Errorf("the server ended with code %d\n%s", code, s.LogTail(10))
		}
		for _, hit := range s.CanaryHits() {
			err = errors.Join(err, errors.New(hit))
		}
		return errors.Join(err, s.Release(), os.RemoveAll(data))
	}, nil
}

// with runs one measurement on a fresh server with a tenant of its own, which has no rate limit.
func (b *bench) with(measure func(*harness.Tenant) error) (err error) { return b.withLimit(0, measure) }

// withLimit is with for a tenant of so many calls a second.
func (b *bench) withLimit(rate int, measure func(*harness.Tenant) error) (err error) {
	return b.serve(harness.Options{}, rate, measure)
}

// withOptions is with for a server of options of its own.
func (b *bench) withOptions(opts harness.Options, measure func(*harness.Tenant) error) (err error) {
	return b.serve(opts, 0, measure)
}

func (b *bench) serve(opts harness.Options, rate int, measure func(*harness.Tenant) error) (err error) {
	s, end, err := b.server(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	tenant, err := s.NewTenantWith("load", map[string]any{"rate_limit": rate})
	if err != nil {
		return err
	}
	return measure(tenant)
}
