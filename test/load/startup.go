package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// startup takes the time from exec to a good /health, on a fresh and on an existing database, and the memory at rest.
// The figures of the bare libraries are 6–8 ms and 11.5 MB; a whole server is held to half.
func (b *bench) startup() (err error) {
	const target, targetRSS, mb, rounds = 16, 23, 1e6, 5
	s, end, err := b.server(harness.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	var fresh, existing []float64
	for range rounds {
		first, again, err := startTwice(s)
		if err != nil {
			return err
		}
		fresh, existing = append(fresh, first.Seconds()*1000), append(existing, again.Seconds()*1000)
	}
	rss, err := settled(s)
	if err != nil {
		return err
	}
	slices.Sort(fresh)
	slices.Sort(existing)
	b.report.low("start-up", "fresh database", fresh[rounds/2], "ms", target)
	b.report.low("start-up", "existing database", existing[rounds/2], "ms", target)
	b.report.low("start-up", "memory at rest", float64(rss)/mb, "MB", targetRSS)
	return nil
}

// startTwice starts the server without data, and again with what the first start left.
func startTwice(s *harness.Server) (fresh, existing time.Duration, err error) {
	if err := s.Kill(); err != nil {
		return 0, 0, err
	}
	if err := s.RemoveData(); err != nil {
		return 0, 0, err
	}
	if fresh, err = execToHealthy(s); err != nil {
		return 0, 0, err
	}
	if _, err := s.Terminate(20 * time.Second); err != nil {
		return 0, 0, err
	}
	existing, err = execToHealthy(s)
	return fresh, existing, err
}

// execToHealthy starts the process and asks without a pause until /health is good.
func execToHealthy(s *harness.Server) (time.Duration, error) {
	address := strings.TrimPrefix(s.Base, "http://")
	began := time.Now()
	if err := s.Exec(); err != nil {
		return 0, err
	}
	buf := make([]byte, 64)
	for time.Since(began) < dialTimeout {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			<-time.After(200 * time.Microsecond)
			continue
		}
		_, _ = fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		n, _ := conn.Read(buf)
		_ = conn.Close()
		if strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
			return time.Since(began), nil
		}
	}
	return 0, fmt.Errorf("no /health within %s\n%s", dialTimeout, s.LogTail(10))
}
