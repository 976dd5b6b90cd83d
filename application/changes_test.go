package application_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/adapters/inproc"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func (n *node) edit(t *testing.T, user string, m domain.Message, content string) domain.Message {
	t.Helper()
	edited, err := n.messaging.Edit(t.Context(), as(user), m.Room, m.ID, domain.Edit{Content: content})
	if err != nil {
		t.Fatal(err)
	}
	return edited
}

func ofKind(room domain.RoomID, kind domain.EventKind) func([]ports.Frame) bool {
	return func(got []ports.Frame) bool {
		return slices.ContainsFunc(got, func(f ports.Frame) bool { return f.Room == room && f.Kind == kind })
	}
}

// texts are the contents told of a room's messages after the n-th frame, in order.
func texts(got []ports.Frame, room domain.RoomID) (out []string) {
	for _, f := range got {
		if f.Room == room && strings.HasPrefix(string(f.Kind), "message") {
			out = append(out, string(f.Kind)+" "+string(f.Bytes))
		}
	}
	return out
}

// TestWhatChangedWhileAwayReachesEveryDevice: also of messages that the device had long before.
func TestWhatChangedWhileAwayReachesEveryDevice(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	var sent []domain.Message
	for i := range 5 {
		sent = append(sent, n.send(t, "a", room, fmt.Sprint("m", i+1)))
	}
	devices := []domain.DeviceID{"phone", "tablet"}
	for _, device := range devices {
		n.connect(t, "b", device, nil, 100, 100).await(t, "sync", synced)
		if err := n.delivery.Ack(t.Context(), as("b"), room, device, 5, 0); err != nil {
			t.Fatal(err)
		}
	}
	there := n.connect(t, "a", "", nil, 100, 100)
	n.edit(t, "a", sent[1], "two")
	if err := n.messaging.Delete(t.Context(), as("a"), room, sent[2].ID); err != nil {
		t.Fatal(err)
	}
	n.edit(t, "a", sent[1], "TWO")
	last := n.send(t, "a", room, "m6")
	there.await(t, "the last message", upToRev(room, last.Rev))              // so the node has heard of everything
	want := []string{"message.deleted ", "message.edited TWO", "message m6"} // of each message the latest
	for _, device := range devices {
		got := n.connect(t, "b", device, nil, 100, 100).await(t, "the end of the replay", synced)
		if told := texts(got, room); !slices.Equal(told, want) {
			t.Errorf("%s is told %q, want %q", device, told, want)
		}
	}
	resume := &application.Resume{Epoch: n.fanout.Epoch(), Rooms: []domain.Position{{Room: room, Rev: last.Rev - 2}}}
	got := n.connect(t, "b", "phone", resume, 100, 100).await(t, "the end of the replay", synced)
	if told := texts(got, room); !slices.Equal(told, want[1:]) {
		t.Errorf("a resume is told %q, want %q", told, want[1:])
	}
}

func TestEditsAndDeletionsFollowTheRules(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	ctx, room := t.Context(), n.room(t, "admin", "a", "b")
	m := n.send(t, "a", room, "one")
	edited := n.edit(t, "a", m, "two")
	if again := n.edit(t, "a", m, "two"); again.Rev != edited.Rev || edited.Rev <= m.Rev || edited.EditedAt.IsZero() {
		t.Errorf("edited %+v, and again %+v", edited, again)
	}
	backend := application.Caller{Actor: domain.Actor{Tenant: tenant, Kind: domain.ActorBackend}, Tenant: domain.Tenant{ID: tenant}}
	for who, c := range map[string]struct {
		caller application.Caller
		want   error
	}{
		"another member": {as("b"), domain.ErrForbidden}, "an admin": {as("admin"), domain.ErrForbidden},
		"a stranger": {as("x"), domain.ErrNotMember}, "the backend": {backend, domain.ErrUserRequired},
	} {
		if _, err := n.messaging.Edit(ctx, c.caller, room, m.ID, domain.Edit{Content: "x"}); !errors.Is(err, c.want) {
			t.Errorf("edit by %s: %v, want %v", who, err, c.want)
		}
	}
	if err := n.messaging.Delete(ctx, as("b"), room, m.ID); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("deletion by another member: %v", err)
	}
	for who, caller := range map[string]application.Caller{"the sender": as("a"), "an admin": as("admin"), "the backend": backend} {
		m := n.send(t, "a", room, "gone")
		if err := n.messaging.Delete(ctx, caller, room, m.ID); err != nil {
			t.Errorf("deletion by %s: %v", who, err)
		}
		if err := n.messaging.Delete(ctx, caller, room, m.ID); err != nil {
			t.Errorf("once more: %v", err)
		}
		got, err := n.messaging.Message(ctx, as("b"), room, m.ID)
		if err != nil || !got.IsDeleted() || got.Content != "" || got.Seq != m.Seq {
			t.Errorf("tombstone %+v, %v", got, err)
		}
		if _, err := n.messaging.Edit(ctx, as("a"), room, m.ID, domain.Edit{Content: "back"}); !errors.Is(err, domain.ErrMessageDeleted) {
			t.Errorf("edit of a tombstone: %v", err)
		}
	}
	other := n.room(t, "a")
	if _, err := n.messaging.Edit(ctx, as("a"), other, m.ID, domain.Edit{Content: "x"}); !errors.Is(err, domain.ErrMessageNotFound) {
		t.Errorf("edit by way of another room: %v", err)
	}
	changes, more, err := n.messaging.Changes(ctx, as("b"), room, m.Rev, 2)
	if err != nil || !more || len(changes) != 2 || changes[0].Kind != domain.EventMessageEdited || changes[0].Message.Content != "two" {
		t.Errorf("changes %+v, %v, %v", changes, more, err)
	}
}

// TestARemovedRoomEndsForEverybody who is there, slow, or connecting: nothing of it comes after its removal, and those who
// were away learn of it.
func TestARemovedRoomEndsForEverybody(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	for round := range 20 {
		room := n.room(t, "a", "b", "c", "away")
		n.connect(t, "away", domain.DeviceID(fmt.Sprint(round)), nil, 100, 100).await(t, "sync", synced)
		device := domain.DeviceID(fmt.Sprint("d", round))
		sockets := []*socket{
			n.connect(t, "a", device, nil, 1000, 1000),
			n.connect(t, "b", device, nil, 1+rand.IntN(20), 1+rand.IntN(5)),
		}
		var work sync.WaitGroup
		for range 3 {
			work.Go(func() {
				for range 20 {
					_, _ = n.messaging.Send(context.Background(), as("a"), room, domain.Draft{Content: "m"}, nil)
				}
			})
		}
		work.Go(func() {
			if err := n.rooms.Remove(context.Background(), as("a"), room); err != nil {
				t.Error(err)
			}
		})
		sockets = append(sockets, n.connect(t, "c", device, nil, 100, 100))
		work.Wait()
		for i, s := range sockets {
			isEnd := ofKind(room, domain.EventRoomRemoved)
			isSynced := func(got []ports.Frame) bool {
				return isEnd(got) || i == 2 && synced(got) && len(texts(got, room)) == 0 // came after the end
			}
			got := s.await(t, "room.removed", isSynced)
			if end := slices.IndexFunc(got, func(f ports.Frame) bool { return f.Room == room && f.Kind == domain.EventRoomRemoved }); end >= 0 {
				for _, f := range got[end+1:] {
					if f.Room == room && f.Kind != domain.EventRoomRemoved {
						t.Fatalf("socket %d got %s@%d after the end", i, f.Kind, f.Rev)
					}
				}
			}
		}
		if _, err := n.rooms.Get(t.Context(), as("a"), room); !errors.Is(err, domain.ErrRoomNotFound) {
			t.Fatalf("a removed room: %v", err)
		}
		s := n.connect(t, "away", domain.DeviceID(fmt.Sprint(round)), nil, 100, 100)
		if got := s.await(t, "sync", synced); !ofKind(room, domain.EventRoomRemoved)(got) {
			t.Fatalf("an absent member was not told: %v", summary(got))
		}
	}
}

// TestARemovedMemberSeesNoLaterText: what is told from the log is told as it is now, which may be later than the removal.
func TestARemovedMemberSeesNoLaterText(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room := n.room(t, "a", "b")
	slow := n.connect(t, "b", "phone", nil, 2, 0) // reads nothing yet
	var first domain.Message
	for i, word := range longAgo {
		if m := n.send(t, "a", room, word); i == 0 {
			first = m
		}
	}
	if err := n.rooms.RemoveMember(t.Context(), as("a"), room, "b"); err != nil {
		t.Fatal(err)
	}
	name := "secret name"
	if _, err := n.rooms.Update(t.Context(), as("a"), room, domain.RoomPatch{Name: &name, SetName: true}); err != nil {
		t.Fatal(err)
	}
	n.edit(t, "a", first, "secret")
	if err := n.rooms.SetRole(t.Context(), as("a"), room, "b", "admin"); !errors.Is(err, domain.ErrMemberNotFound) {
		t.Errorf("a role for who is gone: %v", err)
	}
	removed := ofKind(room, domain.EventRoomRemoved)
	for !removed(slow.frames()) {
		slow.read(2)
	}
	got := slow.frames()
	for _, f := range got {
		if strings.Contains(string(f.Bytes), "secret") || f.Kind == domain.EventRoomUpdated {
			t.Errorf("told %s %q", f.Kind, f.Bytes)
		}
	}
	if told := texts(got, room); len(told) < len(longAgo)-1 { // the one that was changed may have been on its way before
		t.Errorf("told %d messages, want all %d but the one that was changed", len(told), len(longAgo))
	}
}

func TestJoiningAndRoles(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	ctx := t.Context()
	made, err := n.rooms.Create(ctx, as("a"), domain.RoomDraft{Type: "channel"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	channel := made.Room.ID
	for range 2 {
		if err := n.rooms.Join(ctx, as("b"), channel); err != nil {
			t.Fatal(err)
		}
	}
	role := func(user string) domain.Role {
		t.Helper()
		members, _, err := n.rooms.Members(ctx, as(user), channel, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(members, func(m domain.Member) bool { return m.User == domain.UserID(user) })
		return members[i].Role
	}
	if err := n.rooms.SetRole(ctx, as("a"), channel, "a", "member"); !errors.Is(err, domain.ErrLastAdmin) {
		t.Errorf("the last admin steps down: %v", err)
	}
	if err := n.rooms.SetRole(ctx, as("b"), channel, "b", "admin"); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("a member makes itself admin: %v", err)
	}
	if err := n.rooms.SetRole(ctx, as("a"), channel, "b", "admin"); err != nil || role("b") != domain.RoleAdmin {
		t.Errorf("b is made admin: %v", err)
	}
	if err := n.rooms.SetRole(ctx, as("a"), channel, "a", "member"); err != nil || role("a") != domain.RoleMember {
		t.Errorf("a steps down beside b: %v", err)
	}
	if err := n.rooms.RemoveMember(ctx, as("b"), channel, "b"); err != nil || role("a") != domain.RoleAdmin {
		t.Errorf("b leaves, and a takes over: %v", err)
	}
	if err := n.rooms.RemoveMember(ctx, as("a"), channel, "a"); err != nil {
		t.Fatal(err)
	}
	if err := n.rooms.Join(ctx, as("c"), channel); err != nil || role("c") != domain.RoleAdmin {
		t.Errorf("the first in an empty channel is no admin: %v", err)
	}
	group := n.room(t, "a", "b")
	if err := n.rooms.Join(ctx, as("x"), group); !errors.Is(err, domain.ErrNotMember) {
		t.Errorf("a stranger joins a group: %v", err)
	}
}

// TestHintsReachThoseTheyAreFor: everybody in a small room, and of a large one the user's own devices.
func TestHintsReachThoseTheyAreFor(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	crowd := make([]string, domain.MaxHintMembers-1)
	for i := range crowd {
		crowd[i] = fmt.Sprint("u", i)
	}
	small, large := n.room(t, "a", crowd...), n.room(t, "a", crowd...)
	if _, err := n.rooms.AddMembers(t.Context(), as("a"), large, application.NewMembers{UserID: "one more"}, nil); err != nil {
		t.Fatal(err)
	}
	typist, device, mate := n.connect(t, "a", "d1", nil, 500, 500), n.connect(t, "a", "d2", nil, 500, 500), n.connect(t, "u7", "", nil, 500, 500)
	for _, s := range []*socket{typist, device, mate} {
		s.await(t, "sync", synced)
	}
	for _, room := range []domain.RoomID{large, small} {
		sent := n.send(t, "a", room, "x")
		if err := typist.peer.Typing(t.Context(), room, domain.TypingStarted); err != nil {
			t.Fatal(err)
		}
		if err := n.delivery.Ack(t.Context(), as("a"), room, "d1", sent.Seq, 0); err != nil {
			t.Fatal(err)
		}
		if err := n.delivery.Read(t.Context(), as("u8"), room, sent.Seq); err != nil {
			t.Fatal(err)
		}
	}
	told := func(s *socket, want ...string) {
		t.Helper()
		hints := func(got []ports.Frame) (all []string) {
			for _, f := range got {
				if f.Rev == 0 && (f.Kind == domain.HintTyping || f.Kind == domain.HintAcked || f.Kind == domain.HintRead) {
					all = append(all, string(f.Kind)+" "+string(f.Bytes)+map[domain.RoomID]string{small: " small", large: " large"}[f.Room])
				}
			}
			return all
		}
		s.await(t, "a read receipt in the small room", func(got []ports.Frame) bool { return slices.Contains(hints(got), "read.received u8 1 small") })
		if all := hints(s.frames()); !slices.Equal(all, want) {
			t.Errorf("told %q, want %q", all, want)
		}
	}
	told(mate, "typing a start0 small", "ack.received a 1 small", "read.received u8 1 small")
	told(device, "ack.received a 1 large", "ack.received a 1 small", "read.received u8 1 small")
	told(typist, "ack.received a 1 large", "ack.received a 1 small", "read.received u8 1 small")
	if err := typist.peer.Typing(t.Context(), n.room(t, "b"), domain.TypingStarted); !errors.Is(err, domain.ErrNotMember) {
		t.Errorf("typing in a stranger's room: %v", err)
	}
}

func TestMatesAreToldOfPresenceOnceAndNobodyOfTheirOwn(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	for range 3 {
		n.room(t, "a", "b")
	}
	n.room(t, "a", "stranger's mate")
	a, x := n.connect(t, "a", "", nil, 500, 500), n.connect(t, "x", "", nil, 500, 500)
	a.await(t, "sync", synced)
	x.await(t, "sync", synced)
	n.connect(t, "b", "", nil, 500, 500).await(t, "a's presence or its own replay", synced)
	present := func(got []ports.Frame) (all []string) {
		for _, f := range got {
			if f.Kind == domain.HintPresence {
				all = append(all, string(f.Bytes))
			}
		}
		return all
	}
	a.await(t, "b's presence", func(got []ports.Frame) bool { return len(present(got)) > 0 })
	if all := present(a.frames()); !slices.Equal(all, []string{"b online0"}) {
		t.Errorf("a is told %q", all)
	}
	if all := present(x.frames()); len(all) > 0 {
		t.Errorf("a stranger is told %q", all)
	}
	status, err := n.presence.Status(t.Context(), as("a"), []string{"b", "x", "stranger's mate", "a", "nobody"})
	if err != nil || len(status) != 3 || status[0].User != "b" || !status[0].Online || status[1].User != "stranger's mate" || status[1].Online || status[2].User != "a" {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	name := "Ann"
	set := domain.UserPatch{Name: &name, SetName: true}
	if got, err := n.users.Put(t.Context(), as("a"), "a", set); err != nil || got.Name == nil || *got.Name != name {
		t.Errorf("own profile %+v, %v", got, err)
	}
	if _, err := n.users.Put(t.Context(), as("a"), "b", set); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("another's profile: %v", err)
	}
	if _, err := n.users.Put(t.Context(), as("a"), "bot_x", set); err == nil {
		t.Error("a reserved id has a profile")
	}
	if _, err := n.users.Get(t.Context(), as("b"), "a"); !errors.Is(err, domain.ErrUserNotFound) {
		t.Errorf("a stranger's profile: %v", err)
	}
	n.room(t, "a", "b")
	if got, err := n.users.Get(t.Context(), as("b"), "a"); err != nil || got.Name == nil || *got.Name != name {
		t.Errorf("a mate's profile %+v, %v", got, err)
	}
}

// TestWhoHasMissedTooManyChangesFetchesTheRoomAnew: its history says the same in less.
func TestWhoHasMissedTooManyChangesFetchesTheRoomAnew(t *testing.T) {
	t.Parallel()
	n := startNode(t, inproc.NewBus())
	room, other := n.room(t, "a", "b"), n.room(t, "a", "b")
	n.connect(t, "b", "phone", nil, 100, 100).await(t, "sync", synced)
	for i := range domain.MaxReplayChanges + 1 {
		name := fmt.Sprint(i)
		if _, err := n.rooms.Update(t.Context(), as("a"), room, domain.RoomPatch{Name: &name, SetName: true}); err != nil {
			t.Fatal(err)
		}
	}
	n.send(t, "a", room, "one")
	n.send(t, "a", other, "two")
	s := n.connect(t, "b", "phone", nil, 100, 100)
	got := s.await(t, "sync", synced)
	if i := slices.IndexFunc(got, func(f ports.Frame) bool { return f.Kind == "resync_required" }); i < 0 || string(got[i].Bytes) != "1" {
		t.Errorf("not told to fetch one room anew: %v", summary(got))
	}
	if told := texts(got, room); len(told) != 0 || len(texts(got, other)) != 1 {
		t.Errorf("replayed %q and %q", told, texts(got, other))
	}
	live := n.send(t, "a", room, "three")
	s.await(t, "what comes live", upToRev(room, live.Rev))
}
