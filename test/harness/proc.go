package harness

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the kernel's unit of process times, 1/100 s on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// CPU is the user and system time the server has used since its start.
func (s *Server) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses; utime and stime are the 12th and 13th after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", s.PID(), len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// RSS is the server's resident memory in bytes.
func (s *Server) RSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib * 1024, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", s.PID())
}

// Descriptors is how many files and sockets the server holds open.
func (s *Server) Descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	return len(entries), err
}

// AdminClient is a client of the admin listener; the server must have been started with Options.Admin.
func (s *Server) AdminClient() *Client {
	return &Client{Base: s.Admin, header: http.Header{}, http: s.http, canary: s.canary}
}

// Metric reads one series without labels from /metrics of the admin listener.
func (s *Server) Metric(name string) (float64, error) {
	res, err := s.AdminClient().Do(context.Background(), http.MethodGet, "/metrics", nil)
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
