package faults

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestAfterAFailedFsyncNothingIsAcknowledgedAndTheProcessEnds(t *testing.T) {
	t.Parallel()
	const firstFailing, bound = 60, 5_000 // strace counts per thread
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test needs strace (Debian package strace): %v", err)
	}
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	s := harness.Start(t, harness.Options{Wrapper: []string{
		strace, "-f", "-qq", "-ttt", "-o", trace, "-e", "trace=fsync,fdatasync",
		"-e", fmt.Sprintf("inject=fsync,fdatasync:error=EIO:when=%d+", firstFailing),
	}})
	tenant := harness.Must(s.NewTenant("eio"))(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID

	type send struct {
		invoked time.Time
		id      string // empty = not acknowledged
	}
	var sends []send
	for n := 0; n < bound && !over(s); n++ {
		one := send{invoked: time.Now()}
		if m, err := alice.Send(room, harness.Body("%d", n)); err == nil {
			one.id = m.MessageID
		}
		sends = append(sends, one)
	}
	code, err := s.WaitExit(30 * time.Second)
	if err != nil || code == 0 {
		t.Fatalf("after a failed fsync the process must end with a code that is not 0: code %d, %v", code, err)
	}
	failed := harness.Must(firstEIO(trace))(t)
	var acked []string
	late := 0
	for _, one := range sends {
		if one.id == "" {
			continue
		}
		acked = append(acked, one.id)
		if one.invoked.After(failed) {
			late++
		}
	}
	if late > 0 {
		t.Errorf("%d messages that were sent after the first failed fsync were acknowledged", late)
	}
	t.Logf("%d messages acknowledged before the first failed fsync, exit code %d", len(acked), code)
	if len(acked) == 0 {
		t.Error("nothing was acknowledged before the fault: nothing was tested")
	}

	again := harness.Start(t, harness.Options{Dir: s.Dir})
	bob := again.Anonymous().With("X-API-Key", tenant.Key).With("X-User-Id", "bob")
	kept := map[string]bool{}
	for _, m := range harness.Must(bob.History(room, 0, 100))(t) {
		kept[m.MessageID] = true
	}
	for _, id := range acked {
		if !kept[id] {
			t.Errorf("%s was acknowledged and is gone", id)
		}
	}
}

func over(s *harness.Server) bool {
	select {
	case <-s.Exited():
		return true
	default:
		return false
	}
}

// firstEIO is when the first injected error was returned, from strace's log: pid, seconds since 1970, call.
func firstEIO(trace string) (time.Time, error) {
	f, err := os.Open(trace)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		fields := strings.Fields(scan.Text())
		if !strings.Contains(scan.Text(), "INJECTED") || len(fields) < 2 {
			continue
		}
		seconds, err := strconv.ParseFloat(fields[1], 64)
		return time.UnixMicro(int64(seconds * 1e6)), err
	}
	return time.Time{}, errors.Join(scan.Err(), errors.New("strace injected no error"))
}

func TestAFullDiskRefusesSendsServesReadsAndHeals(t *testing.T) {
	t.Parallel()
	const diskSize, bound = "24m", 5_000
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size="+diskSize); err != nil {
		t.Fatalf("this test mounts a small tmpfs and needs the right to (root): %v", err)
	}
	t.Cleanup(func() { harness.Check(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	dsn := "file:" + filepath.Join(disk, "chatapi.db")
	s := harness.Start(t, harness.Options{Env: map[string]string{"DATABASE_DSN": dsn}})
	tenant := harness.Must(s.NewTenant("full"))(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
	socket := harness.Must(tenant.User("bob").Dial())(t)
	t.Cleanup(socket.Drop)
	harness.Must(socket.AwaitType("sync.complete"))(t)
	acked := map[string]bool{harness.Must(alice.Send(room, harness.Body("while there is room")))(t).MessageID: true}

	filler := filepath.Join(disk, "filler")
	harness.Check(t, fillDisk(filler))
	body := map[string]any{"content": harness.Body("%s", strings.Repeat("x", 12_000))}
	var refused *harness.Response
	for n := 0; n < bound && refused == nil; n++ {
		m, err := alice.SendAs(room, body)
		var status *harness.StatusError
		switch {
		case err == nil:
			acked[m.MessageID] = true
		case errors.As(err, &status) && status.Status == http.StatusServiceUnavailable:
			refused = status.Response
		default:
			t.Fatalf("a send on a full disk: %v, want 503", err)
		}
	}
	if refused == nil {
		t.Fatalf("%d sends of 12 KB on a full disk were all accepted", bound)
	}
	problem := harness.Must(refused.Problem())(t)
	if problem.Error.Code != "SERVICE_UNAVAILABLE" || refused.Header.Get("Retry-After") == "" {
		t.Errorf("a send on a full disk: %s, Retry-After %q", refused.Body, refused.Header.Get("Retry-After"))
	}
	wantAll(t, alice, room, acked)
	harness.Eventually(t, 30*time.Second, "/health says that the disk cannot be written", func() bool {
		res := harness.Must(s.Anonymous().Do(t.Context(), http.MethodGet, "/health", nil))(t)
		var health struct {
			Status     string
			DBWritable *bool `json:"db_writable"`
		}
		harness.Check(t, json.Unmarshal(res.Body, &health))
		unwritable := health.DBWritable != nil && !*health.DBWritable
		return res.Status == http.StatusServiceUnavailable && health.Status == "error" && unwritable
	})
	if pong := harness.Must(socket.Request(map[string]any{"type": "ping"}))(t); pong.Type != "pong" {
		t.Errorf("a socket beside a full disk: %s", pong.Raw)
	}
	again := harness.Must(tenant.User("bob").Dial())(t)
	t.Cleanup(again.Drop)
	harness.Must(again.AwaitMessage(room, 1))(t) // for a device that was there before, coming back is reading

	harness.Check(t, os.Remove(filler))
	harness.Eventually(t, 30*time.Second, "the server heals without a restart", func() bool {
		m, err := alice.SendAs(room, body)
		if err == nil {
			acked[m.MessageID] = true
		}
		return err == nil && s.Healthy()
	})
	wantAll(t, alice, room, acked)
	harness.Check(t, s.Kill())
	harness.Check(t, s.Start())
	wantAll(t, alice, room, acked)
}

// fillDisk writes until there is no space left.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; size /= 2 {
		for {
			if _, err = f.Write(block[:size]); err != nil {
				break
			}
		}
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return errors.Join(err, io.ErrShortWrite)
}

// wantAll fails unless a room has every acknowledged message and its numbers have no gap.
func wantAll(t *testing.T, u *harness.User, room string, acked map[string]bool) {
	t.Helper()
	all := harness.Must(u.History(room, 0, 100))(t)
	kept := map[string]bool{}
	for i, m := range all {
		kept[m.MessageID] = true
		if m.Seq != int64(i)+1 {
			t.Fatalf("seq %d at place %d", m.Seq, i+1)
		}
	}
	for id := range acked {
		if !kept[id] {
			t.Errorf("%s was acknowledged and is gone", id)
		}
	}
}
