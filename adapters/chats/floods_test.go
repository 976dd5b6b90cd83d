package chats

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/chatapi/chatapi/api"
)

// hijacked is an upgrade over a connection of the test's.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
	in   *bufio.Reader
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(h.in, bufio.NewWriter(h.conn)), nil
}

// connected is a session on a pipe, which holds nothing back, and its client.
func connected(t *testing.T) (*session, *websocket.Conn) {
	t.Helper()
	server, client := net.Pipe()
	s := newSession()
	upgraded := make(chan error, 1)
	go func() {
		in := bufio.NewReader(server)
		r, err := http.ReadRequest(in)
		if err == nil {
			s.ws, err = (&websocket.Upgrader{}).Upgrade(hijacked{conn: server, in: in}, r, nil)
		}
		upgraded <- err
	}()
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return client, nil }}
	ws, res, err := dialer.DialContext(t.Context(), "ws://chat"+api.ChatSocketPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if err := <-upgraded; err != nil {
		t.Fatal(err)
	}
	s.messages = rate.NewLimiter(10, 10)
	s.pings = rate.NewLimiter(10, 10)
	return s, ws
}

// TestAClientThatFloodsAndReadsNothingIsLetGo: its reader waits for room in the queue when the writer gives the client up,
// and must not wait on.
func TestAClientThatFloodsAndReadsNothingIsLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, client := connected(t)
		over := make(chan struct{})
		go func() {
			s.converse()
			s.hangUp()
			close(over)
		}()
		go func() {
			for client.WriteMessage(websocket.TextMessage, []byte("x")) == nil {
				continue
			}
		}()
		select {
		case <-over:
		case <-time.After(2 * writeStall):
			t.Error("the session holds its seat though nobody is there")
			s.shut(closeGoingAway, "")
			<-over
		}
		_ = client.Close()
	})
}

// TestAFloodIsReadSlowly: whoever sends more than they may, and takes all the refusals, has the server busy no more than some
// times their limit.
func TestAFloodIsReadSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, client := connected(t)
		over := make(chan struct{})
		go func() {
			s.converse()
			s.hangUp()
			close(over)
		}()
		go func() {
			for range 10_000 {
				if client.WriteMessage(websocket.TextMessage, []byte("x")) != nil {
					return
				}
			}
		}()
		told := make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				if _, _, err := client.ReadMessage(); err != nil {
					break
				}
			}
			told <- n
		}()
		time.Sleep(10 * time.Second)
		_ = client.Close()
		if n := <-told; n < 100 || n > 700 {
			t.Errorf("told %d times in 10 s", n)
		}
		<-over
	})
}
