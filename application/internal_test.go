package application

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestSignalsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var want []signal
		var data []byte
		for range rapid.IntRange(0, 5).Draw(t, "signals") {
			s := signal{tenant: domain.TenantID(rapid.String().Draw(t, "tenant"))}
			copy(s.Room[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "room"))
			s.Rev, s.Seq = rapid.Int64Min(0).Draw(t, "rev"), rapid.Int64Min(0).Draw(t, "seq")
			s.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
			s.User = domain.UserID(rapid.String().Draw(t, "user"))
			for _, u := range rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "users") {
				s.users = append(s.users, domain.UserID(u))
			}
			s.number = rapid.Int64Min(0).Draw(t, "number")
			s.Bytes = rapid.SliceOf(rapid.Byte()).Draw(t, "frame")
			want = append(want, s)
			data = appendSignal(data, s)
		}
		var got []signal
		for rest := data; len(rest) > 0; {
			s, after, err := readSignal(rest)
			if err != nil {
				t.Fatal(err)
			}
			got, rest = append(got, s), after
		}
		if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzSignalReaderNeverPanics(f *testing.F) {
	f.Add(appendSignal(nil, signal{tenant: "t", users: []domain.UserID{"u"}, Frame: ports.Frame{Kind: domain.EventMessage, Bytes: []byte("x")}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) > 0; {
			var err error
			if _, rest, err = readSignal(rest); err != nil {
				return
			}
		}
	})
}

func TestCursorsRoundTripAndRefuseNonsense(t *testing.T) {
	t.Parallel()
	want := []domain.Position{{Room: domain.RoomID{1}, Rev: 7}, {Room: domain.RoomID{2}, Rev: 1 << 40}}
	epoch, got, err := readCursor(writeCursor("e1", want))
	if err != nil || epoch != "e1" || !cmp.Equal(want, got) {
		t.Errorf("got %s %v %v", epoch, got, err)
	}
	many := make([]domain.Position, 2*domain.MaxResumeRooms)
	if _, got, err = readCursor(writeCursor("e1", many)); err != nil || len(got) != domain.MaxResumeRooms {
		t.Errorf("a cursor holds %d rooms, %v", len(got), err)
	}
	for _, bad := range []string{"", "!", "AA", "AQ", "AQVl", "AQJlMQE"} {
		if _, _, err := readCursor(bad); err == nil {
			t.Errorf("cursor %q accepted", bad)
		}
	}
}

func stepAt(rev int64) signal { return signal{Frame: ports.Frame{Rev: rev, Bytes: make([]byte, 1000)}} }

func TestTailAnswersOnlyWhereItReachesBack(t *testing.T) {
	t.Parallel()
	var tl tail
	total := 0
	for rev := int64(1); rev <= 250; rev++ {
		total += tl.add(stepAt(rev))
	}
	held := tl.steps[0].Rev
	if total != tl.bytes || tl.bytes > tailBytes || len(tl.steps) > tailFrames {
		t.Errorf("holds %d bytes (counted %d) in %d frames", tl.bytes, total, len(tl.steps))
	}
	for _, c := range []struct {
		after int64
		n     int
		ok    bool
	}{{250, 0, true}, {249, 1, true}, {held - 1, int(251 - held), true}, {held - 2, 0, false}, {0, 0, false}} {
		frames, ok := tl.after(c.after)
		if len(frames) != c.n || ok != c.ok || (c.n > 0 && frames[0].Rev != c.after+1) {
			t.Errorf("after %d: %d frames, %v, want %d, %v", c.after, len(frames), ok, c.n, c.ok)
		}
	}
	if tl.reset() != -total || tl.bytes != 0 {
		t.Error("a reset tail holds bytes")
	}
	if _, ok := tl.after(250); ok {
		t.Error("an empty tail claims to reach back")
	}
}

func TestCommitQueueKeepsOrderAndHoldsBackTheWriter(t *testing.T) {
	t.Parallel()
	q := newCommitQueue(10)
	var writer sync.WaitGroup
	writer.Go(func() {
		for rev := int64(1); rev <= 1000; rev++ {
			q.put([]domain.Event{{Rev: rev}})
		}
		q.close()
	})
	next := int64(1)
	for next <= 1000 {
		events := q.take()
		if len(events) > 10 {
			t.Fatalf("%d events waited, bound 10", len(events))
		}
		for _, e := range events {
			if e.Rev != next {
				t.Fatalf("got rev %d, want %d", e.Rev, next)
			}
			next++
		}
		if events == nil {
			break
		}
	}
	writer.Wait()
	q.put([]domain.Event{{Rev: 1}}) // does not block or deliver
	if q.take() != nil {
		t.Error("a closed queue gave events")
	}
}

func TestAnIdempotencyKeyIsBusyUntilDone(t *testing.T) {
	t.Parallel()
	f := newInFlight()
	key := &domain.Idempotency{User: "u", Key: [32]byte{1}}
	done, err := f.enter("t", key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.enter("t", key); err == nil {
		t.Error("a key under way was claimed again")
	}
	if _, err := f.enter("other", key); err != nil {
		t.Error("another tenant's key is in the way")
	}
	done()
	if _, err := f.enter("t", key); err != nil {
		t.Error("a finished key is still busy")
	}
}
