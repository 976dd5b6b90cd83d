package ws

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// readersEnv makes the test binary a process of many clients, so that what they cost is not counted as the server's:
// "address count", and "ack=auto" if they do not acknowledge, each as a device of its own.
const readersEnv = "WS_TEST_READERS"

// readMany opens sockets, says so on standard output, and reads until its standard input ends.
func readMany(spec string) {
	address, rest, _ := strings.Cut(spec, " ")
	count, ack, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(count)
	for i := range n {
		query := "token=good"
		if ack != "" {
			query = fmt.Sprintf("token=good&device_id=%d&%s", i, ack)
		}
		if err == nil {
			err = readOne(address, query)
		}
	}
	fmt.Println(err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func readOne(address, query string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "GET /ws?%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", query, address)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(conn, 512)
	status, err := in.ReadString('\n')
	if err != nil || !strings.Contains(status, " 101 ") {
		return fmt.Errorf("upgrade: %q %w", status, err)
	}
	if _, err := conn.Write(maskedPing); err != nil {
		return err
	}
	go func() { _, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, in, make([]byte, 16<<10)) }()
	return nil
}

// startReaders runs n clients in a process of their own, until the test ends or until stop.
func startReaders(t testing.TB, address string, n int) (stop func()) {
	t.Helper()
	return startReadersWith(t, address, n, "")
}

// startReadersWith is startReaders for clients that say so when they do not acknowledge.
func startReadersWith(t testing.TB, address string, n int, ack string) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), strings.TrimSpace(fmt.Sprintf("%s=%s %d %s", readersEnv, address, n, ack)))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	said, err := bufio.NewReader(out).ReadString('\n')
	if said != "<nil>\n" {
		t.Fatalf("clients: %s %v", said, err)
	}
	return stop
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(limit) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// maskedPing is a client's {"type":"ping"}.
var maskedPing = append([]byte{0x81, 0x80 | byte(len(`{"type":"ping"}`)), 0, 0, 0, 0}, `{"type":"ping"}`...)
