package application_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// namingEncoder writes parts of streams with all there is to know of them.
type namingEncoder struct{ plainEncoder }

// streamPart is what such a frame says.
type streamPart struct {
	Attempt, Points int
	Text, Code      string
}

func namedFrame(p domain.StreamPart, kind domain.EventKind, part streamPart) ports.Frame {
	raw, err := json.Marshal(part)
	if err != nil {
		panic(err)
	}
	return ports.Frame{Room: p.Room, Kind: kind, Stream: p.Message, Bytes: raw}
}

func (namingEncoder) StreamStart(p domain.StreamPart) ports.Frame {
	return namedFrame(p, "message.stream.start", streamPart{Attempt: p.Attempt, Text: p.Text})
}

func (namingEncoder) StreamDelta(p domain.StreamPart, points int, delta string) ports.Frame {
	return namedFrame(p, "message.stream.delta", streamPart{Points: points, Text: delta})
}

func (namingEncoder) StreamError(p domain.StreamPart) ports.Frame {
	return namedFrame(p, "message.stream.error", streamPart{Code: string(p.Failed), Text: p.Text})
}

// heldBus brings what others publish after a while that differs, in the order of each channel.
type heldBus struct {
	ports.Bus
	most time.Duration
}

func (b heldBus) Subscribe(channel string, deliver func(ports.Signal)) (cancel func(), err error) {
	queue, ended := make(chan ports.Signal, 10_000), make(chan struct{})
	go func() {
		defer close(ended)
		for s := range queue {
			time.Sleep(rand.N(b.most))
			deliver(s)
		}
	}()
	stop, err := b.Bus.Subscribe(channel, func(s ports.Signal) { queue <- s })
	return func() {
		stop()
		close(queue)
		<-ended
	}, err
}

// deafBus brings orders to runs late, as if they were lost: the runs find them in the store before.
type deafBus struct{ ports.Bus }

func (b deafBus) Subscribe(channel string, deliver func(ports.Signal)) (cancel func(), err error) {
	if channel != "runs" {
		return b.Bus.Subscribe(channel, deliver)
	}
	return heldBus{b.Bus, time.Second}.Subscribe(channel, deliver)
}

// annex is another node over the same store: what happens there it hears of over the bus alone.
func (p *theatre) annex(bus ports.Bus) *hall {
	ids, clock, log := system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler)
	h := &hall{post: p.post, delivery: application.NewDelivery(p.store, p.hints, clock, log)}
	presence := application.NewPresence(p.store, inproc.NewPresence(), bus, namingEncoder{}, ids, clock, log)
	h.fanout = application.NewFanout(p.store, p.store, bus, namingEncoder{}, h.delivery, presence, p.hints,
		application.NewUsage(p.store, clock, log), p.identity, ids, clock, log,
		application.FanoutConfig{MaxPerUser: 100, Retry: domain.Retry{Max: 1, Interval: time.Hour}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{h.fanout.Run, h.delivery.Run, presence.Run} {
		running.Go(func() { _ = run(ctx) })
	}
	h.stopHall = func() {
		cancel()
		running.Wait()
	}
	return h
}

// watcher is a socket that counts what was not given to it because it took nothing.
type watcher struct {
	*socket
	name   string
	from   int64  // the room's position when it came
	gone   bool   // it went before the end
	missed int    // frames that were not given to it in their turn; guarded by socket.mu
	halt   func() // reads no more by itself
}

// Push takes an event as long as there is room.
func (w *watcher) Push(f ports.Frame) bool { return w.count(w.socket.Push(f)) }

// Hint takes no others than parts of streams.
func (w *watcher) Hint(f ports.Frame) bool {
	return f.Kind != "message.stream.delta" || w.count(w.socket.Hint(f))
}

func (w *watcher) count(taken bool) bool {
	if !taken {
		w.mu.Lock()
		w.missed++
		w.mu.Unlock()
	}
	return taken
}

// watch connects a user. With every above zero the socket takes a frame at a time, as long after the one before at most.
func (h *hall) watch(user string, device domain.DeviceID, capacity int, every time.Duration) *watcher {
	w := &watcher{socket: &socket{capacity: capacity, arrived: make(chan struct{}, 1)}, name: user + " " + string(device)}
	peer, err := h.fanout.Connect(h.t.Context(), h.as(user), application.Client{Device: device}, w)
	if err != nil {
		h.t.Fatal(err)
	}
	w.peer = peer
	var reading sync.WaitGroup
	stop := make(chan struct{})
	if every > 0 {
		reading.Go(func() { w.readSlowly(every, stop) })
	}
	w.halt = sync.OnceFunc(func() {
		close(stop)
		reading.Wait()
	})
	if err := peer.Start(context.Background(), nil); err != nil {
		h.t.Fatal(err)
	}
	return w
}

func (w *watcher) readSlowly(every time.Duration, stop chan struct{}) {
	for {
		select {
		case <-time.After(rand.N(every)):
			w.read(1)
		case <-stop:
			return
		}
	}
}

// close ends a socket before the others.
func (w *watcher) close() {
	w.halt()
	w.gone = true
	w.peer.Close()
}

// closeAll has the sockets take all there is until nothing more comes, and ends them.
func closeAll(watchers []*watcher) {
	for before, now := -1, 0; before != now; {
		before, now = now, 0
		for _, w := range watchers {
			w.halt()
			for !w.gone && w.read(1000) {
				continue
			}
			now += len(w.frames())
		}
		time.Sleep(1500 * time.Millisecond) // longer than it takes to be caught up, sweeps included
	}
	for _, w := range watchers {
		if !w.gone {
			w.peer.Close()
		}
	}
}

// shownStream is an answer as a socket was shown it.
type shownStream struct {
	text    string
	attempt int
	begun   int64 // the handoffs before it
	over    bool
}

// judge holds what a socket got of a room against what a client may rely on, in whatever order things happen: the log
// without a gap, each start followed by one end, before the room is gone for the socket at the latest, offsets and texts that
// are right, nothing of an answer behind a handoff. It returns how many answers were shown, how many were told as messages, and how far the socket has come.
func (w *watcher) judge(t *testing.T, room domain.RoomID, history []domain.Message) (shown, told int, last int64) {
	t.Helper()
	ids := map[int64]domain.MessageID{}
	for _, m := range history {
		ids[m.Seq] = m.ID
	}
	streams, messages := map[domain.MessageID]*shownStream{}, map[domain.MessageID]bool{}
	handoffs := int64(0)
	last = w.from
	neverEnded := func() {
		t.Helper()
		for _, s := range streams {
			if !s.over && !w.gone {
				t.Errorf("%s: %q never ended: %s", w.name, s.text, w.story(room))
			}
		}
	}
	for i, f := range w.frames() {
		if f.Room != room {
			continue
		}
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %s: frame %d: %s", w.name, fmt.Sprintf(format, args...), i, w.story(room))
		}
		var part streamPart
		if f.Stream != (domain.MessageID{}) && f.Rev == 0 {
			if err := json.Unmarshal(f.Bytes, &part); err != nil {
				t.Fatal(err)
			}
		}
		if f.Rev > 0 && f.Kind != domain.EventRoomRemoved {
			if f.Rev <= last {
				fail("position %d after %d", f.Rev, last)
			}
			last = f.Rev
		}
		s := streams[f.Stream]
		switch {
		case f.Kind == domain.EventRoomRemoved:
			neverEnded()
		case f.Kind == domain.EventHandoff:
			handoffs++
		case f.Kind == "message.stream.start":
			if s != nil && (s.over || part.Attempt <= s.attempt) || messages[f.Stream] {
				fail("a start of what is over, or once more")
			}
			if s == nil {
				s = &shownStream{begun: handoffs}
				streams[f.Stream] = s
			}
			s.text, s.attempt = part.Text, part.Attempt
		case f.Kind == "message.stream.delta":
			switch {
			case s == nil || s.over:
				fail("a delta of what is not open")
			case s.begun != handoffs:
				fail("a delta behind a handoff")
			case part.Points != utf8.RuneCountInString(s.text) || part.Text == "":
				fail("a delta of offset %d after %q", part.Points, s.text)
			default:
				s.text += part.Text
			}
		case f.Stream != (domain.MessageID{}):
			if s == nil || s.over || messages[f.Stream] {
				fail("an end of what is not open")
				continue
			}
			s.over = true
			w.judgeEnd(t, s, f, part, w.missed == 0 && s.begun == handoffs)
			if part.Code == string(domain.StreamRemoved) { // who is a member again is shown what is still under way
				delete(streams, f.Stream)
				shown++
			}
		case f.Kind == domain.EventMessage && f.Rev > 0:
			id := ids[f.Seq]
			if streams[id] != nil || messages[id] {
				fail("a message of what was shown, or twice")
			}
			messages[id] = true
		}
	}
	neverEnded()
	return shown + len(streams), len(messages), last
}

// judgeEnd compares the text that was shown with that of the end: all of it when the socket has missed none and nobody has
// handed the room off.
func (w *watcher) judgeEnd(t *testing.T, s *shownStream, end ports.Frame, part streamPart, whole bool) {
	t.Helper()
	content := part.Text
	if end.Rev > 0 {
		_, content, _ = strings.Cut(string(end.Bytes), " ")
	}
	whole = whole && part.Code != string(domain.StreamHandedOff)
	if whole && s.text != content || !strings.HasPrefix(content, s.text) {
		t.Errorf("%s: shown %q, ended as %q (%s): %s", w.name, s.text, content, part.Code, w.story(end.Room))
	}
}

// story is what came of a room, for who must find out why.
func (w *watcher) story(room domain.RoomID) string {
	var b strings.Builder
	for i, f := range w.frames() {
		if f.Room == room {
			fmt.Fprintf(&b, "\n\t%d %s@%d %x %s", i, f.Kind, f.Rev, f.Stream[14:], f.Bytes)
		}
	}
	return b.String()
}

// improvises plays words of many alphabets, with pauses that differ; once in a while it is cut, refused, or says nothing.
func improvises(chance *rand.Rand, words int, most time.Duration) func(func(ports.Piece, error) bool) {
	alphabet := []string{"la ", "ü", "🙂🙂 ", "né\u0301", "漢字", "\n", "x"}
	n, fate := chance.IntN(words)+1, chance.IntN(12)
	said := make([]string, n)
	pauses := make([]time.Duration, n)
	for i := range said {
		said[i], pauses[i] = alphabet[chance.IntN(len(alphabet))], time.Duration(chance.Int64N(int64(most)))
	}
	return func(yield func(ports.Piece, error) bool) {
		switch fate {
		case 0:
			yield(ports.Piece{}, &ports.ModelError{Code: domain.StreamRefused, Status: 500, Retryable: true})
			return
		case 1:
			n = 0
		}
		for i := range n {
			time.Sleep(pauses[i])
			if !yield(ports.Piece{Text: said[i]}, nil) {
				return
			}
		}
		if fate == 2 {
			yield(ports.Piece{}, &ports.ModelError{Code: domain.StreamInterrupted, Retryable: true})
			return
		}
		yield(ports.Piece{Finish: domain.FinishStop}, nil)
	}
}
