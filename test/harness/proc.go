package harness

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockTick is the kernel's unit of process times, 1/100 s on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processTimes reads what a process has used of the CPU, and its parent. With its children: of those it has waited for.
func processTimes(pid int, withChildren bool) (used time.Duration, parent int, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the command in parentheses. After it the parent is the 2nd, and utime, stime, cutime and cstime are
	// the 12th to the 15th.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, 0, err
	}
	times := fields[11:13]
	if withChildren {
		times = fields[11:15]
	}
	var ticks int64
	for _, f := range times {
		count, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		ticks += count
	}
	return time.Duration(ticks) * clockTick, parent, nil
}

// CPU is the user and system time the node has used since its start.
func (n *Node) CPU() (time.Duration, error) {
	used, _, err := processTimes(n.PID(), false)
	return used, err
}

// RSS is the node's resident memory in bytes.
func (n *Node) RSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib * 1024, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", n.PID())
}

// Descriptors is how many files and sockets the node holds open.
func (n *Node) Descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	return len(entries), err
}

// AdminClient is a client of the admin listener; it must have been started with Optionn.Admin.
func (n *Node) AdminClient() *Client {
	return &Client{Base: n.Admin, header: http.Header{}, http: n.http, canary: n.canary}
}

// Metric reads one series without labels from /metrics of the admin listener.
func (n *Node) Metric(name string) (float64, error) {
	res, err := n.AdminClient().Do(context.Background(), http.MethodGet, "/metrics", nil)
	if err != nil {
		return 0, err
	}
	scan := bufio.NewScanner(bytes.NewReader(res.Body))
	for scan.Scan() {
		if value, ok := strings.CutPrefix(scan.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s in /metrics (status %d)", name, res.Status)
}

// CPU is what all nodes have used since their starts.
func (s *Server) CPU() (time.Duration, error) { return sum(s, (*Node).CPU) }

// RSS is the resident memory of all nodes in bytes.
func (s *Server) RSS() (int64, error) { return sum(s, (*Node).RSS) }

// Descriptors is how many files and sockets all nodes hold open.
func (s *Server) Descriptors() (int, error) { return sum(s, (*Node).Descriptors) }

// Metric is the sum over all nodes of one series without labels.
func (s *Server) Metric(name string) (float64, error) {
	return sum(s, func(n *Node) (float64, error) { return n.Metric(name) })
}

// AdminClient is a client of the first node's admin listener.
func (s *Server) AdminClient() *Client { return s.Nodes[0].AdminClient() }

func sum[T time.Duration | int | int64 | float64](s *Server, of func(*Node) (T, error)) (total T, err error) {
	for _, n := range s.Nodes {
		part, err := of(n)
		if err != nil {
			return 0, err
		}
		total += part
	}
	return total, nil
}

// CPU is what Postgres, its children included, and Redis have used since their starts.
func (b *Backends) CPU() (total time.Duration, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	roots := []int{b.Postgres.proc.cmd.Process.Pid, b.Redis.proc.cmd.Process.Pid}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // no process
		}
		used, parent, err := processTimes(pid, true)
		if err == nil && (slices.Contains(roots, pid) || slices.Contains(roots, parent)) { // else it has ended meanwhile
			total += used
		}
	}
	return total, nil
}
