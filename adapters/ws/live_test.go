package ws

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestFramesOfManyWritersNeverInterleave: events, replies, pongs and errors of many goroutines reach a client whole,
// and those of one writer in order.
func TestFramesOfManyWritersNeverInterleave(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	sink := f.rooms.peer(0).sink
	const writers, each = 6, 400
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				frame := event(w*each+n, rand.N(3000)*rand.N(4))
				for !sink.Push(frame) {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	const requests = 300
	writing.Go(func() {
		for n := range requests {
			c.say(fmt.Sprintf(`{"type":"send_message","request_id":"%d","room_id":"%s","content":"%d"}`, n, room, n))
			if n%10 == 0 {
				_ = c.WriteControl(websocket.PingMessage, []byte("p"), time.Now().Add(time.Second))
			}
		}
	})
	last, replies := map[int]int{}, 0
	for range writers*each + requests {
		frame := c.next()
		if frame["type"] == "reply" {
			if frame["request_id"] != fmt.Sprint(replies) {
				t.Fatalf("reply %v, want %d", frame["request_id"], replies)
			}
			replies++
			continue
		}
		n := int(frame["seq"].(float64))
		if w := n / each; last[w] != n%each {
			t.Fatalf("writer %d: got its frame %d, want %d", w, n%each, last[w])
		}
		last[n/each]++
	}
	writing.Wait()
}

// TestReaderThatStopsDelaysNobody: its queue fills up, the others get everything; once it reads again the peer is told.
func TestReaderThatStopsDelaysNobody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	stopped := f.dial(t, "").greeted()
	reading := f.dial(t, "").greeted()
	slow, quick := f.rooms.peer(0), f.rooms.peer(1)
	const frames = 8000
	refused, accepted := 0, 0
	go func() {
		for n := range frames {
			for !quick.sink.Push(event(n, 4000)) {
				<-time.After(100 * time.Microsecond)
			}
		}
	}()
	for n := range frames {
		if slow.sink.Push(event(n, 4000)) {
			accepted++
		} else {
			refused++
		}
		if got := reading.next()["seq"]; got != float64(n) {
			t.Fatalf("got frame %v, want %d", got, n)
		}
	}
	if refused == 0 {
		t.Fatalf("all %d frames of 4 KB were taken for a socket that does not read", accepted)
	}
	for n := range accepted {
		if got := stopped.next()["seq"]; got != float64(n) {
			t.Fatalf("after the stall: got frame %v, want %d", got, n)
		}
	}
	slow.await(t, "drained")
	if !slow.sink.Push(event(1, 10)) {
		t.Fatal("refused after it has drained")
	}
	stopped.next()
}

// TestSocketsComeAndGoWithoutALeak: goleak looks at the goroutines at the end, the registry at the rest.
func TestSocketsComeAndGoWithoutALeak(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.listen(t)
	var clients sync.WaitGroup
	for n := range 40 {
		clients.Go(func() {
			for m := range 5 {
				c := f.dial(t, "")
				switch (n + m) % 4 {
				case 0:
					c.greeted()
					_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
					c.ending()
				case 1:
					c.greeted()
					c.say(`{"type":"send_message","room_id":"` + room + `","content":"bye"}`)
				case 2:
					_, _ = c.NetConn().Write([]byte{0x81})
				}
				_ = c.Close()
			}
		})
	}
	clients.Wait()
	eventually(t, "all gone", func() bool { return f.Stats().Open == 0 })
	for n := range 200 {
		f.rooms.peer(n).await(t, "closed")
	}
}

func TestDrainAnswersWhatIsUnderWayAndSaysGoodbye(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sends.gate = make(chan struct{})
	idle, busy := f.dial(t, "").greeted(), f.dial(t, "").greeted()
	busy.say(`{"type":"send_message","request_id":"last","room_id":"` + room + `","content":"x"}`)
	eventually(t, "the message under way", func() bool { return f.Stats().Received == 1 })
	f.rooms.peer(0).sink.Push(event(7, 10))
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		f.Drain(t.Context(), 10*time.Second)
	}()
	if got := idle.next()["seq"]; got != 7.0 {
		t.Fatalf("got %v, want what was queued", got)
	}
	for _, c := range []*client{idle, busy} {
		got := c.next()
		after, _ := got["reconnect_after_ms"].(float64)
		if got["type"] != "server.shutdown" || after < 500 || after > 5000 {
			t.Fatalf("got %v, want server.shutdown", got)
		}
	}
	idle.wantClose(closeGoingAway)
	close(f.sends.gate)
	if got := busy.next(); got["type"] != "reply" || got["request_id"] != "last" {
		t.Fatalf("got %v, want the reply", got)
	}
	busy.wantClose(closeGoingAway)
	<-drained
	if _, res, err := websocket.DefaultDialer.Dial(f.listen(t)+"/ws?token=good", nil); err == nil || res.StatusCode != 503 {
		t.Fatalf("an upgrade while draining: %v, want 503", err)
	}
}

func TestDrainCutsWhoDoesNotLeaveInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.dialPipe(t, "").greeted() // never reads on
		since := time.Now()
		f.Drain(t.Context(), 3*time.Second)
		wantAfter(t, since, 3*time.Second, 3*time.Second)
		if got := f.Stats().Open; got != 0 {
			t.Fatalf("%d sockets are still open", got)
		}
	})
}

func TestStatsCountWhatWasWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "")
	_, connected, err := c.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	frame := event(1, 100)
	f.rooms.peer(0).sink.Push(frame)
	c.next()
	_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
	c.ending()
	eventually(t, "gone", func() bool { return f.Stats().Open == 0 })
	got := f.Stats()
	bytes := int64(len(appendHeader(nil, finText, len(connected)))+len(connected)+len(frame.Bytes)) + 4
	if got.Accepted != 1 || got.Frames != 3 || got.Bytes != bytes || got.Writes != 3 || got.Closes[1000] != 1 || len(got.Closes) != 1 {
		t.Fatalf("got %+v, want 3 frames with %d bytes and one close 1000", got, bytes)
	}
}
