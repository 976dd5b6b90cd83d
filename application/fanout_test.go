package application_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestEverySocketSeesOneOrderWhateverItsSpeed(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b", "c")
	sockets := []*socket{
		n.connect(t, "a", "fast", nil, 256, 1000),
		n.connect(t, "b", "slow", nil, 5, 1),
		n.connect(t, "c", "one", nil, 1, 1),
		n.connect(t, "c", "two", nil, 40, 7),
	}
	const senders, each = 8, 100
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() {
			for k := range each {
				_, err := n.messaging.Send(context.Background(), as("a"), room, domain.Draft{Content: fmt.Sprint(i, "-", k)}, nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	last := int64(1 + senders*each)
	for _, s := range sockets {
		inOrder(t, s.await(t, "the last message", upToRev(room, last)), room, 1, last)
	}
}

func TestAReturningDeviceGetsWhatItMissedFromTheTailOrTheStore(t *testing.T) {
	t.Parallel()
	for _, missed := range []int{0, 1, 20, 99, 100, 101, 350} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) {
			t.Parallel()
			n := startNode(t, inproc.NewBus())
			room := n.room(t, "a", "b")
			n.connect(t, "a", "watches", nil, 256, 100).await(t, "sync", synced)
			n.connect(t, "b", "phone", nil, 256, 100).await(t, "sync", synced)
			first := n.send(t, "a", room, "first")
			if err := n.delivery.Ack(t.Context(), as("b"), room, "phone", first.Seq, 0); err != nil {
				t.Fatal(err)
			}
			last := first.FirstRev
			for range missed {
				last = n.send(t, "a", room, "missed").FirstRev
			}
			s := n.connect(t, "b", "phone", nil, 10, 3)
			got := s.await(t, "sync.complete", synced)
			inOrder(t, got, room, first.FirstRev+1, last)
			after := n.send(t, "a", room, "live again")
			inOrder(t, s.await(t, "a live message", upToRev(room, after.FirstRev)), room, first.FirstRev+1, after.FirstRev)
		})
	}
}

func TestAReplayKeepsTheNewest500AndTellsWhatItLeftOut(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	var last domain.Message
	for range 620 {
		last = n.send(t, "a", room, "m")
	}
	got := n.connect(t, "b", "", nil, 64, 50).await(t, "sync.complete", synced)
	var seqs []int64
	for _, f := range got {
		if f.Seq > 0 {
			seqs = append(seqs, f.Seq)
		}
	}
	if len(seqs) != 500 || seqs[0] != 121 || seqs[499] != last.Seq || !slices.IsSorted(seqs) {
		t.Errorf("replayed %d messages, %d..%d", len(seqs), seqs[0], seqs[len(seqs)-1])
	}
	if sync := string(got[len(got)-1].Bytes); sync[:len("sync rooms=1 messages=500 truncated=1")] != "sync rooms=1 messages=500 truncated=1" {
		t.Errorf("report: %s", sync)
	}
}

func TestResumeByPositionByCursorAndFromAnotherEpoch(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for range 10 {
		n.send(t, "a", room, "m")
	}
	end := int64(11)
	epoch := n.fanout.Epoch()
	at := func(rev int64) *application.Resume {
		return &application.Resume{Epoch: epoch, Rooms: []domain.Position{{Room: room, Rev: rev}}}
	}
	got := n.connect(t, "b", "d", at(4), 64, 50).await(t, "sync.complete", synced)
	inOrder(t, got, room, 5, end)

	_, cursor, _ := splitLast(string(got[len(got)-1].Bytes))
	n.send(t, "a", room, "after the cursor")
	got = n.connect(t, "b", "d", &application.Resume{Cursor: cursor}, 64, 50).await(t, "sync.complete", synced)
	inOrder(t, got, room, end+1, end+1)

	for name, resume := range map[string]*application.Resume{
		"a position above the room's": at(99),
		"another epoch":               {Epoch: "other", Rooms: []domain.Position{{Room: room, Rev: 3}}},
	} {
		got := n.connect(t, "b", "d", resume, 64, 50).await(t, "sync.complete", synced)
		if got[0].Kind != "resync_required" || string(got[0].Bytes) != "1" {
			t.Errorf("%s: first frame %s %s, want resync_required of 1 room", name, got[0].Kind, got[0].Bytes)
		}
		inOrder(t, got, room, 1, 0) // nothing is replayed
	}
	stranger := at(0)
	stranger.Rooms[0].Room[3]++
	got = n.connect(t, "b", "d2", stranger, 64, 50).await(t, "sync.complete", synced)
	if !slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Kind == domain.EventRoomRemoved }) {
		t.Errorf("a room that is not the user's was not told to be removed: %v", summary(got))
	}
	if err := (&socketless{n}).start(t, &application.Resume{Cursor: "nonsense"}); fieldOf(err) != "cursor" {
		t.Errorf("nonsense cursor: %v", err)
	}
}

type socketless struct{ n *node }

func (s *socketless) start(t *testing.T, resume *application.Resume) error {
	t.Helper()
	peer, err := s.n.fanout.Connect(t.Context(), as("b"), application.Client{Device: "d"}, &socket{capacity: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	return peer.Start(t.Context(), resume)
}

func fieldOf(err error) string {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Field
	}
	return ""
}

func splitLast(text string) (before, after string, found bool) {
	for i := len(text) - 1; i >= 0; i-- {
		if text[i] == '|' {
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

func TestSubscribeReplaysFromThereAndGoesOnLive(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for range 130 {
		n.send(t, "a", room, "m")
	}
	s := n.connect(t, "b", "", &application.Resume{Epoch: n.fanout.Epoch(), Rooms: []domain.Position{{Room: room, Rev: 131}}}, 16, 5)
	s.await(t, "sync.complete", synced)
	after := int64(10)
	sub, err := s.peer.Subscribe(t.Context(), room, &after)
	if err != nil || sub.LastSeq != 130 || sub.Truncated != nil {
		t.Fatalf("subscribed %+v, %v", sub, err)
	}
	last := n.send(t, "a", room, "live")
	inOrder(t, s.await(t, "the live message", upToRev(room, last.FirstRev)), room, 12, last.FirstRev)
	tooFar := int64(999)
	if _, err := s.peer.Subscribe(t.Context(), room, &tooFar); fieldOf(err) != "after_seq" {
		t.Errorf("after_seq above last_seq: %v", err)
	}
	other := n.room(t, "a")
	if _, err := s.peer.Subscribe(t.Context(), other, nil); !errors.Is(err, domain.ErrNotMember) {
		t.Errorf("a stranger subscribed: %v", err)
	}
}

func TestARemovedMemberGetsNothingAboveTheRemoval(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	for round := range 20 {
		room := n.room(t, "a", "b")
		s := n.connect(t, "b", domain.DeviceID(fmt.Sprint("d", round)), nil, 1+rand.IntN(20), 1+rand.IntN(5))
		var sending sync.WaitGroup
		for range 4 {
			sending.Go(func() {
				for range 25 {
					_, _ = n.messaging.Send(context.Background(), as("a"), room, domain.Draft{Content: "m"}, nil)
				}
			})
		}
		if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil {
			t.Fatal(err)
		}
		sending.Wait()
		removed := func(f ports.Frame) bool { return f.Room == room && f.Kind == domain.EventRoomRemoved }
		got := s.await(t, "room.removed", func(got []ports.Frame) bool { return slices.ContainsFunc(got, removed) })
		left := got[slices.IndexFunc(got, removed)].Rev
		inOrder(t, got, room, 1, left)
		for range 3 {
			n.send(t, "a", room, "after")
		}
		again := n.connect(t, "a", "x", nil, 500, 100)
		again.await(t, "sync", synced)
		inOrder(t, s.frames(), room, 1, left)
	}
}

func TestAnAbsentDeviceLearnsOfARemovalUntilItConfirms(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	told := func(confirm bool) bool {
		t.Helper()
		s := n.connect(t, "b", "phone", nil, 64, 50)
		got := s.await(t, "sync.complete", synced)
		if confirm {
			s.peer.Confirmed()
			n.delivery.Flush(t.Context())
		}
		return slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Kind == domain.EventRoomRemoved && f.Room == room })
	}
	if told(true) {
		t.Error("told of a removal before there was one")
	}
	if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil {
		t.Fatal(err)
	}
	if !told(false) || !told(true) {
		t.Error("an absent device was not told of its removal until it confirmed")
	}
	if told(true) {
		t.Error("told again after the confirmation")
	}
}

func TestANewMemberIsSeatedAtOnceAndAReaddedOneGoesOn(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	s := n.connect(t, "b", "", nil, 64, 50)
	room := n.room(t, "a", "b") // room.created reaches b
	n.send(t, "a", room, "one")
	inOrder(t, s.await(t, "the first message", upToRev(room, 2)), room, 1, 2)
	other := n.room(t, "a")
	n.send(t, "a", other, "before")
	add := func() {
		t.Helper()
		if _, err := n.rooms.AddMembers(t.Context(), as("a"), other, application.NewMembers{UserID: "b"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	add()
	n.send(t, "a", other, "after")
	inOrder(t, s.await(t, "the message after joining", upToRev(other, 4)), other, 3, 4)
	if err := n.rooms.RemoveMember(t.Context(), as("b"), other, "b"); err != nil {
		t.Fatal(err)
	}
	n.send(t, "a", other, "unseen")
	add()
	n.send(t, "a", other, "seen")
	got := s.await(t, "the message after joining again", upToRev(other, 8))
	for _, f := range got {
		if f.Room == other && f.Rev == 6 {
			t.Error("a message sent while the user was out came live")
		}
	}
}

// lossyBus loses, repeats and reorders hints.
type lossyBus struct {
	ports.Bus
	lose, repeat float64
}

func (b *lossyBus) Publish(ctx context.Context, channel string, payload []byte) error {
	if rand.Float64() < b.lose {
		return nil
	}
	if rand.Float64() < b.repeat {
		go func() { _ = b.Bus.Publish(ctx, channel, payload) }()
	}
	return b.Bus.Publish(ctx, channel, payload)
}

func TestLostRepeatedAndReorderedHintsCostOnlyADelay(t *testing.T) {
	t.Parallel()
	for name, bus := range map[string]*lossyBus{
		"all lost":  {lose: 1},
		"half lost": {lose: 0.5, repeat: 0.5},
		"repeated":  {repeat: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bus.Bus = inproc.NewBus()
			n := startNode(t, bus)
			room := n.room(t, "a", "b")
			s := n.connect(t, "b", "", nil, 30, 10)
			s.await(t, "sync.complete", synced)
			var last domain.Message
			for range 200 {
				last = n.send(t, "a", room, "m")
			}
			inOrder(t, s.await(t, "the last message", upToRev(room, last.FirstRev)), room, 1, last.FirstRev)
		})
	}
}

func TestTwoDevicesKeepTheirOwnPlace(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for _, device := range []domain.DeviceID{"phone", "laptop"} {
		n.connect(t, "b", device, nil, 64, 50).await(t, "sync.complete", synced)
	}
	var last domain.Message
	for range 10 {
		last = n.send(t, "a", room, "m")
	}
	if err := n.delivery.AckSoon(t.Context(), as("b"), room, "phone", 7, 0); err != nil {
		t.Fatal(err)
	}
	n.delivery.Flush(t.Context())
	inOrder(t, n.connect(t, "b", "phone", nil, 64, 50).await(t, "sync", synced), room, 9, last.FirstRev)
	inOrder(t, n.connect(t, "b", "laptop", nil, 64, 50).await(t, "sync", synced), room, 1, last.FirstRev)
	inOrder(t, n.connect(t, "b", "tablet", nil, 64, 50).await(t, "sync", synced), room, 9, last.FirstRev)
	for _, bad := range []int64{-1, last.Seq + 1} {
		if err := n.delivery.AckSoon(t.Context(), as("b"), room, "phone", bad, 0); fieldOf(err) != "seq" {
			t.Errorf("ack of %d: %v", bad, err)
		}
	}
	if err := n.delivery.AckSoon(t.Context(), as("z"), room, "", 1, 0); !errors.Is(err, domain.ErrNotMember) {
		t.Errorf("a stranger's ack: %v", err)
	}
}

func TestSocketsOfARevokedCredentialAreClosed(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	s := n.connect(t, "b", "", nil, 64, 50)
	n.fanout.CloseCredential(tenant, "another")
	n.fanout.CloseCredential("tenant_other", "")
	if s.closedAs != 0 {
		t.Error("closed for somebody else's credential")
	}
	n.fanout.CloseCredential(tenant, "c")
	if s.closedAs != 4401 {
		t.Errorf("closed as %d, want 4401", s.closedAs)
	}
}
