package application_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// An ack and a lower read mark in one flush: both are news.
func TestAnAckAboveAReadIsToldToo(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	for i := range 10 {
		n.send(t, "a", room, fmt.Sprint("m", i))
	}
	s := n.connect(t, "a", "x", nil, 1000, 1000)
	s.await(t, "sync", synced)
	if err := n.delivery.AckSoon(t.Context(), as("b"), room, "p", 10, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.delivery.ReadSoon(t.Context(), as("b"), room, "p", 3); err != nil {
		t.Fatal(err)
	}
	s.await(t, "both receipts", func(got []ports.Frame) bool {
		isReceipt := func(kind domain.EventKind, text string) func(ports.Frame) bool {
			return func(f ports.Frame) bool { return f.Kind == kind && string(f.Bytes) == text }
		}
		return slices.ContainsFunc(got, isReceipt(domain.HintAcked, "b 10")) && slices.ContainsFunc(got, isReceipt(domain.HintRead, "b 3"))
	})
}

// Hints are lost or late: the sweep repairs. What was edited after bob's removal is not bob's to see.
func TestARepairDoesNotTellTheRemovedWhatCameLater(t *testing.T) {
	t.Parallel()
	bus := &gatedBus{Bus: inproc.NewBus()}
	n := startNode(t, bus)
	room := n.room(t, "a", "b")
	bob := n.connect(t, "b", "x", nil, 1000, 1000)
	bob.await(t, "sync", synced)
	bus.close()
	m := n.send(t, "a", room, "harmless")
	if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil {
		t.Fatal(err)
	}
	n.edit(t, "a", m, "secret")
	got := bob.await(t, "the removal", ofKind(room, domain.EventRoomRemoved))
	for _, f := range got {
		if strings.Contains(string(f.Bytes), "secret") {
			t.Errorf("bob, removed at rev 3, got %s@%d %q", f.Kind, f.Rev, f.Bytes)
		}
	}
	bus.open()
}

// A removed user with a slow socket: the room is removed meanwhile.
func TestARemovedSlowMemberIsToldTheirOwnRemoval(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	bob := n.connect(t, "b", "x", nil, 2, 0)
	for bob.read(10); !synced(bob.frames()); bob.read(10) {
		<-time.After(time.Millisecond)
	}
	for i := range 5 {
		n.send(t, "a", room, fmt.Sprint("m", i))
	}
	if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil { // rev 7
		t.Fatal(err)
	}
	n.send(t, "a", room, "later")
	if err := n.rooms.Remove(t.Context(), as("a"), room); err != nil { // rev 9
		t.Fatal(err)
	}
	for removed := ofKind(room, domain.EventRoomRemoved); !removed(bob.frames()); bob.read(10) {
		<-time.After(time.Millisecond)
	}
	for _, f := range bob.frames() {
		if f.Room == room && f.Rev > 7 {
			t.Errorf("bob, removed at rev 7, got %s@%d", f.Kind, f.Rev)
		}
	}
}

// The hint of a message and of the room's removal are 300 ms late: what a live member is told of the end.
func TestLateHintsOfARemovedRoomAreWaitedFor(t *testing.T) {
	t.Parallel()
	bus := &gatedBus{Bus: inproc.NewBus()}
	n := startNode(t, bus)
	lost := 0
	for range 5 {
		room := n.room(t, "a", "b")
		bob := n.connect(t, "b", "x", nil, 1000, 1000)
		bob.await(t, "sync", synced)
		bus.close()
		n.send(t, "a", room, "last words")
		if err := n.rooms.Remove(t.Context(), as("a"), room); err != nil {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond) // late, and within the grace of the sweep
		bus.open()
		got := bob.await(t, "the removal", ofKind(room, domain.EventRoomRemoved))
		i := slices.IndexFunc(got, func(f ports.Frame) bool { return f.Room == room && f.Kind == domain.EventRoomRemoved })
		if got[i].Rev != 3 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of 5 times room.removed had a rev of a message that was never told", lost)
	}
}

// sweepTakes is about how long rooms wait to be compared with the store.
const sweepTakes = 1200 * time.Millisecond

// The sweep finds the room gone while a worker is about to push a stretch of its log.
func TestNothingFollowsTheRemovalThatTheSweepTells(t *testing.T) {
	t.Parallel()
	bus := &gatedBus{Bus: inproc.NewBus()}
	hooks := &hookedStore{}
	n := startNodeOver(t, bus, func(s ports.Store) ports.Store { hooks.Store = s; return hooks })
	room := n.room(t, "a", "b")
	for i := range 130 {
		n.send(t, "a", room, fmt.Sprint("m", i))
	}
	bob := n.connect(t, "b", "x", nil, 1000, 1000)
	bob.await(t, "sync", synced)
	before := len(bob.frames())
	bus.close()
	hooks.arm(2, func() {}, func() {
		if err := n.rooms.Remove(context.Background(), as("a"), room); err != nil {
			t.Error(err)
		}
		<-time.After(3 * sweepTakes / 2) // the sweep comes round
	})
	zero := int64(0)
	if _, err := bob.peer.Subscribe(t.Context(), room, &zero); err != nil {
		t.Fatal(err)
	}
	bob.await(t, "the removal", ofKind(room, domain.EventRoomRemoved))
	<-time.After(sweepTakes)
	bus.open()
	removed := 0
	for _, f := range bob.frames()[before:] {
		if f.Room == room && f.Kind == domain.EventRoomRemoved {
			removed++
		} else if removed > 0 && f.Room == room {
			t.Fatalf("after room.removed bob got %s@%d", f.Kind, f.Rev)
		}
	}
	if removed != 1 {
		t.Errorf("room.removed was told %d times", removed)
	}
}

// A group that everybody has left is filled again by the backend.
func TestARefilledRoomHasAnAdmin(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a")
	if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "a"); err != nil {
		t.Fatal(err)
	}
	backend := application.Caller{Actor: domain.Actor{Tenant: tenant, Kind: domain.ActorBackend}, Tenant: domain.Tenant{ID: tenant}}
	if _, err := n.rooms.AddMembers(t.Context(), backend, room, application.NewMembers{UserIDs: []string{"b", "c"}}, nil); err != nil {
		t.Fatal(err)
	}
	members, _, err := n.rooms.Members(t.Context(), backend, room, 0, 10)
	if err != nil || !slices.ContainsFunc(members, domain.Member.IsAdmin) {
		t.Errorf("no admin: %+v %v", members, err)
	}
}

// TestANewMemberIsSeatedHoweverLateTheNodeHears: another member's socket makes the node watch the room first.
func TestANewMemberIsSeatedHoweverLateTheNodeHears(t *testing.T) {
	t.Parallel()
	bus := &gatedBus{Bus: inproc.NewBus()}
	n := startNode(t, bus)
	bob := n.connect(t, "b", "x", nil, 1000, 1000)
	bob.await(t, "sync", synced)
	bus.close()
	room := n.room(t, "a", "b")
	for i := range 5 {
		n.send(t, "a", room, fmt.Sprint("m", i))
	}
	n.connect(t, "a", "x", nil, 1000, 1000).await(t, "sync", synced)
	bus.open()
	last := n.send(t, "a", room, "last")
	inOrder(t, bob.await(t, "the last message", upToRev(room, last.Rev)), room, 1, last.Rev)
}
