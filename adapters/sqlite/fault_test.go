//go:build faults

package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
)

// These tests need strace, which counts calls by thread, and the right to mount: go test -tags faults.

const (
	appendDSN   = "CHATAPI_TEST_APPEND"
	closeDSN    = "CHATAPI_TEST_CLOSE"
	exitOnFatal = 7
)

// init makes the test binary a process that opens a store, writes and closes it, or one that appends until it cannot,
// and says of each message that it was acknowledged.
func init() {
	if dsn := os.Getenv(closeDSN); dsn != "" {
		writeAndClose(dsn)
	}
	dsn := os.Getenv(appendDSN)
	if dsn == "" {
		return
	}
	s, err := sqlite.Open(context.Background(), sqlite.Config{DSN: dsn, OnFatal: func(error) { os.Exit(exitOnFatal) }})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	room, _ := domain.ParseRoomID(os.Getenv(appendDSN + "_ROOM"))
	for range 300 {
		m := send("alice", "durable")
		out, err := s.Append(context.Background(), tenant, domain.Intent{Room: room, Sender: "alice"}, m.Decide)
		if err != nil {
			fmt.Println("refused", err)
			continue
		}
		fmt.Println("acked", out.Message.Seq)
	}
	os.Exit(0)
}

func writeAndClose(dsn string) {
	s, err := sqlite.Open(context.Background(), sqlite.Config{DSN: dsn})
	if err == nil {
		err = s.CreateTenant(context.Background(), domain.Tenant{ID: "tenant_late", Name: "Late", CreatedAt: now})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("closed:", s.Close())
	os.Exit(0)
}

// traced runs writeAndClose under strace and returns what it printed.
func traced(t *testing.T, dsn string, options ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "strace", append(options, os.Args[0])...)
	cmd.Env = append(os.Environ(), closeDSN+"="+dsn)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the traced process: %v\n%s", err, out)
	}
	return string(out)
}

func TestCloseKeepsTheLogWhenItCannotBeSynced(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	if err := sqlite.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	first := openStore(t, sqlite.Config{DSN: dsn}) // makes the epoch: the traced process checkpoints only when it closes
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	out := traced(t, dsn, "-f", "-o", "/dev/null", "-P", dsn, "-e", "trace=fsync,fdatasync",
		"-e", "inject=fsync,fdatasync:error=EIO:when=1")
	if !strings.Contains(out, "kept for the next start") {
		t.Errorf("Close said %q, want the failed fsync", out)
	}
	if info, err := os.Stat(dsn + "-wal"); err != nil || info.Size() == 0 {
		t.Fatalf("the write-ahead log is gone after its checkpoint failed: %v, %v", info, err)
	}
	again := openStore(t, sqlite.Config{DSN: dsn})
	if _, err := again.Tenant(t.Context(), "tenant_late"); err != nil {
		t.Errorf("what was acknowledged before the failure: %v", err)
	}
}

func TestNamesOfANewStoreAreSynced(t *testing.T) {
	t.Parallel()
	dir, trace := t.TempDir(), filepath.Join(t.TempDir(), "trace")
	traced(t, filepath.Join(dir, "data", "deep", "chat.db"), "-f", "-y", "-o", trace, "-e", "trace=fsync,fdatasync")
	raw, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for _, synced := range []string{dir, filepath.Join(dir, "data"), filepath.Join(dir, "data", "deep")} {
		if !strings.Contains(string(raw), "<"+synced+">") {
			t.Errorf("%s was not synced:\n%s", synced, raw)
		}
	}
}

func TestFailedSyncEndsTheProcessWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, nth := range []int{20, 40, 60} {
		t.Run(fmt.Sprintf("the %dth", nth), func(t *testing.T) {
			t.Parallel()
			dsn := filepath.Join(t.TempDir(), "chat.db")
			s, err := sqlite.Open(t.Context(), sqlite.Config{DSN: dsn})
			if err != nil {
				t.Fatal(err)
			}
			makeTenant(t, s)
			room := makeRoom(t, s, "alice")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "strace", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
				"-e", fmt.Sprintf("inject=fsync,fdatasync:error=EIO:when=%d", nth), os.Args[0])
			cmd.Env = append(os.Environ(), appendDSN+"="+dsn, appendDSN+"_ROOM="+room.ID.String())
			out, err := cmd.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitOnFatal {
				t.Fatalf("ended with %v, want status %d\n%s", err, exitOnFatal, out)
			}
			if bytes.Contains(out, []byte("refused")) {
				t.Errorf("an answer was given to a write of unknown durability:\n%s", out)
			}
			lines := strings.Fields(strings.TrimSpace(string(out)))
			acked, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
			if err != nil || acked == 0 {
				t.Fatalf("acknowledged %q", out)
			}
			again := openStore(t, sqlite.Config{DSN: dsn})
			if got := lastSeq(t, again, room.ID); got.LastSeq < acked || got.LastSeq > acked+1 {
				t.Errorf("last seq %d after %d acknowledged", got.LastSeq, acked)
			}
		})
	}
}

func TestFullDiskRefusesAndHealsByItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	s := openStore(t, sqlite.Config{DSN: filepath.Join(dir, "chat.db")})
	makeTenant(t, s)
	room := makeRoom(t, s, "alice")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func() error {
		m := send("alice", string(make([]byte, 16_000)))
		_, err := s.Append(t.Context(), tenant, domain.Intent{Room: room.ID, Sender: "alice"}, m.Decide)
		return err
	}
	stored := int64(0)
	var err error
	for err = try(); err == nil; err = try() {
		stored++
	}
	if !errors.Is(err, domain.ErrUnavailable) {
		t.Fatalf("on the full disk: %v, want ErrUnavailable", err)
	}
	if got := lastSeq(t, s, room.ID); got.LastSeq != stored {
		t.Errorf("last seq %d, want %d", got.LastSeq, stored)
	}
	if err := s.Probe(t.Context()); err != nil && !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("probe on the full disk: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := try(); err != nil {
			t.Fatalf("after healing: %v", err)
		}
	}
	if got := lastSeq(t, s, room.ID); got.LastSeq != stored+50 {
		t.Errorf("last seq %d, want %d", got.LastSeq, stored+50)
	}
}
