package ws

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.stop()
		test(t, f)
	})
}

// wantAfter checks how much time has passed, on the bubble's clock.
func wantAfter(t *testing.T, since time.Time, low, high time.Duration) {
	t.Helper()
	if d := time.Since(since); d < low || d > high {
		t.Fatalf("after %s, want %s to %s", d, low, high)
	}
}

func TestIdleSocketIsPingedEvery30SecondsAndLives(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		pings := 0
		answer := c.PingHandler()
		c.SetPingHandler(func(data string) error {
			pings++
			return answer(data)
		})
		go c.ending()
		time.Sleep(10*pingEvery - time.Second/2)
		synctest.Wait()
		if got := f.Stats().Open; got != 1 || pings != 10 {
			t.Fatalf("after five minutes: %d open sockets and %d pings, want 1 and 10", got, pings)
		}
	})
}

func TestSilentSocketIsClosedAfter60Seconds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		since := time.Now()
		c.SetPingHandler(func(string) error { return nil })
		c.wantClose(closePolicy)
		wantAfter(t, since, 60*time.Second, 61*time.Second)
	})
}

func TestUnfinishedMessageIsClosedAfter10Seconds(t *testing.T) {
	ping := []byte{0x89, 0x80, 0, 0, 0, 0}
	for name, begin := range map[string][]byte{
		"a byte of a header": {0x81},
		"a header":           {0x81, 0x85, 1, 2, 3, 4},
		"half a message":     {0x81, 0x85, 1, 2, 3, 4, 'x'},
		"a fragment":         {0x01, 0x81, 0, 0, 0, 0, '{'},
		"a fragment, a ping": append([]byte{0x01, 0x81, 0, 0, 0, 0, '{'}, ping...),
		"half behind a ping": append(ping, 0x81),
		"half behind a whole": append([]byte{0x81, 0x80 | byte(len(`{"type":"ping"}`)), 0, 0, 0, 0},
			append([]byte(`{"type":"ping"}`), 0x81)...),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				c := f.dialPipe(t, "").greeted()
				c.SetPingHandler(func(string) error { return nil })
				time.Sleep(3 * time.Second)
				since := time.Now()
				if _, err := c.NetConn().Write(begin); err != nil {
					t.Fatal(err)
				}
				c.wantClose(closePolicy)
				wantAfter(t, since, 10*time.Second, 11*time.Second)
			})
		})
	}
}

func TestDrippedMessageIsClosedThoughEachByteComesSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		c.SetPingHandler(func(string) error { return nil })
		since := time.Now()
		var dripping sync.WaitGroup
		defer dripping.Wait()
		dripping.Go(func() {
			for _, b := range append([]byte{0x81, 0x80 | 100, 0, 0, 0, 0}, make([]byte, 100)...) {
				if _, err := c.NetConn().Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		c.wantClose(closePolicy)
		wantAfter(t, since, 10*time.Second, 12*time.Second)
	})
}

func TestSocketLivesOnWhenMessagesComeWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		for range 20 {
			c.say(`{"type":"ping"}`)
			if got := c.next()["type"]; got != "pong" {
				t.Fatalf("got %v, want pong", got)
			}
			time.Sleep(9 * time.Second)
		}
	})
}

func TestSocketEndsWithItsToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.expires = since.Add(100 * time.Second)
		f.dialPipe(t, "").greeted().wantClose(closeToken)
		wantAfter(t, since, 100*time.Second, 101*time.Second)
	})
}

func TestTokenAcceptedWithinItsLeewayEndsWithTheLeeway(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.expires = since.Add(-10 * time.Second)
		f.dialPipe(t, "").greeted().wantClose(closeToken)
		wantAfter(t, since, 20*time.Second, 21*time.Second)
	})
}

func TestResumeMustComeWithin5Seconds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "resume=1").greeted()
		since := time.Now()
		c.wantClose(closePolicy)
		wantAfter(t, since, 5*time.Second, 6*time.Second)
	})
}

func TestResumedSocketLives(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "resume=1").greeted()
		c.say(`{"type":"resume","request_id":"r","epoch":"e","rooms":[` +
			`{"room_id":"` + knownRoom.String() + `","rev":4},{"room_id":"room_x","rev":1}]}`)
		if got := c.next()["type"]; got != "reply" {
			t.Fatalf("got %v, want reply", got)
		}
		want := "resume e [{" + knownRoom.String() + ` 4}] ""`
		if got := <-f.rooms.peer(0).events; got != want {
			t.Fatalf("the peer was told %q, want %q", got, want)
		}
		go c.ending()
		time.Sleep(70 * time.Second)
		if got := f.Stats().Open; got != 1 {
			t.Fatalf("%d open sockets, want 1", got)
		}
	})
}

func TestUnusableResumeMayBeRepairedInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "resume=1").greeted()
		c.say(`{"type":"resume","request_id":"1"}`)
		if got := c.next(); got["type"] != "error" || got["field"] != "epoch" || got["request_id"] != "1" {
			t.Fatalf("got %v, want an error about epoch", got)
		}
		c.say(`{"type":"resume","cursor":"bad"}`)
		if got := c.next(); got["type"] != "error" || got["field"] != "cursor" {
			t.Fatalf("got %v, want an error about cursor", got)
		}
		c.say(`{"type":"resume","request_id":"2","cursor":"good"}`)
		if got := c.next(); got["type"] != "reply" || got["request_id"] != "2" {
			t.Fatalf("got %v, want a reply", got)
		}
	})
}

func TestOnlyResumeMayComeFirstAfterAskingForIt(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "resume=1").greeted()
		c.say(`{"type":"ping"}`)
		c.wantClose(closePolicy)
	})
}

func TestWritesWithoutProgressEndTheSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		p := f.rooms.peer(0)
		if !p.sink.Push(event(1, 100)) {
			t.Fatal("the first push was refused")
		}
		time.Sleep(9 * time.Second)
		if got := f.Stats().Closes; len(got) != 0 {
			t.Fatalf("closed before its time: %v", got)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := f.Stats(); got.Closes[closeNoProgress] != 1 || got.Open != 0 {
			t.Fatalf("got %+v, want one close 4408 and nothing open", got)
		}
		if _, _, err := c.ReadMessage(); err == nil {
			t.Fatal("the connection is still open")
		}
	})
}

func TestClientThatWakesUpAfterAStallLearnsWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		p := f.rooms.peer(0)
		for n := range 5 {
			p.sink.Push(event(n, 100))
		}
		half := make([]byte, 20)
		if _, err := c.NetConn().Read(half[:10]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20*time.Second - 500*time.Millisecond) // the first deadline saw progress
		synctest.Wait()
		time.Sleep(time.Second)
		rest := &prefixed{half[:10], c.NetConn()}
		late := websocketReader(rest)
		if _, _, err := late.ReadMessage(); err != nil {
			t.Fatalf("the frame that was begun: %v", err)
		}
		_, _, err := late.ReadMessage()
		if !websocket.IsCloseError(err, closeNoProgress) {
			t.Fatalf("got %v, want close 4408", err)
		}
	})
}

func TestSlowReaderThatMakesProgressIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		p := f.rooms.peer(0)
		p.sink.Push(event(1, 200))
		p.sink.Push(event(2, 200))
		slow := websocketReader(&dripping{c.NetConn(), 20, 5 * time.Second})
		for range 2 {
			if _, _, err := slow.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPeerThatDoesNotAnswerACloseIsCutAfter5Seconds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		since := time.Now()
		c.SetCloseHandler(func(int, string) error { return nil })
		f.rooms.peer(0).sink.Close(closePolicy, "enough")
		c.wantClose(closePolicy)
		if _, err := c.NetConn().Read(make([]byte, 1)); err == nil {
			t.Fatal("the connection is still open")
		}
		wantAfter(t, since, 5*time.Second, 6*time.Second)
	})
}

func TestPeerThatAnswersACloseIsLetGoAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		since := time.Now()
		f.rooms.peer(0).sink.Close(closeToken, "credential revoked")
		c.wantClose(closeToken)
		f.rooms.peer(0).await(t, "closed")
		wantAfter(t, since, 0, time.Second)
	})
}

// prefixed reads some bytes again before the rest.
type prefixed struct {
	first []byte
	net.Conn
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// dripping reads little at a time.
type dripping struct {
	net.Conn
	most  int
	pause time.Duration
}

func (d *dripping) Read(b []byte) (int, error) {
	time.Sleep(d.pause)
	return d.Conn.Read(b[:min(len(b), d.most)])
}
