package ws

import (
	"bytes"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// TestQueueIsAByteStream: whatever is added, joined and written in whatever steps, what comes out is what went in.
func TestQueueIsAByteStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var in, out, buf []byte
		frames, through := 0, 0
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				frame := bytes.Repeat([]byte{byte(step)}, rapid.IntRange(1, 50).Draw(t, "size"))
				q.add(frame)
				in = append(in, frame...)
				frames++
				continue
			}
			buf = q.join(buf[:0], rapid.IntRange(1, 120).Draw(t, "limit"))
			n := rapid.IntRange(0, len(buf)).Draw(t, "written")
			out = append(out, buf[:n]...)
			through += q.written(n)
		}
		if q.bytes != len(in)-len(out) || q.len() != frames-through {
			t.Fatalf("the queue says %d bytes and %d frames, want %d and %d", q.bytes, q.len(), len(in)-len(out), frames-through)
		}
		out = q.join(out, 1<<20)
		if !bytes.Equal(in, out) {
			t.Fatalf("got %d bytes, want the %d that went in", len(out), len(in))
		}
		q.written(q.bytes)
		if q.list != nil || q.bytes != 0 || q.offset != 0 {
			t.Fatalf("an empty queue holds %+v", q)
		}
	})
}

func TestKeepLastKeepsAFrameThatIsBegun(t *testing.T) {
	t.Parallel()
	for written, want := range []string{"!", "irst!", "rst!", "st!", "t!", "!", "econd!", "cond!"} {
		var q queue
		for _, frame := range []string{"first", "second", "third", "!"} {
			q.add([]byte(frame))
		}
		q.written(written)
		for range 2 {
			q.keepLast()
			if got := string(q.join(nil, 100)); got != want || q.bytes != len(want) {
				t.Errorf("after %d bytes: got %q and %d bytes, want %q", written, got, q.bytes, want)
			}
		}
	}
	var q queue
	q.keepLast()
	q.add([]byte("last"))
	q.written(1)
	q.keepLast()
	if got := string(q.join(nil, 100)); got != "ast" || q.bytes != 3 {
		t.Errorf("got %q and %d bytes, want the rest of the only frame", got, q.bytes)
	}
}

func TestPushRefusesBeyond256FramesUntilTheQueueHasEmptied(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		p := f.rooms.peer(0)
		<-p.events // start
		accepted := 0
		for p.sink.Push(event(accepted, 20)) {
			accepted++
			synctest.Wait() // the writer holds the first in its hands: frames stay queued until written
		}
		if accepted != pushFrames {
			t.Fatalf("%d frames were accepted, want %d", accepted, pushFrames)
		}
		for n := range accepted {
			if n < accepted/2 && p.sink.Push(event(0, 20)) {
				t.Fatalf("accepted although %d frames of the overflow still wait", accepted-n)
			}
			c.next()
		}
		synctest.Wait()
		if got := <-p.events; got != "drained" {
			t.Fatalf("the peer was told %q, want drained", got)
		}
		if !p.sink.Push(event(1, 20)) {
			t.Fatal("refused although the queue has emptied")
		}
		c.next()
		synctest.Wait()
		select {
		case got := <-p.events:
			t.Fatalf("the peer was told %q once more", got)
		default:
		}
	})
}

func TestPushRefusesBeyond256KiB(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.dialPipe(t, "").greeted()
		p := f.rooms.peer(0)
		bytes := 0
		for frame := event(1, 10_000); p.sink.Push(frame); bytes += len(frame.Bytes) {
			synctest.Wait()
		}
		if bytes > pushBytes || bytes < pushBytes-20_000 {
			t.Fatalf("%d bytes were accepted, want about %d", bytes, pushBytes)
		}
	})
}

func TestFrameLargerThanTheQueueGoesAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		p := f.rooms.peer(0)
		synctest.Wait()
		if !p.sink.Push(event(1, 2*pushBytes)) {
			t.Fatal("refused by an empty queue")
		}
		if p.sink.Push(event(2, 10)) {
			t.Fatal("accepted on top of it")
		}
		if got := c.next()["content"].(string); len(got) != 2*pushBytes {
			t.Fatalf("%d bytes arrived, want %d", len(got), 2*pushBytes)
		}
	})
}

// TestFloodOfRequestsThatNobodyReadsGrowsNoMemory: beyond the reserve the socket is not read any more.
func TestFloodOfRequestsThatNobodyReadsGrowsNoMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		go func() {
			for c.WriteMessage(1, []byte(`{"type":"send_message","request_id":"r","room_id":"`+room+`","content":"x"}`)) == nil {
			}
		}()
		synctest.Wait()
		f.sends.mu.Lock()
		handled := len(f.sends.contents)
		f.sends.mu.Unlock()
		if want := pushFrames + reserveFrames; handled != want {
			t.Fatalf("%d requests were handled with nobody reading the replies, want %d", handled, want)
		}
		for range handled {
			c.next()
		}
		synctest.Wait()
		f.sends.mu.Lock()
		defer f.sends.mu.Unlock()
		if len(f.sends.contents) <= handled {
			t.Fatal("the socket is not read on although there is room again")
		}
	})
}
