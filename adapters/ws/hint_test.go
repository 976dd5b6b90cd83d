package ws

import (
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// idle is a session that nobody writes: what is queued stays.
func idle(t *testing.T) *Session {
	t.Helper()
	return &Session{h: newHandler(&Handler{})}
}

func typingHint() ports.Frame {
	return Encoder{}.Hint(domain.Hint{Kind: domain.HintTyping, Room: knownRoom, User: "bob", State: domain.TypingStarted})
}

func TestHintsAreDroppedWhenHalfTheQueueIsTaken(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]ports.Frame{"frames": event(1, 10), "bytes": event(1, 10_000)} {
		s := idle(t)
		hints := 0
		for {
			before := s.out.len()
			taken := s.Hint(typingHint())
			if taken != (s.out.len() > before) {
				t.Fatalf("%s: a hint was taken: %v, and %d frames wait after %d", name, taken, s.out.len(), before)
			}
			if !taken {
				break
			}
			hints++
			if !s.Push(fill) {
				t.Fatalf("%s: an event was refused before a hint", name)
			}
		}
		if s.out.len() > hintFrames || s.out.bytes > hintBytes+len(fill.Bytes) || s.out.len() < hintFrames && s.out.bytes < hintBytes-2*len(fill.Bytes) {
			t.Errorf("%s: hints ended at %d frames with %d bytes", name, s.out.len(), s.out.bytes)
		}
		if got := s.h.Stats(); s.overflowed || got.Dropped != 1 || hints == 0 {
			t.Errorf("%s: overflowed %v, %+v after %d hints", name, s.overflowed, got, hints)
		}
		if !s.Push(fill) {
			t.Errorf("%s: after a dropped hint an event was refused", name)
		}
	}
}

func TestSocketThatIsBeingCaughtUpGetsNoHints(t *testing.T) {
	t.Parallel()
	s := idle(t)
	for s.Push(event(1, 10_000)) {
	}
	s.out.drop()
	if s.Hint(typingHint()) || s.out.len() != 0 || s.h.Stats().Dropped != 1 {
		t.Fatalf("%d frames are queued, %+v", s.out.len(), s.h.Stats())
	}
}

func TestHintsReachAnOpenSocketAndNotAClosingOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	sink := f.rooms.peer(0).sink
	if !sink.Hint(typingHint()) {
		t.Error("an open socket with an empty queue took no hint")
	}
	if got := c.next(); got["type"] != "typing" || got["user_id"] != "bob" {
		t.Fatalf("got %v, want the hint", got)
	}
	sink.Close(closePolicy, "enough")
	if sink.Hint(typingHint()) {
		t.Error("a closing socket took a hint")
	}
	if _, raw, err := c.ReadMessage(); err == nil {
		t.Fatalf("got %s after the close", raw)
	}
	if got := f.Stats().Dropped; got != 0 {
		t.Errorf("%d hints were counted as dropped", got)
	}
}
