package application

import (
	"log/slog"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// TestAHandoffAndTheStartOfAnAnswerDoNotWaitForEachOther has both under way at once, in a room whose log this node knows
// only from behind the run's beginning.
func TestAHandoffAndTheStartOfAnAnswerDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	bus, log := inproc.NewBus(), slog.New(slog.DiscardHandler)
	room := domain.RoomID{1}
	r := &Runner{RunnerDeps: RunnerDeps{Bus: bus, Logger: log}, running: map[domain.MessageID]*botRun{}}
	u := &botRun{r: r, wanted: make(chan struct{}, 1), claim: ports.Claim{}}
	u.claim.Room = room
	u.part = domain.StreamPart{Tenant: "t", Room: room, Message: domain.MessageID{2}, Since: 3, Attempt: 1}
	u.cancel = func(error) {}
	u.saw.Store(u.part.Since)
	r.enter(u)

	hushing, speaking := make(chan struct{}), make(chan struct{})
	first := true
	cancelRuns, err := bus.Subscribe(runsChannel, func(s ports.Signal) {
		if first { // the hush has come to the runner when the start is on its way
			first = false
			close(hushing)
			<-speaking
		}
		r.receive(s)
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &Fanout{bus: bus, log: log}
	at := shardOf(room)
	f.shards[at].rooms = map[domain.RoomID]*liveRoom{room: {id: room, tenant: "t", from: 9, last: 9, seats: make([]seat, 1)}}
	cancelRoom, err := bus.Subscribe(channelOf(at), func(s ports.Signal) {
		close(speaking)
		f.receive(at, s)
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		hush := newOrder(orderHush, "t", room, domain.MessageID{})
		hush.Rev = 10
		r.order(t.Context(), hush)
		done <- struct{}{}
	}()
	<-hushing
	go func() { u.publish(); done <- struct{}{} }()
	for range 2 {
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatal("the handoff and the start of the answer wait for each other")
		}
	}
	cancelRoom()
	cancelRuns()
}
