package application

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// sayingEncoder writes the parts of streams for people.
type sayingEncoder struct{ ports.Encoder }

func (sayingEncoder) StreamStart(p domain.StreamPart) ports.Frame {
	return ports.Frame{Bytes: fmt.Appendf(nil, "start %d %q", p.Attempt, p.Text)}
}

func (sayingEncoder) StreamDelta(_ domain.StreamPart, points int, delta string) ports.Frame {
	return ports.Frame{Bytes: fmt.Appendf(nil, "delta %d+%s", points, delta)}
}

func (sayingEncoder) StreamError(p domain.StreamPart) ports.Frame {
	return ports.Frame{Bytes: fmt.Appendf(nil, "error %s %q", p.Failed, p.Text)}
}

func (sayingEncoder) Event(e domain.Event) ports.Frame {
	return ports.Frame{Bytes: fmt.Appendf(nil, "%s@%d", e.Kind, e.Rev)}
}

// fickleSink takes everything unless it is full.
type fickleSink struct {
	full bool
	got  []string
}

func (s *fickleSink) Push(f ports.Frame) bool {
	if !s.full {
		s.got = append(s.got, string(f.Bytes))
	}
	return !s.full
}

func (s *fickleSink) Hint(f ports.Frame) bool { return s.Push(f) }
func (s *fickleSink) Close(int, string)       {}

// stalls is a room of which one socket sees what a test tells of an answer, or fails to.
type stalls struct {
	f    *Fanout
	room *liveRoom
	peer *Peer
	sink *fickleSink
}

func openStalls() *stalls {
	s := &stalls{sink: &fickleSink{}, room: &liveRoom{last: 5}}
	s.f = &Fanout{enc: sayingEncoder{}, bus: inproc.NewBus(), log: slog.New(slog.DiscardHandler), catchups: newCatchupQueue(), clock: system.Clock{}, started: time.Now()}
	s.peer = &Peer{f: s.f, sink: s.sink, rooms: map[domain.RoomID]*liveRoom{s.room.id: s.room}}
	s.room.seats = []seat{{peer: s.peer, state: live}}
	return s
}

// tell tells the room a part of the answer; nil begins the attempt.
func (s *stalls) tell(attempt, offset int, text string) {
	s.room.stream(s.f, newStreamSignal(s.part(attempt, offset, text)))
}

func (s *stalls) part(attempt, offset int, text string) domain.StreamPart {
	return domain.StreamPart{Message: domain.MessageID{1}, Bot: "bot", Attempt: attempt, Since: 5, Offset: offset, Text: text, Begin: offset == 0 && text == ""}
}

// drain has the socket take what it has missed, as the catch-up workers do.
func (s *stalls) drain() {
	s.sink.full = false
	s.peer.run(context.Background())
}

// reads has the socket caught up from a store that is a step ahead of the room: its seat waits there.
func (s *stalls) reads() {
	s.room.seats[0].state, s.room.seats[0].pos = behind, s.room.last+1
	s.peer.addTask(task{room: s.room})
	s.drain()
}

// hears tells the room the next step of its log.
func (s *stalls) hears(kind domain.EventKind, users ...domain.UserID) {
	rev := s.room.last + 1
	s.room.deliver(s.f, signal{users: users, Frame: ports.Frame{Rev: rev, Kind: kind, Bytes: fmt.Appendf(nil, "%s@%d", kind, rev)}})
}

// sweeps has the room hear from the store alone that it was removed, at rev.
func (s *stalls) sweeps(rev int64) {
	s.room.compare(rev, false)
	s.f.repairIfBehind(s.room)
}

func (s *stalls) saw(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(s.sink.got, want) {
		t.Errorf("was shown %q, want %q", s.sink.got, want)
	}
}

// TestASlowSocketIsShownTheNextAttemptFromItsStart: the run has died before anything of the first was kept, so that the next
// has nothing of its text.
func TestASlowSocketIsShownTheNextAttemptFromItsStart(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"Hi", "an answer that is longer than the first one has come to be"} {
		s := openStalls()
		s.tell(1, 0, "")
		s.tell(1, 0, "half an answer")
		s.sink.full = true
		s.tell(2, 0, "")
		s.drain()
		s.tell(2, 0, answer)
		s.saw(t, `start 1 ""`, "delta 0+half an answer", `start 2 ""`, "delta 0+"+answer)
	}
}

// TestASocketThatIsCaughtUpDuringTheNextAttemptIsShownItsStart, also when that was told before and after it fell behind.
func TestASocketThatIsCaughtUpDuringTheNextAttemptIsShownItsStart(t *testing.T) {
	t.Parallel()
	s := openStalls()
	s.tell(1, 0, "")
	s.tell(1, 0, "half an answer")
	s.sink.full = true
	s.tell(2, 0, "")
	s.tell(2, 0, "Hi")
	s.drain()
	s.tell(2, 2, " there")
	s.saw(t, `start 1 ""`, "delta 0+half an answer", `start 2 "Hi"`, "delta 2+ there")
}

// TestAnAttemptThatAnotherHasFollowedSaysNothingMore: its run was paused, goes on and tells all of it, and then that it failed.
func TestAnAttemptThatAnotherHasFollowedSaysNothingMore(t *testing.T) {
	t.Parallel()
	s := openStalls()
	s.tell(1, 0, "")
	s.tell(2, 0, "")
	s.tell(2, 0, "The new")
	old := s.part(1, 0, "what the run that was paused had said")
	s.room.stream(s.f, newStreamSignal(old))
	old.Begin = true
	s.room.stream(s.f, newStreamSignal(old))
	old.Begin, old.Failed = false, domain.StreamTimeout
	s.room.stream(s.f, newStreamSignal(old))
	s.tell(2, 7, " answer")
	s.saw(t, `start 1 ""`, `start 2 ""`, "delta 0+The new", "delta 7+ answer")
}

// TestWhatAnotherNodeSaysOfAnAnswerIsNoDanger, however little sense it makes.
func TestWhatAnotherNodeSaysOfAnAnswerIsNoDanger(t *testing.T) {
	t.Parallel()
	s := openStalls()
	s.tell(1, 0, "")
	s.tell(1, 0, "half an answer")
	for _, offset := range []int{math.MinInt, -1, 3, math.MaxInt} {
		s.tell(1, offset, "nonsense")
	}
	delete(s.room.streams, domain.MessageID{1}) // it is begun with the attempt that was shown, of which nothing is known any more
	s.sink.full = true
	s.tell(1, 0, "")
	s.drain()
	s.tell(1, 0, "Hi")
	s.saw(t, `start 1 ""`, "delta 0+half an answer", `start 1 ""`, "delta 0+Hi")
}

// TestAnEndComesBeforeTheRemoval of the room to a socket that took neither then, with what it was sent and nothing that came
// later.
func TestAnEndComesBeforeTheRemoval(t *testing.T) {
	t.Parallel()
	removal := signal{Frame: ports.Frame{Rev: 6, Kind: domain.EventRoomRemoved, Bytes: []byte("room.removed@6")}}
	t.Run("in its turn", func(t *testing.T) {
		t.Parallel()
		s := openStalls()
		s.tell(1, 0, "")
		s.tell(1, 0, "half")
		s.sink.full = true
		s.tell(1, 4, " an answer")
		s.room.deliver(s.f, removal)
		s.drain()
		s.saw(t, `start 1 ""`, "delta 0+half", `error REMOVED "half"`, "room.removed@6")
	})
	t.Run("when it had ended before", func(t *testing.T) {
		t.Parallel()
		s := openStalls()
		s.tell(1, 0, "")
		s.sink.full = true
		failed := s.part(1, 0, "half an answer")
		failed.Failed = domain.StreamTimeout
		s.room.stream(s.f, newStreamSignal(failed))
		s.room.deliver(s.f, removal)
		s.drain()
		s.saw(t, `start 1 ""`, `error REMOVED ""`, "room.removed@6")
	})
}

// TestAFailureComesToASocketThatTookNothingThen, once.
func TestAFailureComesToASocketThatTookNothingThen(t *testing.T) {
	t.Parallel()
	s := openStalls()
	s.tell(1, 0, "")
	s.sink.full = true
	failed := s.part(1, 0, "half an answer")
	failed.Failed = domain.StreamTimeout
	s.room.stream(s.f, newStreamSignal(failed))
	s.drain()
	s.drain()
	s.saw(t, `start 1 ""`, `error TIMEOUT "half an answer"`)
}

// TestASocketThatHasReadAheadGoesOnWithTheAnswerOnceItsNodeHasHeardAsMuch, whatever it was that the node heard.
func TestASocketThatHasReadAheadGoesOnWithTheAnswerOnceItsNodeHasHeardAsMuch(t *testing.T) {
	t.Parallel()
	for kind, users := range map[domain.EventKind][]domain.UserID{
		domain.EventMessage: nil, domain.EventMemberUpdated: {"bob"}, domain.EventMemberRemoved: {"bob"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := openStalls()
			s.tell(1, 0, "")
			s.reads()
			s.tell(1, 0, "half") // the socket gets it with what follows
			s.hears(kind, users...)
			s.tell(1, 4, " an answer")
			failed := s.part(1, 0, "half an answer")
			failed.Failed = domain.StreamTimeout
			s.room.stream(s.f, newStreamSignal(failed))
			s.saw(t, `start 1 ""`, "delta 0+half an answer", `error TIMEOUT "half an answer"`)
		})
	}
}

// TestNothingOfAnAnswerFollowsTheRemovalThatTheSweepTells a socket that waits for its node to hear as much as it has read.
func TestNothingOfAnAnswerFollowsTheRemovalThatTheSweepTells(t *testing.T) {
	t.Parallel()
	for _, at := range []int64{7, 0} { // 0: the store does not know any more where
		s := openStalls()
		s.reads()
		s.tell(1, 0, "")
		s.tell(1, 0, "half an answer")
		s.sweeps(at)
		s.drain()
		s.saw(t, fmt.Sprintf("room.removed@%d", max(at, 6)))
	}
}

// TestWhateverNodesSayOfAnAnswerASocketIsShownOneThatHolds: offsets that fit what came before, an end once, and that of what
// had begun; however many runs speak at once, whenever the socket takes nothing or has read ahead, and however the removal of
// the room is heard of.
func TestWhateverNodesSayOfAnAnswerASocketIsShownOneThatHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := openStalls()
		readsAt, hearsAt := rapid.IntRange(0, 40).Draw(t, "reads ahead at"), rapid.IntRange(0, 40).Draw(t, "hears at")
		hears := func() {
			s.drain()
			s.hears(domain.EventMemberUpdated, "bob")
		}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			if i == readsAt && s.room.last == 5 {
				s.drain()
				s.reads()
			}
			if i == hearsAt {
				hears()
			}
			if rapid.Bool().Draw(t, "drained") {
				s.drain()
			} else {
				s.sink.full = rapid.Bool().Draw(t, "full")
			}
			part := s.part(rapid.IntRange(1, 3).Draw(t, "attempt"), rapid.IntRange(-1, 12).Draw(t, "offset"), rapid.StringMatching("[a-c]{0,6}").Draw(t, "text"))
			part.Begin = rapid.Bool().Draw(t, "begin")
			part.Since = rapid.Int64Range(0, 6).Draw(t, "since")
			if rapid.IntRange(0, 30).Draw(t, "fails") == 0 {
				part.Failed = domain.StreamTimeout
			}
			s.room.stream(s.f, newStreamSignal(part))
		}
		if rapid.Bool().Draw(t, "heard") {
			if s.room.seats[0].state == waiting {
				hears()
			}
			s.hears(domain.EventRoomRemoved)
		} else {
			s.drain()
			s.sweeps(rapid.SampledFrom([]int64{0, 7}).Draw(t, "removed at"))
		}
		s.drain()
		open, points := false, 0
		for i, frame := range s.sink.got {
			var attempt, offset int
			var text string
			switch {
			case scan(frame, "start %d %q", &attempt, &text):
				open, points = true, len(text)
			case scan(frame, "delta %d+%s", &offset, &text):
				if !open || offset != points {
					t.Fatalf("frame %d of %q does not fit", i, s.sink.got)
				}
				points += len(text)
			case strings.HasPrefix(frame, "error"):
				if !open {
					t.Fatalf("frame %d of %q ends what is not open", i, s.sink.got)
				}
				open = false
			}
		}
		if open || !strings.HasPrefix(s.sink.got[len(s.sink.got)-1], "room.removed@") {
			t.Fatalf("%q does not end", s.sink.got)
		}
	})
}

func scan(frame, format string, into ...any) bool {
	n, err := fmt.Sscanf(frame, format, into...)
	return err == nil && n == len(into)
}
