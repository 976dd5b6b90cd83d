package ws

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"pgregory.net/rapid"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// inRoom is a frame with a payload of about size bytes as a step of a room's log; seq is 0 for all but messages.
func inRoom(room domain.RoomID, seq, rev int64, size int) ports.Frame {
	f := event(int(rev), size)
	f.Room, f.Seq, f.Rev, f.Kind = room, seq, rev, domain.EventMessage
	if seq == 0 {
		f.Kind = domain.EventMessageEdited
	}
	return f
}

func noticeOf(n byte) ports.Frame {
	return Encoder{}.Notice(domain.Notification{ID: domain.NotificationID{n}, Topic: "t", Payload: []byte(`{}`)}, false)
}

// told is what a peer was told of, without what nobody looks at.
func told(frames []ports.Frame) (out []ports.Frame) {
	for _, f := range frames {
		out = append(out, ports.Frame{Room: f.Room, Seq: f.Seq, Rev: f.Rev, Notice: f.Notice})
	}
	return out
}

func at(room domain.RoomID, seq, rev int64) ports.Frame {
	return ports.Frame{Room: room, Seq: seq, Rev: rev}
}

// wantTold waits until the peer was told of exactly these.
func (p *fakePeer) wantTold(t *testing.T, want ...ports.Frame) {
	t.Helper()
	eventually(t, "the peer is told", func() bool { return len(p.written()) >= len(want) })
	if diff := cmp.Diff(want, told(p.written())); diff != "" {
		t.Fatalf("the peer was told (-want +got):\n%s", diff)
	}
}

func TestAutoAckTellsThePeerOfEventsThatWereWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "device_id=phone&ack=auto").greeted()
	p := f.rooms.peer(0)
	if got := p.client; !got.AutoAck || got.Device != "phone" {
		t.Fatalf("the fan-out was told of a client %+v", got)
	}
	again := Encoder{}.Again(domain.Message{Room: knownRoom, Seq: 9, FirstRev: 9})
	for _, frame := range []ports.Frame{
		inRoom(knownRoom, 1, 2, 10), {Bytes: Encoder{}.SyncComplete(ports.SyncReport{}).Bytes}, again, noticeOf(7), inRoom(knownRoom, 0, 3, 10),
	} {
		if !p.sink.Push(frame) {
			t.Fatal("refused")
		}
		c.next()
	}
	p.sink.Hint(typingHint())
	c.next()
	p.wantTold(t, at(knownRoom, 1, 2), ports.Frame{Notice: domain.NotificationID{7}}, at(knownRoom, 0, 3))
}

func TestWhoAcknowledgesThemselvesIsNotAcknowledgedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	p := f.rooms.peer(0)
	p.sink.Push(inRoom(knownRoom, 1, 2, 10))
	p.sink.Push(noticeOf(7))
	for range 2 {
		c.next()
	}
	c.say(`{"type":"ping"}`)
	c.next() // the writes before are settled
	if got := p.written(); p.client.AutoAck || len(got) > 0 {
		t.Fatalf("the peer was told of %v", told(got))
	}
}

// TestAutoAckOfAWriteIsOneARoom: what waited goes in one write, and of each room the last seq and the last rev count.
func TestAutoAckOfAWriteIsOneARoom(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "ack=auto").greeted()
		synctest.Wait()
		p := f.rooms.peer(0)
		other := domain.RoomID{5}
		p.sink.Push(inRoom(knownRoom, 1, 1, 10)) // is being written when the others come
		synctest.Wait()
		for _, frame := range []ports.Frame{
			inRoom(knownRoom, 2, 2, 10), inRoom(other, 8, 40, 10), noticeOf(1), inRoom(knownRoom, 3, 3, 10), noticeOf(2),
			inRoom(knownRoom, 0, 4, 10), inRoom(other, 9, 41, 10),
		} {
			p.sink.Push(frame)
		}
		for range 8 {
			c.next()
		}
		synctest.Wait()
		p.wantTold(t, at(knownRoom, 1, 1), at(knownRoom, 3, 4), at(other, 9, 41),
			ports.Frame{Notice: domain.NotificationID{1}}, ports.Frame{Notice: domain.NotificationID{2}})
	})
}

func TestAutoAckOfTheOwnMessageThatWaitsForItsReply(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "ack=auto").greeted()
		f.sends.gate = make(chan struct{})
		c.say(`{"type":"send_message","request_id":"1","room_id":"` + room + `","content":"x"}`)
		synctest.Wait()
		p := f.rooms.peer(0)
		p.sink.Push(messageOf("alice"))
		synctest.Wait()
		if got := p.written(); len(got) > 0 {
			t.Fatalf("told of %v while it waits", told(got))
		}
		close(f.sends.gate)
		c.next()
		c.next()
		synctest.Wait()
		p.wantTold(t, at(knownRoom, 1, 1))
	})
}

// TestClientThatStopsReadingIsAcknowledgedOnlyWhatTheKernelTook: the rest waits, is cut by the close, and is not told of.
func TestClientThatStopsReadingIsAcknowledgedOnlyWhatTheKernelTook(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "ack=auto").greeted()
	p := f.rooms.peer(0)
	s := f.session(t)
	last := int64(0)
	eventually(t, "the kernel takes no more, nor does the queue", func() bool {
		for p.sink.Push(inRoom(knownRoom, last+1, last+1, 16_000)) {
			last++
		}
		waits := s.queued()
		if !s.standsStill() || waits == 0 {
			return false
		}
		time.Sleep(100 * time.Millisecond) // the kernel's buffers may grow yet
		return s.standsStill() && s.queued() == waits
	})
	acked := p.written()
	waiting := int64(s.queued())
	if len(acked) == 0 || waiting == 0 {
		t.Fatalf("%d frames were acknowledged and %d wait: nothing was tested", len(acked), waiting)
	}
	// A frame of which the kernel has a part still waits.
	if got := acked[len(acked)-1].Seq; got != last-waiting {
		t.Errorf("acknowledged up to %d of %d with %d in the queue", got, last, waiting)
	}
	// The end: the queue is cut to the rest of the frame begun.
	p.sink.Close(closeToken, "revoked")
	read := int64(0)
	for {
		_, _, err := c.ReadMessage()
		var closed *websocket.CloseError
		if errors.As(err, &closed) && closed.Code == closeToken {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		read++
	}
	_ = c.Close()
	eventually(t, "gone", func() bool { return f.Stats().Open == 0 })
	acked = p.written()
	if got := acked[len(acked)-1].Seq; got != read || read >= last {
		t.Errorf("acknowledged up to %d; %d of %d frames were read", got, read, last)
	}
}

// session is the only one there is.
func (f *fixture) session(t testing.TB) *Session {
	t.Helper()
	for b := range buckets {
		if due, _ := f.registry.bucket(b, nil); len(due) > 0 {
			return due[0]
		}
	}
	t.Fatal("there is no session")
	return nil
}

func (s *Session) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.len()
}

// standsStill reports whether no write has come to anything for a while.
func (s *Session) standsStill() bool {
	state := func() [2]int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return [2]int{s.out.bytes, s.out.len()}
	}
	before := state()
	<-time.After(100 * time.Millisecond)
	return before == state()
}

// TestLostConnectionAcknowledgesNothingMore: what waits, or is half written, when the connection ends comes again.
func TestLostConnectionAcknowledgesNothingMore(t *testing.T) {
	for name, end := range map[string]func(c *client, p *fakePeer){
		"the client hangs up":       func(c *client, _ *fakePeer) { _ = c.Close() },
		"half a frame is read":      func(c *client, _ *fakePeer) { readSome(c, 50); _ = c.Close() },
		"no progress for 10 s":      func(*client, *fakePeer) { time.Sleep(30 * time.Second) },
		"the client says goodbye":   func(c *client, _ *fakePeer) { sayGoodbye(c); time.Sleep(30 * time.Second) },
		"its credential is revoked": func(_ *client, p *fakePeer) { p.sink.Close(closeToken, "revoked"); time.Sleep(30 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				c := f.dialPipe(t, "ack=auto").greeted()
				synctest.Wait()
				p := f.rooms.peer(0)
				for n := int64(1); n <= 20; n++ {
					p.sink.Push(inRoom(knownRoom, n, n, 100))
					p.sink.Push(noticeOf(byte(n)))
				}
				synctest.Wait()
				end(c, p)
				_ = c.Close()
				synctest.Wait()
				if got := p.written(); len(got) > 0 {
					t.Errorf("told of %v", told(got))
				}
				if got := f.Stats().Open; got != 0 {
					t.Errorf("%d sockets are open", got)
				}
			})
		})
	}
}

func readSome(c *client, n int) { _, _ = c.NetConn().Read(make([]byte, n)) }

func sayGoodbye(c *client) {
	go func() {
		_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Minute))
	}()
}

// TestRefusedFramesAreNotAcknowledged: what the queue did not take is the fan-out's to send again.
func TestRefusedFramesAreNotAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "ack=auto").greeted()
		p := f.rooms.peer(0)
		accepted := int64(0)
		for p.sink.Push(inRoom(knownRoom, accepted+1, accepted+1, 20)) {
			accepted++
			synctest.Wait()
		}
		for n := range int64(50) {
			p.sink.Push(inRoom(knownRoom, accepted+1+n, accepted+1+n, 20))
		}
		for range accepted {
			c.next()
		}
		synctest.Wait()
		got := p.written()
		if last := got[len(got)-1]; accepted != pushFrames || last.Seq != accepted || last.Rev != accepted {
			t.Fatalf("%d frames were taken, and acknowledged up to %+v", accepted, at(knownRoom, last.Seq, last.Rev))
		}
	})
}

// TestPeerIsToldBeforeTheGoodbyeIsAnswered: a client that reads, closes and comes back finds its marks where it left.
func TestPeerIsToldBeforeTheGoodbyeIsAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 50 {
		c := f.dial(t, "ack=auto").greeted()
		p := f.rooms.peer(n)
		p.sink.Push(inRoom(knownRoom, 3, 4, 10))
		c.next()
		_ = c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		c.wantClose(1000)
		p.await(t, "closed")
		if diff := cmp.Diff([]ports.Frame{at(knownRoom, 3, 4)}, told(p.written())); diff != "" {
			t.Fatalf("socket %d (-want +got):\n%s", n, diff)
		}
	}
}

// TestAutoAckFollowsTheQueue: whatever is added, written and cut in whatever steps, exactly what has left the queue in
// whole is handed out, each event once, but for those merged.
func TestAutoAckFollowsTheQueue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &Session{auto: &autoAck{}}
		var queued, got []int64 // revs; 0 of frames that do not count
		want := []int64{}
		rev := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "do") {
			case 0, 1, 2:
				frame := ports.Frame{Bytes: make([]byte, rapid.IntRange(1, 50).Draw(t, "size"))}
				if rapid.Bool().Draw(t, "counts") {
					rev++
					frame.Rev, frame.Room = rev, domain.RoomID{byte(rev), byte(rev >> 8)} // never merged
				}
				s.auto.add(s.out.len(), &frame)
				s.out.add(frame.Bytes)
				queued = append(queued, frame.Rev)
			case 3, 4:
				frames := s.out.written(rapid.IntRange(0, s.out.bytes).Draw(t, "written"))
				for _, r := range queued[:frames] {
					if r > 0 {
						want = append(want, r)
					}
				}
				queued = queued[frames:]
				got = append(got, takeRevs(s.auto, frames)...)
			default:
				s.out.add([]byte("close"))
				begun := s.out.offset > 0
				s.keepLast()
				if begun && len(queued) > 0 {
					queued = queued[:1:1]
				} else {
					queued = nil
				}
				queued = append(queued, 0)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		s.drop()
		if s.auto.list != nil {
			t.Fatal("a queue given up holds events")
		}
	})
}

func takeRevs(a *autoAck, frames int) (revs []int64) {
	done := a.through(frames)
	if done == nil {
		return nil
	}
	defer done.giveBack()
	done.merge()
	for _, e := range done.events {
		revs = append(revs, e.Rev)
	}
	return revs
}

func TestAutoAckOfAFrameComesWithItsLastByte(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "ack=auto").greeted()
		p := f.rooms.peer(0)
		frame := inRoom(knownRoom, 1, 1, 3*blockingChunk) // several writes
		p.sink.Push(frame)
		if _, err := io.CopyN(io.Discard, c.NetConn(), int64(len(frame.Bytes)-1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := p.written(); len(got) > 0 {
			t.Fatalf("told of %v with a byte missing", told(got))
		}
		readSome(c, 1)
		synctest.Wait()
		p.wantTold(t, at(knownRoom, 1, 1))
	})
}

// TestWriteThatOutlivedItsConnectionAcknowledgesNothing: the bytes were taken, and nobody is there to read them.
func TestWriteThatOutlivedItsConnectionAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{false, true} {
		p := &fakePeer{}
		s := &Session{h: newHandler(&Handler{}), auto: &autoAck{}, peer: p, writing: true}
		frame := inRoom(knownRoom, 1, 1, 10)
		s.Push(frame)
		s.dead = dead
		if s.wrote(len(frame.Bytes)) {
			t.Errorf("dead %v: there is more to write", dead)
		}
		if got := len(p.written()) == 0; got != dead {
			t.Errorf("dead %v: told of %v", dead, told(p.written()))
		}
	}
}
